"""boto3 against a running server: cancelling and terminating jobs."""

from __future__ import annotations

import pytest

from batchyard.testing import Server
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, jobs_of, running, sh, succeed, until

pytestmark = pytest.mark.acceptance

TRAP = 'trap "echo got TERM; exit 9" TERM; echo ready; while :; do sleep 0.03; done'


@pytest.fixture
def blocked(yard: Server, queues: Queues, gate: Gate) -> str:
    """A queue whose one vCPU is taken until the gate opens."""
    queue = queues.make(max_vcpus=1)
    running(yard, yard.submit(sh(gate.wait), queue=queue))
    return queue


def test_cancelling_a_runnable_job_ends_it(yard: Server, blocked: str) -> None:
    job_id = yard.submit(["true"], queue=blocked)
    yard.wait_for(job_id, status="RUNNABLE")
    yard.batch.cancel_job(jobId=job_id, reason="not needed")
    job = fail(yard, job_id)
    assert (job["statusReason"], job["isCancelled"], job["attempts"]) == ("not needed", True, [])
    assert job["stoppedAt"] >= job["createdAt"]


def test_a_pending_job_is_cancelled_when_its_dependencies_are_done(yard: Server, queue: str, gate: Gate) -> None:
    first = yard.submit(sh(gate.wait), queue=queue)
    second = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}])
    yard.wait_for(second, status="PENDING")
    yard.batch.cancel_job(jobId=second, reason="not needed")
    until(lambda: job_of(yard, second)["isCancelled"], "the cancellation is noted")
    assert job_of(yard, second)["status"] == "PENDING"
    gate.open()
    assert fail(yard, second)["statusReason"] == "not needed"
    assert job_of(yard, first)["status"] == "SUCCEEDED"


def test_cancelling_leaves_a_running_job_alone(yard: Server, queue: str, gate: Gate) -> None:
    job_id = yard.submit(sh(gate.wait), queue=queue)
    running(yard, job_id)
    yard.batch.cancel_job(jobId=job_id, reason="too late")
    gate.open()
    job = succeed(yard, job_id)
    assert (job["isCancelled"], job["statusReason"]) == (False, "Essential container in task exited")


def test_terminating_a_running_job_sends_sigterm_and_keeps_its_last_words(yard: Server, queue: str) -> None:
    job_id = yard.submit(sh(TRAP), queue=queue, retryStrategy={"attempts": 5})
    until(lambda: yard.logs_of(job_id) == ["ready"], "the trap is set")
    yard.batch.terminate_job(jobId=job_id, reason="enough, thanks")
    job = fail(yard, job_id)
    assert (job["statusReason"], job["isTerminated"], job["container"]["exitCode"]) == ("enough, thanks", True, 9)
    assert len(job["attempts"]) == 1
    # The shell says that its sleep was terminated, too.
    lines = yard.logs_of(job_id)
    assert (lines[0], lines[-1]) == ("ready", "got TERM")


def test_a_terminated_job_fails_whatever_its_exit_code(yard: Server, queue: str) -> None:
    job_id = yard.submit(sh(TRAP.replace("exit 9", "exit 0")), queue=queue)
    until(lambda: yard.logs_of(job_id) == ["ready"], "the trap is set")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    job = fail(yard, job_id)
    assert (job["statusReason"], job["container"]["exitCode"]) == ("enough", 0)


def test_terminating_a_job_that_waits_ends_it_at_once(yard: Server, blocked: str) -> None:
    runnable = yard.submit(["true"], queue=blocked)
    pending = yard.submit(["true"], queue=blocked, dependsOn=[{"jobId": runnable}])
    yard.wait_for(pending, status="PENDING")
    yard.batch.terminate_job(jobId=pending, reason="first")
    assert fail(yard, pending)["statusReason"] == "first"
    yard.batch.terminate_job(jobId=job_of(yard, runnable)["jobArn"], reason="second")
    ended = fail(yard, runnable)
    assert (ended["statusReason"], ended["isTerminated"], ended["attempts"]) == ("second", True, [])


def test_what_depends_on_a_terminated_job_fails(yard: Server, queue: str, gate: Gate) -> None:
    first = yard.submit(sh(gate.wait), queue=queue)
    second = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}])
    running(yard, first)
    yard.batch.terminate_job(jobId=first, reason="enough")
    assert fail(yard, second)["statusReason"] == "Dependent Job failed"


