"""What outlives the server, its supervisor, or both: jobs, their exit codes, their timeouts and what was asked of them.

The crash tests kill at random moments; each prints the seed that repeats it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import LOG_GROUP, Server, server
from tests.acceptance.crash_cases import (
    HOST_LOST,
    Diary,
    check_children,
    dice,
    is_alive,
    kill_supervisor,
    kill_while_starting,
)
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, jobs_of, running, sh, succeed, until

pytestmark = pytest.mark.acceptance

CHILDREN = 500
KILLS = 4
DEADLINE_SECONDS = 120.0


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    """A server that tests may kill; each leaves it running."""
    with server(overcommit=True, minimum_timeout_seconds=1, check_invariants=True) as started:
        yield started


@pytest.fixture
def wide_queue(mortal: Server) -> str:
    return Queues(mortal).make(max_vcpus=16)


def kill_and_start(yard: Server) -> None:
    yard.kill()
    yard.start()


def pid_of(yard: Server, job_id: str) -> int:
    """The pid that a job has printed with `echo $$`."""
    return int(until(lambda: yard.logs_of(job_id), "the job has printed its pid")[0])


def test_a_running_job_outlives_a_restart_and_a_crash(mortal: Server, wide_queue: str, gate: Gate) -> None:
    """The same process goes on, its attempt is the same one, and its exit code arrives."""
    job_id = mortal.submit(sh(f"echo $$; {gate.wait} echo done; exit 7"), queue=wide_queue)
    pid = pid_of(mortal, job_id)
    before = job_of(mortal, job_id)
    mortal.restart()
    assert (job_of(mortal, job_id), is_alive(pid)) == (before, True)
    kill_and_start(mortal)
    assert (job_of(mortal, job_id), is_alive(pid)) == (before, True)
    gate.open()
    job = fail(mortal, job_id)
    assert (job["container"]["exitCode"], len(job["attempts"])) == (7, 1)
    assert mortal.logs_of(job_id) == [str(pid), "done"]


def test_what_ends_while_the_server_is_down_is_told_when_it_is_back(
    mortal: Server, wide_queue: str, gate: Gate
) -> None:
    """Its exit code, the time of its end, and what it wrote."""
    job_id = mortal.submit(sh(f"echo $$; {gate.wait} echo last words; exit 3"), queue=wide_queue)
    pid = pid_of(mortal, job_id)
    mortal.kill()
    gate.open()
    until(lambda: not is_alive(pid), "the job has ended")
    ended_ms = time.time_ns() // 1_000_000
    mortal.start()
    job = fail(mortal, job_id)
    assert job["container"]["exitCode"] == 3
    assert job["startedAt"] < job["stoppedAt"] <= ended_ms + 100
    assert mortal.logs_of(job_id) == [str(pid), "last words"]


def test_waiting_jobs_are_there_after_a_crash_and_run_in_their_order(mortal: Server, gate: Gate) -> None:
    queue = Queues(mortal).make(max_vcpus=1)
    blocker = mortal.submit(sh(gate.wait), queue=queue)
    running(mortal, blocker)
    waiting = [mortal.submit(["true"], queue=queue) for _ in range(5)]
    pending = mortal.submit(["true"], queue=queue, dependsOn=[{"jobId": waiting[-1]}])
    array = mortal.submit(
        ["true"], queue=queue, arrayProperties={"size": 3}, dependsOn=[{"jobId": pending}, {"type": "SEQUENTIAL"}]
    )
    kill_and_start(mortal)
    assert {job["status"] for job in jobs_of(mortal, [*waiting, pending, array])} <= {
        "SUBMITTED",
        "RUNNABLE",
        "PENDING",
    }
    gate.open()
    succeed(mortal, array)
    order = jobs_of(mortal, [blocker, *waiting, pending, *(f"{array}:{index}" for index in range(3))])
    starts = [job["startedAt"] for job in order]
    assert starts == sorted(starts)


def test_an_array_goes_on_where_it_was(mortal: Server, gate: Gate) -> None:
    """Children that have ended stay so, with their times; those that wait go on waiting."""
    queue = Queues(mortal).make(max_vcpus=2)
    script = f"case $AWS_BATCH_JOB_ARRAY_INDEX in 0|1) exit 0;; 2) exit 5;; *) {gate.wait};; esac"
    array = mortal.submit(sh(script), queue=queue, arrayProperties={"size": 8})
    for index in (3, 4):
        running(mortal, f"{array}:{index}")
    children = [f"{array}:{index}" for index in range(8)]
    before = jobs_of(mortal, children)
    kill_and_start(mortal)
    assert jobs_of(mortal, children) == before
    assert job_of(mortal, array)["arrayProperties"]["statusSummary"]["RUNNING"] == 2
    gate.open()
    assert fail(mortal, array)["statusReason"] == "Array Child Job failed"
    assert [job["status"] for job in jobs_of(mortal, children)] == ["SUCCEEDED"] * 2 + ["FAILED"] + ["SUCCEEDED"] * 5


def test_what_was_asked_just_before_a_crash_is_done_after_it(mortal: Server, wide_queue: str, gate: Gate) -> None:
    """An answer to TerminateJob or CancelJob is a promise, too."""
    runs = mortal.submit(sh(gate.wait), queue=wide_queue, retryStrategy={"attempts": 3})
    running(mortal, runs)
    waits = mortal.submit(["true"], queue=wide_queue, dependsOn=[{"jobId": runs}])
    mortal.wait_for(waits, status="PENDING")
    mortal.batch.cancel_job(jobId=waits, reason="asked before the crash")
    mortal.batch.terminate_job(jobId=runs, reason="asked before it too")
    kill_and_start(mortal)
    ended = fail(mortal, runs)
    assert (ended["statusReason"], len(ended["attempts"])) == ("asked before it too", 1)
    assert fail(mortal, waits)["statusReason"] == "asked before the crash"


def test_a_stop_under_way_is_carried_on_after_a_crash(mortal: Server, wide_queue: str, gate: Gate) -> None:
    """The job has its SIGTERM and takes its time; its end is that of a terminated job all the same."""
    script = f"trap 'echo stopping; {gate.wait} exit 0' TERM; echo $$; while :; do sleep 0.03; done"
    job_id = mortal.submit(sh(script), queue=wide_queue)
    pid_of(mortal, job_id)
    mortal.batch.terminate_job(jobId=job_id, reason="enough")
    until(lambda: "stopping" in mortal.logs_of(job_id), "the job has got its SIGTERM")
    kill_and_start(mortal)
    gate.open()
    job = fail(mortal, job_id)
    assert (job["statusReason"], job["isTerminated"]) == ("enough", True)
    assert mortal.logs_of(job_id).count("stopping") == 1


def test_a_timeout_that_falls_due_while_the_server_is_down_fires_at_its_start(mortal: Server, wide_queue: str) -> None:
    job_id = mortal.submit(["sleep", "600"], queue=wide_queue, timeout={"attemptDurationSeconds": 1})
    due_ms = running(mortal, job_id)["startedAt"] + 1000
    mortal.kill()
    until(lambda: time.time_ns() // 1_000_000 > due_ms, "the timeout is due")
    mortal.start()
    assert fail(mortal, job_id)["statusReason"] == "Job attempt duration exceeded timeout"


def test_a_timeout_counts_on_across_a_crash(mortal: Server, wide_queue: str) -> None:
    job_id = mortal.submit(["sleep", "600"], queue=wide_queue, timeout={"attemptDurationSeconds": 4})
    running(mortal, job_id)
    kill_and_start(mortal)
    assert job_of(mortal, job_id)["status"] == "RUNNING"
    job = fail(mortal, job_id)
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    assert 4000 <= job["stoppedAt"] - job["startedAt"] < 6000


# ---- signals


def test_sigterm_leaves_jobs_running(mortal: Server, wide_queue: str, gate: Gate) -> None:
    job_id = mortal.submit(sh(f"echo $$; {gate.wait}"), queue=wide_queue)
    pid = pid_of(mortal, job_id)
    mortal.stop()
    assert is_alive(pid)
    mortal.start()
    assert job_of(mortal, job_id)["status"] == "RUNNING"
    gate.open()
    succeed(mortal, job_id)


def ask_to_stop_jobs(yard: Server) -> None:
    yard.stop(stop_jobs=True)


def send_sigterm_twice(yard: Server) -> None:
    """As an impatient Ctrl-C does; the second must not come before the first was taken."""
    printed = len(yard.output)
    os.kill(yard.pid, signal.SIGTERM)
    until(lambda: "Stopping." in yard.output[printed:], "the server says that it stops")
    yard.stop()


@pytest.mark.parametrize("stop", [ask_to_stop_jobs, send_sigterm_twice])
def test_stopping_the_jobs_with_the_server(
    mortal: Server, wide_queue: str, gate: Gate, stop: Callable[[Server], None]
) -> None:
    """What runs is terminated, what waits stays for the next server."""
    script = "trap 'echo bye; exit 0' TERM; echo $$; while :; do sleep 0.03; done"
    job_id = mortal.submit(sh(script), queue=wide_queue, retryStrategy={"attempts": 3})
    pid = pid_of(mortal, job_id)
    waits = mortal.submit(["true"], queue=Queues(mortal).make(state="ENABLED", max_vcpus=1), vcpus=2)
    mortal.wait_for(waits, status="RUNNABLE")
    stop(mortal)
    assert not is_alive(pid)
    mortal.start()
    job = job_of(mortal, job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Stopped together with the Batchyard server")
    assert (job["container"]["exitCode"], len(job["attempts"])) == (0, 1)
    assert mortal.logs_of(job_id)[-1] == "bye"
    assert job_of(mortal, waits)["status"] == "RUNNABLE"
    mortal.batch.terminate_job(jobId=waits, reason="never fits")


# ---- the supervisor's death


def kill_supervisor_alone(yard: Server) -> None:
    kill_supervisor(yard)


def kill_supervisor_and_server(yard: Server) -> None:
    yard.kill()
    kill_supervisor(yard)
    yard.start()


@pytest.mark.parametrize("kill", [kill_supervisor_alone, kill_supervisor_and_server])
def test_jobs_die_with_their_supervisor_as_with_a_host(
    mortal: Server, wide_queue: str, gate: Gate, kill: Callable[[Server], None]
) -> None:
    """Their processes are ended, their attempts say so, and those with attempts left run again."""
    rules = [{"action": "RETRY", "onStatusReason": "Host EC2*"}, {"action": "EXIT", "onReason": "*"}]
    script = f"echo $$; test $AWS_BATCH_JOB_ATTEMPT = 2 || {{ {gate.wait} }}"
    again = mortal.submit(sh(script), queue=wide_queue, retryStrategy={"attempts": 5, "evaluateOnExit": rules})
    once = mortal.submit(sh(script), queue=wide_queue)
    pids = [pid_of(mortal, job_id) for job_id in (again, once)]
    kill(mortal)
    retried, failed = succeed(mortal, again), fail(mortal, once)
    assert not any(is_alive(pid) for pid in pids)
    assert HOST_LOST.fullmatch(failed["statusReason"])
    assert "exitCode" not in failed["container"]
    lost, second = retried["attempts"]
    assert HOST_LOST.fullmatch(lost["statusReason"])
    assert second["container"]["exitCode"] == 0
    assert lost["stoppedAt"] <= second["startedAt"]


def test_new_jobs_run_after_the_supervisors_death(mortal: Server, wide_queue: str) -> None:
    kill_supervisor(mortal)
    succeed(mortal, mortal.submit(["true"], queue=wide_queue))


# ---- the end of what is kept


def test_finished_jobs_and_their_logs_are_removed_after_a_while() -> None:
    with server(job_retention_days=1e-5) as yard:
        job_id = yard.submit(["echo", "hello"])
        stream = succeed(yard, job_id)["container"]["logStreamName"]
        assert yard.logs_of(job_id) == ["hello"]
        stopped_ms = job_of(yard, job_id)["stoppedAt"]
        until(lambda: time.time_ns() // 1_000_000 > stopped_ms + 1000, "the job is old enough")
        yard.restart()
        until(lambda: yard.batch.describe_jobs(jobs=[job_id])["jobs"] == [], "the job is gone")
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            yard.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream)
        assert [path for path in (yard.data_dir / "logs").rglob("*") if path.is_file()] == []


# ---- crashes at random moments


def kill_server(yard: Server, _dice: random.Random) -> None:
    kill_and_start(yard)


def kill_the_supervisor(yard: Server, _dice: random.Random) -> None:
    kill_supervisor(yard)


def kill_both(yard: Server, _dice: random.Random) -> None:
    kill_supervisor_and_server(yard)


def kill_server_again_while_it_starts(yard: Server, dice: random.Random) -> None:
    yard.kill()
    for _ in range(2):
        kill_while_starting(yard, dice.uniform(0.1, 1.5))
    yard.start()


def kill_any(yard: Server, dice: random.Random) -> None:
    dice.choice([kill_server, kill_the_supervisor, kill_both])(yard, dice)


@pytest.mark.crash
@pytest.mark.parametrize(
    "kill", [kill_server, kill_the_supervisor, kill_both, kill_server_again_while_it_starts, kill_any]
)
def test_every_child_runs_exactly_once_whatever_is_killed(
    tmp_path: Path, kill: Callable[[Server, random.Random], None]
) -> None:
    """Exactly one line per child, unless an attempt was declared lost; then one more at most for each that was."""
    lot = dice(kill.__name__)
    diary = Diary(tmp_path)
    with server(overcommit=True, check_invariants=True) as yard:
        queue = Queues(yard).make(max_vcpus=16)
        array = yard.submit(
            diary.command(), queue=queue, arrayProperties={"size": CHILDREN}, retryStrategy={"attempts": 10}
        )
        acknowledged = [array]
        for moment in sorted(lot.sample(range(CHILDREN * 9 // 10), KILLS)):
            until(lambda moment=moment: diary.size >= moment, f"{moment} children are done")  # type: ignore[misc]
            wait_until = time.monotonic() + lot.uniform(0, 0.05)
            until(lambda wait_until=wait_until: time.monotonic() >= wait_until, "a moment later")  # type: ignore[misc]
            acknowledged.append(yard.submit(["true"], queue=queue, retryStrategy={"attempts": 10}))
            print(f"{kill.__name__} when {diary.size} children are done")
            kill(yard, lot)
        for job_id in acknowledged:
            yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")
        lost = check_children(yard, array, CHILDREN, diary)
        print(f"{lost} attempts were lost")
        if kill in (kill_server, kill_server_again_while_it_starts):
            assert lost == 0
        summary: dict[str, Any] = job_of(yard, array)["arrayProperties"]["statusSummary"]
        assert summary["SUCCEEDED"] == CHILDREN
