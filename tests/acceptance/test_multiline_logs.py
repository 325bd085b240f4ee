"""Events of several lines through boto3, on both engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from batchyard import testing
from tests.acceptance.job_cases import until
from tests.engine.dockerd import IMAGE, Dockerd

pytestmark = pytest.mark.acceptance

TRACE = """
echo before
echo '2026-01-02 03:04:05 one'
echo '  in a'
echo
echo '  in b'
echo '2026-01-02 03:04:06 two'
printf '  its end'
"""
EVENTS = ["before", "2026-01-02 03:04:05 one\n  in a\n\n  in b", "2026-01-02 03:04:06 two\n  its end"]


@pytest.fixture(scope="module")
def processes() -> Iterator[testing.Server]:
    with testing.server(overcommit=True) as yard:
        yield yard


@pytest.fixture
def containers(dockerd: Dockerd) -> Iterator[testing.Server]:
    with testing.server("docker", docker_host=dockerd.host, docker_network="none", overcommit=True) as yard:
        yield yard
    for container in dockerd.containers():
        dockerd.remove(container["Id"])


def register(yard: testing.Server, script: str, options: dict[str, str]) -> str:
    answer = yard.batch.register_job_definition(
        jobDefinitionName="says",
        type="container",
        containerProperties={
            "image": IMAGE,
            "command": ["sh", "-c", script],
            "vcpus": 1,
            "memory": 64,
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        },
    )
    return str(answer["jobDefinitionArn"])


def submit(yard: testing.Server, script: str, **options: str) -> str:
    named = {f"awslogs-{name.replace('_', '-')}": value for name, value in options.items()}
    definition = register(yard, script, named)
    return str(yard.batch.submit_job(jobName="says", jobQueue="default", jobDefinition=definition)["jobId"])


def stream_of(yard: testing.Server, job: str) -> dict[str, str]:
    container = yard.batch.describe_jobs(jobs=[job])["jobs"][0]["container"]
    group = container["logConfiguration"]["options"].get("awslogs-group", "/aws/batch/job")
    return {"logGroupName": group, "logStreamName": container["logStreamName"]}


def from_the_end(yard: testing.Server, job: str, limit: int) -> list[str]:
    """All events, read in pages from the last one on."""
    where, token, found = stream_of(yard, job), dict[str, str](), list[str]()
    while True:
        page = yard.logs.get_log_events(**where, **token, limit=limit)
        found = [event["message"] for event in page["events"]] + found
        if page["nextBackwardToken"] == token.get("nextToken"):
            return found
        token = {"nextToken": page["nextBackwardToken"]}


def check(yard: testing.Server, job: str) -> None:
    yard.wait_for(job, status="SUCCEEDED")
    assert yard.logs_of(job) == EVENTS
    assert from_the_end(yard, job, 1) == from_the_end(yard, job, 100) == EVENTS
    where = stream_of(yard, job)
    found = yard.logs.filter_log_events(
        logGroupName=where["logGroupName"], logStreamNames=[where["logStreamName"]], filterPattern='"in b"'
    )
    assert [event["message"] for event in found["events"]] == EVENTS[1:2]


def test_events_of_processes(processes: testing.Server) -> None:
    check(processes, submit(processes, TRACE, multiline_pattern=r"^\d{4}-\d{2}-\d{2}"))
    check(processes, submit(processes, TRACE, datetime_format="%Y-%m-%d %H:%M:%S", group="own", stream_prefix="mine"))


def test_events_of_containers(containers: testing.Server) -> None:
    check(containers, submit(containers, TRACE, multiline_pattern=r"^\d{4}-\d{2}-\d{2}"))


def test_the_children_of_an_array_and_the_nodes_of_a_job_too(processes: testing.Server) -> None:
    definition = register(processes, TRACE, {"awslogs-datetime-format": "^%Y"})
    asked = {"jobName": "says", "jobQueue": "default", "jobDefinition": definition}
    array = processes.batch.submit_job(**asked, arrayProperties={"size": 2})["jobId"]
    processes.wait_for(array, status="SUCCEEDED")
    assert processes.logs_of(f"{array}:1") == EVENTS
    container = {"image": "busybox", "command": ["sh", "-c", TRACE], "vcpus": 1, "memory": 64}
    options = {"logDriver": "awslogs", "options": {"awslogs-datetime-format": "^%Y"}}
    ranges = [
        {"targetNodes": "0", "container": container},
        {"targetNodes": "1", "container": {**container, "logConfiguration": options}},
    ]
    ranges[0]["container"] = {**container, "command": ["sh", "-c", f"{TRACE}sleep 2"]}
    gang = processes.batch.register_job_definition(
        jobDefinitionName="gang",
        type="multinode",
        nodeProperties={"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges},
    )["jobDefinitionArn"]
    job = processes.batch.submit_job(jobName="gang", jobQueue="default", jobDefinition=gang)["jobId"]
    processes.wait_for(job, status="SUCCEEDED")
    assert processes.logs_of(f"{job}#1") == EVENTS
    assert len(processes.logs_of(f"{job}#0")) == 6


def test_a_log_that_is_followed_shows_an_event_when_it_is_over(processes: testing.Server, tmp_path: Path) -> None:
    """By the next one's beginning, or by five seconds of silence."""
    gate = tmp_path / "gate"
    script = f"echo S one; echo more; echo S two; echo end; until [ -e {gate} ]; do sleep 0.1; done; echo late"
    job = submit(processes, script, multiline_pattern="^S")
    began = time.monotonic()
    until(lambda: processes.logs_of(job), "there is a first event")
    assert processes.logs_of(job) == ["S one\nmore"] or time.monotonic() - began > 5
    until(lambda: processes.logs_of(job) == ["S one\nmore", "S two\nend"], "the second event is over")
    assert time.monotonic() - began > 4.5
    gate.touch()
    processes.wait_for(job)
    assert processes.logs_of(job) == ["S one\nmore", "S two\nend", "late"]


@pytest.mark.parametrize("option", ["awslogs-multiline-pattern", "awslogs-datetime-format"])
def test_what_is_no_pattern_is_refused_with_the_definition(processes: testing.Server, option: str) -> None:
    with pytest.raises(ClientError) as caught:
        register(processes, "true", {option: "(%Y"})
    assert caught.value.response["Error"]["Code"] == "ClientException"
    assert f"logConfiguration option {option} is not a regular expression: missing )" in str(caught.value)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_options_of_another_driver_are_its_own(processes: testing.Server) -> None:
    definition = {
        "image": IMAGE,
        "command": ["sh", "-c", TRACE],
        "vcpus": 1,
        "memory": 64,
        "logConfiguration": {"logDriver": "json-file", "options": {"awslogs-multiline-pattern": "("}},
    }
    arn = processes.batch.register_job_definition(
        jobDefinitionName="other", type="container", containerProperties=definition
    )["jobDefinitionArn"]
    job = processes.batch.submit_job(jobName="other", jobQueue="default", jobDefinition=arn)["jobId"]
    processes.wait_for(job, status="SUCCEEDED")
    assert len(processes.logs_of(job)) == 6
