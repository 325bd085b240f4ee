"""Schemathesis against a real server, with the OpenAPI document made from the service model (tools/openapi.py).

Its coverage phase breaks each rule of the document in turn; its fuzzing phase sends random requests, right ones and
wrong ones. No answer may be a 5xx, and each must be as the document says: JSON of the model's shape with 200, the
service's refusal with a 4xx. BATCHYARD_SCHEMATHESIS=full covers all operations, in minutes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server
from tests.acceptance.job_cases import Queues, running, succeed
from tests.clients.environments import python_of
from tests.profiles import examples
from tests.requirements import require
from tools import openapi

pytestmark = pytest.mark.acceptance

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
COVERED = ".*" if os.environ.get("BATCHYARD_SCHEMATHESIS") == "full" else "^(SubmitJob|TagResource|List.*)$"
"""Operations for the coverage phase: the largest input, the one with a path and a body, filters and pages."""
EXAMPLES = 40 if COVERED == ".*" else examples(4)
DEADLINE_SECONDS = 900


@pytest.fixture(scope="module")
def full_yard() -> Iterator[Server]:
    """A server of its own, whose jobs find no program by its name alone: what random requests submit may do no harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "/nonexistent")
        with server(check_invariants=True) as yard:
            yield yard


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openapi") / "openapi.json"
    path.write_bytes(openapi.encoded())
    return path


@pytest.mark.parametrize(
    ("phase", "options"),
    [
        ("coverage", ("--include-operation-id-regex", COVERED)),
        ("fuzzing", ("--max-examples", str(EXAMPLES))),
    ],
)
def test_every_answer_is_as_the_document_says(
    full_yard: Server, document: Path, phase: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    require("schemathesis")
    blocker = fill(full_yard)
    ran = subprocess.run(
        [
            *(str(python_of("schemathesis")), "-m", "schemathesis.cli", "run", str(document)),
            *("--url", full_yard.endpoint_url, "--phases", phase, "--checks", ",".join(CHECKS), *options),
            *("--workers", "2", "--generation-database", "none", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}\n{full_yard.output[-3000:]}"
    assert "passed" in ran.stdout
    make_room(full_yard, blocker)
    runs_jobs(full_yard)
    full_yard.restart()
    runs_jobs(full_yard)


def fill(yard: Server) -> str:
    """A job that takes all of the host, so that what the random requests submit waits."""
    job_id = yard.submit(["/bin/sleep", "3600"], queue=Queues(yard).make(), vcpus=len(os.sched_getaffinity(0)))
    running(yard, job_id)
    return job_id


def runs_jobs(yard: Server) -> None:
    """In a queue of its own: the names in answers become parameters of requests, so the default one may be gone."""
    succeed(yard, yard.submit(["/bin/true"], queue=Queues(yard).make(priority=1000)))


def make_room(yard: Server, blocker: str) -> None:
    """Stop everything that waits, then the blocker, if a random request hasn't."""
    for queue in yard.batch.describe_job_queues()["jobQueues"]:
        for status in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"):
            jobs = yard.batch.list_jobs(jobQueue=queue["jobQueueName"], jobStatus=status)["jobSummaryList"]
            for job in jobs:
                yard.batch.terminate_job(jobId=job["jobId"], reason="only a test")
    yard.wait_for(blocker, status="FAILED")