def test_terminating_one_child_leaves_its_siblings(yard: Server, queue: str, gate: Gate) -> None:
    array_id = yard.submit(sh(gate.wait), queue=queue, arrayProperties={"size": 3})
    running(yard, f"{array_id}:1")
    yard.batch.terminate_job(jobId=f"{array_id}:1", reason="this one")
    assert fail(yard, f"{array_id}:1")["statusReason"] == "this one"
    gate.open()
    assert fail(yard, array_id)["statusReason"] == "Array Child Job failed"
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(3)])
    assert [child["status"] for child in children] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


def test_terminating_an_array_hits_all_its_children(yard: Server, queues: Queues, gate: Gate) -> None:
    queue = queues.make(max_vcpus=2)
    array_id = yard.submit(sh(gate.wait), queue=queue, arrayProperties={"size": 50})
    for index in range(2):
        running(yard, f"{array_id}:{index}")
    yard.batch.terminate_job(jobId=array_id, reason="all of you")
    parent = fail(yard, array_id)
    assert parent["isTerminated"]
    assert parent["arrayProperties"]["statusSummary"]["FAILED"] == 50
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(50)])
    assert {child["statusReason"] for child in children} == {"all of you"}
    assert [len(child["attempts"]) for child in children] == [1] * 2 + [0] * 48


def test_cancelling_an_array_spares_the_children_that_run(yard: Server, queues: Queues, gate: Gate) -> None:
    queue = queues.make(max_vcpus=1)
    array_id = yard.submit(sh(gate.wait), queue=queue, arrayProperties={"size": 3})
    running(yard, f"{array_id}:0")
    yard.batch.cancel_job(jobId=array_id, reason="no more")
    assert [fail(yard, f"{array_id}:{index}")["statusReason"] for index in (1, 2)] == ["no more"] * 2
    gate.open()
    succeed(yard, f"{array_id}:0")
    fail(yard, array_id)


def test_stopping_what_has_ended_changes_nothing(yard: Server, queue: str) -> None:
    job_id = yard.submit(["true"], queue=queue)
    ended = succeed(yard, job_id)
    yard.batch.terminate_job(jobId=job_id, reason="too late")
    yard.batch.cancel_job(jobId=job_id, reason="too late")
    yard.batch.terminate_job(jobId="nobody", reason="never there")
    # A job submitted later ends later: when it has, the requests before it have been looked at.
    succeed(yard, yard.submit(["true"], queue=queue))
    assert job_of(yard, job_id) == ended


def test_bulk_operations_answer_for_each_job(yard: Server, blocked: str) -> None:
    job_ids = [yard.submit(["true"], queue=blocked) for _ in range(4)]
    cancelled = yard.batch.cancel_jobs(jobs=[*job_ids[:2], "not a job id!"], reason="in bulk")
    assert cancelled["successful"] == job_ids[:2]
    assert [(error["job"], error["code"]) for error in cancelled["errors"]] == [
        ("not a job id!", "ValidationException")
    ]
    terminated = yard.batch.terminate_jobs(jobs=job_ids[2:], reason="in bulk too")
    assert (terminated["successful"], terminated["errors"]) == (job_ids[2:], [])
    reasons = [fail(yard, job_id)["statusReason"] for job_id in job_ids]
    assert reasons == ["in bulk"] * 2 + ["in bulk too"] * 2


def test_summaries_say_who_was_stopped(yard: Server, blocked: str) -> None:
    cancelled = yard.submit(["true"], queue=blocked)
    terminated = yard.submit(["true"], queue=blocked)
    yard.batch.cancel_job(jobId=cancelled, reason="a")
    yard.batch.terminate_job(jobId=terminated, reason="b")
    for job_id in (cancelled, terminated):
        fail(yard, job_id)
    summaries = yard.batch.list_jobs(jobQueue=blocked, jobStatus="FAILED")["jobSummaryList"]
    flags = [(each["jobId"], each.get("isCancelled"), each.get("isTerminated")) for each in summaries]
    assert flags == [(terminated, None, True), (cancelled, True, None)]
