from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.api.batch.job_definitions import parse_definition_reference
from batchyard.store import definitions
from tests.unit.api.harness import World, definition, open_world, refusal

ARN = "arn:aws:batch:us-east-1:123456789012:job-definition/"
ENVELOPE = "Error executing request, Exception : "
DAY_MS = 24 * 3600 * 1000


def described(world: World, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.call("DescribeJobDefinitions", **params)["jobDefinitions"]
    return found


def revisions(world: World, **params: Any) -> list[tuple[str, int]]:
    return [(each["jobDefinitionName"], each["revision"]) for each in described(world, **params)]


def register(world: World, name: str = "definition", **params: Any) -> dict[str, Any]:
    return world.call("RegisterJobDefinition", **definition(name, **params))


def test_revisions_count_up_from_one_by_name(world: World) -> None:
    answer = register(world, "a")
    assert answer == {"jobDefinitionName": "a", "jobDefinitionArn": f"{ARN}a:1", "revision": 1}
    assert register(world, "a")["revision"] == 2
    assert register(world, "b")["revision"] == 1


def test_a_revision_is_never_used_again(world: World) -> None:
    register(world, "a")
    world.call("DeregisterJobDefinition", jobDefinition="a:1")
    assert register(world, "a")["revision"] == 2


def test_a_revision_takes_nothing_over_from_earlier_ones(world: World) -> None:
    register(world, "a", parameters={"codec": "mp4"}, timeout={"attemptDurationSeconds": 60})
    register(world, "a")
    latest = described(world, jobDefinitions=["a:2"])[0]
    assert latest["parameters"] == {}
    assert "timeout" not in latest


def test_describe_fills_in_the_services_defaults(world: World) -> None:
    register(world, "a")
    assert described(world) == [
        {
            "jobDefinitionName": "a",
            "jobDefinitionArn": f"{ARN}a:1",
            "revision": 1,
            "status": "ACTIVE",
            "type": "container",
            "parameters": {},
            "tags": {},
            "containerOrchestrationType": "ECS",
            "containerProperties": {
                "image": "busybox",
                "vcpus": 1,
                "memory": 128,
                "command": ["true"],
                "environment": [],
                "mountPoints": [],
                "resourceRequirements": [],
                "secrets": [],
                "ulimits": [],
                "volumes": [],
            },
        }
    ]


def test_describe_echoes_what_was_registered(world: World) -> None:
    container = {
        "command": [],
        "privileged": False,
        "readonlyRootFilesystem": False,
        "secrets": [{"name": "S", "valueFrom": "arn"}],
        "volumes": [{"name": "v", "host": {"sourcePath": "/nowhere"}}],
        "mountPoints": [{"sourceVolume": "v", "containerPath": "/data", "readOnly": False}],
        "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
        "jobRoleArn": "role",
        "user": "nobody",
    }
    params = {
        "parameters": {"in.put-1": "x"},
        "propagateTags": False,
        "platformCapabilities": ["EC2"],
        "schedulingPriority": 0,
        "timeout": {"attemptDurationSeconds": 5 * 24 * 3600},
        "tags": {"a.b/c": "d"},
    }
    register(world, "a", container=container, **params)
    shown = described(world)[0]
    assert {member: shown[member] for member in params} == params
    assert {member: shown["containerProperties"][member] for member in container} == container


def test_actions_of_exit_rules_are_taken_in_any_case_and_shown_in_lower_case(world: World) -> None:
    rules = [{"action": "Retry", "onStatusReason": "Host EC2*"}, {"action": "EXIT", "onReason": "*"}]
    register(world, "a", retryStrategy={"attempts": 3, "evaluateOnExit": rules})
    assert described(world)[0]["retryStrategy"] == {
        "attempts": 3,
        "evaluateOnExit": [{"action": "retry", "onStatusReason": "Host EC2*"}, {"action": "exit", "onReason": "*"}],
    }


def test_describe_selects_by_every_condition_given(world: World) -> None:
    for name in ("a", "a", "a", "b"):
        register(world, name)
    world.call("DeregisterJobDefinition", jobDefinition="a:2")
    assert revisions(world) == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert revisions(world, jobDefinitionName="a") == [("a", 1), ("a", 2), ("a", 3)]
    assert revisions(world, jobDefinitionName="a", status="ACTIVE") == [("a", 1), ("a", 3)]
    assert revisions(world, status="INACTIVE") == [("a", 2)]
    assert revisions(world, jobDefinitions=[f"{ARN}a:3", "b", "a:1", "unknown", "a:9"]) == [
        ("a", 1),
        ("a", 3),
        ("b", 1),
    ]


def test_describe_pages_in_ascending_order(world: World) -> None:
    for _ in range(11):
        register(world, "a")
    register(world, "b")
    found, token = [], {}
    while True:
        page = world.call("DescribeJobDefinitions", maxResults=5, **token)
        found.append([each["revision"] for each in page["jobDefinitions"]])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 1]]


