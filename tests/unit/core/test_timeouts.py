"""User guide, "Job Timeouts"."""

from __future__ import annotations

from batchyard.core.inputs import ClockJumped
from tests.unit.core.builders import Scene


def test_an_attempt_that_runs_too_long_is_stopped_with_the_documented_reason() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60)
    scene.start("a")
    scene.wait(59)
    assert scene.stops == []
    scene.wait(1)
    assert [(stop.attempt_id, stop.grace_seconds) for stop in scene.stops] == [("a", 30)]
    scene.exit("a", 143)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "Job attempt duration exceeded timeout")


def test_the_attempt_that_timed_out_says_so_itself() -> None:
    """redun looks at `attempts[-1].statusReason`."""
    scene = Scene()
    scene.submit("a", timeout_seconds=60, max_attempts=2)
    scene.start("a")
    scene.exit("a", 1)
    scene.start("a")
    scene.wait(60)
    scene.exit("a", 143)
    assert [attempt.status_reason for attempt in scene.record("a").attempts] == [
        "Essential container in task exited",
        "Job attempt duration exceeded timeout",
    ]


def test_the_attempts_of_all_nodes_that_timed_out_say_so() -> None:
    scene = Scene(vcpus=2)
    scene.submit_gang("a", 2, timeout_seconds=60)
    scene.start("a#0")
    scene.start("a#1")
    scene.wait(60)
    scene.exit("a#1", 143)
    scene.exit("a#0", 143)
    assert {scene.record(unit_id).attempts[0].status_reason for unit_id in ("a", "a#0", "a#1")} == {
        "Job attempt duration exceeded timeout"
    }


def test_a_timed_out_attempt_is_not_retried() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60, max_attempts=5)
    scene.start("a")
    scene.wait(61)
    scene.exit("a", 137)
    assert scene.status("a") == "FAILED" and len(scene.launched) == 1


def test_the_clock_counts_from_the_start_of_each_attempt() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60, max_attempts=2)
    scene.wait(100)
    scene.start("a")
    scene.wait(50)
    scene.exit("a", 1)
    scene.start("a")
    scene.wait(50)
    assert scene.stops == []
    scene.wait(10)
    assert len(scene.stops) == 1


def test_the_step_says_when_the_next_timeout_is_due() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60)
    scene.start("a")
    assert scene.tell().next_deadline_ms == scene.now_ms + 60_000
    assert scene.exit("a").next_deadline_ms is None


def test_children_time_out_one_by_one() -> None:
    scene = Scene()
    scene.submit("a", array=2, timeout_seconds=60)
    scene.start("a:0")
    scene.wait(30)
    scene.start("a:1")
    scene.wait(30)
    scene.exit("a:0", 137)
    assert scene.statuses("a:0", "a:1") == ["FAILED", "RUNNING"]


def test_an_attempt_gets_no_older_by_a_clock_that_is_set_forward() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60)
    scene.start("a")
    scene.wait(50)
    scene.now_ms += 7_200_000
    scene.tell(ClockJumped(7_200_000))
    assert scene.stops == []
    scene.wait(10)
    assert len(scene.stops) == 1


def test_an_attempt_gets_no_younger_by_a_clock_that_is_set_back() -> None:
    scene = Scene()
    scene.submit("a", timeout_seconds=60)
    scene.start("a")
    scene.wait(50)
    scene.now_ms -= 7_200_000
    assert scene.tell(ClockJumped(-7_200_000)).next_deadline_ms == scene.now_ms + 10_000
    scene.wait(10)
    assert len(scene.stops) == 1
