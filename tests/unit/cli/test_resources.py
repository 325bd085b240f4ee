from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from batchyard.cli.resources import definition_row, environment_row, newest_revisions, queue_row, requirement
from tests.unit.cli.conftest import Run
from tests.unit.cli.service import Service

Serve = Callable[..., Service]


def definition(name: str, revision: int, **members: Any) -> dict[str, Any]:
    container = {
        "image": "busybox",
        "command": ["echo", "a b"],
        "resourceRequirements": [{"type": "VCPU", "value": "2"}],
        "memory": 128,
    }
    return {
        "jobDefinitionName": name,
        "jobDefinitionArn": f"arn:{name}:{revision}",
        "revision": revision,
        "type": "container",
        "status": "ACTIVE",
        "containerProperties": container,
        **members,
    }


def test_a_queue_lists_its_environments_in_their_order() -> None:
    arn = "arn:aws:batch:us-east-1:123456789012:compute-environment"
    order = [{"order": 2, "computeEnvironment": f"{arn}/b"}, {"order": 1, "computeEnvironment": f"{arn}/a"}]
    queue = {
        "jobQueueName": "q",
        "state": "ENABLED",
        "status": "VALID",
        "priority": 7,
        "computeEnvironmentOrder": order,
    }
    assert queue_row(queue) == ("q", "ENABLED", "VALID", "7", "a, b", "first in, first out", "-")


def test_an_environment_shows_its_size_and_engine() -> None:
    environment = {
        "computeEnvironmentName": "ce",
        "type": "MANAGED",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "computeResources": {"type": "EC2", "minvCpus": 0, "maxvCpus": 8, "desiredvCpus": 2},
        "tags": {"batchyard:engine": "process"},
    }
    assert environment_row(environment)[1:6] == ("MANAGED/EC2", "ENABLED", "VALID", "2 (0 to 8)", "process")
    assert environment_row({"computeEnvironmentName": "u", "type": "UNMANAGED"})[4] == "-"


def test_a_definition_shows_its_command_and_sizes_old_and_new() -> None:
    assert definition_row(definition("d", 3)) == ("d:3", "ACTIVE", "container", "2", "128", "busybox", "echo 'a b'")
    assert requirement({"vcpus": 4}, "VCPU") == "4"
    assert requirement({}, "GPU") == ""


def test_the_newest_revision_of_each_name() -> None:
    found = [definition("b", 2), definition("a", 9), definition("a", 10), definition("b", 1)]
    assert [definition_row(each)[0] for each in newest_revisions(found)] == ["a:10", "b:2"]


def test_listing_definitions(run: Run, serve: Serve) -> None:
    found = [definition("d", 1, status="INACTIVE"), definition("d", 2)]

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        return {"jobDefinitions": [each for each in found if params.get("status") in (None, each["status"])]}

    serve(DescribeJobDefinitions=describe)
    assert [each["revision"] for each in json.loads(run("definitions", "--json").stdout)["jobDefinitions"]] == [2]
    assert len(run("definitions", "--all").stdout.splitlines()) == 3


def test_listing_queues_and_environments(run: Run, serve: Serve) -> None:
    environment = {"computeEnvironmentName": "default", "computeEnvironmentArn": "arn", "type": "MANAGED"}
    serve(
        DescribeJobQueues=lambda _: {"jobQueues": []},
        DescribeComputeEnvironments=lambda _: {"computeEnvironments": [environment]},
    )
    assert run("queues").stderr == "No job queues.\n"
    assert json.loads(run("queues", "--json").stdout) == {"jobQueues": []}
    assert run("environments").stdout.splitlines()[1].split()[0] == "default"
