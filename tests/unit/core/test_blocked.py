"""User guide, "Jobs stuck in RUNNABLE" and jobStateTimeLimitActions (facts §5): heads that can't be placed say why."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.core import inputs, reasons
from batchyard.core.model import EnvironmentState, QueueState, TimeLimit
from batchyard.core.outcome import Outcome
from batchyard.core.restore import StoredJob, restore_job
from batchyard.core.step import step
from batchyard.core.yard import Yard
from tests.unit.core.builders import Scene

TOO_SMALL = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue cannot meet the CPU"
    " requirement of the job."
)
TOO_LARGE = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher than that can"
    " be met by the CE(s) attached to the job queue."
)
NO_CAPACITY = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for instance type"
    " [optimal, m5.large]"
)
INVALID = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."


def limited(scene: Scene, reason: str, seconds: int = 600, **changes: Any) -> None:
    scene.queue("q", time_limits=(TimeLimit(reason, seconds),), **changes)


def test_a_job_that_needs_more_vcpus_than_any_environment_may_have() -> None:
    scene = Scene(vcpus=2)
    scene.submit("big", vcpus=3)
    assert (scene.status("big"), scene.reason("big")) == ("RUNNABLE", TOO_SMALL)


@pytest.mark.parametrize("need", [{"memory_mib": 9000}, {"vcpus": 2, "memory_mib": 9000}])
def test_a_job_that_is_larger_than_any_machine(need: dict[str, Any]) -> None:
    scene = Scene(vcpus=2, memory_mib=8192)
    scene.submit("big", **need)
    assert scene.reason("big") == TOO_LARGE


def test_one_environment_that_is_large_enough_on_paper_makes_it_the_jobs_fault() -> None:
    scene = Scene(vcpus=2)
    scene.environment("paper", 64)
    scene.queue("q", environments=("ce", "paper"))
    scene.submit("big", vcpus=8)
    assert scene.reason("big") == TOO_LARGE


def test_a_queue_none_of_whose_environments_takes_jobs() -> None:
    scene = Scene()
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", False, 2000)))
    scene.submit("a")
    assert scene.reason("a") == INVALID
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", True, 2000)))
    assert (scene.status("a"), scene.reason("a")) == ("STARTING", None)


def test_an_environment_that_may_have_more_than_its_machine_has_left() -> None:
    scene = Scene(vcpus=2)
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", True, 64_000, instance_types=("optimal", "m5.large"))))
    scene.submit("running", vcpus=2)
    scene.submit("head")
    scene.submit("next")
    assert [scene.reason(job_id) for job_id in ("head", "next")] == [NO_CAPACITY, None]


def test_waiting_for_ones_turn_is_not_being_blocked() -> None:
    scene = Scene(vcpus=2)
    scene.submit("running", vcpus=2)
    scene.submit("head")
    scene.submit("next")
    assert [scene.reason(job_id) for job_id in ("head", "next")] == [None, None]


def test_the_reason_is_written_once_and_taken_back_when_it_no_longer_holds() -> None:
    scene = Scene(vcpus=2)
    assert scene.submit("big", vcpus=3).changes
    assert not scene.wait(1).changes
    assert not scene.submit("other", queue="q", vcpus=3).changes[1:]
    outcome = scene.tell(
        inputs.HostSized("host", 2000, 8192), inputs.EnvironmentChanged(EnvironmentState("ce", True, 4000))
    )
    assert len(outcome.changes) == 2 and scene.reason("big") == TOO_LARGE
    scene.tell(inputs.HostSized("host", 3000, 8192))
    assert (scene.status("big"), scene.reason("big")) == ("STARTING", None)


def test_only_the_head_says_that_it_is_blocked() -> None:
    scene = Scene(vcpus=2)
    scene.submit("first", vcpus=3)
    scene.submit("second", vcpus=3)
    assert scene.reason("second") is None
    scene.cancel("first")
    assert (scene.reason("first"), scene.reason("second")) == ("not needed", TOO_SMALL)


def test_of_an_array_the_child_whose_turn_it_is_says_so() -> None:
    scene = Scene(vcpus=2)
    scene.submit("array", array=3, vcpus=3)
    assert [scene.reason(f"array:{index}") for index in range(3)] == [TOO_SMALL, None, None]
    assert scene.reason("array") is None
    scene.cancel("array:0")
    assert [scene.reason(f"array:{index}") for index in range(3)] == ["not needed", TOO_SMALL, None]


def test_a_gang_says_so_as_a_whole() -> None:
    scene = Scene(vcpus=2)
    scene.submit_gang("gang", 3)
    assert (scene.reason("gang"), scene.reason("gang#0")) == (TOO_SMALL, None)


def test_a_head_is_cancelled_when_its_time_is_up() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.ENVIRONMENT_TOO_SMALL)
    outcome = scene.submit("big", vcpus=3)
    scene.submit("small")
    assert outcome.next_deadline_ms == scene.now_ms + 600_000
    scene.wait(599)
    assert scene.status("big") == "RUNNABLE"
    scene.wait(1)
    assert (scene.status("big"), scene.status("small")) == ("FAILED", "STARTING")
    assert scene.reason("big") == (
        "Canceled by JobStateTimeLimit action due to reason: MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
    )
    assert scene.record("big").stop.cause == "CANCEL"


def test_what_waits_for_a_cancelled_head_fails_in_the_same_step() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.ENVIRONMENT_TOO_SMALL)
    scene.submit("array", array=2, vcpus=3)
    scene.submit_gang("gang", 3)
    scene.wait(600)
    assert scene.statuses("array:0", "array:1", "gang") == ["FAILED", "RUNNABLE", "RUNNABLE"]
    scene.wait(600)
    assert scene.statuses("array", "array:1", "gang") == ["FAILED", "FAILED", "RUNNABLE"]
    scene.wait(600)
    assert scene.statuses("gang", "gang#0", "gang#2") == ["FAILED"] * 3


def test_an_action_is_about_its_own_reason_alone() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.JOB_TOO_LARGE)
    outcome = scene.submit("big", vcpus=3)
    assert outcome.next_deadline_ms is None
    scene.wait(10_000)
    assert scene.status("big") == "RUNNABLE"


def test_time_counts_from_when_the_reason_began_to_hold() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.JOB_TOO_LARGE)
    scene.submit("big", vcpus=3)
    scene.wait(400)
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", True, 4000)))
    scene.wait(400)
    assert (scene.status("big"), scene.reason("big")) == ("RUNNABLE", TOO_LARGE)
    scene.wait(200)
    assert scene.status("big") == "FAILED"


def test_a_queue_can_be_given_actions_later() -> None:
    scene = Scene(vcpus=2)
    scene.submit("big", vcpus=3)
    scene.wait(700)
    limited(scene, reasons.ENVIRONMENT_TOO_SMALL)
    assert scene.status("big") == "FAILED"


def test_time_counts_on_over_a_restart() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.ENVIRONMENT_TOO_SMALL)
    scene.submit("array", array=2, vcpus=3)
    scene.now_ms += 500_000
    restart(scene)
    assert scene.wait(99).next_deadline_ms == scene.now_ms + 1000
    scene.wait(1)
    assert scene.statuses("array:0", "array:1") == ["FAILED", "RUNNABLE"]


def restart(scene: Scene, job_id: str = "array") -> Outcome:
    """A new yard from the rows of the one unfinished job alone."""
    stored, terms = scene.stored[job_id], scene.yard.jobs[job_id].terms
    queue = scene.yard.queues["q"].state
    scene.yard = Yard()
    events = [
        inputs.HostSized("host", 2000, 8192),
        inputs.EnvironmentChanged(EnvironmentState("ce", True, 2000)),
        inputs.InstanceRegistered("i-2", "ce", "host"),
        inputs.QueueChanged(queue),
    ]
    step(scene.yard, events, scene.now_ms)
    children = tuple((index, change.record) for (_, index), change in scene.stored_children.items())
    restore_job(scene.yard, StoredJob(stored.seq, job_id, terms, stored.record, stored.rest, children))
    return scene.tell(inputs.EngineSurveyed("host", frozenset()))


def test_a_deleted_queue_ends_its_blocked_head() -> None:
    scene = Scene(vcpus=2)
    scene.submit("big", vcpus=3)
    scene.tell(inputs.QueueChanged(QueueState("q", 1, ("ce",), 0, enabled=False, deleting=True)))
    assert scene.reason("big") == "JobQueue deleted" and scene.removed_queues == ["q"]


def test_a_draining_server_leaves_the_reason_and_may_still_cancel() -> None:
    scene = Scene(vcpus=2)
    scene.submit("big", vcpus=3)
    scene.tell(inputs.DrainRequested("bye"))
    assert scene.reason("big") == TOO_SMALL
    scene.cancel("big")
    assert scene.reason("big") == "not needed"


def test_a_blocked_gang_is_known_again_after_a_restart() -> None:
    scene = Scene(vcpus=2)
    limited(scene, reasons.ENVIRONMENT_TOO_SMALL)
    scene.submit_gang("gang", 3)
    scene.now_ms += 599_000
    restart(scene, "gang")
    assert scene.status("gang") == "RUNNABLE"
    scene.wait(1)
    assert scene.status("gang") == "FAILED"
