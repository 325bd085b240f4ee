"""A real server on a machine that goes wrong. What kills it stands in test_recovery.py and test_crash_points.py."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import Server, ServerDied, server
from tests.acceptance.crash_cases import is_alive, kill_supervisor, supervisor_pid
from tests.acceptance.fault_cases import (
    failing_fsync_library,
    impatient,
    jumping_clock,
    small_disk,
    standing_still,
    variables,
)
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, jobs_of, running, sh, succeed, until
from tests.requirements import require

pytestmark = [pytest.mark.acceptance, pytest.mark.crash]

TIMED_OUT = "Job attempt duration exceeded timeout"
LONG_LINE_MIB = int(os.environ.get("BATCHYARD_FAULTS_LINE_MIB", "64"))
"""The long form writes a line of 1 GiB: BATCHYARD_FAULTS_LINE_MIB=1024."""


def submit_once(yard: Server, definition: str) -> dict[str, Any]:
    """SubmitJob without the SDK's retries."""
    answer: dict[str, Any] = impatient(yard).submit_job(jobName="job", jobQueue="default", jobDefinition=definition)
    return answer


def refused_with_5xx(yard: Server, definition: str) -> bool:
    """Whether SubmitJob is answered with a 5xx; what is answered with 200 is stored."""
    try:
        submit_once(yard, definition)
    except ClientError as error:
        status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status >= 500, error
        return True
    return False


def definition_of(yard: Server, command: list[str]) -> str:
    """The ARN of a definition that is made while all is well."""
    container = {"image": "busybox", "command": command, "vcpus": 1, "memory": 64}
    answer = yard.batch.register_job_definition(
        jobDefinitionName="faulty", type="container", containerProperties=container
    )
    return str(answer["jobDefinitionArn"])


# ---- processes that stand still


def test_a_server_that_stood_still_goes_on_where_it_was(yard: Server, queue: str, gate: Gate) -> None:
    """Its jobs didn't notice, and what they did meanwhile is told."""
    job_id = yard.submit(sh(f"echo $$; {gate.wait} exit 4"), queue=queue)
    pid = int(until(lambda: yard.logs_of(job_id), "the job has printed its pid")[0])
    with standing_still(yard.pid):
        gate.open()
        until(lambda: not is_alive(pid), "the job has ended")
    job = fail(yard, job_id)
    assert (job["container"]["exitCode"], len(job["attempts"])) == (4, 1)


def test_a_supervisor_that_stood_still_starts_what_has_waited(yard: Server, queue: str) -> None:
    """Nothing is lost and nothing starts twice; a job that is terminated meanwhile doesn't run on."""
    before = yard.submit(["sleep", "600"], queue=queue)
    running(yard, before)
    pid = supervisor_pid(yard)
    assert pid is not None
    with standing_still(pid):
        waits = [yard.submit(sh("echo once; exit 0"), queue=queue) for _ in range(5)]
        for job_id in waits:
            yard.wait_for(job_id, status="STARTING")
        yard.batch.terminate_job(jobId=before, reason="while nobody listened")
    for job_id in waits:
        assert len(succeed(yard, job_id)["attempts"]) == 1
        assert yard.logs_of(job_id) == ["once"]
    assert fail(yard, before)["statusReason"] == "while nobody listened"


def test_a_server_that_is_killed_while_its_supervisor_stands_still_finds_it_again(gate: Gate) -> None:
    with server(overcommit=True, check_invariants=True) as yard:
        job_id = yard.submit(sh(f"echo once; {gate.wait} exit 5"))
        running(yard, job_id)
        pid = supervisor_pid(yard)
        assert pid is not None
        with standing_still(pid):
            late = yard.submit(sh("echo once"))
            yard.wait_for(late, status=("STARTING", "RUNNABLE"))
            yard.kill()
        yard.start()
        gate.open()
        assert fail(yard, job_id)["container"]["exitCode"] == 5
        succeed(yard, late)
        assert yard.logs_of(job_id) == yard.logs_of(late) == ["once"]


# ---- disks


