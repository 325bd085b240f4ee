"""A daemon that is restarted, killed or away for a while: states stay right, and jobs go on or are lost, not stuck."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator

import pytest

from batchyard import testing
from batchyard.api.roles.endpoint import METADATA, METADATA_PATH
from batchyard.api.roles.keys import Bearer, Keys
from tests.acceptance.test_docker import eventually, server, submit
from tests.engine.dockerd import IMAGE, Dockerd, running
from tests.requirements import require

LOST = "Host EC2 (instance "


@pytest.fixture
def daemon() -> Iterator[Dockerd]:
    """A daemon of the test's own."""
    require("docker")
    with running() as daemon:
        yield daemon


@pytest.mark.parametrize("end", [Dockerd.stop, Dockerd.kill], ids=["stopped", "killed"])
def test_jobs_that_die_with_the_daemon_are_lost_and_retried(daemon: Dockerd, end: object) -> None:
    script = """trap exit TERM; echo attempt $AWS_BATCH_JOB_ATTEMPT
        [ $AWS_BATCH_JOB_ATTEMPT = 2 ] || while :; do sleep 0.1; done"""
    with server(daemon) as yard:
        lost = submit(yard, "sh", "-c", script, job={"retryStrategy": {"attempts": 2}})
        yard.wait_for(lost, status="RUNNING")
        assert callable(end)
        end(daemon)
        waits = submit(yard, "echo", "after all")
        eventually(lambda: yard.batch.describe_jobs(jobs=[waits])["jobs"][0]["status"] == "STARTING", "it waits")
        daemon.start()
        job = yard.wait_for(lost)
        assert job["status"] == "SUCCEEDED"
        assert job["attempts"][0]["statusReason"].startswith(LOST)
        assert yard.logs_of(lost) == ["attempt 2"]
        assert yard.wait_for(waits)["status"] == "SUCCEEDED"
        assert yard.logs_of(waits) == ["after all"]


@pytest.mark.parametrize("end", [Dockerd.stop, Dockerd.kill], ids=["stopped", "killed"])
def test_a_task_that_dies_with_the_daemon_is_lost_whole_and_retried(daemon: Dockerd, end: object) -> None:
    script = "trap 'exit 0' TERM; [ $AWS_BATCH_JOB_ATTEMPT = 2 ] || while :; do sleep 0.1; done; echo done"
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    common = {"image": IMAGE, "command": ["sh", "-c", script], "resourceRequirements": sizes}
    containers = [{"name": "main", **common}, {"name": "side", "essential": False, **common}]
    with server(daemon) as yard:
        task = {"taskProperties": [{"containers": containers}]}
        yard.batch.register_job_definition(jobDefinitionName="task", type="container", ecsProperties=task)
        retry = {"attempts": 2}
        answer = yard.batch.submit_job(jobName="t", jobQueue="default", jobDefinition="task", retryStrategy=retry)
        yard.wait_for(answer["jobId"], status="RUNNING")
        assert callable(end)
        end(daemon)
        daemon.start()
        job = yard.wait_for(answer["jobId"])
        assert job["status"] == "SUCCEEDED"
        assert job["attempts"][0]["statusReason"].startswith(LOST)
        assert yard.logs_of(answer["jobId"], "main") == ["done"]
        eventually(lambda: not daemon.containers(), "nothing is left of either attempt")


def test_a_job_is_told_of_itself_while_the_daemon_is_away(daemon: Dockerd) -> None:
    with server(daemon) as yard:
        job_id = submit(yard, "sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")
        yard.wait_for(job_id, status="RUNNING")
        place = Keys.load(yard.data_dir).place(METADATA, Bearer(job_id, None, 1))
        daemon.kill()
        for path in ("", "/task"):
            with urllib.request.urlopen(f"{yard.endpoint_url}{METADATA_PATH}/{place}{path}") as answer:
                assert json.load(answer)["KnownStatus"] == "RUNNING"
        daemon.start()


def test_a_container_that_somebody_removed_is_lost(daemon: Dockerd) -> None:
    with server(daemon) as yard:
        job_id = submit(yard, "sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.1; done")
        yard.wait_for(job_id, status="RUNNING")
        daemon.remove(job_id)
        assert yard.wait_for(job_id)["statusReason"].startswith(LOST)


def test_a_server_that_was_down_with_the_daemon_is_told_the_same(daemon: Dockerd) -> None:
    with server(daemon) as yard:
        job_id = submit(yard, "sh", "-c", "trap 'exit 143' TERM; while :; do sleep 0.1; done")
        yard.wait_for(job_id, status="RUNNING")
        yard.kill()
        daemon.kill()
        daemon.start()
        yard.restart()
        assert yard.wait_for(job_id)["status"] == "FAILED"


def test_without_its_daemon_a_server_says_so(daemon: Dockerd) -> None:
    daemon.stop()
    with pytest.raises(testing.ServerDied, match="no Docker daemon answers at"), server(daemon):
        time.sleep(0)
    daemon.start()
