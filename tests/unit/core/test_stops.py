"""CancelJob, TerminateJob, deleted queues, a server that stops with its jobs."""

from __future__ import annotations

from batchyard.core.inputs import DrainRequested
from tests.unit.core.builders import SEQUENTIAL, Scene, after


def test_cancelling_a_runnable_job_fails_it_with_the_callers_reason() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b")
    scene.cancel("b", "changed my mind")
    assert (scene.status("b"), scene.reason("b")) == ("FAILED", "changed my mind")
    assert scene.record("b").stop.cause == "CANCEL" and scene.record("b").attempts == ()


def test_cancelling_leaves_a_starting_or_running_job_alone() -> None:
    scene = Scene()
    scene.submit("a")
    scene.cancel("a")
    scene.start("a")
    scene.cancel("a")
    assert scene.stops == [] and scene.record("a").stop is None
    scene.exit("a")
    assert scene.status("a") == "SUCCEEDED"


def test_a_cancelled_pending_job_ends_when_its_dependencies_are_done() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.cancel("b", "no")
    assert scene.status("b") == "PENDING" and scene.record("b").stop.cause == "CANCEL"
    scene.exit("a")
    assert (scene.status("b"), scene.reason("b")) == ("FAILED", "no")
    assert len(scene.launched) == 1


def test_terminating_a_pending_job_ends_it_at_once_even_after_a_cancellation() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.cancel("b", "no")
    scene.terminate("b", "now")
    assert (scene.status("b"), scene.reason("b")) == ("FAILED", "now")


def test_terminating_a_running_job_stops_its_attempt_and_never_retries() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=3)
    scene.start("a")
    scene.terminate("a", "enough")
    assert scene.status("a") == "RUNNING" and [stop.attempt_id for stop in scene.stops] == ["a"]
    scene.exit("a", 143)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "enough")
    assert scene.record("a").attempts[0].status_reason == "Essential container in task exited"


def test_a_terminated_job_has_failed_even_if_it_managed_to_exit_with_zero() -> None:
    scene = Scene()
    scene.submit("a")
    scene.start("a")
    scene.terminate("a")
    scene.exit("a", 0)
    assert scene.status("a") == "FAILED"


def test_the_first_termination_gives_the_reason() -> None:
    scene = Scene()
    scene.submit("a")
    scene.terminate("a", "first")
    scene.terminate("a", "second")
    scene.exit("a", 143)
    assert scene.reason("a") == "first"


def test_a_terminated_job_whose_host_is_lost_keeps_the_callers_reason() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=3)
    scene.start("a")
    scene.terminate("a", "enough")
    scene.lose("a")
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "enough")


def test_terminating_an_array_reaches_every_child() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=4)
    scene.start("a:0")
    scene.terminate("a", "all of you")
    assert scene.counts("a") == {"RUNNING": 1, "FAILED": 3} and scene.status("a") == "PENDING"
    scene.exit("a:0", 143)
    assert (scene.status("a"), scene.reason("a"), scene.reason("a:0")) == ("FAILED", "all of you", "all of you")


def test_cancelling_an_array_lets_running_children_finish() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=3, max_attempts=2)
    scene.start("a:0")
    scene.cancel("a", "no more")
    assert scene.stops == [] and scene.counts("a") == {"RUNNING": 1, "FAILED": 2}
    scene.exit("a:0")
    assert scene.statuses("a:0", "a") == ["SUCCEEDED", "FAILED"]
    assert scene.reason("a") == "no more"


def test_a_child_of_a_cancelled_array_is_not_retried() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=2, max_attempts=3)
    scene.cancel("a")
    scene.exit("a:0", 1)
    assert scene.status("a") == "FAILED" and len(scene.launched) == 1


def test_cancelling_a_waiting_array_takes_effect_when_its_dependency_is_done() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"), array=2)
    scene.cancel("b", "no")
    assert scene.counts("b") == {"PENDING": 2}
    scene.exit("a")
    assert scene.counts("b") == {"FAILED": 2} and scene.reason("b") == "no"


def test_cancelling_a_child_and_then_its_waiting_array_leaves_nothing_behind() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"), array=3)
    scene.cancel("b:1", "this one")
    scene.cancel("b", "all")
    scene.exit("a")
    assert scene.counts("b") == {"FAILED": 3} and scene.status("b") == "FAILED"


def test_cancelling_a_sequential_array_stops_after_the_running_child() -> None:
    scene = Scene()
    scene.submit("a", after("", SEQUENTIAL), array=5)
    scene.cancel("a", "no")
    scene.exit("a:0")
    assert scene.counts("a") == {"SUCCEEDED": 1, "FAILED": 4} and scene.reason("a:4") == "no"


def test_deleting_a_queue_ends_its_jobs_and_then_removes_it() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b")
    scene.submit("c", after("a"), array=2)
    scene.start("a")
    scene.queue("q", enabled=False, deleting=True)
    assert scene.statuses("a", "b", "c") == ["RUNNING", "FAILED", "FAILED"]
    assert scene.removed_queues == []
    scene.exit("a", 143)
    assert scene.reason("a") == scene.reason("b") == scene.reason("c:0") == "JobQueue deleted"
    assert scene.removed_queues == ["q"]


def test_draining_terminates_what_runs_and_starts_nothing_more() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b")
    scene.tell(DrainRequested("going home"))
    scene.exit("a", 143)
    assert scene.statuses("a", "b") == ["FAILED", "RUNNABLE"] and scene.reason("a") == "going home"
