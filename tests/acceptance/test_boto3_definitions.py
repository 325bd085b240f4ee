"""boto3 and the command line: definitions of tasks and pods, and jobs that are accepted and can't run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import Server
from tests.acceptance.job_cases import fail, sh, succeed, unique

SIZES = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]

pytestmark = pytest.mark.acceptance


def batchyard(yard: Server, *arguments: str) -> str:
    """What the command line prints."""
    return subprocess.run(
        [sys.executable, "-m", "batchyard", *arguments, "--endpoint", yard.endpoint_url],
        env={**os.environ, **yard.environment(), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_task_of_one_container_runs_and_is_described_as_a_task(yard: Server, queue: str) -> None:
    container = {
        "name": "main",
        "image": "busybox",
        "command": sh('echo "$GREETING" "$1"', "Ref::who"),
        "environment": [{"name": "GREETING", "value": "hello"}],
        "resourceRequirements": SIZES,
    }
    definition = yard.batch.register_job_definition(
        jobDefinitionName=unique("task"),
        type="container",
        ecsProperties={"taskProperties": [{"containers": [container]}]},
        parameters={"who": "world"},
    )["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="task",
        jobQueue=queue,
        jobDefinition=definition,
        ecsPropertiesOverride={
            "taskProperties": [{"containers": [{"environment": [{"name": "GREETING", "value": "good day"}]}]}]
        },
    )
    job = succeed(yard, submitted["jobId"])
    assert job["container"] == {}
    shown = job["ecsProperties"]["taskProperties"][0]["containers"][0]
    assert (shown["exitCode"], shown["command"][-1]) == (0, "world")
    attempted = job["attempts"][0]["taskProperties"][0]["containers"][0]
    assert (attempted["name"], attempted["exitCode"], attempted["logStreamName"]) == ("main", 0, shown["logStreamName"])
    assert yard.logs_of(job["jobId"]) == ["good day world"]
    assert batchyard(yard, "logs", job["jobId"]).splitlines() == ["good day world"]
    described = batchyard(yard, "describe", job["jobId"])
    assert "busybox" in described and shown["logStreamName"] in described


def test_pods_are_kept_and_their_jobs_refused(yard: Server, queue: str) -> None:
    name = unique("pod")
    pod = {"podProperties": {"containers": [{"image": "busybox", "resources": {"limits": {"memory": "64Mi"}}}]}}
    yard.batch.register_job_definition(jobDefinitionName=name, type="container", eksProperties=pod)
    (shown,) = yard.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert shown["containerOrchestrationType"] == "EKS"
    with pytest.raises(ClientError, match="can not run Jobs with capability EKS"):
        yard.batch.submit_job(jobName="pod", jobQueue=queue, jobDefinition=name)


def test_a_job_whose_secrets_are_nowhere_fails_to_start(yard: Server, queue: str) -> None:
    name = unique("secret")
    container = {"image": "busybox", "command": ["true"], "resourceRequirements": SIZES}
    secrets = [{"name": "TOKEN", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/token"}]
    yard.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties={**container, "secrets": secrets}
    )
    job = fail(yard, yard.batch.submit_job(jobName="secret", jobQueue=queue, jobDefinition=name)["jobId"])
    assert job["statusReason"] == "Task failed to start"
    assert job["container"]["reason"].startswith("ResourceInitializationError: ")
    assert "logStreamName" not in job["container"]


def test_a_job_with_too_many_tags_to_propagate_fails(yard: Server, queue: str) -> None:
    name = unique("tagged")
    container = {"image": "busybox", "command": ["true"], "resourceRequirements": SIZES}
    yard.batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties=container,
        tags={f"d{number}": "" for number in range(40)},
    )
    tags = {f"j{number}": "" for number in range(11)}
    submitted = yard.batch.submit_job(
        jobName="tagged", jobQueue=queue, jobDefinition=name, tags=tags, propagateTags=True
    )
    job = fail(yard, submitted["jobId"])
    assert job["statusReason"].endswith("must be at most 50")
    assert job["attempts"] == []
