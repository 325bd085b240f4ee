from __future__ import annotations

from typing import Any

import pytest

from batchyard.core.model import QueueState, TimeLimit
from batchyard.store import queues
from tests.unit.api.harness import World, ec2_environment, refusal

ARN = "arn:aws:batch:us-east-1:123456789012:"
ENVELOPE = "Error executing request, Exception : "


def updated(world: World, name: str, **params: Any) -> dict[str, Any]:
    world.call("UpdateJobQueue", jobQueue=name, **params)
    world.settle()
    return world.described_queue(name)


def order(*names: str) -> list[dict[str, Any]]:
    return [{"order": place, "computeEnvironment": name} for place, name in enumerate(names)]


def test_a_new_queue_is_creating_until_the_runtime_settles_it(world: World) -> None:
    world.environment("env")
    wakes = world.wakes
    answer = world.call("CreateJobQueue", jobQueueName="q", priority=5, computeEnvironmentOrder=order("env"))
    assert answer == {"jobQueueName": "q", "jobQueueArn": f"{ARN}job-queue/q"}
    assert world.wakes == wakes + 1
    assert world.described_queue("q")["status"] == "CREATING"
    world.settle()
    described = world.described_queue("q")
    assert (described["status"], described["statusReason"]) == ("VALID", "JobQueue Healthy")


def test_describe_gives_environments_as_arns_in_ascending_order(world: World) -> None:
    world.environment("first")
    world.environment("second")
    given = [
        {"order": 20, "computeEnvironment": "second"},
        {"order": 3, "computeEnvironment": f"{ARN}compute-environment/first"},
    ]
    world.queue("q", computeEnvironmentOrder=given, tags={"team": "risk"})
    assert world.described_queue("q") == {
        "jobQueueName": "q",
        "jobQueueArn": f"{ARN}job-queue/q",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "JobQueue Healthy",
        "priority": 1,
        "computeEnvironmentOrder": [
            {"order": 3, "computeEnvironment": f"{ARN}compute-environment/first"},
            {"order": 20, "computeEnvironment": f"{ARN}compute-environment/second"},
        ],
        "jobQueueType": "ECS",
        "tags": {"team": "risk"},
    }


def test_a_queue_of_fargate_environments_has_their_type(world: World) -> None:
    world.fargate_environment("fargate")
    world.queue("q", "fargate", jobQueueType="ECS_FARGATE")
    assert world.described_queue("q")["jobQueueType"] == "ECS_FARGATE"


def test_empty_members_that_are_not_built_ask_for_nothing(world: World) -> None:
    world.environment("env")
    world.queue("q", "env", schedulingPolicyArn="", jobStateTimeLimitActions=[], serviceEnvironmentOrder=[])
    assert world.described_queue("q")["status"] == "VALID"


def test_describe_takes_names_and_arns_and_leaves_unknown_ones_out(world: World) -> None:
    world.environment("env")
    world.queue("a", "env")
    world.queue("b", "env")
    described = world.call("DescribeJobQueues", jobQueues=[f"{ARN}job-queue/b", "unknown", "a", "b"])["jobQueues"]
    assert [each["jobQueueName"] for each in described] == ["b", "a"]


def test_describe_without_names_pages_through_all(world: World) -> None:
    world.environment("env")
    for name in "abc":
        world.queue(name, "env")
    first = world.call("DescribeJobQueues", maxResults=2)
    second = world.call("DescribeJobQueues", maxResults=2, nextToken=first["nextToken"])
    names = [[each["jobQueueName"] for each in page["jobQueues"]] for page in (first, second)]
    assert names == [["a", "b"], ["c"]]
    assert "nextToken" not in second


def test_the_scheduler_sees_environments_by_preference(world: World) -> None:
    for name in ("a", "b", "c"):
        world.environment(name)
    world.queue("q", "c", "a", "b", state="DISABLED", priority=7)
    row = world.read(lambda connection: queues.find(connection, "q"))
    assert row is not None
    expected = QueueState("q", 7, ("c", "a", "b"), created_at_ms=world.clock.now_ms(), enabled=False)
    assert queues.to_state(row) == expected


