"""Multi-node parallel jobs with real processes (the multi-node pages; client expectations 11 to 13)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.testing import Server, server
from tests.acceptance.multinode_cases import (
    DEADLINE_SECONDS,
    EXCHANGE,
    define,
    node,
    node_range,
    python,
    queue_of,
    scripted,
    submit,
)

pytestmark = pytest.mark.acceptance

AWS = (sys.executable, "-m", "awscli")
FOREVER = "while :; do sleep 0.05; done"
CAREFUL = 'trap "echo stopped; exit 0" TERM; ' + FOREVER
"""A node that says, last of all, that it was stopped."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server(overcommit=True, minimum_timeout_seconds=1, check_invariants=True) as started:
        yield started


@pytest.fixture(scope="module")
def queue(yard: Server) -> str:
    return queue_of(yard, 64)


def described(yard: Server, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = yard.batch.describe_jobs(jobs=[job_id])["jobs"][0]
    return job


def running(yard: Server, job_id: str, count: int) -> None:
    for index in range(count):
        node(yard, job_id, index, "RUNNING")


def test_the_nodes_reach_each_other_by_tcp(yard: Server, queue: str) -> None:
    job_id = submit(yard, queue, [node_range(":", python(EXCHANGE))], 4, main=1)
    yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
    lines = [yard.logs_of(f"{job_id}#{index}") for index in range(4)]
    assert all(len(each) == 1 for each in lines)
    found = [re.fullmatch(r"node (\d) of 4 at (127\.\d+\.\d+\.\d+): 6", each[0]) for each in lines]
    assert [match and match[1] for match in found] == ["0", "1", "2", "3"]
    assert len({match and match[2] for match in found}) == 4


def test_two_gangs_at_once_do_not_meet(yard: Server, queue: str) -> None:
    jobs = [submit(yard, queue, [node_range("0:", python(EXCHANGE))], 3) for _ in range(3)]
    for job_id in jobs:
        yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
        assert yard.logs_of(f"{job_id}#0")[0].endswith(": 3")


def test_the_main_nodes_exit_decides_and_the_others_get_the_signal(yard: Server, queue: str) -> None:
    ranges = [scripted("0", 'sleep 0.3; exit "$1"', "7"), scripted("1:", CAREFUL)]
    job_id = submit(yard, queue, ranges, 3)
    job = yard.wait_for(job_id, DEADLINE_SECONDS, "FAILED")
    assert "container" not in job
    assert job["statusReason"] == "Essential container in task exited"
    assert job["attempts"][-1]["container"]["exitCode"] == 7
    main = described(yard, f"{job_id}#0")
    assert (job["startedAt"], job["stoppedAt"]) == (main["startedAt"], main["stoppedAt"])
    for index in (1, 2):
        other = described(yard, f"{job_id}#{index}")
        assert (other["status"], yard.logs_of(other["jobId"])[-1]) == ("SUCCEEDED", "stopped")


def test_a_child_nodes_death_does_nothing(yard: Server, queue: str, tmp_path: Path) -> None:
    ranges = [
        scripted("0", 'while [ ! -e "$1/go" ]; do sleep 0.03; done', tmp_path),
        scripted("1", "exit 5"),
        scripted("2", FOREVER),
    ]
    job_id = submit(yard, queue, ranges, 3)
    dead = node(yard, job_id, 1, "FAILED")
    assert dead["container"]["exitCode"] == 5
    node(yard, job_id, 2, "RUNNING")
    assert described(yard, job_id)["status"] == "RUNNING"
    (tmp_path / "go").touch()
    yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")


def test_a_failed_main_node_takes_all_nodes_into_the_next_attempt(yard: Server, queue: str) -> None:
    ranges = [scripted("0", 'sleep 0.3; [ "$AWS_BATCH_JOB_ATTEMPT" = 2 ]'), scripted("1:", CAREFUL)]
    job_id = submit(yard, queue, ranges, 3, retryStrategy={"attempts": 3})
    job = yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
    assert [each["container"]["exitCode"] for each in job["attempts"]] == [1, 0]
    for index in range(3):
        streams = [each["container"]["logStreamName"] for each in described(yard, f"{job_id}#{index}")["attempts"]]
        assert len(set(streams)) == 2


def test_terminating_reaches_every_node(yard: Server, queue: str) -> None:
    job_id = submit(yard, queue, [scripted("0:", CAREFUL)], 3)
    running(yard, job_id, 3)
    yard.batch.terminate_job(jobId=job_id, reason="enough of it")
    job = yard.wait_for(job_id, DEADLINE_SECONDS, "FAILED")
    assert (job["statusReason"], job["isTerminated"]) == ("enough of it", True)
    for index in range(3):
        ended = described(yard, f"{job_id}#{index}")
        assert (ended["status"], ended["statusReason"]) == ("FAILED", "enough of it")
        assert yard.logs_of(ended["jobId"])[-1] == "stopped"


def test_a_timeout_reaches_every_node(yard: Server, queue: str) -> None:
    job_id = submit(
        yard,
        queue,
        [scripted("0:", CAREFUL)],
        3,
        timeout={"attemptDurationSeconds": 1},
        retryStrategy={"attempts": 2},
    )
    job = yard.wait_for(job_id, DEADLINE_SECONDS, "FAILED")
    assert job["statusReason"] == "Job attempt duration exceeded timeout" and len(job["attempts"]) == 1
    assert [yard.logs_of(f"{job_id}#{index}")[-1] for index in range(3)] == ["stopped"] * 3


def test_all_nodes_get_capacity_or_none(yard: Server) -> None:
    queue = queue_of(yard, 3)
    first = yard.submit(["sh", "-c", FOREVER], queue=queue)
    yard.wait_for(first, DEADLINE_SECONDS, "RUNNING")
    gang = submit(yard, queue, [node_range(":", python(EXCHANGE))], 3)
    later = yard.submit(["true"], queue=queue)
    assert {described(yard, f"{gang}#{index}")["status"] for index in range(3)} <= {"SUBMITTED", "RUNNABLE"}
    yard.batch.terminate_job(jobId=first, reason="make room")
    yard.wait_for(gang, DEADLINE_SECONDS, "SUCCEEDED")
    assert yard.wait_for(later, DEADLINE_SECONDS, "SUCCEEDED")["startedAt"] >= described(yard, gang)["startedAt"]


def test_overrides_reach_their_range_and_change_the_number_of_nodes(yard: Server, queue: str) -> None:
    show = 'echo "$AWS_BATCH_JOB_NODE_INDEX/$AWS_BATCH_JOB_NUM_NODES $WORD"; '
    name = define(yard, [scripted("0", show + "sleep 0.5"), scripted("1:", show + FOREVER)], 2)
    job_id = yard.batch.submit_job(
        jobName="overridden",
        jobQueue=queue,
        jobDefinition=name,
        nodeOverrides={
            "numNodes": 4,
            "nodePropertyOverrides": [
                {"targetNodes": "1:", "containerOverrides": {"environment": [{"name": "WORD", "value": "other"}]}}
            ],
        },
    )["jobId"]
    yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
    assert yard.logs_of(f"{job_id}#0") == ["0/4 "]
    assert [yard.logs_of(f"{job_id}#{index}") for index in (1, 2, 3)] == [[f"{index}/4 other"] for index in (1, 2, 3)]


def test_one_node_and_a_hundred(yard: Server) -> None:
    queue = queue_of(yard, 100)
    alone = submit(yard, queue, [scripted("0:0", "true")], 1)
    yard.wait_for(alone, DEADLINE_SECONDS, "SUCCEEDED")
    many = submit(yard, queue, [scripted("0", "sleep 0.2"), scripted("1:", "true")], 100)
    yard.wait_for(many, DEADLINE_SECONDS, "SUCCEEDED")
    pages = yard.batch.get_paginator("list_jobs").paginate(
        multiNodeJobId=many, jobStatus="SUCCEEDED", PaginationConfig={"PageSize": 30}
    )
    listed = [job for page in pages for job in page["jobSummaryList"]]
    assert described(yard, f"{many}#0")["nodeDetails"] == {"nodeIndex": 0, "isMainNode": True}
    assert {job["nodeProperties"]["numNodes"] for job in listed} == {100}


def test_a_definition_comes_back_as_it_was_registered(yard: Server) -> None:
    registered = scripted("0:1", "true", ulimits=[], privileged=False, environment=[{"name": "A", "value": "1"}])
    other = {**scripted("2:", "true"), "instanceTypes": ["c5.large"]}
    name = define(yard, [registered, other], 3, main=1, parameters={"a": "b"})
    (found,) = yard.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert (found["type"], "containerProperties" in found) == ("multinode", False)
    properties = found["nodeProperties"]
    assert (properties["numNodes"], properties["mainNode"]) == (3, 1)
    first, second = properties["nodeRangeProperties"]
    assert (first["targetNodes"], second["targetNodes"], second["instanceTypes"]) == ("0:1", "2:", ["c5.large"])
    assert registered["container"].items() <= first["container"].items()


def aws(yard: Server, *arguments: str) -> Any:
    done = subprocess.run(
        [*AWS, *arguments], env=os.environ | yard.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_aws_cli(yard: Server, queue: str) -> None:
    properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": [node_range("0:", python(EXCHANGE))]}
    registered = aws(
        yard,
        *("batch", "register-job-definition", "--job-definition-name", "by-cli", "--type", "multinode"),
        *("--node-properties", json.dumps(properties)),
    )
    submitted = aws(
        yard,
        *("batch", "submit-job", "--job-name", "by-cli", "--job-queue", queue),
        *("--job-definition", registered["jobDefinitionArn"], "--node-overrides", "numNodes=3"),
    )
    yard.wait_for(submitted["jobId"], DEADLINE_SECONDS, "SUCCEEDED")
    nodes = aws(yard, "batch", "list-jobs", "--multi-node-job-id", submitted["jobId"], "--job-status", "SUCCEEDED")
    assert {job["nodeProperties"]["nodeIndex"] for job in nodes["jobSummaryList"]} >= {0}
    shown = aws(yard, "batch", "describe-jobs", "--jobs", f"{submitted['jobArn']}#2")["jobs"]
    assert [job["nodeDetails"] for job in shown] == [{"nodeIndex": 2, "isMainNode": False}]


def test_the_command_line_shows_the_nodes(yard: Server, queue: str) -> None:
    job_id = submit(yard, queue, [scripted("0:", "echo here; sleep 0.3")], 2)
    yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")

    def batchyard(*arguments: str) -> str:
        command = [sys.executable, "-m", "batchyard", *arguments, "--endpoint", yard.endpoint_url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert sorted(batchyard("logs", job_id).splitlines()) == ["0 | here", "1 | here"]
    assert batchyard("logs", f"{job_id}#1") == "here\n"
    assert f"{job_id}#1" in batchyard("jobs", "--nodes", job_id)
    assert "2, main node 0" in batchyard("describe", job_id)
    assert "this is node 1" in batchyard("describe", f"{job_id}#1")


def test_a_running_gang_survives_the_servers_death() -> None:
    with server(overcommit=True, check_invariants=True) as yard:
        queue = queue_of(yard, 8)
        meet = 'echo up; while [ ! -e "$1/go" ]; do sleep 0.03; done; echo done'
        ranges = [scripted("0", meet, yard.data_dir), scripted("1:", "echo up; " + FOREVER)]
        job_id = submit(yard, queue, ranges, 3)
        running(yard, job_id, 3)
        before = [described(yard, f"{job_id}#{index}")["attempts"] for index in range(3)]
        yard.kill()
        yard.start()
        assert [described(yard, f"{job_id}#{index}")["attempts"] for index in range(3)] == before
        running(yard, job_id, 3)
        (yard.data_dir / "go").touch()
        yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
        assert yard.logs_of(f"{job_id}#0") == ["up", "done"]
