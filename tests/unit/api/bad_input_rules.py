"""What the service model leaves open and the service refuses all the same: the guide's rules, one line each.

A row changes members of the operation's good request (`a.0.b` is a path into it, GONE takes a member away) and gives a
part of the text that must come back. The texts are those that clients compare with, where the service's are known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.acceptance.bad_input_cases import CONTRACT, Key, planted, without
from tests.acceptance.in_process_cases import InProcess
from tests.unit.wire.harness import botocore_parsed

GONE = object()
ENVELOPE = "Error executing request, Exception : "
BAD_NAMES = ("", " ", "a b", "a.b", "é", "a/b", "a\n", "\0", "n" * 129)
TOO_MANY_TAGS = {f"key-{number}": "" for number in range(51)}
NO_TOKENS = ("x", "AAAA", "é", "=" * 20, "a" * 20_000)


class Row(NamedTuple):
    operation: str
    changes: dict[str, Any]
    text: str


def rows(operation: str, text: str, *changes: dict[str, Any]) -> list[Row]:
    return [Row(operation, each, text) for each in changes]


def bad_tags(operation: str) -> list[Row]:
    return [
        *rows(operation, "tags", {"tags": TOO_MANY_TAGS}),
        *rows(operation, "satisfy constraint", {"tags": {"": "x"}}, {"tags": {"k" * 129: "x"}}),
        *rows(operation, "satisfy constraint", {"tags": {"k": "v" * 257}}),
        *rows(operation, "reserved", {"tags": {"aws:created-by": "me"}}),
    ]


def bad_container(operation: str, container: str) -> list[Row]:
    """Rules of containerProperties that hold for containerOverrides too."""
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    return [
        *rows(
            operation,
            "is not valid",
            {f"{container}.environment": [{"name": "AWS_BATCH_JOB_ID", "value": "x"}]},
            {f"{container}.environment": [{"name": "", "value": "x"}]},
            {f"{container}.environment": [{"value": "x"}]},
            {f"{container}.environment": [{"name": "A=B", "value": "x"}]},
            {f"{container}.environment": [{"name": "A\0", "value": "x"}]},
            {f"{container}.environment": [{"name": "A", "value": "x\0"}]},
        ),
        *rows(
            operation,
            "vcpus limit must be greater than 0",
            *(
                {f"{container}.resourceRequirements": [{"type": "VCPU", "value": text}, sizes[1]]}
                for text in ("0", "-1", "x", "")
            ),
        ),
        *rows(
            operation,
            "memory limit must be greater than 4",
            *(
                {f"{container}.resourceRequirements": [sizes[0], {"type": "MEMORY", "value": text}]}
                for text in ("3", "-1", "x")
            ),
        ),
        *rows(
            operation,
            "more than once",
            {f"{container}.resourceRequirements": [sizes[0], sizes[0], sizes[1]]},
        ),
        *rows(
            operation, "whole number", {f"{container}.resourceRequirements": [*sizes, {"type": "GPU", "value": "half"}]}
        ),
    ]


def bad_retries_and_timeouts(operation: str) -> list[Row]:
    rule = {"action": "RETRY", "onReason": "*"}
    return [
        *rows(
            operation,
            "RetryAttempts must be between 1 and 10",
            *({"retryStrategy": {"attempts": attempts}} for attempts in (0, -1, 11, 2**31 - 1)),
        ),
        *rows(
            operation,
            "RetryAttempts must be provided with retry strategy",
            {"retryStrategy": {"evaluateOnExit": [rule]}},
        ),
        *rows(operation, "at most 5", {"retryStrategy": {"attempts": 2, "evaluateOnExit": [rule] * 6}}),
        *(
            Row(operation, {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", **given}]}}, text)
            for given, text in (
                ({"onReason": "x" * 513}, "512"),
                ({"onStatusReason": "x" * 513}, "512"),
                ({"onReason": "a*b"}, "last character"),
                ({"onExitCode": "1a"}, "onExitCode"),
                ({"onExitCode": "-1"}, "onExitCode"),
            )
        ),
        *rows(
            operation,
            "minimum value for the timeout is 60",
            *({"timeout": {"attemptDurationSeconds": seconds}} for seconds in (59, 0, -1)),
        ),
    ]


def bad_tokens(operation: str, changes: dict[str, Any]) -> list[Row]:
    return rows(operation, "nextToken is not valid", *({**changes, "nextToken": token} for token in NO_TOKENS))


def spoiled(server: InProcess, key: Key, changes: dict[str, Any]) -> dict[str, Any]:
    request = server.good[key]
    for dotted, value in changes.items():
        path = tuple(int(step) if step.isdecimal() else step for step in dotted.split("."))
        request = without(request, key, path) if value is GONE else planted(request, key, path, value)
    return request


def check(server: InProcess, service: str, table: list[Row]) -> None:
    """Every row is refused with its text, and changes nothing."""
    before = server.tables()
    for row in table:
        key = (service, row.operation)
        response = server.call(key, spoiled(server, key, row.changes))
        assert response.status == 400, (row, response)
        error = botocore_parsed(CONTRACT, service, row.operation, response)["Error"]
        assert row.text in error["Message"], (row, error)
        if service == "batch":
            assert error["Code"] == "ClientException", (row, error)
        else:
            is_missing = "does not exist" in row.text
            assert error["Code"] == ("ResourceNotFoundException" if is_missing else "InvalidParameterException"), row
        assert server.tables() == before, row