def test_an_update_changes_what_it_gives(world: World) -> None:
    world.environment("a")
    world.environment("b")
    world.queue("q", "a")
    wakes = world.wakes
    world.call("UpdateJobQueue", jobQueue=f"{ARN}job-queue/q", state="DISABLED")
    described = world.described_queue("q")
    assert (described["state"], described["status"], described["priority"]) == ("DISABLED", "UPDATING", 1)
    assert world.wakes == wakes + 1
    world.settle()
    described = updated(world, "q", priority=9, computeEnvironmentOrder=order("b", "a"))
    assert (described["state"], described["status"], described["priority"]) == ("DISABLED", "VALID", 9)
    names = [entry["computeEnvironment"].split("/")[1] for entry in described["computeEnvironmentOrder"]]
    assert names == ["b", "a"]


def test_a_disabled_queue_is_deleted(world: World) -> None:
    world.environment("env")
    world.queue("q", "env")
    updated(world, "q", state="DISABLED")
    world.call("DeleteJobQueue", jobQueue="q")
    assert world.described_queue("q")["status"] == "DELETING"
    row = world.read(lambda connection: queues.find(connection, "q"))
    assert row is not None
    assert queues.to_state(row).deleting
    world.settle()
    assert world.call("DescribeJobQueues", jobQueues=["q"])["jobQueues"] == []


BAD_CREATIONS = {
    "name taken": ({"jobQueueName": "q"}, "Job queue q already exists"),
    "bad name": ({"jobQueueName": "a b"}, f"{ENVELOPE}Job queue name should match valid pattern"),
    "no environment": ({"computeEnvironmentOrder": []}, "At least 1 compute environment must be provided"),
    "four environments": ({"computeEnvironmentOrder": order(*"abcd")}, f"{ENVELOPE}computeEnvironmentOrder can have"),
    "one environment twice": ({"computeEnvironmentOrder": order("env", "env")}, f"{ENVELOPE}computeEnvironmentOrder n"),
    "unknown environment": (
        {"computeEnvironmentOrder": order("nowhere")},
        f"{ARN}compute-environment/nowhere does not exist",
    ),
    "environment that is not VALID": (
        {"computeEnvironmentOrder": order("creating")},
        f"Compute Environment {ARN}compute-environment/creating is not valid."
        " It must be valid before attaching it to the job queue",
    ),
    "mixed environments": ({"computeEnvironmentOrder": order("env", "fargate")}, f"{ENVELOPE}EC2 and Fargate"),
    "another type": ({"jobQueueType": "ECS_FARGATE"}, f"{ENVELOPE}jobQueueType ECS_FARGATE does not match"),
    "EKS": ({"jobQueueType": "EKS"}, "jobQueueType EKS is not built in Batchyard yet"),
    "fair share": (
        {"schedulingPolicyArn": f"{ARN}scheduling-policy/p"},
        f"Scheduling policy {ARN}scheduling-policy/p does not exist",
    ),
    "service environments": (
        {"serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": "s"}]},
        "serviceEnvironmentOrder is not built in Batchyard yet",
    ),
    "time limit actions": (
        {"jobStateTimeLimitActions": [{"reason": "r", "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"}]},
        f"{ENVELOPE}reason r in jobStateTimeLimitActions is none of CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY, ",
    ),
    "reserved tag": ({"tags": {"aws:x": "y"}}, "Tag key aws:x is not valid"),
}


@pytest.mark.parametrize("case", BAD_CREATIONS)
def test_a_bad_creation_is_refused_and_changes_nothing(world: World, case: str) -> None:
    params, text = BAD_CREATIONS[case]
    world.environment("env")
    world.fargate_environment("fargate")
    world.queue("q", "env")
    world.call("CreateComputeEnvironment", **ec2_environment("creating"))
    good = {"jobQueueName": "new", "priority": 1, "computeEnvironmentOrder": order("env")}
    error = refusal(world, "CreateJobQueue", **{**good, **params})
    assert error.code == "ClientException"
    assert error.message.startswith(text)


