from __future__ import annotations

from typing import Any

import pytest

from batchyard.core.model import EnvironmentState
from batchyard.store import environments
from tests.unit.api.harness import SERVICE_ROLE, World, ec2_environment, refusal

LINKED_ROLE = "arn:aws:iam::123456789012:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"
ENVELOPE = "Error executing request, Exception : "


def updated(world: World, name: str = "env", **params: Any) -> dict[str, Any]:
    world.call("UpdateComputeEnvironment", computeEnvironment=name, **params)
    world.settle()
    return world.described_environment(name)


def test_a_new_environment_is_creating_until_the_runtime_settles_it(world: World) -> None:
    answer = world.call("CreateComputeEnvironment", **ec2_environment("env"))
    arn = "arn:aws:batch:us-east-1:123456789012:compute-environment/env"
    assert answer == {"computeEnvironmentName": "env", "computeEnvironmentArn": arn}
    assert world.wakes == 1
    described = world.described_environment("env")
    assert described["status"] == "CREATING"
    assert "statusReason" not in described
    world.settle()
    described = world.described_environment("env")
    assert (described["status"], described["statusReason"]) == ("VALID", "ComputeEnvironment Healthy")


def test_describe_shows_all_that_clients_read(world: World) -> None:
    world.environment("env", tags={"team": "risk"})
    described = world.described_environment("env")
    uuid = described["uuid"]
    assert described == {
        "computeEnvironmentName": "env",
        "computeEnvironmentArn": "arn:aws:batch:us-east-1:123456789012:compute-environment/env",
        "type": "MANAGED",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "tags": {"team": "risk"},
        "containerOrchestrationType": "ECS",
        "serviceRole": LINKED_ROLE,
        "uuid": uuid,
        "ecsClusterArn": f"arn:aws:ecs:us-east-1:123456789012:cluster/env_Batch_{uuid}",
        "computeResources": {
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": 16,
            "desiredvCpus": 0,
            "instanceTypes": ["optimal"],
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
            "instanceRole": "arn:aws:iam::123456789012:instance-profile/ecsInstanceRole",
            "tags": {},
            "ec2Configuration": [{"imageType": "ECS_AL2023", "batchImageStatus": "LATEST"}],
        },
    }


def test_an_empty_service_role_is_the_service_linked_one(world: World) -> None:
    world.environment("env", serviceRole="")
    assert world.described_environment("env")["serviceRole"] == LINKED_ROLE


def test_an_unmanaged_environment_has_no_compute_resources(world: World) -> None:
    world.call(
        "CreateComputeEnvironment",
        computeEnvironmentName="mine",
        type="UNMANAGED",
        serviceRole=SERVICE_ROLE,
        unmanagedvCpus=8,
    )
    described = world.described_environment("mine")
    assert "computeResources" not in described
    assert described["unmanagedvCpus"] == 8
    assert described["ecsClusterArn"].split("/")[1].startswith("mine_Batch_")


def test_a_fargate_environment_has_no_ec2_members(world: World) -> None:
    world.fargate_environment("fargate")
    assert world.described_environment("fargate")["computeResources"] == {
        "type": "FARGATE",
        "maxvCpus": 4,
        "subnets": ["subnet-1"],
        "securityGroupIds": ["sg-1"],
    }


def test_describe_takes_names_and_arns_and_leaves_unknown_ones_out(world: World) -> None:
    world.environment("a")
    world.environment("b")
    wanted = ["arn:aws:batch:us-east-1:123456789012:compute-environment/b", "unknown", "a", "b"]
    described = world.call("DescribeComputeEnvironments", computeEnvironments=wanted)["computeEnvironments"]
    assert [each["computeEnvironmentName"] for each in described] == ["b", "a"]


def test_describe_without_names_pages_through_all(world: World) -> None:
    for name in "abcde":
        world.environment(name)
    names, token = [], {}
    while True:
        page = world.call("DescribeComputeEnvironments", maxResults=2, **token)
        names.append([each["computeEnvironmentName"] for each in page["computeEnvironments"]])
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert names == [["a", "b"], ["c", "d"], ["e"]]


