from __future__ import annotations

from typing import Any

import pytest

from batchyard.cli.errors import CliError
from batchyard.cli.request import (
    SubmitOptions,
    container_properties,
    definition_for,
    environment_of,
    pairs,
    parse_dependency,
    submit_parameters,
)
from tests.unit.cli.service import Service


def options(*command: str, **others: Any) -> SubmitOptions:
    return SubmitOptions(command=command or ("true",), **others)


def parameters(given: SubmitOptions) -> dict[str, Any]:
    return submit_parameters(given, "definition:1", [])


def test_what_was_not_asked_for_is_left_out() -> None:
    assert parameters(options("./work.sh", "3")) == {
        "jobName": "work-sh",
        "jobQueue": "default",
        "jobDefinition": "definition:1",
        "containerOverrides": {"command": ["./work.sh", "3"]},
    }


def test_everything_asked_for_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "mine")
    given = options(
        "work",
        name="night-run",
        queue="slow",
        vcpus=2,
        memory_mib=2048,
        gpus=1,
        array_size=10,
        attempts=3,
        timeout_seconds=90,
        environment=("A=1", "HERE", "EMPTY=", "URL=a=b"),
        parameters=("input=x",),
        tags=("team=blue",),
    )
    depends_on = [{"jobId": "x", "type": "N_TO_N"}]
    assert submit_parameters(given, "definition:1", depends_on) == {
        "jobName": "night-run",
        "jobQueue": "slow",
        "jobDefinition": "definition:1",
        "arrayProperties": {"size": 10},
        "retryStrategy": {"attempts": 3},
        "timeout": {"attemptDurationSeconds": 90},
        "dependsOn": depends_on,
        "parameters": {"input": "x"},
        "tags": {"team": "blue"},
        "containerOverrides": {
            "command": ["work"],
            "environment": [
                {"name": "A", "value": "1"},
                {"name": "HERE", "value": "mine"},
                {"name": "EMPTY", "value": ""},
                {"name": "URL", "value": "a=b"},
            ],
            "resourceRequirements": [
                {"type": "VCPU", "value": "2"},
                {"type": "MEMORY", "value": "2048"},
                {"type": "GPU", "value": "1"},
            ],
        },
    }


def test_a_named_definition_keeps_its_own_command_and_sizes() -> None:
    given = SubmitOptions(command=(), definition="arn:aws:batch:us-east-1:1:job-definition/my.def:3")
    assert parameters(given) == {"jobName": "my-def", "jobQueue": "default", "jobDefinition": "definition:1"}


def test_sizes_given_for_a_named_definition_override_it_even_when_they_are_the_defaults() -> None:
    given = SubmitOptions(command=(), definition="d", vcpus=1, memory_mib=512)
    assert [each["value"] for each in parameters(given)["containerOverrides"]["resourceRequirements"]] == ["1", "512"]


@pytest.mark.parametrize(
    ("program", "name"),
    [("./work.sh", "work-sh"), ("/usr/bin/env", "env"), ("--odd", "odd"), ("$$$", "job"), ("x" * 200, "x" * 128)],
)
def test_a_job_is_named_after_its_program(program: str, name: str) -> None:
    assert parameters(options(program))["jobName"] == name


def test_one_liners_share_a_definition() -> None:
    assert container_properties(options("one")) == container_properties(options("two", vcpus=8, environment=("A=1",)))
    assert container_properties(options("one")) != container_properties(options("one", image="alpine"))


def test_what_is_too_long_for_overrides_goes_into_the_definition() -> None:
    given = options("sh", "-c", "x" * 9000, environment=("A=1",))
    properties = container_properties(given)
    assert properties["command"] == ["sh", "-c", "x" * 9000]
    assert properties["environment"] == [{"name": "A", "value": "1"}]
    assert "containerOverrides" not in parameters(given)


def registry(known: list[dict[str, Any]]) -> Service:
    """Job definitions that live in `known`."""

    def register(params: dict[str, Any]) -> dict[str, Any]:
        revision = 1 + sum(each["jobDefinitionName"] == params["jobDefinitionName"] for each in known)
        known.append(params | {"revision": revision, "status": "ACTIVE", "jobDefinitionArn": "arn"})
        return {"jobDefinitionName": params["jobDefinitionName"], "jobDefinitionArn": "arn", "revision": revision}

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        return {"jobDefinitions": [e for e in known if e["jobDefinitionName"] == params["jobDefinitionName"]]}

    return Service(RegisterJobDefinition=register, DescribeJobDefinitions=describe)


def test_an_equal_active_definition_is_used_again() -> None:
    known: list[dict[str, Any]] = []
    service = registry(known)
    with service.api as api:
        first = definition_for(api.batch, options("one"))
        second = definition_for(api.batch, options("two", "--with", "arguments"))
        other = definition_for(api.batch, options("one", image="alpine"))
    assert first == second != other
    assert len(known) == 2
    assert service.asked("DescribeJobDefinitions")[0]["status"] == "ACTIVE"


def test_a_definition_of_that_name_that_differs_is_not_used() -> None:
    known: list[dict[str, Any]] = []
    service = registry(known)
    with service.api as api:
        first = definition_for(api.batch, options("one"))
        known[0]["containerProperties"]["image"] = "changed"
        assert definition_for(api.batch, options("one")) == first.replace(":1", ":2")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("abcd", ("abcd", None)),
        ("abcd:3", ("abcd:3", None)),
        ("abcd:N_TO_N", ("abcd", "N_TO_N")),
        ("abcd:SEQUENTIAL", ("abcd", "SEQUENTIAL")),
        ("SEQUENTIAL", ("", "SEQUENTIAL")),
    ],
)
def test_dependencies(text: str, parsed: tuple[str, str | None]) -> None:
    assert parse_dependency(text) == parsed


def test_malformed_pairs_are_named() -> None:
    with pytest.raises(CliError, match=r"--tag takes NAME=VALUE, not 'plain'"):
        pairs(["plain"], "--tag")
    with pytest.raises(CliError, match="--env takes NAME=VALUE"):
        environment_of(["=x"], {})
    with pytest.raises(CliError, match="no such variable"):
        environment_of(["MISSING"], {})
