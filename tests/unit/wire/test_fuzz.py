"""No request, however malformed, gives a 5xx or anything but an answer in a known shape."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.wire.serialise import Response
from tests.profiles import examples
from tests.unit.wire.harness import CONTRACT, Handler, authorization, batch, call, exchange, front, header, logs, sts

APP = front({operation: Handler() for operation in CONTRACT.operations()})

BATCH = CONTRACT.services["batch"]
PATHS = [f"/v1/{name.lower()}" for name in sorted(BATCH.operation_names)] + ["/v1/tags/arn:aws:batch", "/", ""]
TARGETS = [f"Logs_20140328.{name}" for name in ("GetLogEvents", "FilterLogEvents", "Nothing")]
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"])
LATIN = st.text(st.characters(max_codepoint=255), max_size=80)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.integers(10**18, 10**30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)

NUMBERS = ["1e999", "-1e999", "9" * 5000, "-" + "9" * 400, "1e-999", "NaN", "Infinity", "-0", "0x1", "1_0", "01"]
SCRAPS = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b'"size"', b'"arrayProperties"', b'"jobName":', b"null", b"true"),
    *(b'"\\ud800"', b'"\\udfff\\ud800"', b'"\\u0000"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf", b"\x00"),
    *(number.encode() for number in NUMBERS),
]
"""What JSON is made of, and what it must not hold: lone surrogates, escaped and as bytes, wrong UTF-8, a BOM."""
SOME_OPERATIONS = ("SubmitJob", "RegisterJobDefinition", "CreateComputeEnvironment", "DescribeJobs", "ListJobs")

quick = settings(max_examples=examples(300), deadline=None)


def check(response: Response) -> None:
    assert response.status < 500, response.body
    assert header(response, "x-amzn-requestid")
    assert b"Traceback" not in response.body
    if response.status != 200:
        assert header(response, "x-amzn-errortype")


def headers() -> st.SearchStrategy[dict[str, str]]:
    usual = {
        "authorization": st.sampled_from([authorization(name) for name in ("batch", "logs", "sts", "s3")]),
        "content-type": st.just("application/x-www-form-urlencoded"),
        "x-amz-target": st.sampled_from(TARGETS),
        "content-length": st.sampled_from(["0", "-1", "many", "9" * 5000]),
    }
    odd = dict.fromkeys(usual, LATIN)
    return st.fixed_dictionaries({}, optional=usual) | st.fixed_dictionaries({}, optional=odd)


@quick
@given(METHODS, st.sampled_from(PATHS) | LATIN, st.binary(max_size=200), headers(), LATIN)
def test_random_requests(method: str, path: str, body: bytes, sent_headers: dict[str, str], query: str) -> None:
    check(call(APP, method, path, body, sent_headers, query))


@quick
@given(st.data())
def test_random_members_of_a_known_operation(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(BATCH.operation_names)))
    method, path = BATCH.http(name)
    shape: Any = BATCH.model.operation_model(name).input_shape
    members = st.fixed_dictionaries({}, optional={member: like(shape.members[member]) for member in shape.members})
    check(call(APP, method, path, json.dumps(data.draw(members)).encode()))


def like(shape: Any, depth: int = 3) -> st.SearchStrategy[Any]:
    """Values that are often of the right type, so that the checks get deep into the shape."""
    if depth == 0:
        return JSON
    if shape.type_name == "structure":
        members = {name: like(member, depth - 1) for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members) | JSON
    if shape.type_name == "list":
        return st.lists(like(shape.member, depth - 1), max_size=2) | JSON
    return JSON


@quick
@given(st.sampled_from(TARGETS), JSON)
def test_random_json_for_a_target(target: str, value: Any) -> None:
    check(call(APP, body=json.dumps(value).encode(), headers={"x-amz-target": target}))


KEYS = st.lists(st.sampled_from(["Tags", "member", "1", "2", "Key", "PolicyArns", "arn", "", "entry"]), max_size=5)


@quick
@given(st.sampled_from(sorted(CONTRACT.services["sts"].operation_names)), st.dictionaries(KEYS.map(".".join), LATIN))
def test_random_forms(action: str, fields: dict[str, str]) -> None:
    body = urlencode({"Action": action, "Version": "2011-06-15", **fields}).encode()
    check(call(APP, body=body, headers={"content-type": "application/x-www-form-urlencoded"}))


@quick
@given(st.sampled_from(["GET", "POST", "DELETE"]), st.text(max_size=40), st.text(max_size=40))
def test_random_tag_paths(method: str, arn: str, key: str) -> None:
    query = urlencode({"tagKeys": key}, errors="replace")
    check(call(APP, method, "/v1/tags/" + quote(arn, errors="replace"), query=query))


@quick
@given(st.sampled_from(SOME_OPERATIONS), st.lists(st.sampled_from(SCRAPS), max_size=40).map(b"".join))
def test_scraps_of_json(operation: str, body: bytes) -> None:
    check(batch(APP, operation, body))
    check(batch(APP, operation, b'{"jobName":' + body + b"}"))


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_no_machine_holds(number: str) -> None:
    """In the place of an integer, of a number with a fraction, of a text, and of nothing that is known."""
    for text in (f'"arrayProperties":{{"size":{number}}}', f'"jobName":{number}', f'"unknown":[{number}]'):
        response = batch(APP, "SubmitJob", f'{{"jobQueue":"q","jobDefinition":"d","jobName":"n",{text}}}'.encode())
        check(response)
    share = f'{{"name":"p","fairsharePolicy":{{"shareDistribution":[{{"weightFactor":{number}}}]}}}}'
    check(batch(APP, "CreateSchedulingPolicy", share.encode()))


@pytest.mark.parametrize("depth", [900, 10_000, 100_000])
@pytest.mark.parametrize(
    ("before", "inner", "after"),
    [("", "[", "]"), ("", '{"a":', "}"), ('{"jobName":', "[", "]}"), ('{"containerOverrides":', '{"a":', "}}")],
)
def test_any_depth_is_answered(before: str, inner: str, after: str, depth: int) -> None:
    for end in ("1" + after[0] * depth + after[1:], ""):
        check(batch(APP, "SubmitJob", (before + inner * depth + end).encode()))
        check(logs(APP, "GetLogEvents", (before + inner * depth + end).encode()))


@quick
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=12))
def test_bodies_in_pieces(pieces: list[bytes]) -> None:
    """As chunks arrive: empty ones among them, cut anywhere, within characters too."""
    scope = {"type": "http", "method": "POST", "path": "", "raw_path": b"/v1/submitjob", "query_string": b""}
    incoming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    sent = exchange(APP, {**scope, "headers": []}, [*incoming, {"type": "http.request"}])
    whole = batch(APP, "SubmitJob", b"".join(pieces))
    assert sent[0]["status"] == whole.status
    check(Response(sent[0]["status"], sent[0]["headers"], sent[1]["body"]))


HEADER_NAMES = st.sampled_from(
    ["authorization", "x-amz-target", "content-type", "content-length", "x-amz-date", "host"]
)
BYTES = st.binary(max_size=60)


@quick
@given(st.lists(st.tuples(HEADER_NAMES.map(str.encode) | BYTES, BYTES), max_size=30), BYTES, BYTES, BYTES)
def test_any_bytes_in_headers_paths_and_query_strings(
    headers: list[tuple[bytes, bytes]], path: bytes, query: bytes, body: bytes
) -> None:
    """The same name more than once too."""
    scope = {"type": "http", "method": "POST", "path": "", "raw_path": b"/" + path, "query_string": query}
    sent = exchange(APP, {**scope, "headers": headers}, [{"type": "http.request", "body": body}])
    check(Response(sent[0]["status"], sent[0]["headers"], sent[1]["body"]))


@pytest.mark.parametrize("body", [b'{"jobName":"a","jobName":1}', b"{" + b'"a":1,' * 50_000 + b'"a":1}'])
def test_keys_that_are_there_twice(body: bytes) -> None:
    check(batch(APP, "SubmitJob", body))


def test_thousands_of_headers_and_fields_take_no_time() -> None:
    """What is quadratic in them would take minutes."""
    began = time.process_time()
    check(call(APP, "POST", "/v1/submitjob", b"{}", {f"x-{number}": "y" for number in range(20_000)}))
    check(call(APP, "GET", "/v1/tags/arn", query="&".join(f"tagKeys={number}" for number in range(100_000))))
    check(sts(APP, "Action=GetCallerIdentity&Version=2011-06-15&" + "&".join("a.b=1" for _ in range(100_000))))
    check(batch(APP, "DescribeJobs", {"jobs": ["x"] * 50_000}))
    check(batch(APP, "SubmitJob", {"tags": {f"key-{number}": 1 for number in range(50_000)}}))
    assert time.process_time() - began < 10