def test_the_scheduler_sees_capacity_in_thousandths_of_a_vcpu(world: World) -> None:
    world.environment("env")
    row = world.read(lambda connection: environments.find(connection, "env"))
    assert row is not None
    assert environments.to_state(row) == EnvironmentState(
        "env", enabled=True, max_vcpu_milli=16_000, instance_types=("optimal",), subnets=("subnet-1",)
    )


def test_an_update_is_updating_until_the_runtime_settles_it(world: World) -> None:
    world.environment("env")
    wakes = world.wakes
    world.call("UpdateComputeEnvironment", computeEnvironment="env", state="DISABLED")
    described = world.described_environment("env")
    assert (described["state"], described["status"]) == ("DISABLED", "UPDATING")
    assert world.wakes == wakes + 1
    world.settle()
    assert world.described_environment("env")["status"] == "VALID"


def test_an_update_changes_scale_with_any_role_and_strategy(world: World) -> None:
    world.environment("env", serviceRole=SERVICE_ROLE)
    described = updated(world, computeResources={"minvCpus": 4, "maxvCpus": 8})
    resources = described["computeResources"]
    assert (resources["minvCpus"], resources["maxvCpus"], resources["desiredvCpus"]) == (4, 8, 4)


def test_empty_values_take_members_away(world: World) -> None:
    progressive = {
        "allocationStrategy": "BEST_FIT_PROGRESSIVE",
        "ec2KeyPair": "key",
        "imageId": "ami-1",
        "launchTemplate": {"launchTemplateName": "template"},
    }
    world.environment("env", progressive)
    emptied = {
        "ec2KeyPair": "",
        "imageId": "",
        "launchTemplate": {"launchTemplateName": ""},
        "subnets": [],
        "securityGroupIds": [],
    }
    resources = updated(world, computeResources=emptied)["computeResources"]
    assert not {"ec2KeyPair", "imageId", "launchTemplate"} & resources.keys()
    assert (resources["subnets"], resources["securityGroupIds"]) == ([], [])


def test_empty_lists_change_nothing_on_fargate(world: World) -> None:
    world.fargate_environment("fargate")
    described = updated(world, "fargate", computeResources={"maxvCpus": 9, "subnets": [], "securityGroupIds": []})
    resources = described["computeResources"]
    assert (resources["maxvCpus"], resources["subnets"]) == (9, ["subnet-1"])


def test_giving_a_present_value_again_is_no_infrastructure_update(world: World) -> None:
    world.environment("env")
    updated(world, computeResources={"instanceTypes": ["optimal"], "maxvCpus": 2})
    assert world.described_environment("env")["computeResources"]["maxvCpus"] == 2


def test_type_changes_between_ec2_and_spot(world: World) -> None:
    world.environment("env", {"allocationStrategy": "BEST_FIT_PROGRESSIVE"})
    assert updated(world, computeResources={"type": "SPOT"})["computeResources"]["type"] == "SPOT"


