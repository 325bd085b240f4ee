"""User guide, "Job States"."""

from __future__ import annotations

import pytest

from batchyard.core import inputs, states
from batchyard.core.states import JobStatus
from batchyard.exceptions import IllegalTransition
from tests.unit.core.builders import Scene, after


def test_a_job_without_dependencies_becomes_runnable_and_is_placed_at_once() -> None:
    scene = Scene()
    outcome = scene.submit("a")
    assert [(move.source.name, move.target.name) for move in outcome.transitions] == [
        ("SUBMITTED", "RUNNABLE"),
        ("RUNNABLE", "STARTING"),
    ]


def test_a_job_runs_when_its_container_is_up_and_succeeds_when_it_exits_with_zero() -> None:
    scene = Scene()
    scene.submit("a")
    scene.now_ms += 5
    scene.start("a")
    assert scene.status("a") == "RUNNING"
    assert scene.record("a").started_at_ms == scene.now_ms
    scene.now_ms += 7
    scene.exit("a")
    assert scene.status("a") == "SUCCEEDED"
    assert scene.reason("a") == "Essential container in task exited"
    assert scene.record("a").stopped_at_ms == scene.now_ms
    assert scene.record("a").attempts[0].exit_code == 0


def test_a_non_zero_exit_fails_a_job() -> None:
    scene = Scene()
    scene.submit("a")
    scene.start("a")
    scene.exit("a", 3)
    assert scene.status("a") == "FAILED"
    assert scene.reason("a") == "Essential container in task exited"
    assert scene.record("a").attempts[0].exit_code == 3


def test_an_exit_that_comes_without_a_start_passes_through_running() -> None:
    scene = Scene()
    scene.submit("a")
    outcome = scene.exit("a")
    assert [move.target.name for move in outcome.transitions] == ["RUNNING", "SUCCEEDED"]


def test_a_container_that_cannot_start_fails_its_job_without_running() -> None:
    scene = Scene()
    scene.submit("a")
    scene.exit("a", None, "CannotStartContainerError: no such file", started=False)
    assert scene.status("a") == "FAILED"
    assert scene.reason("a") == "Task failed to start"
    assert scene.record("a").started_at_ms is None
    assert scene.record("a").attempts[0].reason == "CannotStartContainerError: no such file"


def test_a_finished_job_leaves_the_scheduler_and_its_attempt_is_forgotten() -> None:
    scene = Scene()
    scene.submit("a")
    scene.exit("a")
    assert scene.yard.jobs == {} and scene.forgotten == ["a"]


def test_late_and_doubled_reports_change_nothing() -> None:
    scene = Scene()
    scene.submit("a")
    scene.exit("a")
    outcome = scene.tell(
        inputs.AttemptExited("a", scene.now_ms, 1),
        inputs.AttemptStarted("a", scene.now_ms),
        inputs.AttemptLost("a", scene.now_ms),
    )
    assert outcome.transitions == [] and outcome.changes == []
    assert scene.status("a") == "SUCCEEDED"


def test_an_attempt_that_starts_after_its_job_has_ended_is_stopped() -> None:
    scene = Scene()
    scene.submit("a")
    scene.exit("a")
    scene.tell(inputs.AttemptStarted("a", scene.now_ms))
    assert [(stop.attempt_id, stop.grace_seconds) for stop in scene.stops] == [("a", 0)]


def test_a_submission_told_twice_is_one_job() -> None:
    scene = Scene()
    scene.submit("a", after("nobody"), ended=[inputs.DependencyOutcome("nobody", JobStatus.SUCCEEDED)])
    job = scene.yard.jobs["a"]
    scene.tell(inputs.JobSubmitted(job.seq, "a", job.terms))
    assert len(scene.launched) == 1


@pytest.mark.parametrize("source", list(JobStatus))
@pytest.mark.parametrize("target", list(JobStatus))
def test_only_the_moves_of_the_table_are_legal(source: JobStatus, target: JobStatus) -> None:
    if (source, target) in states.TRANSITIONS:
        states.check(source, target, "")
    else:
        with pytest.raises(IllegalTransition, match="the story"):
            states.check(source, target, "the story")


def test_terminal_states_are_final() -> None:
    assert not [edge for edge in states.TRANSITIONS if edge[0].is_terminal]


def test_every_state_can_be_left_for_failed_unless_it_is_final() -> None:
    for status in JobStatus:
        assert ((status, JobStatus.FAILED) in states.TRANSITIONS) != status.is_terminal
