"""Rules of environments, queues, consumable resources and job definitions that the service model leaves open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.in_process_cases import InProcess
from tests.unit.api.bad_input_rules import (
    BAD_NAMES,
    ENVELOPE,
    GONE,
    Row,
    bad_container,
    bad_retries_and_timeouts,
    bad_tags,
    bad_tokens,
    check,
    rows,
)

NODES = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": [{"targetNodes": "0:"}]}


def compute_environments() -> list[Row]:
    create, update, delete = "CreateComputeEnvironment", "UpdateComputeEnvironment", "DeleteComputeEnvironment"
    fargate = {"type": "FARGATE", "maxvCpus": 4, "subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}
    return [
        *rows(create, "should match valid pattern", *({"computeEnvironmentName": name} for name in BAD_NAMES)),
        *rows(create, "already exists", {"computeEnvironmentName": "environment"}),
        *rows(create, ENVELOPE + "ServiceRole is required.", {"type": "UNMANAGED", "serviceRole": GONE}),
        *rows(create, "computeResources", {"type": "UNMANAGED"}, {"computeResources": GONE}),
        *rows(create, ENVELOPE + "Resource minvCpus is required.", {"computeResources.minvCpus": GONE}),
        *rows(create, ENVELOPE + "Instance role is required.", {"computeResources.instanceRole": GONE}),
        *rows(
            create,
            "vCpus",
            {"computeResources.maxvCpus": -1},
            {"computeResources.minvCpus": -1},
            {"computeResources.minvCpus": 5},
            {"computeResources.desiredvCpus": 5},
            {"unmanagedvCpus": 4},
        ),
        *rows(create, "bidPercentage", {"computeResources.bidPercentage": 101}),
        *rows(
            create,
            "launchTemplate",
            {"computeResources.launchTemplate": {"launchTemplateId": "lt-1", "launchTemplateName": "name"}},
            {"computeResources.launchTemplate": {"overrides": [{"launchTemplateId": "lt-1"}] * 11}},
        ),
        *rows(
            create,
            "minScaleDownDelayMinutes",
            *({"computeResources.scalingPolicy": {"minScaleDownDelayMinutes": each}} for each in (19, 10081, -1)),
        ),
        *rows(
            create,
            "is not applicable for Fargate.",
            *({"computeResources": {**fargate, member: 1}} for member in ("desiredvCpus", "bidPercentage")),
            {"computeResources": {**fargate, "tags": {"a": "b"}}},
        ),
        *rows(create, "is not built", {"eksConfiguration": {"eksClusterArn": "arn", "kubernetesNamespace": "name"}}),
        *rows(create, "is not built", {"computeResources.type": "ECS_MANAGED_INSTANCES"}),
        *bad_tags(create),
        *rows(update, "compute-environment/nobody does not exist", {"computeEnvironment": "nobody"}),
        *rows(update, "does not exist", {"computeEnvironment": ""}, {"computeEnvironment": "x" * 1000}),
        *rows(update, "type cannot be changed", {"computeResources.type": "FARGATE"}),
        *rows(update, "desiredvCpus", {"computeResources": {"desiredvCpus": 100}}),
        *rows(update, "BEST_FIT", {"computeResources": {"instanceTypes": ["m5"]}}),
        *rows(update, "must not be negative", {"computeResources": {"maxvCpus": -1}}),
        *rows(delete, "compute-environment/nobody does not exist", {"computeEnvironment": "nobody"}),
        *rows(delete, "must be disabled", {"computeEnvironment": "environment"}),
        *rows("DescribeComputeEnvironments", "maxResults", {"maxResults": 0}, {"maxResults": 101}, {"maxResults": -1}),
        *rows("DescribeComputeEnvironments", "Maximum number", {"computeEnvironments": ["name"] * 101}),
        *bad_tokens("DescribeComputeEnvironments", {"computeEnvironments": GONE}),
    ]


def job_queues() -> list[Row]:
    create, update, delete = "CreateJobQueue", "UpdateJobQueue", "DeleteJobQueue"
    one = {"order": 1, "computeEnvironment": "environment"}
    two = {"order": 2, "computeEnvironment": "spare-environment"}
    return [
        *rows(create, "should match valid pattern", *({"jobQueueName": name} for name in BAD_NAMES)),
        *rows(create, "already exists", {"jobQueueName": "queue"}),
        *(
            row
            for operation in (create, update)
            for row in (
                *rows(operation, "At least 1 compute environment", {"computeEnvironmentOrder": []}),
                *rows(operation, "at most 3", {"computeEnvironmentOrder": [one, two, one, two]}),
                *rows(operation, "more than once", {"computeEnvironmentOrder": [one, one]}),
                *rows(
                    operation,
                    "compute-environment/nobody does not exist",
                    {"computeEnvironmentOrder.0.computeEnvironment": "nobody"},
                ),
                *rows(operation, "cheduling policy", {"schedulingPolicyArn": "arn:aws:batch:us-east-1:1:x/y"}),
            )
        ),
        *rows(create, "At least 1 compute environment", {"computeEnvironmentOrder": GONE}),
        *rows(create, "jobQueueType", {"jobQueueType": "ECS_FARGATE"}, {"jobQueueType": "EKS"}),
        *bad_tags(create),
        *rows(update, "job-queue/nobody does not exist", {"jobQueue": "nobody"}),
        *rows(delete, "job-queue/nobody does not exist", {"jobQueue": "nobody"}),
        *rows(delete, "must be disabled", {"jobQueue": "queue"}),
        *rows("GetJobQueueSnapshot", "job-queue/nobody does not exist", {"jobQueue": "nobody"}),
        *rows("DescribeJobQueues", "maxResults", {"maxResults": 0}, {"maxResults": 101}),
        *rows("DescribeJobQueues", "Maximum number", {"jobQueues": ["name"] * 101}),
        *bad_tokens("DescribeJobQueues", {"jobQueues": GONE}),
    ]


def consumable_resources() -> list[Row]:
    create, update = "CreateConsumableResource", "UpdateConsumableResource"
    by_name = (update, "DeleteConsumableResource", "DescribeConsumableResource", "ListJobsByConsumableResource")
    return [
        *rows(create, "should match valid pattern", *({"consumableResourceName": name} for name in BAD_NAMES)),
        *rows(create, "already exists", {"consumableResourceName": "consumable"}),
        *rows(create, "total quantity", {"totalQuantity": -1}, {"totalQuantity": 2**62}),
        *rows(create, "resourceType", {"resourceType": "other"}),
        *bad_tags(create),
        *(
            row
            for operation in by_name
            for row in rows(
                operation,
                "consumable-resource/nobody does not exist",
                {"consumableResource": "nobody"},
                {"consumableResource": "arn:aws:batch:us-east-1:1:consumable-resource/nobody"},
            )
        ),
        *rows(update, "operation must be one of", {"operation": GONE}, {"operation": "add"}),
        *rows(update, "quantity", {"quantity": GONE}, {"quantity": -1}, {"quantity": 2**62}),
        *rows(update, "total quantity", {"operation": "REMOVE", "quantity": 100}),
        *bad_tokens("ListConsumableResources", {}),
        *bad_tokens("ListJobsByConsumableResource", {}),
        *rows("ListJobsByConsumableResource", "Filter", {"filters.0.name": "NAME"}, {"filters.0.values": []}),
    ]


def job_definitions() -> list[Row]:
    register, container = "RegisterJobDefinition", "containerProperties"
    big = [{"name": f"V{number}", "value": "v" * 1000} for number in range(30)]
    return [
        *rows(register, "should match valid pattern", *({"jobDefinitionName": name} for name in BAD_NAMES)),
        *rows(register, "containerProperties", {container: GONE}),
        *rows(register, "must contain image", {f"{container}.image": GONE}, {f"{container}.image": ""}),
        *rows(
            register,
            "must contain vcpus",
            {f"{container}.resourceRequirements": [{"type": "MEMORY", "value": "64"}]},
            {f"{container}.resourceRequirements": GONE},
        ),
        *rows(register, "must contain memory", {f"{container}.resourceRequirements": [{"type": "VCPU", "value": "1"}]}),
        *rows(register, "whole number", {f"{container}.resourceRequirements.0": {"type": "VCPU", "value": "0.5"}}),
        *rows(
            register,
            "greater than",
            {f"{container}.resourceRequirements": [], f"{container}.vcpus": 0, f"{container}.memory": 64},
            {f"{container}.resourceRequirements": [], f"{container}.vcpus": 1, f"{container}.memory": 3},
        ),
        *bad_container(register, container),
        *rows(register, "does not match regex", *({f"{container}.user": user} for user in ("a b", "ROOT", "-a"))),
        *rows(
            register,
            "networkConfiguration not applicable for EC2.",
            {f"{container}.networkConfiguration": {"assignPublicIp": "ENABLED"}},
        ),
        *rows(register, "swappiness", {f"{container}.linuxParameters": {"swappiness": 101}}),
        *rows(register, "maxSwap", {f"{container}.linuxParameters": {"maxSwap": -1}}),
        *rows(register, "Fargate resource requirements", {"platformCapabilities": ["FARGATE"]}),
        *rows(register, "JobDefinitionsize is above the limits", {f"{container}.environment": big}),
        *rows(register, "schedulingPriority", {"schedulingPriority": -1}, {"schedulingPriority": 10_000}),
        *rows(register, "RetryAttempts must be provided with retry strategy", {"retryStrategy": {}}),
        *rows(register, "attemptDurationSeconds", {"timeout": {}}),
        *rows(register, "nodeProperties is required", {"type": "multinode", "containerProperties": GONE}),
        *rows(register, "nodeProperties is required", {"type": "multinode"}),
        *rows(register, "Only one of containerProperties, nodeProperties", {"nodeProperties": NODES}),
        *rows(register, "of type multinode", {"containerProperties": GONE, "nodeProperties": NODES}),
        *bad_retries_and_timeouts(register),
        *bad_tags(register),
        *rows(
            "DeregisterJobDefinition", "does not exist", *({"jobDefinition": name} for name in ("nobody", "", "a:9"))
        ),
        *rows("DeregisterJobDefinition", "does not exist", {"jobDefinition": "definition:" + "9" * 5000}),
        *rows("DescribeJobDefinitions", "maxResults", {"maxResults": 0}, {"maxResults": 101}),
        *rows("DescribeJobDefinitions", "must be one of ACTIVE | INACTIVE", {"status": "JUNK"}),
        *rows("DescribeJobDefinitions", "Maximum number", {"jobDefinitions": ["name"] * 101}),
        *bad_tokens("DescribeJobDefinitions", {}),
    ]


@pytest.mark.parametrize("table", [compute_environments, job_queues, consumable_resources, job_definitions])
def test_resources(server: InProcess, table: Callable[[], list[Row]]) -> None:
    check(server, "batch", table())


def test_a_disabled_or_unfinished_resource_refuses_what_needs_it(server: InProcess) -> None:
    assert server.call(("batch", "DeregisterJobDefinition"), {"jobDefinition": "definition:1"}).status == 200
    check(
        server,
        "batch",
        rows("SubmitJob", "INACTIVE", {"jobDefinition": "definition:1"})
        + rows("SubmitJob", "does not exist", {"jobDefinition": "definition"}),
    )
    changed = {"computeEnvironment": "environment", "state": "DISABLED"}
    assert server.call(("batch", "UpdateComputeEnvironment"), changed).status == 200
    check(
        server,
        "batch",
        rows("UpdateComputeEnvironment", "resource is being modified", {"computeEnvironment": "environment"})
        + rows("DeleteComputeEnvironment", "resource is being modified", {"computeEnvironment": "environment"})
        + rows("CreateJobQueue", "is not valid. It must be valid before attaching it to the job queue", {}),
    )