def test_a_full_disk_refuses_and_heals(tmp_path: Path, gate: Gate) -> None:
    """A 5xx and no acknowledgement; running jobs go on, and their ends are told when there is room again."""
    with small_disk(tmp_path / "disk", 16) as disk, server(data_dir=disk.path / "data", overcommit=True) as yard:
        definition = definition_of(yard, ["true"])
        job_id = yard.submit(sh(f"echo $$; {gate.wait} exit 6"))
        pid = int(until(lambda: yard.logs_of(job_id), "the job has printed its pid")[0])
        acknowledged = [submit_once(yard, definition)["jobId"] for _ in range(3)]
        for each in acknowledged:
            succeed(yard, each)
        disk.fill()
        refusals = 0
        while refusals < 3:
            # Free pages within its files may take a few more.
            if refused_with_5xx(yard, definition):
                refusals += 1
                disk.fill()
        known = len(listed(yard))
        gate.open()
        until(lambda: not is_alive(pid), "the job has ended")
        assert job_of(yard, acknowledged[0])["status"] == "SUCCEEDED"  # reading needs no room
        disk.free()
        assert fail(yard, job_id)["container"]["exitCode"] == 6
        assert len(listed(yard)) == known
        succeed(yard, submit_once(yard, definition)["jobId"])


def listed(yard: Server) -> set[str]:
    """Every job there is."""
    since = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]
    pages = yard.batch.get_paginator("list_jobs").paginate(jobQueue="default", filters=since)
    return {job["jobId"] for page in pages for job in page["jobSummaryList"]}


def test_a_read_only_disk_is_said_to_be_one(tmp_path: Path) -> None:
    """A server doesn't start on it, and does again when it can write."""
    with small_disk(tmp_path / "disk", 16) as disk, server(data_dir=disk.path / "data", overcommit=True) as yard:
        job_id = yard.submit(["true"])
        succeed(yard, job_id)
        yard.stop(stop_jobs=True)
        until(lambda: supervisor_pid(yard) is None, "the supervisor has ended")
        disk.remount("ro")
        printed = len(yard.output)
        with pytest.raises(ServerDied):
            yard.start()
        said = yard.output[printed:]
        assert "read-only" in said.lower() and "Traceback" not in said, said
        disk.remount("rw")
        yard.start()
        assert job_of(yard, job_id)["status"] == "SUCCEEDED"
        succeed(yard, yard.submit(["true"]))


def test_a_failed_fsync_is_no_acknowledgement(tmp_path: Path, gate: Gate) -> None:
    """The server answers 5xx while its disk doesn't take what it is told, and goes on when it does."""
    broken = tmp_path / "broken"
    preload = variables(LD_PRELOAD=str(failing_fsync_library(tmp_path)), FAIL_FSYNC_WHILE=str(broken))
    with preload, server(overcommit=True, check_invariants=True) as yard:
        definition = definition_of(yard, ["true"])
        job_id = yard.submit(sh(f"{gate.wait} exit 7"))
        running(yard, job_id)
        known = listed(yard)
        broken.touch()
        assert all(refused_with_5xx(yard, definition) for _ in range(3))
        gate.open()
        assert listed(yard) == known
        broken.unlink()
        assert fail(yard, job_id)["container"]["exitCode"] == 7
        succeed(yard, submit_once(yard, definition)["jobId"])
        yard.kill()
        yard.start()
        assert job_of(yard, job_id)["container"]["exitCode"] == 7
        assert known <= listed(yard)


# ---- clocks


@pytest.mark.parametrize("jump", ["+2h", "-2h"])
def test_a_timeout_counts_the_time_that_passes_and_not_the_clock(tmp_path: Path, gate: Gate, jump: str) -> None:
    with jumping_clock(tmp_path) as now, server(overcommit=True, minimum_timeout_seconds=1) as yard:
        long = yard.submit(sh(gate.wait), timeout={"attemptDurationSeconds": 3600})
        short = yard.submit(["sleep", "600"], timeout={"attemptDurationSeconds": 3})
        running(yard, long)
        running(yard, short)
        now.write_text(jump)
        succeed(yard, yard.submit(["true"]))
        assert fail(yard, short)["statusReason"] == TIMED_OUT
        assert job_of(yard, long)["status"] == "RUNNING"
        gate.open()
        succeed(yard, long)


