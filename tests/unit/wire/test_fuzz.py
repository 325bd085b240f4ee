"""No request, however malformed, gives a 5xx or anything but an answer in a known shape."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.wire.serialise import Response
from tests.profiles import examples
from tests.unit.wire.harness import CONTRACT, Handler, authorization, call, front, header

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