def test_a_page_token_belongs_to_its_query(world: World) -> None:
    register(world, "a")
    register(world, "a")
    token = world.call("DescribeJobDefinitions", maxResults=1)["nextToken"]
    error = refusal(world, "DescribeJobDefinitions", jobDefinitionName="a", nextToken=token)
    assert error.message == "nextToken is not valid"


@pytest.mark.parametrize("reference", ["a:1", f"{ARN}a:1", "a", f"{ARN}a"])
def test_deregistering_makes_a_revision_inactive(world: World, reference: str) -> None:
    register(world, "a")
    assert world.call("DeregisterJobDefinition", jobDefinition=reference) == {}
    assert described(world)[0]["status"] == "INACTIVE"


def test_deregistering_again_is_no_error(world: World) -> None:
    register(world, "a")
    for reference in ("a:1", "a:1", "a"):
        assert world.call("DeregisterJobDefinition", jobDefinition=reference) == {}


def test_inactive_revisions_are_described_for_180_days(world: World) -> None:
    register(world, "a")
    world.call("DeregisterJobDefinition", jobDefinition="a:1")
    world.clock.advance(180 * DAY_MS)
    assert revisions(world) == [("a", 1)]
    world.clock.advance(1)
    assert revisions(world) == []


@pytest.mark.parametrize(
    ("reference", "parsed"),
    [
        ("name", ("name", None)),
        ("name:12", ("name", 12)),
        (f"{ARN}name:12", ("name", 12)),
        (f"{ARN}name", ("name", None)),
        ("name:latest", ("name:latest", None)),
        ("name:", ("name:", None)),
        ("", ("", None)),
    ],
)
def test_a_reference_is_a_name_or_an_arn_with_or_without_revision(reference: str, parsed: tuple[str, Any]) -> None:
    assert parse_definition_reference(reference) == parsed


def test_a_submission_without_revision_gets_the_latest_active_one(world: World) -> None:
    for _ in range(3):
        register(world, "a")
    world.call("DeregisterJobDefinition", jobDefinition="a:3")
    latest = world.read(lambda connection: definitions.find_for_submission(connection, "a", None))
    exact = world.read(lambda connection: definitions.find_for_submission(connection, "a", 3))
    assert latest is not None
    assert exact is not None
    assert (latest.revision, latest.status) == (2, "ACTIVE")
    assert (exact.revision, exact.status) == (3, "INACTIVE")
    assert world.read(lambda connection: definitions.find_for_submission(connection, "b", None)) is None


@pytest.fixture
def hasty_world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, minimum_timeout_seconds=1) as opened:
        yield opened


def test_the_least_timeout_is_a_setting(hasty_world: World) -> None:
    register(hasty_world, "a", timeout={"attemptDurationSeconds": 1})
    assert described(hasty_world)[0]["timeout"] == {"attemptDurationSeconds": 1}


