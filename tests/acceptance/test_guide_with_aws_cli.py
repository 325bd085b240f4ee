"""The guide's job features, one after the other, with the real AWS CLI (issue "The whole job", 1 to 8)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from batchyard.testing import Server
from tests.acceptance.aws_cli_cases import AwsCli
from tests.acceptance.job_cases import Gate, Queues, fail, running, sh, succeed, unique, until

pytestmark = pytest.mark.acceptance

BLOCKED_BY_CONSUMABLE = "CAPACITY:INSUFFICIENT_CONSUMABLE_RESOURCE - The job waits for consumable resource(s): "


def defined(aws: AwsCli, script: str, *arguments: str, **container: Any) -> str:
    """A definition of a shell script, with further arguments of register-job-definition; its name."""
    name = unique("definition")
    properties = {"image": "busybox", "vcpus": 1, "memory": 64, "command": sh(script), **container}
    aws(
        *("batch", "register-job-definition", "--job-definition-name", name, "--type", "container"),
        *("--container-properties", json.dumps(properties), *arguments),
    )
    return name


def submitted(aws: AwsCli, queue: str, definition: str, *arguments: str) -> str:
    answer = aws(
        *("batch", "submit-job", "--job-name", "job", "--job-queue", queue, "--job-definition", definition, *arguments)
    )
    return str(answer["jobId"])


def described(aws: AwsCli, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = aws("batch", "describe-jobs", "--jobs", job_id)["jobs"][0]
    return job


def why(yard: Server, job_id: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "batchyard", "why", job_id, "--endpoint", yard.endpoint_url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_1_retries(yard: Server, aws: AwsCli, queue: str) -> None:
    definition = defined(aws, "echo attempt $AWS_BATCH_JOB_ATTEMPT; exit $((AWS_BATCH_JOB_ATTEMPT + 40))")
    rules = [
        {"onExitCode": "41", "onReason": "*", "action": "RETRY"},
        {"onExitCode": "4*", "onStatusReason": "Essential container*", "action": "EXIT"},
    ]
    strategy = json.dumps({"attempts": 10, "evaluateOnExit": rules})
    job_id = submitted(aws, queue, definition, "--retry-strategy", strategy)
    fail(yard, job_id)
    job = described(aws, job_id)
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [41, 42]
    assert [rule["action"] for rule in job["retryStrategy"]["evaluateOnExit"]] == ["retry", "exit"]
    refused = aws.run(
        *("batch", "submit-job", "--job-name", "job", "--job-queue", queue, "--job-definition", definition),
        *("--retry-strategy", "attempts=11"),
    )
    assert refused.returncode != 0 and "RetryAttempts must be between 1 and 10" in refused.stderr


def test_2_timeouts(yard: Server, aws: AwsCli, queue: str) -> None:
    definition = defined(
        aws, "trap 'echo cleaning up; exit 0' TERM; sleep 600 & wait", "--timeout", "attemptDurationSeconds=60"
    )
    retry = ("--retry-strategy", "attempts=3")
    job_id = submitted(aws, queue, definition, "--timeout", "attemptDurationSeconds=1", *retry)
    fail(yard, job_id)
    job = described(aws, job_id)
    assert (job["statusReason"], len(job["attempts"])) == ("Job attempt duration exceeded timeout", 1)
    assert job["timeout"] == {"attemptDurationSeconds": 1}
    assert yard.logs_of(job_id) == ["cleaning up"]


def test_3_an_array_of_ten_thousand(yard: Server, aws: AwsCli, queue: str, gate: Gate) -> None:
    holder = submitted(aws, queue, defined(aws, gate.wait))
    array = submitted(
        aws, queue, defined(aws, "true"), "--array-properties", "size=10000", "--depends-on", f"jobId={holder}"
    )
    until(lambda: described(aws, array)["status"] == "PENDING", "the array waits")
    pages = yard.batch.get_paginator("list_jobs").paginate(arrayJobId=array, jobStatus="PENDING", maxResults=1000)
    indices = [job["arrayProperties"]["index"] for page in pages for job in page["jobSummaryList"]]
    assert indices == list(range(10_000))
    listed = aws("batch", "list-jobs", "--array-job-id", array, "--job-status", "PENDING", "--max-items", "3")
    assert [job["jobId"] for job in listed["jobSummaryList"]] == [f"{array}:{index}" for index in range(3)]
    aws("batch", "cancel-job", "--job-id", f"{array}:7", "--reason", "not this one")
    aws("batch", "terminate-job", "--job-id", array, "--reason", "enough")
    job = fail(yard, array)
    assert job["arrayProperties"]["statusSummary"]["FAILED"] == 10_000 and job["statusReason"] == "enough"
    gate.open()
    succeed(yard, holder)


def test_5_fair_share(yard: Server, aws: AwsCli, queue: str, gate: Gate) -> None:
    """All operations of scheduling policies, and the order that they make."""
    queues = Queues(yard)
    name = unique("policy")
    weights = {"shareDecaySeconds": 3600, "shareDistribution": [{"shareIdentifier": "team*", "weightFactor": 0.5}]}
    arn = aws("batch", "create-scheduling-policy", "--name", name, "--fairshare-policy", json.dumps(weights))["arn"]
    assert {"arn": arn} in aws("batch", "list-scheduling-policies")["schedulingPolicies"]
    changed = json.dumps({**weights, "computeReservation": 1})
    aws("batch", "update-scheduling-policy", "--arn", arn, "--fairshare-policy", changed)
    (policy,) = aws("batch", "describe-scheduling-policies", "--arns", arn)["schedulingPolicies"]
    assert policy["fairsharePolicy"] == {**weights, "computeReservation": 1}
    fair = queues.make(max_vcpus=1, schedulingPolicyArn=arn)
    in_use = aws.run("batch", "delete-scheduling-policy", "--arn", arn)
    assert in_use.returncode != 0 and "ClientException" in in_use.stderr

    definition = defined(aws, gate.wait, "--scheduling-priority", "1")
    share = "--share-identifier"
    first = submitted(aws, fair, definition, share, "teamA")
    running(yard, first)
    again = submitted(aws, fair, definition, share, "teamA")
    urgent = submitted(aws, fair, definition, share, "teamA", "--scheduling-priority-override", "9")
    other = submitted(aws, fair, definition, share, "other")
    front = aws("batch", "get-job-queue-snapshot", "--job-queue", fair)
    order = [job["jobArn"].rpartition("/")[2] for job in front["frontOfQueue"]["jobs"]]
    assert order == [other, urgent, again]
    shares = front["queueUtilization"]["fairshareUtilization"]
    assert shares["activeShareCount"] == 2
    assert shares["topCapacityUtilization"][0]["shareIdentifier"] == "teamA"
    assert "The share that has used least goes first" in why(yard, again)
    gate.open()
    started = [succeed(yard, job_id)["startedAt"] for job_id in (other, urgent, again)]
    assert started == sorted(started)

    unwanted = aws.run(
        *("batch", "submit-job", "--job-name", "job", "--job-queue", queue, "--job-definition", definition),
        *(share, "teamA"),
    )
    assert unwanted.returncode != 0
    assert "can onlybe submitted to job queue with fair share scheduling policy." in unwanted.stderr
    missing = aws.run("batch", "submit-job", "--job-name", "job", "--job-queue", fair, "--job-definition", definition)
    assert missing.returncode != 0 and "shareIdentifier is required" in missing.stderr


def test_6_a_blocked_queue_explains_itself_and_is_freed_by_its_time_limit(yard: Server, aws: AwsCli) -> None:
    limit = {
        "reason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        "state": "RUNNABLE",
        "maxTimeSeconds": 600,
        "action": "CANCEL",
    }
    queue = Queues(yard).make(max_vcpus=2)
    actions = ("--job-state-time-limit-actions", json.dumps([limit]))
    aws("batch", "update-job-queue", "--job-queue", queue, *actions)
    assert aws("batch", "describe-job-queues", "--job-queues", queue)["jobQueues"][0]["jobStateTimeLimitActions"] == [
        limit
    ]
    giant = submitted(aws, queue, defined(aws, "true", vcpus=64))
    behind = submitted(aws, queue, defined(aws, "true"))
    until(lambda: "statusReason" in described(aws, giant), "the head says why it waits")
    assert described(aws, giant)["statusReason"].startswith("MISCONFIGURATION:")
    front = aws("batch", "get-job-queue-snapshot", "--job-queue", queue)["frontOfQueue"]["jobs"]
    assert [job["jobArn"].rpartition("/")[2] for job in front] == [giant, behind]
    assert "64" in why(yard, giant) and giant in why(yard, behind)
    aws("batch", "cancel-job", "--job-id", giant, "--reason", "too large")
    succeed(yard, behind)


def test_7_consumable_resources(yard: Server, aws: AwsCli, queue: str, gate: Gate) -> None:
    name = unique("licence")
    resource = ("--consumable-resource", name)
    aws("batch", "create-consumable-resource", "--consumable-resource-name", name, "--total-quantity", "1")
    listed = aws("batch", "list-consumable-resources", "--filters", f"name=CONSUMABLE_RESOURCE_NAME,values={name}")
    assert [each["resourceType"] for each in listed["consumableResources"]] == ["REPLENISHABLE"]
    needs = json.dumps({"consumableResourceList": [{"consumableResource": name, "quantity": 1}]})
    definition = defined(aws, gate.wait, "--consumable-resource-properties", needs)
    first = submitted(aws, queue, definition)
    running(yard, first)
    second = submitted(aws, queue, definition)
    until(lambda: "statusReason" in described(aws, second), "the second says what it waits for")
    assert described(aws, second)["statusReason"] == f"{BLOCKED_BY_CONSUMABLE}{name}"
    assert name in why(yard, second)
    level = aws("batch", "describe-consumable-resource", *resource)
    assert (level["totalQuantity"], level["inUseQuantity"], level["availableQuantity"]) == (1, 1, 0)
    more = ("--operation", "ADD", "--quantity", "1")
    aws("batch", "update-consumable-resource", *resource, *more)
    running(yard, second)
    jobs = aws("batch", "list-jobs-by-consumable-resource", *resource)["jobs"]
    assert {job["jobStatus"] for job in jobs} == {"RUNNING"} and len(jobs) == 2
    gate.open()
    succeed(yard, first)
    succeed(yard, second)
    assert aws("batch", "describe-consumable-resource", *resource)["inUseQuantity"] == 0
    aws("batch", "delete-consumable-resource", *resource)


def test_8_tags(yard: Server, aws: AwsCli, queue: str) -> None:
    definition = defined(aws, "true", "--tags", "team=risk,stage=dev", "--propagate-tags")
    job_id = submitted(aws, queue, definition, "--tags", "stage=prod")
    job = described(aws, job_id)
    assert (job["tags"], job["propagateTags"]) == ({"team": "risk", "stage": "prod"}, True)
    arn = job["jobArn"]
    aws("batch", "tag-resource", "--resource-arn", arn, "--tags", "more=1")
    aws("batch", "untag-resource", "--resource-arn", arn, "--tag-keys", "team")
    assert aws("batch", "list-tags-for-resource", "--resource-arn", arn)["tags"] == {"stage": "prod", "more": "1"}
    many = ",".join(f"key{number}=x" for number in range(51))
    refused = aws.run("batch", "tag-resource", "--resource-arn", arn, "--tags", many)
    assert refused.returncode != 0
    succeed(yard, job_id)
