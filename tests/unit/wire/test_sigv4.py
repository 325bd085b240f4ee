from __future__ import annotations

import pytest

from batchyard.exceptions import ApiError
from batchyard.wire.sigv4 import Caller, signed_caller
from tests.unit.wire.harness import authorization, request


def signed(value: str) -> Caller | None:
    return signed_caller(request(headers={"authorization": value}))


def test_the_credential_scope_names_key_region_and_service() -> None:
    assert signed(authorization("batch", "cn-northwest-1")) == Caller("AKIDEXAMPLE", "cn-northwest-1", "batch")


def test_fields_may_be_separated_by_a_bare_comma_and_come_in_any_order() -> None:
    value = "AWS4-HMAC-SHA256 Signature=ab,SignedHeaders=host,Credential=key/20250101/us-west-2/logs/aws4_request"
    assert signed(value) == Caller("key", "us-west-2", "logs")


def test_an_access_key_may_hold_slashes() -> None:
    assert signed(authorization("batch", access_key="made/up/key")) == Caller("made/up/key", "eu-central-1", "batch")


def test_a_presigned_query_names_the_caller() -> None:
    query = "Action=GetCallerIdentity&X-Amz-Credential=key%2F20250101%2Fus-west-2%2Fsts%2Faws4_request"
    assert signed_caller(request("GET", query=query)) == Caller("key", "us-west-2", "sts")


def test_a_request_without_signature_has_no_signed_caller() -> None:
    assert signed_caller(request()) is None


@pytest.mark.parametrize(
    "value",
    [
        "AWS4-HMAC-SHA256",
        "Bearer token",
        "Basic dXNlcjpwYXNz",
        "AWS key:signature",
        "AWS4-HMAC-SHA256 nonsense",
        "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential=key/20250101/us-west-2/batch/aws4_request",
        "AWS4-HMAC-SHA256 Credential=key, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential=key/20250101/us-west-2/batch/other, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential=/20250101/us-west-2/batch/aws4_request, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential=key/20250101//batch/aws4_request, SignedHeaders=host, Signature=ab",
        "AWS4-HMAC-SHA256 Credential=key/20250101/a:b/batch/aws4_request, SignedHeaders=host, Signature=ab",
    ],
)
def test_a_signature_that_cannot_be_read_is_refused(value: str) -> None:
    with pytest.raises(ApiError) as refusal:
        signed(value)
    assert (refusal.value.code, refusal.value.http_status) == ("IncompleteSignatureException", 400)


@pytest.mark.parametrize("query", ["X-Amz-Credential=", "X-Amz-Credential=key", "a=1&" * 2000 + "X-Amz-Credential=x"])
def test_a_presigned_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(ApiError, match="Credential must have the form"):
        signed_caller(request("GET", query=query))