@pytest.mark.parametrize("jump", ["+2h", "-2h"])
def test_jobs_outlive_a_jump_of_the_clock(tmp_path: Path, gate: Gate, jump: str) -> None:
    """Exit codes arrive, nothing is retried, waiting jobs run; before and after a restart."""
    with jumping_clock(tmp_path) as now, server(overcommit=True, check_invariants=True) as yard:
        job_id = yard.submit(sh(f"{gate.wait} exit 8"), retryStrategy={"attempts": 3})
        after = yard.submit(["true"], dependsOn=[{"jobId": job_id}])
        running(yard, job_id)
        now.write_text(jump)
        beside = yard.submit(["true"])
        succeed(yard, beside)
        yard.kill()
        yard.start()
        gate.open()
        job = fail(yard, job_id)
        assert [each["container"]["exitCode"] for each in job["attempts"]] == [8, 8, 8]
        assert fail(yard, after)["statusReason"] == "Dependent Job failed"
        succeed(yard, yard.submit(["true"]))


# ---- jobs that behave badly


def test_what_a_job_leaves_behind_ends_with_it(yard: Server, queue: str, tmp_path: Path) -> None:
    """A process that forks twice, and makes a session of its own, is no way out: with a control group it is found."""
    require("cgroup-kill")
    pid_file = tmp_path / "pid"
    script = f"(setsid sh -c 'echo $$ > {pid_file}; exec sleep 600' &) & while [ ! -s {pid_file} ]; do sleep 0.01; done"
    succeed(yard, yard.submit(sh(script), queue=queue))
    assert not is_alive(int(pid_file.read_text()))


def test_a_job_that_ignores_sigterm_is_killed_after_its_grace(yard: Server, queue: str) -> None:
    container = {"image": "busybox", "vcpus": 1, "memory": 64}
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    linux = {"linuxParameters": {}}
    definition = yard.batch.register_job_definition(
        jobDefinitionName="deaf", type="container", containerProperties={**container, "command": sh(script), **linux}
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(
        jobName="deaf", jobQueue=queue, jobDefinition=definition, timeout={"attemptDurationSeconds": 1}
    )["jobId"]
    job = yard.wait_for(job_id, 90, "FAILED")
    assert (job["statusReason"], job["container"]["exitCode"]) == (TIMED_OUT, 137)


def test_a_log_of_anything_is_read_in_pieces(yard: Server, queue: str) -> None:
    """Bytes of all kinds, and a line without an end: the server's memory doesn't grow with it."""
    before_kib = rss_kib(yard.pid)
    noise = yard.submit(sh("head -c 3000000 /dev/urandom"), queue=queue)
    line = yard.submit(sh(f"head -c {LONG_LINE_MIB << 20} /dev/zero | tr '\\0' x; echo; echo end"), queue=queue)
    succeed(yard, noise)
    stream = yard.wait_for(line, 300, "SUCCEEDED")["container"]["logStreamName"]
    page = yard.logs.get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)
    assert [event["message"] for event in page["events"]][-1] == "end"
    first = yard.logs.get_log_events(logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True)
    assert set(first["events"][0]["message"]) == {"x"}
    assert yard.logs_of(noise)
    assert rss_kib(yard.pid) - before_kib < 100 * 1024


def rss_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_jobs_that_time_out_all_at_once_all_end(gate: Gate) -> None:
    """Two thousand of them, with the same second as their end."""
    count = 2000
    with server(overcommit=True, minimum_timeout_seconds=1, max_array_size=count) as yard:
        queue = Queues(yard).make(max_vcpus=count)
        array = yard.submit(
            ["sleep", "600"],
            queue=queue,
            memory_mib=4,
            arrayProperties={"size": count},
            timeout={"attemptDurationSeconds": 20},
        )
        yard.wait_for(array, 240, "FAILED")
        children = jobs_of(yard, [f"{array}:{index}" for index in range(count)])
        reasons = {child["statusReason"] for child in children}
        assert reasons == {TIMED_OUT}
        assert all(len(child["attempts"]) == 1 for child in children)
        assert all(child["stoppedAt"] - child["startedAt"] >= 20_000 for child in children)


def test_a_supervisor_that_is_killed_again_and_again_ends_nothing_but_its_jobs(yard: Server, queue: str) -> None:
    job_id = yard.submit(["sleep", "600"], queue=queue, retryStrategy={"attempts": 4})
    for attempt in range(1, 5):
        until(lambda number=attempt: is_running(yard, job_id, number), f"attempt {attempt} runs")  # type: ignore[misc]
        kill_supervisor(yard)
    job = fail(yard, job_id)
    assert len(job["attempts"]) == 4
    succeed(yard, yard.submit(["true"], queue=queue))


def is_running(yard: Server, job_id: str, attempt: int) -> bool:
    job = job_of(yard, job_id)
    return job["status"] == "RUNNING" and len(job["attempts"]) == attempt