def test_the_update_policy_is_shown_once_it_was_given(world: World) -> None:
    world.environment("env")
    assert "updatePolicy" not in world.described_environment("env")
    policy = {"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 60}
    assert updated(world, updatePolicy=policy)["updatePolicy"] == policy


def test_a_disabled_environment_without_queues_is_deleted(world: World) -> None:
    world.environment("env")
    updated(world, state="DISABLED")
    world.call("DeleteComputeEnvironment", computeEnvironment="env")
    assert world.described_environment("env")["status"] == "DELETING"
    world.settle()
    assert world.call("DescribeComputeEnvironments")["computeEnvironments"] == []


FARGATE = {"type": "FARGATE", "maxvCpus": 4}
BAD_CREATIONS = {
    "name taken": (ec2_environment("env"), "Compute environment env already exists"),
    "name with a dot": (
        ec2_environment("a.b"),
        f"{ENVELOPE}Compute environment name should match valid pattern, RequestId: ",
    ),
    "name too long": (ec2_environment("a" * 129), f"{ENVELOPE}Compute environment name should match valid pattern"),
    "no instance role": (ec2_environment("new", {"instanceRole": None}), f"{ENVELOPE}Instance role is required."),
    "no minvCpus": (ec2_environment("new", {"minvCpus": None}), f"{ENVELOPE}Resource minvCpus is required."),
    "more min than max": (ec2_environment("new", {"minvCpus": 17}), f"{ENVELOPE}maxvCpus must be greater"),
    "negative maxvCpus": (ec2_environment("new", {"maxvCpus": -1}), f"{ENVELOPE}minvCpus and maxvCpus must not"),
    "desired over max": (ec2_environment("new", {"desiredvCpus": 17}), f"{ENVELOPE}desiredvCpus must be between"),
    "bid over 100": (ec2_environment("new", {"type": "SPOT", "bidPercentage": 101}), f"{ENVELOPE}bidPercentage"),
    "two templates": (
        ec2_environment("new", {"launchTemplate": {"launchTemplateId": "lt-1", "launchTemplateName": "x"}}),
        f"{ENVELOPE}launchTemplateId and launchTemplateName cannot both be given",
    ),
    "hasty scale down": (
        ec2_environment("new", {"scalingPolicy": {"minScaleDownDelayMinutes": 19}}),
        f"{ENVELOPE}minScaleDownDelayMinutes must be between 20 and 10080, or 0",
    ),
    "managed without resources": (
        {"computeEnvironmentName": "new", "type": "MANAGED"},
        f"{ENVELOPE}computeResources is required for MANAGED",
    ),
    "managed with unmanagedvCpus": (ec2_environment("new", unmanagedvCpus=1), f"{ENVELOPE}unmanagedvCpus is only"),
    "unmanaged without role": (
        {"computeEnvironmentName": "new", "type": "UNMANAGED"},
        f"{ENVELOPE}ServiceRole is required., RequestId: ",
    ),
    "unmanaged with resources": (
        {
            "computeEnvironmentName": "new",
            "type": "UNMANAGED",
            "serviceRole": SERVICE_ROLE,
            "computeResources": FARGATE,
        },
        f"{ENVELOPE}computeResources is not applicable for UNMANAGED",
    ),
    "desired vCPUs on Fargate": (
        {
            "computeEnvironmentName": "new",
            "type": "MANAGED",
            "computeResources": {**FARGATE, "desiredvCpus": 0, "tags": {"a": "b"}},
        },
        f"{ENVELOPE}desiredvCpus is not applicable for Fargate.,tags is not applicable for Fargate., RequestId: ",
    ),
    "six security groups on Fargate": (
        {
            "computeEnvironmentName": "new",
            "type": "MANAGED",
            "computeResources": {**FARGATE, "securityGroupIds": list("abcdef")},
        },
        f"{ENVELOPE}securityGroupIds can have at most 5 entries for Fargate.",
    ),
    "EKS": (
        {
            "computeEnvironmentName": "new",
            "type": "MANAGED",
            "computeResources": FARGATE,
            "eksConfiguration": {"eksClusterArn": "arn", "kubernetesNamespace": "jobs"},
        },
        "eksConfiguration is not built in Batchyard yet",
    ),
    "managed instances": (
        ec2_environment("new", {"type": "ECS_MANAGED_INSTANCES"}),
        "computeResources type ECS_MANAGED_INSTANCES is not built in Batchyard yet",
    ),
    "capacity tags": (
        ec2_environment("new", {"capacityTags": {"a": "b"}}),
        "computeResources.capacityTags is not built in Batchyard yet",
    ),
    "reserved tag": (ec2_environment("new", tags={"aws:x": "y"}), "Tag key aws:x is not valid"),
    "engine tag": (ec2_environment("new", tags={"batchyard:engine": "slurm"}), "Tag batchyard:engine is not built"),
}


@pytest.mark.parametrize("case", BAD_CREATIONS)
def test_a_bad_creation_is_refused_and_changes_nothing(world: World, case: str) -> None:
    params, text = BAD_CREATIONS[case]
    world.environment("env")
    error = refusal(world, "CreateComputeEnvironment", **params)
    assert error.code == "ClientException"
    assert error.message.startswith(text)


BAD_UPDATES = {
    "unknown": (
        "nowhere",
        {"state": "DISABLED"},
        "arn:aws:batch:us-east-1:123456789012:compute-environment/nowhere does not exist",
    ),
    "being modified": ("busy", {"state": "DISABLED"}, "Cannot update, resource is being modified"),
    "infrastructure update with BEST_FIT": (
        "env",
        {"computeResources": {"instanceTypes": ["c5"]}},
        f"{ENVELOPE}Updating instanceTypes requires an infrastructure update, which BEST_FIT",
    ),
    "infrastructure update with a regular role": (
        "own-role",
        {"computeResources": {"imageId": "ami-2"}},
        f"{ENVELOPE}Updating imageId requires an infrastructure update, which requires the service-linked role.",
    ),
    "new image with BEST_FIT": (
        "env",
        {"computeResources": {"updateToLatestImageVersion": True}},
        f"{ENVELOPE}Updating updateToLatestImageVersion requires",
    ),
    "from EC2 to Fargate": ("env", {"computeResources": {"type": "FARGATE"}}, f"{ENVELOPE}type cannot be changed"),
    "from a linked role to a regular one": (
        "env",
        {"serviceRole": SERVICE_ROLE},
        f"{ENVELOPE}serviceRole cannot be changed between",
    ),
    "fewer desired vCPUs": (
        "own-role",
        {"computeResources": {"desiredvCpus": 3}},
        f"{ENVELOPE}desiredvCpus must be greater than or equal to its current value",
    ),
    "max below min": ("own-role", {"computeResources": {"maxvCpus": 1}}, f"{ENVELOPE}maxvCpus must be greater"),
    "min on Fargate": (
        "fargate",
        {"computeResources": {"minvCpus": 0}},
        f"{ENVELOPE}minvCpus is not applicable for Fargate., RequestId: ",
    ),
    "resources of an unmanaged one": (
        "unmanaged",
        {"computeResources": {"maxvCpus": 1}},
        f"{ENVELOPE}computeResources is not applicable",
    ),
    "unmanagedvCpus of a managed one": ("env", {"unmanagedvCpus": 1}, f"{ENVELOPE}unmanagedvCpus is only"),
    "EKS": (
        "env",
        {"eksConfiguration": {"accessEntry": {"desiredState": "ENABLED"}}},
        "eksConfiguration is not built in Batchyard yet",
    ),
}


@pytest.mark.parametrize("case", BAD_UPDATES)
def test_a_bad_update_is_refused_and_changes_nothing(world: World, case: str) -> None:
    name, params, text = BAD_UPDATES[case]
    world.environment("env")
    own_role = {"allocationStrategy": "BEST_FIT_PROGRESSIVE", "minvCpus": 2, "desiredvCpus": 4}
    world.environment("own-role", own_role, serviceRole=SERVICE_ROLE)
    world.fargate_environment("fargate")
    world.call(
        "CreateComputeEnvironment", computeEnvironmentName="unmanaged", type="UNMANAGED", serviceRole=SERVICE_ROLE
    )
    world.settle()
    world.call("CreateComputeEnvironment", **ec2_environment("busy"))
    error = refusal(world, "UpdateComputeEnvironment", computeEnvironment=name, **params)
    assert error.code == "ClientException"
    assert error.message.startswith(text)


BAD_DELETIONS = {
    "unknown": ("nowhere", "arn:aws:batch:us-east-1:123456789012:compute-environment/nowhere does not exist"),
    "enabled": ("env", "Cannot delete, compute environment must be disabled"),
    "being modified": ("busy", "Cannot delete, resource is being modified"),
    "in a queue": ("used", "Cannot delete, found existing JobQueue relationship"),
}


@pytest.mark.parametrize("case", BAD_DELETIONS)
def test_a_bad_deletion_is_refused_and_changes_nothing(world: World, case: str) -> None:
    name, text = BAD_DELETIONS[case]
    world.environment("env")
    world.environment("used")
    world.queue("queue", "used")
    updated(world, "used", state="DISABLED")
    world.call("CreateComputeEnvironment", **ec2_environment("busy"))
    assert refusal(world, "DeleteComputeEnvironment", computeEnvironment=name).message == text


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"maxResults": 0}, "maxResults must be between 1 and 100"),
        ({"maxResults": 101}, "maxResults must be between 1 and 100"),
        ({"nextToken": "forged"}, "nextToken is not valid"),
        ({"computeEnvironments": ["x"] * 101}, f"{ENVELOPE}Maximum number of computeEnvironments supported is  100"),
    ],
)
def test_a_bad_description_is_refused(world: World, params: dict[str, Any], text: str) -> None:
    assert refusal(world, "DescribeComputeEnvironments", **params).message.startswith(text)
