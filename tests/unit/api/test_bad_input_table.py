"""Every operation that is built, and every way in which the service model can be broken.

A refused request gets a 4xx in the service's own shape that names what is wrong, and changes nothing in the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.api.catalogue import OPERATIONS
from batchyard.wire.serialise import Response
from tests.acceptance.bad_input_cases import (
    CONTRACT,
    UNKNOWN,
    Key,
    Spoiled,
    http_request,
    input_shape,
    places,
    planted,
    with_members_out_of_range,
    with_missing_members,
    with_mistyped_members,
    with_unknown_members,
)
from tests.acceptance.in_process_cases import MAX_REQUEST_BYTES, InProcess, in_process
from tests.profiles import IS_QUICK
from tests.unit.wire.harness import botocore_parsed, header

VALIDATION_CODES = {"batch": "ClientException", "logs": "InvalidParameterException", "sts": "ValidationError"}
KEYS = sorted(OPERATIONS)
KEYS_WITH_A_BODY = [key for key in KEYS if http_request(key, {}).method == "POST" and key[0] != "sts"]


def each(keys: list[Key]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("key", keys, ids=[".".join(key) for key in keys])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """For requests that change nothing, which is what the tests see to."""
    with in_process(tmp_path_factory.mktemp("bad-input")) as server:
        yield server


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[InProcess]:
    with in_process(tmp_path) as server:
        yield server


def error_of(key: Key, response: Response) -> dict[str, Any]:
    """The error as a botocore client reads it; AssertionError unless it is a whole one."""
    service, operation = key
    assert 400 <= response.status < 500, (response.status, response.body)
    assert header(response, "x-amzn-requestid")
    assert b"Traceback" not in response.body
    error: dict[str, Any] = botocore_parsed(CONTRACT, service, operation, response)["Error"]
    assert error["Code"] and error["Message"], response.body
    return error


def assert_all_refused(server: InProcess, key: Key, spoiled: Iterator[Spoiled]) -> None:
    """Each is refused by a text that names the spoiled member, and leaves the store as it was."""
    before = server.tables()
    for case in spoiled:
        response = server.call(key, case.request)
        assert response.status == 400, (case, response)
        error = error_of(key, response)
        assert error["Code"] == VALIDATION_CODES[key[0]], (case, error)
        assert f"Value at '{case.member}' failed to satisfy constraint" in error["Message"], (case, error)
        assert error["Message"].startswith("1 validation error detected"), (case, error)
    assert server.tables() == before


@each(KEYS)
def test_the_good_request_is_answered(fresh: InProcess, key: Key) -> None:
    assert key in fresh.good, "an operation was built: give it a good request in bad_input_cases.py"
    response = fresh.call(key, fresh.good[key])
    assert response.status == 200, response.body


@each(KEYS)
def test_unknown_members_are_ignored(fresh: InProcess, key: Key) -> None:
    request = with_unknown_members(fresh.good[key], input_shape(key))
    response = fresh.call(key, request)
    assert response.status == 200, response.body
    assert UNKNOWN not in str(fresh.tables())


@each(KEYS)
def test_missing_members_are_named(shared: InProcess, key: Key) -> None:
    assert_all_refused(shared, key, with_missing_members(key, shared.good[key]))


@each(KEYS)
def test_mistyped_members_are_named(shared: InProcess, key: Key) -> None:
    assert_all_refused(shared, key, with_mistyped_members(key, shared.good[key]))


@each(KEYS)
def test_members_outside_the_models_bounds_are_named(shared: InProcess, key: Key) -> None:
    assert_all_refused(shared, key, with_members_out_of_range(key, shared.good[key]))


@each([("batch", "TagResource"), ("batch", "UntagResource"), ("batch", "ListTagsForResource")])
def test_members_missing_from_path_and_query_are_refused(shared: InProcess, key: Key) -> None:
    before = shared.tables()
    for place in places(key):
        if not place.in_body:
            request = {name: value for name, value in shared.good[key].items() if name != place.path[0]}
            error_of(key, shared.call(key, request))
    assert shared.tables() == before


NO_OBJECTS = [
    b"[]",
    b"null",
    b"1",
    b'"text"',
    b"{",
    b"{'a': 1}",
    b"\xff",
    b'{"a": NaN}',
    b'{"a": "\\ud800"}',
    b"[" * 5000,
]


@each(KEYS_WITH_A_BODY)
def test_a_body_that_is_no_json_object_is_refused(shared: InProcess, key: Key) -> None:
    before = shared.tables()
    for body in NO_OBJECTS:
        response = shared.send(http_request(key, shared.good[key])._replace(body=body))
        assert error_of(key, response)["Code"] == "SerializationException", body
    assert shared.tables() == before


@each(KEYS_WITH_A_BODY)
def test_a_body_over_the_limit_is_refused(shared: InProcess, key: Key) -> None:
    before = shared.tables()
    padded = {**shared.good[key], UNKNOWN: "x" * MAX_REQUEST_BYTES}
    response = shared.send(http_request(key, padded))
    assert response.status == 413
    error_of(key, response)
    assert shared.tables() == before


OVERSIZED: dict[str, Callable[[Any], Any]] = {
    "string": lambda shape: shape.metadata.get("enum", ["9" * 50_000])[0],
    "integer": lambda shape: 2**31 - 1,
    "long": lambda shape: 2**63 - 1,
    "double": lambda shape: 1.7e308,
    "float": lambda shape: 1.7e308,
}


@each(KEYS_WITH_A_BODY)
def test_oversized_members_are_refused_or_taken_but_never_an_error_of_the_server(fresh: InProcess, key: Key) -> None:
    """Each string as long, each number as large and each list as full as the request's size allows.

    A quick run takes every fourth member.
    """
    for place in list(places(key))[:: 4 if IS_QUICK else 1]:
        for value in oversized(place.shape):
            before = fresh.tables()
            response = fresh.call(key, planted(fresh.good[key], key, place.path, value))
            if response.status != 200:
                error_of(key, response)
                assert fresh.tables() == before, place


def oversized(shape: Any) -> Iterator[Any]:
    kind = shape.type_name
    if kind in OVERSIZED:
        yield OVERSIZED[kind](shape)
        if kind in ("integer", "long"):
            yield -OVERSIZED[kind](shape)
    elif kind == "list" and shape.member.type_name == "string":
        yield [f"item-{number}" for number in range(4000)]
    elif kind == "map" and shape.value.type_name == "string":
        yield {f"key-{number}": "value" for number in range(2500)}
    elif kind == "list":
        yield [json.loads("{}")] * 10_000


def test_huge_numbers_in_the_body_are_refused(shared: InProcess) -> None:
    before = shared.tables()
    for number in (b"1" * 5000, b"-" + b"9" * 400, b"1e999", b"1e-999999999"):
        request = http_request(("batch", "SubmitJob"), {})._replace(body=b'{"schedulingPriorityOverride": %s}' % number)
        error_of(("batch", "SubmitJob"), shared.send(request))
    assert shared.tables() == before
