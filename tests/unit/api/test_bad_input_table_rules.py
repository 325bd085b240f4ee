"""What the service model leaves open and the service refuses all the same: the guide's rules, one line each.

A row changes members of the operation's good request (`a.0.b` is a path into it, GONE takes a member away) and gives a
part of the text that must come back. The texts are those that clients compare with, where the service's are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.acceptance.bad_input_cases import CONTRACT, Key, planted, without
from tests.acceptance.in_process_cases import InProcess, in_process
from tests.unit.wire.harness import botocore_parsed

GONE = object()
ENVELOPE = "Error executing request, Exception : "
LONG_NAME = "n" * 129
BAD_NAMES = ("", " ", "a b", "a.b", "é", "a/b", "a\n", "\0", LONG_NAME)
BAD_JOB_NAMES = (*BAD_NAMES, "-a", "_a")
UNKNOWN_ID = "00000000-0000-4000-8000-00000000ffff"
TOO_MANY_TAGS = {f"key-{number}": "" for number in range(51)}
HUGE_REVISION = "definition:" + "9" * 5000
NO_LOG_POSITIONS = ("f/", "f/1.2", "b/9999999.0", "g/0.0", "f/0.99999")
NODES = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": [{"targetNodes": "0:"}]}
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


def submissions(ids: dict[str, str]) -> list[Row]:
    submit, single, array = "SubmitJob", {"arrayProperties": GONE, "dependsOn": GONE}, {"dependsOn": GONE}
    return [
        *rows(submit, ENVELOPE + "Job name should match valid pattern", *({"jobName": name} for name in BAD_JOB_NAMES)),
        *rows(submit, "does not exist", {"jobQueue": "nobody"}, {"jobQueue": ""}, {"jobDefinition": "nobody"}),
        *rows(
            submit, "does not exist", {"jobDefinition": "definition:2"}, {"jobDefinition": "definition:" + "9" * 5000}
        ),
        *rows(submit, "DISABLED", {"jobQueue": "spare-queue"}),
        *rows(
            submit,
            "Array size must be between 2 and 10000",
            *({**array, "arrayProperties": {"size": size}} for size in (0, 1, -1, 10_001, 2**31 - 1)),
        ),
        *rows(submit, "at most 20", {**single, "dependsOn": [{"jobId": ids["job"]}] * 21}),
        *rows(
            submit,
            "does not exist",
            *({**single, "dependsOn": [{"jobId": job_id}]} for job_id in (UNKNOWN_ID, "x", f"{ids['array']}:3")),
            {**single, "dependsOn": [{"jobId": f"{ids['array']}:{'9' * 5000}"}]},
        ),
        *rows(submit, "needs a jobId", {**single, "dependsOn": [{}]}, {"dependsOn": [{"type": "N_TO_N"}]}),
        *rows(submit, "only valid for array jobs", {**single, "dependsOn": [{"type": "SEQUENTIAL"}]}),
        *rows(
            submit,
            "same size",
            {"arrayProperties": {"size": 4}},
            {"dependsOn": [{"jobId": ids["job"], "type": "N_TO_N"}]},
        ),
        *rows(submit, "No parameter found for reference x", {"containerOverrides": {"command": ["echo", "Ref::x"]}}),
        *bad_container(submit, "containerOverrides"),
        *rows(
            submit,
            "can onlybe submitted to job queue with fair share",
            {"shareIdentifier": "a"},
            {"schedulingPriorityOverride": 1},
        ),
        *bad_retries_and_timeouts(submit),
        *bad_tags(submit),
        *rows(submit, "without nodeProperties", {"nodeOverrides": {"numNodes": 2}}),
    ]


def job_queries(ids: dict[str, str]) -> list[Row]:
    listing = "ListJobs"
    in_array = {"jobQueue": GONE, "arrayJobId": ids["array"]}
    return [
        *rows("DescribeJobs", "Maximum number of jobs supported is  100", {"jobs": [ids["job"]] * 101}),
        *rows(
            listing,
            "Exactly one of",
            {"jobQueue": GONE},
            {"arrayJobId": ids["array"]},
            {"multiNodeJobId": ids["job"]},
            {"jobQueue": ""},
        ),
        *rows(listing, "not a multi-node parallel job", {"jobQueue": GONE, "multiNodeJobId": ids["job"]}),
        *rows(listing, "does not exist", {"jobQueue": "nobody"}, {**in_array, "arrayJobId": UNKNOWN_ID}),
        *rows(listing, "not an array job", {**in_array, "arrayJobId": ids["job"]}),
        *rows(listing, "maxResults", *({"maxResults": size} for size in (0, -1, 1001))),
        *rows(listing, "is not one of", {"filters": [{"name": "JUNK", "values": ["x"]}]}),
        *rows(listing, "Only one filter", {"filters": [{"name": "JOB_NAME", "values": ["x"]}] * 2}),
        *rows(
            listing,
            "exactly one value",
            *({"filters": [{"name": "JOB_NAME", "values": values}]} for values in ([], ["a", "b"], [""])),
            {"filters": [{"name": "JOB_NAME"}]},
            {"filters": [{}]},
        ),
        *rows(
            listing,
            "milliseconds since the epoch",
            *({"filters": [{"name": "AFTER_CREATED_AT", "values": [at]}]} for at in ("x", "-1", "1.5", "9" * 16)),
        ),
        *rows(listing, "jobQueue", {**in_array, "filters": [{"name": "JOB_NAME", "values": ["x"]}]}),
        *bad_tokens(listing, {}),
        *bad_tokens(listing, in_array),
        *rows("CancelJob", "jobId must not be empty", {"jobId": ""}, {"jobId": " "}),
        *rows("TerminateJob", "jobId must not be empty", {"jobId": ""}),
        *(
            row
            for operation in ("CancelJob", "TerminateJob", "CancelJobs", "TerminateJobs")
            for row in (
                *rows(operation, "reason must not be empty", {"reason": ""}, {"reason": " "}),
                *rows(operation, "1024", {"reason": "r" * 1025}),
            )
        ),
        *(
            row
            for operation in ("CancelJobs", "TerminateJobs")
            for row in (
                *rows(operation, "jobs must not be empty", {"jobs": []}),
                *rows(operation, "Maximum number of jobs supported is 50", {"jobs": [ids["job"]] * 51}),
            )
        ),
    ]


def tags(ids: dict[str, str]) -> list[Row]:
    arn = "arn:aws:batch:us-east-1:123456789012"
    unknown = [f"{arn}:job-queue/nobody", f"{arn}:job/{UNKNOWN_ID}", f"{arn}:job-definition/definition:9", "x", "arn:"]
    unknown += [f"{arn}:job-definition/definition", f"{arn}:job-definition/definition:{'9' * 5000}", f"{arn}:job/"]
    unknown += ["arn:aws:s3:::bucket", f"{arn}:scheduling-policy/nobody"]
    return [
        row
        for operation in ("ListTagsForResource", "TagResource", "UntagResource")
        for row in (
            *rows(operation, "does not exist", *({"resourceArn": each} for each in unknown)),
            *rows(operation, "child jobs", {"resourceArn": f"{arn}:job/{ids['array']}:1"}),
        )
    ] + bad_tags("TagResource")


def bad_tokens(operation: str, changes: dict[str, Any]) -> list[Row]:
    return rows(operation, "nextToken is not valid", *({**changes, "nextToken": token} for token in NO_TOKENS))


def log_queries() -> list[Row]:
    group, both = {"logGroupName": "nobody"}, {"logGroupIdentifier": "/aws/batch/job"}
    missing, token = "does not exist", "nextToken is invalid"
    return [
        *(
            row
            for operation in ("GetLogEvents", "FilterLogEvents", "DescribeLogStreams")
            for row in (
                *rows(operation, missing, group),
                *rows(operation, "Exactly one of", both, {"logGroupName": GONE}),
                *rows(operation, token, *({"nextToken": each} for each in NO_TOKENS)),
            )
        ),
        *rows("GetLogEvents", missing, {"logStreamName": "nobody"}),
        *rows(
            "GetLogEvents",
            token,
            *({"nextToken": each} for each in ("f/", "f/1.2", "b/9999999.0", "g/0.0", "f/0.99999")),
        ),
        *rows("FilterLogEvents", missing, {"logStreamNames": ["nobody"]}),
        *rows("FilterLogEvents", "cannot both", {"logStreamNames": ["a"], "logStreamNamePrefix": "a"}),
        *rows("FilterLogEvents", "filterPattern", {"filterPattern": "{ $.a = 1 }"}, {"filterPattern": "%regex%"}),
        *rows("FilterLogEvents", "Invalid filter pattern", {"filterPattern": '"open'}),
        *rows("DescribeLogGroups", "mutually exclusive", {"logGroupNamePattern": "batch"}),
        *rows("DescribeLogGroups", token, *({"nextToken": each} for each in NO_TOKENS)),
        *rows("DescribeLogStreams", "LastEventTime", {"orderBy": "LastEventTime", "logStreamNamePrefix": "a"}),
        *rows("PutRetentionPolicy", "enum value set", *({"retentionInDays": days} for days in (0, -1, 2, 10_000))),
        *(
            row
            for operation in ("PutRetentionPolicy", "DeleteRetentionPolicy", "DeleteLogStream", "DeleteLogGroup")
            for row in rows(operation, missing, group)
        ),
        *rows("DeleteLogStream", missing, {"logStreamName": "nobody"}),
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with in_process(tmp_path_factory.mktemp("bad-input")) as started:
        yield started


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


@pytest.mark.parametrize("table", [compute_environments, job_queues, consumable_resources, job_definitions])
def test_resources(server: InProcess, table: Callable[[], list[Row]]) -> None:
    check(server, "batch", table())


@pytest.mark.parametrize("table", [submissions, job_queries, tags])
def test_jobs_and_tags(server: InProcess, table: Callable[[dict[str, str]], list[Row]]) -> None:
    check(server, "batch", table({"job": server.names.job_id, "array": server.names.array_id}))


def test_log_queries(server: InProcess) -> None:
    check(server, "logs", log_queries())


def test_unknown_job_ids_are_no_errors(server: InProcess) -> None:
    """DescribeJobs leaves them out; CancelJob and TerminateJob answer 200 (facts of the service)."""
    array_id = server.names.array_id
    ids = ["", "x", UNKNOWN_ID, f"{array_id}:3", f"{array_id}:-1", f"{array_id}:", "\0", "é" * 500]
    ids += [
        f"{array_id}:{'9' * 20}",
        f"{array_id}:{'9' * 5000}",
        f"x:{'9' * 5000}",
        f"{array_id}:\N{ARABIC-INDIC DIGIT ONE}",
        f"{array_id}:01",
    ]
    response = server.call(("batch", "DescribeJobs"), {"jobs": ids})
    assert (response.status, response.body) == (200, b'{"jobs":[]}')
    for operation in ("CancelJob", "TerminateJob"):
        for job_id in ids[1:]:
            assert server.call(("batch", operation), {"jobId": job_id, "reason": "x"}).status == 200, job_id


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
