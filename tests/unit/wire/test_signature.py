"""Signatures of botocore's own signer are genuine; whatever is changed afterwards makes them not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from batchyard.wire.request import Request
from batchyard.wire.signature import MAX_SKEW_SECONDS, is_genuine

SECRET = "a secret key"


def signed(
    url: str = "http://127.0.0.1:8000/v1/describejobs",
    method: str = "POST",
    body: bytes = b'{"jobs": []}',
    service: str = "batch",
    headers: Mapping[str, str] = {},
) -> Request:
    """A request as it comes here from botocore."""
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    SigV4Auth(Credentials("ASIA0EXAMPLE", SECRET, "a token"), service, "us-east-1").add_auth(request)
    parts = urlsplit(url)
    received = {name.lower().encode(): str(value).encode() for name, value in request.headers.items()}
    received[b"host"] = parts.netloc.encode()
    return Request(method, parts.path, parts.query, received, body)


def genuine(request: Request, secret: str = SECRET, later_seconds: float = 0) -> bool:
    return is_genuine(request, secret, time.time() + later_seconds)


def changed(request: Request, **headers: str) -> Request:
    new = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return structs.replace(request, headers={**request.headers, **new})


@pytest.mark.parametrize(
    "of",
    [
        {},
        {"url": "http://127.0.0.1:8000/", "service": "sts", "body": b"Action=GetCallerIdentity&Version=2011-06-15"},
        {
            "url": "http://localhost:8000/v1/tags/arn%3Aaws%3Abatch%3Aus-east-1%3A1%3Ajob%2Fx",
            "method": "GET",
            "body": b"",
        },
        {
            "url": "http://localhost:8000/v1/tags/arn%3Aaws?tagKeys=b%20c&tagKeys=a&empty=",
            "method": "DELETE",
            "body": b"",
        },
        {"url": "http://localhost/a/./b/../c//d", "method": "GET", "body": b""},
        {"headers": {"X-Amz-Target": "Logs_20140328.DescribeLogGroups", "Content-Type": "  many   blanks  "}},
    ],
)
def test_what_botocore_signs_is_genuine(of: Any) -> None:
    assert genuine(signed(**of))


@given(
    path=st.lists(st.text("abc~-_.%20", min_size=1, max_size=8), max_size=4).map("/".join),
    query=st.lists(st.tuples(st.text("ab%2F", max_size=4), st.text("ab%20", max_size=4)), max_size=3),
    body=st.binary(max_size=64),
)
def test_any_request_of_botocores_is_genuine(path: str, query: list[tuple[str, str]], body: bytes) -> None:
    url = f"http://127.0.0.1:8000/{path}"
    if query:
        url += "?" + "&".join("=".join(pair) for pair in query)
    assert genuine(signed(url, body=body))


def test_another_key_or_another_request_is_not_genuine() -> None:
    request = signed()
    assert not genuine(request, secret="another")
    assert not genuine(structs.replace(request, body=b'{"jobs": ["other"]}'))
    assert not genuine(structs.replace(request, path="/v1/submitjob"))
    assert not genuine(structs.replace(request, method="GET"))
    assert not genuine(structs.replace(request, query="a=b"))
    assert not genuine(changed(request, host="169.254.170.2:1"))
    assert not genuine(changed(request, x_amz_security_token="another"))


def test_a_signature_is_good_for_a_quarter_of_an_hour() -> None:
    request = signed()
    assert genuine(request, later_seconds=MAX_SKEW_SECONDS - 10)
    assert not genuine(request, later_seconds=MAX_SKEW_SECONDS + 10)
    assert not genuine(request, later_seconds=-MAX_SKEW_SECONDS - 10)


@pytest.mark.parametrize("signed_at", ["", "yesterday", "20261399T000000Z", "20261121T140000Z "])
def test_a_time_that_is_none_is_not_genuine(signed_at: str) -> None:
    assert not genuine(changed(signed(), x_amz_date=signed_at))


@pytest.mark.parametrize("left_out", ["host", "x-amz-date", "x-amz-security-token"])
def test_what_could_be_replaced_must_be_signed(left_out: str) -> None:
    request = signed()
    authorization = request.header(b"authorization")
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0]
    fewer = ";".join(name for name in names.split(";") if name != left_out)
    assert not genuine(changed(request, authorization=authorization.replace(names, fewer)))


@pytest.mark.parametrize("name", ["x-amz-target", "x-amz-anything"])
def test_headers_of_awss_that_were_put_in_afterwards_are_not_genuine(name: str) -> None:
    assert not genuine(changed(signed(), **{name: "Logs_20140328.DeleteLogGroup"}))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=",
    ],
)
def test_an_authorization_that_is_none_is_not_genuine(authorization: str) -> None:
    assert not genuine(changed(signed(), authorization=authorization))
