"""No request gives a 5xx: random bodies, and good requests with random parts, against every operation that is built.

`tests/unit/wire/test_fuzz.py` does the same to the wire alone; here the operations and the store are real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.api.catalogue import OPERATIONS
from batchyard.wire.serialise import Response
from tests.acceptance.bad_input_cases import Key, http_request, input_shape, places, planted
from tests.acceptance.in_process_cases import InProcess, in_process
from tests.profiles import examples
from tests.unit.wire.harness import header

KEYS = sorted(OPERATIONS)
PLACES = {key: in_body for key in KEYS if (in_body := [place for place in places(key) if place.in_body])}

TEXT = st.text(max_size=20) | st.sampled_from(["", " ", "\0", "\x7f", "*", "a" * 300, "arn:aws:batch:", "-1", "9" * 40])
NUMBER = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63]) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

quick = settings(max_examples=examples(300), deadline=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("fuzz")) as started:
        yield started


def check(response: Response) -> None:
    assert response.status < 500, response.body
    assert header(response, "x-amzn-requestid")
    assert b"Traceback" not in response.body
    if response.status != 200:
        assert header(response, "x-amzn-errortype")
        assert json.loads(response.body) if response.body.startswith(b"{") else b"<Message>" in response.body


def like(shape: Any, names: st.SearchStrategy[str], depth: int = 4) -> st.SearchStrategy[Any]:
    """Values that are mostly of the right type, so that they get past the wire; texts are often names that exist."""
    kind = shape.type_name
    if depth == 0:
        return JSON
    if kind == "structure":
        required = {name: like(shape.members[name], names, depth - 1) for name in shape.required_members}
        others = {name: like(shape.members[name], names, depth - 1) for name in shape.members if name not in required}
        return st.fixed_dictionaries(required, optional=others)
    if kind == "list":
        return st.lists(like(shape.member, names, depth - 1), max_size=3)
    if kind == "map":
        return st.dictionaries(TEXT, like(shape.value, names, depth - 1), max_size=3)
    if kind == "string":
        enum = shape.metadata.get("enum")
        return st.sampled_from(enum) if enum else names | TEXT
    if kind in ("integer", "long"):
        return st.integers(-2, 12) | NUMBER
    return st.booleans() if kind == "boolean" else JSON


def names_of(server: InProcess) -> st.SearchStrategy[str]:
    return st.sampled_from([*server.names, f"{server.names.array_id}:1", "ENABLED", "1", "64", "VCPU", "Ref::x"])


@quick
@given(st.sampled_from(KEYS), JSON)
def test_random_json_as_the_body(server: InProcess, key: Key, value: Any) -> None:
    request = http_request(key, {})
    check(server.send(request._replace(body=json.dumps(value).encode())))


@quick
@given(st.sampled_from(KEYS), st.binary(max_size=200))
def test_random_bytes_as_the_body(server: InProcess, key: Key, body: bytes) -> None:
    check(server.send(http_request(key, {})._replace(body=body)))


@quick
@given(st.data())
def test_random_requests_of_the_right_types(server: InProcess, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(PLACES)))
    check(server.call(key, data.draw(like(input_shape(key), names_of(server)))))


@quick
@given(st.data())
def test_good_requests_with_random_parts(server: InProcess, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(PLACES)))
    request = server.good[key]
    for place in data.draw(
        st.lists(st.sampled_from(PLACES[key]), min_size=1, max_size=3, unique_by=lambda each: each.path)
    ):
        value = data.draw(JSON | like(place.shape, names_of(server)))
        try:
            request = planted(request, key, place.path, value)
        except (TypeError, AttributeError, KeyError):
            # An earlier part took the place of what this one would have been put into.
            continue
    check(server.send(http_request(key, request)))


@quick
@given(st.sampled_from(["GET", "POST", "DELETE", "PUT"]), TEXT, TEXT, JSON)
def test_random_tag_paths(server: InProcess, method: str, arn: str, tag_key: str, body: Any) -> None:
    request = http_request(("batch", "ListTagsForResource"), {"resourceArn": arn})
    query = f"tagKeys={quote(tag_key, errors='replace')}"
    check(server.send(request._replace(method=method, query=query, body=json.dumps(body).encode())))


@quick
@given(st.sampled_from(KEYS), st.text(max_size=60))
def test_random_tokens(server: InProcess, key: Key, token: str) -> None:
    check(server.send(http_request(key, {**server.good[key], "nextToken": token})))