BAD_UPDATES = {
    "unknown": ({"jobQueue": "nowhere"}, f"{ARN}job-queue/nowhere does not exist"),
    "being modified": ({"jobQueue": "busy"}, "Cannot update, resource is being modified"),
    "another platform": ({"computeEnvironmentOrder": order("fargate")}, f"{ENVELOPE}A job queue of type ECS cannot"),
    "no environment": ({"computeEnvironmentOrder": []}, "At least 1 compute environment must be provided"),
    "fair share": (
        {"schedulingPolicyArn": "arn"},
        f"{ENVELOPE}Job queue q was created without a scheduling policy, and cannot be given one",
    ),
}


@pytest.mark.parametrize("case", BAD_UPDATES)
def test_a_bad_update_is_refused_and_changes_nothing(world: World, case: str) -> None:
    params, text = BAD_UPDATES[case]
    world.environment("env")
    world.fargate_environment("fargate")
    world.queue("q", "env")
    world.call("CreateJobQueue", jobQueueName="busy", priority=1, computeEnvironmentOrder=order("env"))
    error = refusal(world, "UpdateJobQueue", **{"jobQueue": "q", **params})
    assert error.code == "ClientException"
    assert error.message.startswith(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", f"{ARN}job-queue/nowhere does not exist"),
        ("q", "Cannot delete, job queue must be disabled"),
        ("busy", "Cannot delete, resource is being modified"),
    ],
)
def test_a_bad_deletion_is_refused_and_changes_nothing(world: World, name: str, text: str) -> None:
    world.environment("env")
    world.queue("q", "env")
    world.call("CreateJobQueue", jobQueueName="busy", priority=1, computeEnvironmentOrder=order("env"))
    assert refusal(world, "DeleteJobQueue", jobQueue=name).message == text


def limit(**changes: Any) -> dict[str, Any]:
    reason = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
    return {"reason": reason, "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL", **changes}


def test_time_limits_are_kept_described_and_replaced(world: World) -> None:
    world.environment("env")
    world.queue("q", "env", jobStateTimeLimitActions=[limit()])
    assert world.described_queue("q")["jobStateTimeLimitActions"] == [limit()]
    assert updated(world, "q", priority=3)["jobStateTimeLimitActions"] == [limit()]
    other = limit(reason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", maxTimeSeconds=86_400)
    assert updated(world, "q", jobStateTimeLimitActions=[limit(), other])["jobStateTimeLimitActions"][1] == other
    row = world.read(lambda connection: queues.find(connection, "q"))
    assert row is not None
    assert queues.to_state(row).time_limits == (TimeLimit(limit()["reason"], 600), TimeLimit(other["reason"], 86_400))
    assert "jobStateTimeLimitActions" not in updated(world, "q", jobStateTimeLimitActions=[])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"action": "TERMINATE"}, "The only action supported in jobStateTimeLimitActions is CANCEL"),
        ({"maxTimeSeconds": 599}, "maxTimeSeconds must be between 600 and 86400"),
        ({"maxTimeSeconds": 86_401}, "maxTimeSeconds must be between 600 and 86400"),
        ({"reason": "boredom"}, "reason boredom in jobStateTimeLimitActions is none of CAPACITY:INSUFFICIENT"),
    ],
)
def test_time_limits_out_of_range_are_refused(world: World, changes: dict[str, Any], text: str) -> None:
    world.environment("env")
    world.queue("q", "env")
    error = refusal(world, "UpdateJobQueue", jobQueue="q", jobStateTimeLimitActions=[limit(**changes)])
    assert text in error.message
    twice = refusal(world, "UpdateJobQueue", jobQueue="q", jobStateTimeLimitActions=[limit(), limit()])
    assert "more than once" in twice.message
