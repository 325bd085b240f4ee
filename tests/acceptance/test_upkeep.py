"""`batchyard doctor`, `backup` and `restore` with a real server: under load, killed, and on another folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.testing import Server, server
from tests.acceptance.job_cases import Gate, Queues, job_of, running, sh

pytestmark = pytest.mark.acceptance


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    with server(overcommit=True, check_invariants=True) as started:
        yield started


def batchyard(*arguments: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "batchyard", *arguments], capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def start_on(data_dir: Path) -> Any:
    """A server on a folder that exists."""
    return server(data_dir=data_dir, overcommit=True, check_invariants=True)


def test_a_backup_under_load_holds_every_job_accepted_before(own: Server, tmp_path: Path) -> None:
    queue = Queues(own).make(max_vcpus=4)
    ended = [own.submit(["echo", f"job {number}"], queue=queue) for number in range(5)]
    for job_id in ended:
        assert own.wait_for(job_id)["status"] == "SUCCEEDED"
    array = own.submit(["true"], queue=queue, arrayProperties={"size": 300})
    is_over = threading.Event()

    def keep_submitting() -> None:
        while not is_over.is_set():
            own.submit(["true"], queue=queue)

    load = threading.Thread(target=keep_submitting)
    load.start()
    try:
        batchyard("backup", str(tmp_path / "b.tgz"), "--data-dir", str(own.data_dir))
    finally:
        is_over.set()
        load.join()
    own.kill()
    said = json.loads(batchyard("restore", str(tmp_path / "b.tgz"), "--data-dir", str(tmp_path / "new"), "--json"))
    assert said["putAside"] is None
    with start_on(tmp_path / "new") as restored:
        for number, job_id in enumerate(ended):
            assert job_of(restored, job_id)["status"] == "SUCCEEDED"
            assert restored.logs_of(job_id) == [f"job {number}"]
        # What ran at that moment is lost and may not be retried; the rest of the array runs here.
        job = restored.wait_for(array)
        summary = job["arrayProperties"]["statusSummary"]
        assert summary["SUCCEEDED"] + summary["FAILED"] == 300
        assert summary["SUCCEEDED"] > 0


def test_a_running_job_is_lost_with_the_machine_and_retried_from_the_backup(
    own: Server, tmp_path: Path, gate: Gate
) -> None:
    queue = Queues(own).make(max_vcpus=4)
    job_id = own.submit(sh(gate.wait), queue=queue, retryStrategy={"attempts": 2})
    running(own, job_id)
    batchyard("backup", str(tmp_path / "b.tar"), "--data-dir", str(own.data_dir))
    batchyard("restore", str(tmp_path / "b.tar"), "--data-dir", str(tmp_path / "new"))
    gate.open()
    with start_on(tmp_path / "new") as restored:
        job = restored.wait_for(job_id)
        assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 2)


def test_a_folder_whose_server_was_killed_is_still_in_use_by_its_jobs(own: Server, tmp_path: Path, gate: Gate) -> None:
    queue = Queues(own).make(max_vcpus=4)
    job_id = own.submit(sh(gate.wait), queue=queue)
    running(own, job_id)
    batchyard("backup", str(tmp_path / "b.tar"), "--data-dir", str(own.data_dir))
    own.kill()
    said = batchyard("restore", str(tmp_path / "b.tar"), "--data-dir", str(own.data_dir), "--replace", code=1)
    assert "in use by jobs of an earlier server" in said


def test_the_doctor_finds_nothing_wrong_while_jobs_run_and_after_a_kill(own: Server, gate: Gate) -> None:
    queue = Queues(own).make(max_vcpus=4)
    job_id = own.submit(sh(gate.wait), queue=queue)
    running(own, job_id)
    for _ in range(2):
        findings = json.loads(batchyard("doctor", "--data-dir", str(own.data_dir), "--json"))["findings"]
        assert [each["check"] for each in findings if each["health"] == "problem"] == []
        assert [each["text"] for each in findings if each["check"] == "orphans"] == [
            "no process of an ended job is left"
        ]
        own.kill()
    own.start()


def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    said = batchyard("doctor", "--data-dir", str(tmp_path / "none"), code=1)
    assert "problem" in said
    assert "`batchyard up` makes it" in said