RULE = {"action": "RETRY", "onReason": "*"}
BAD_REGISTRATIONS = {
    "bad name": ({"name": "a.b"}, f"{ENVELOPE}Job definition name should match valid pattern"),
    "no image": ({"container": {"image": None}}, "containerProperties must contain image"),
    "no vcpus": ({"container": {"vcpus": None}}, "containerProperties must contain vcpus"),
    "no memory": ({"container": {"memory": None}}, "containerProperties must contain memory"),
    "little memory": ({"container": {"memory": 3}}, "container memory limit must be greater than 4"),
    "no vCPU at all": ({"container": {"vcpus": 0}}, "container vcpus limit must be greater than 0"),
    "network on EC2": (
        {"container": {"networkConfiguration": {"assignPublicIp": "ENABLED"}}},
        f"{ENVELOPE}networkConfiguration not applicable for EC2., RequestId: ",
    ),
    "no containerProperties": ({"containerProperties": None}, f"{ENVELOPE}containerProperties is required"),
    "too large": (
        {"container": {"command": ["x" * 24 * 1024]}},
        f"{ENVELOPE}Limits Error: JobDefinitionsize is above the limits 24 KB",
    ),
    "retry without attempts": (
        {"retryStrategy": {"evaluateOnExit": [RULE]}},
        f"{ENVELOPE}RetryAttempts must be provided with retry strategy",
    ),
    "eleven attempts": ({"retryStrategy": {"attempts": 11}}, f"{ENVELOPE}RetryAttempts must be between 1 and 10"),
    "six exit rules": (
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [RULE] * 6}},
        f"{ENVELOPE}evaluateOnExit can have at most 5 entries",
    ),
    "star in the middle": (
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onReason": "a*b"}]}},
        f"{ENVELOPE}onReason 'a*b' is not valid",
    ),
    "letters in an exit code": (
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onExitCode": "1x"}]}},
        f"{ENVELOPE}onExitCode '1x' is not valid",
    ),
    "long pattern": (
        {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onStatusReason": "a" * 513}]}},
        f"{ENVELOPE}onStatusReason can have at most 512 characters",
    ),
    "hasty timeout": (
        {"timeout": {"attemptDurationSeconds": 59}},
        f"{ENVELOPE}The minimum value for the timeout is 60 seconds",
    ),
    "timeout without time": ({"timeout": {}}, f"{ENVELOPE}attemptDurationSeconds must be provided with timeout"),
    "scheduling priority": ({"schedulingPriority": 10_000}, f"{ENVELOPE}schedulingPriority must be between 0 and 9999"),
    "51 tags": ({"tags": {str(key): "" for key in range(51)}}, "The maximum number of tags per resource is 50"),
    "long tag key": ({"tags": {"k" * 129: ""}}, "Tag keys must have 1 to 128 characters"),
    "long tag value": ({"tags": {"k": "v" * 257}}, "The value of tag k has more than 256 characters"),
    "reserved tag": ({"tags": {"AWS:x": ""}}, "Tag key AWS:x is not valid"),
    "multi-node with a container": (
        {"type": "multinode"},
        f"{ENVELOPE}nodeProperties is required for job definitions of type multinode.",
    ),
    "multi-node without nodes": (
        {"type": "multinode", "containerProperties": None},
        f"{ENVELOPE}nodeProperties is required for job definitions of type multinode.",
    ),
    "nodes of a container": (
        {
            "containerProperties": None,
            "nodeProperties": {"numNodes": 1, "mainNode": 0, "nodeRangeProperties": []},
        },
        f"{ENVELOPE}nodeProperties can only be used with job definitions of type multinode.",
    ),
    "nodes on Fargate": (
        {
            "type": "multinode",
            "containerProperties": None,
            "platformCapabilities": ["FARGATE"],
            "nodeProperties": {"numNodes": 1, "mainNode": 0, "nodeRangeProperties": []},
        },
        f"{ENVELOPE}nodeProperties not applicable for Fargate.",
    ),
    "managed instances": (
        {"platformCapabilities": ["MANAGED_INSTANCES"]},
        "platformCapabilities MANAGED_INSTANCES is not built in Batchyard yet",
    ),
}


@pytest.mark.parametrize("case", BAD_REGISTRATIONS)
def test_a_bad_registration_is_refused_and_changes_nothing(world: World, case: str) -> None:
    changes, text = BAD_REGISTRATIONS[case]
    params = {**definition(**{key: value for key, value in changes.items() if key in ("name", "container")})}
    params.update({key: value for key, value in changes.items() if key not in ("name", "container")})
    error = refusal(
        world, "RegisterJobDefinition", **{member: value for member, value in params.items() if value is not None}
    )
    assert error.code == "ClientException"
    assert error.message.startswith(text)


@pytest.mark.parametrize("reference", ["unknown", "a:2", f"{ARN}unknown:1"])
def test_deregistering_what_never_was_is_refused(world: World, reference: str) -> None:
    register(world, "a")
    error = refusal(world, "DeregisterJobDefinition", jobDefinition=reference)
    assert error.message == f"Job definition {reference} does not exist"


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"status": "active"}, "status active must be one of ACTIVE | INACTIVE"),
        ({"maxResults": 101}, "maxResults must be between 1 and 100"),
        ({"nextToken": "x"}, "nextToken is not valid"),
        ({"jobDefinitions": ["a"] * 101}, f"{ENVELOPE}Maximum number of jobDefinitions supported is  100"),
    ],
)
def test_a_bad_description_is_refused(world: World, params: dict[str, Any], text: str) -> None:
    assert refusal(world, "DescribeJobDefinitions", **params).message.startswith(text)
