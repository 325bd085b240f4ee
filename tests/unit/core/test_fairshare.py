"""Fair-share scheduling (facts §13): who goes next, what counts as used, what is kept free for new shares."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from batchyard.core.model import FairSharePolicy
from batchyard.core.restore import restore_share
from batchyard.core.schedule import order
from batchyard.core.schedule.fairshare import active_shares, usage_by_share
from batchyard.core.shares import DEFAULT_WEIGHT, Shares
from tests.unit.core.builders import Scene


def submit(scene: Scene, job_id: str, share: str, priority: int = 0, **terms: Any) -> None:
    scene.submit(job_id, queue="fair", share_identifier=share, scheduling_priority=priority, **terms)


def launched(scene: Scene) -> list[str]:
    return [effect.job_id for effect in scene.launched]


def used(scene: Scene, share: str) -> float:
    """vCPU-seconds that count now."""
    return next(
        (
            use.used_vcpu_seconds
            for use in usage_by_share(scene.yard.queues["fair"], scene.now_ms)
            if use.share_identifier == share
        ),
        0.0,
    )


def scene_of(vcpus: int = 1, weights: dict[str, float] | None = None, **terms: Any) -> Scene:
    scene = Scene(vcpus=vcpus)
    scene.fair_queue("fair", weights, **terms)
    return scene


def run(scene: Scene, job_id: str, seconds: float) -> None:
    scene.start(job_id)
    scene.wait(seconds)
    scene.exit(job_id)


def test_the_share_that_used_less_goes_next() -> None:
    scene = scene_of()
    for job_id in ("a1", "a2", "a3", "b1", "b2"):
        submit(scene, job_id, job_id[0])
    for expected in ("a1", "b1", "a2", "b2"):
        assert launched(scene)[-1] == expected
        run(scene, expected, 10)
    assert launched(scene) == ["a1", "b1", "a2", "b2", "a3"]


def test_a_long_job_counts_for_more_than_a_short_one() -> None:
    scene = scene_of()
    for job_id in ("a1", "a2", "b1", "b2", "b3"):
        submit(scene, job_id, job_id[0])
    for job_id, seconds in (("a1", 30), ("b1", 10), ("b2", 10)):
        run(scene, job_id, seconds)
    assert launched(scene) == ["a1", "b1", "b2", "b3"]


def test_a_lower_weight_factor_gets_more() -> None:
    scene = scene_of(weights={"b": 0.25})
    for number in range(9):
        submit(scene, f"a{number}", "a")
        submit(scene, f"b{number}", "b")
    for _ in range(9):
        run(scene, launched(scene)[-1], 10)
    assert "".join(job_id[0] for job_id in launched(scene)) == "abbbbbabbb"


def test_room_for_many_is_shared_out_at_once() -> None:
    """What is placed in one pass has used nothing yet, and still counts."""
    scene = Scene(vcpus=4)
    scene.environment("ce", 4, enabled=False)
    scene.fair_queue("fair")
    for number in range(4):
        submit(scene, f"a{number}", "a")
    for number in range(4):
        submit(scene, f"b{number}", "b")
    scene.environment("ce", 4)
    assert sorted(launched(scene)) == ["a0", "a1", "b0", "b1"]


def test_within_a_share_priority_goes_before_the_order_of_submission() -> None:
    scene = scene_of()
    submit(scene, "first", "a")
    submit(scene, "low", "a", priority=1)
    submit(scene, "high", "a", priority=9)
    submit(scene, "high too", "a", priority=9)
    for job_id in ("first", "high", "high too"):
        run(scene, job_id, 1)
    assert launched(scene) == ["first", "high", "high too", "low"]


def test_priority_is_worth_nothing_against_other_shares() -> None:
    scene = scene_of()
    submit(scene, "a1", "a", priority=9999)
    submit(scene, "a2", "a", priority=9999)
    submit(scene, "b1", "b")
    run(scene, "a1", 10)
    assert launched(scene) == ["a1", "b1"]


def test_a_prefix_weighs_every_share_it_covers_times_their_number() -> None:
    scene = scene_of(weights={"team*": 0.5})
    queue = scene.yard.queues["fair"].shares
    assert queue is not None
    submit(scene, "one", "teamA")
    assert queue.factor(queue.by_name["teamA"]) == 0.5
    submit(scene, "two", "teamB")
    submit(scene, "three", "other")
    assert [queue.factor(queue.by_name[name]) for name in ("teamA", "teamB", "other")] == [1, 1, DEFAULT_WEIGHT]


def test_running_attempts_count_while_they_run_and_what_is_over_fades() -> None:
    scene = scene_of(window_seconds=600)
    submit(scene, "a1", "a")
    assert used(scene, "a") == 0
    scene.now_ms += 10_000
    assert used(scene, "a") == pytest.approx(10, rel=0.02)
    run(scene, "a1", 0)
    then = used(scene, "a")
    scene.now_ms += 300_000
    assert used(scene, "a") == pytest.approx(then * 0.368, rel=0.01)
    scene.now_ms += 299_000
    assert used(scene, "a") > 0
    scene.now_ms += 1_000
    assert used(scene, "a") == 0


def test_vcpus_count_each_and_a_gang_with_all_its_nodes() -> None:
    scene = scene_of(vcpus=4)
    scene.submit_gang("gang", 3, queue="fair", share_identifier="a")
    scene.now_ms += 10_000
    assert used(scene, "a") == pytest.approx(30, rel=0.02)


def test_an_end_that_is_reported_late_is_counted_until_it_happened() -> None:
    scene = scene_of()
    submit(scene, "late", "a")
    submit(scene, "next", "b")
    attempt_id, ended_at_ms = scene.attempt("late"), scene.now_ms + 10_000
    scene.start("late")
    scene.now_ms += 100_000
    from_then = 10 * 0.74
    scene.exit_at(attempt_id, ended_at_ms)
    assert used(scene, "a") == pytest.approx(from_then, rel=0.02)


def test_a_share_is_active_while_it_has_jobs_or_use_that_counts() -> None:
    scene = scene_of(window_seconds=100)
    queue = scene.yard.queues["fair"]
    submit(scene, "a1", "a")
    submit(scene, "b1", "b")
    scene.cancel("b1")
    assert active_shares(queue) == ["a"], "it never used anything"
    run(scene, "a1", 10)
    scene.wait(99)
    assert active_shares(queue) == ["a"]
    scene.wait(1)
    assert active_shares(queue) == []
    assert scene.stored_shares == {}


def test_an_idle_share_saves_up_nothing() -> None:
    """It goes first when it comes back, until it has caught up with the window, not with all its idle time."""
    scene = scene_of(window_seconds=100)
    for number in range(60):
        submit(scene, f"a{number}", "a")
    for _ in range(40):
        run(scene, launched(scene)[-1], 10)
    for number in range(30):
        submit(scene, f"b{number}", "b")
    for _ in range(12):
        run(scene, launched(scene)[-1], 10)
    assert "".join(job_id[0] for job_id in launched(scene)[41:49]).count("a") >= 1


def test_a_head_that_does_not_fit_yet_keeps_the_room_for_itself() -> None:
    scene = scene_of(vcpus=2)
    submit(scene, "a1", "a")
    submit(scene, "big", "b", vcpus=2)
    submit(scene, "a2", "a")
    assert launched(scene) == ["a1"]
    run(scene, "a1", 10)
    assert launched(scene) == ["a1", "big"]


def test_a_job_that_can_never_fit_stops_its_own_share_alone() -> None:
    scene = scene_of(vcpus=2)
    submit(scene, "giant", "a", vcpus=3)
    submit(scene, "behind", "a")
    submit(scene, "other", "b")
    assert launched(scene) == ["other"]
    assert str(scene.reason("giant")).startswith("MISCONFIGURATION:")


def test_arrays_join_child_by_child() -> None:
    scene = scene_of()
    submit(scene, "a", "a", array=3)
    submit(scene, "b", "b", array=3)
    for _ in range(4):
        last = scene.launched[-1]
        run(scene, f"{last.job_id}:{last.index}", 10)
    assert launched(scene) == ["a", "b", "a", "b", "a"]


def test_reservation_keeps_vcpus_for_shares_that_are_not_active_yet() -> None:
    scene = scene_of(vcpus=8, reservation_percent=50)
    for number in range(8):
        submit(scene, f"a{number}", "a")
    assert len(launched(scene)) == 4
    submit(scene, "b1", "b")
    assert launched(scene)[4:] == ["b1", "a4"], "with two active shares, a quarter is reserved"


def test_reservation_never_stops_an_idle_queue() -> None:
    scene = scene_of(vcpus=2, reservation_percent=99)
    submit(scene, "a1", "a", vcpus=2)
    submit(scene, "a2", "a")
    assert launched(scene) == ["a1"]


def test_what_is_reserved_is_no_claim_on_other_queues() -> None:
    scene = scene_of(vcpus=2, reservation_percent=50)
    submit(scene, "a1", "a")
    submit(scene, "a2", "a")
    scene.submit("other", queue="q")
    assert launched(scene) == ["a1", "other"]


def test_a_changed_policy_holds_at_once_and_forgets_nothing() -> None:
    scene = scene_of()
    submit(scene, "a1", "a")
    submit(scene, "b1", "b")
    run(scene, "a1", 10)
    run(scene, "b1", 20)
    before = used(scene, "b")
    submit(scene, "hold", "c")
    submit(scene, "a2", "a")
    submit(scene, "b2", "b")
    scene.policy("fair", {"b": 0.1}, window_seconds=1000)
    assert used(scene, "b") == pytest.approx(before)
    run(scene, "hold", 5)
    assert launched(scene)[-1] == "b2"


def test_a_queue_can_change_to_another_policy() -> None:
    scene = scene_of()
    scene.policy("new", {"a": 7.0})
    submit(scene, "a1", "a")
    scene.queue("fair", policy="new")
    shares = scene.yard.queues["fair"].shares
    assert shares is not None
    assert shares.factor(shares.by_name["a"]) == 7


def test_what_waits_is_listed_as_it_would_be_placed() -> None:
    scene = scene_of()
    submit(scene, "running", "a")
    for job_id, share in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
        submit(scene, job_id, share)
    queue = scene.yard.queues["fair"]
    listed = [unit.unit_id for unit in order.waiting(scene.yard, queue)]
    assert listed == ["b1", "a1", "b2", "a2"]


def test_what_was_used_survives_a_restart() -> None:
    scene = scene_of()
    submit(scene, "a1", "a")
    submit(scene, "b1", "b")
    run(scene, "a1", 100)
    scene.now_ms += 50_000
    before = usage_by_share(scene.yard.queues["fair"], scene.now_ms)
    stored = dict(scene.stored_shares)
    again = Scene(vcpus=1)
    again.fair_queue("fair")
    for share in stored.values():
        restore_share(again.yard, share)
    again.now_ms = scene.now_ms
    assert used(again, "a") == pytest.approx(before[-1].used_vcpu_seconds)


def test_what_a_running_attempt_has_used_survives_a_restart() -> None:
    """A changed policy, too, stores what was used until then."""
    scene = scene_of()
    submit(scene, "a1", "a")
    scene.wait(10)
    scene.policy("fair", window_seconds=100)
    stored = scene.stored_shares["fair", "a"]
    shares = Shares(FairSharePolicy("fair", "later", window_seconds=100))
    shares.restore(stored)
    job = scene.yard.jobs["a1"]
    shares.join(job, 0)
    shares.begin(job, job.attempts[-1], 1000)
    scene.now_ms += 5_000
    assert shares.of(job).used_at(scene.now_ms, 100) == pytest.approx(used(scene, "a"))
    assert used(scene, "a") > 10


def test_small_jobs_of_other_shares_run_behind_a_blocked_gang_if_they_cannot_delay_it() -> None:
    scene = scene_of(vcpus=4)
    submit(scene, "before", "a", timeout_seconds=600)
    scene.start("before")
    scene.submit_gang("gang", 4, queue="fair", share_identifier="b")
    submit(scene, "short", "c", timeout_seconds=60)
    submit(scene, "endless", "c")
    assert [scene.status(each) for each in ("gang", "short", "endless")] == ["RUNNABLE", "STARTING", "RUNNABLE"]
    scene.exit("short")
    scene.exit("before")
    assert scene.status("gang") == "STARTING"


def test_a_gang_is_not_starved_by_small_jobs_of_other_shares() -> None:
    """Once it is its share's turn, what ends makes room for it alone."""
    scene = scene_of(vcpus=4)
    for number in range(8):
        submit(scene, f"small{number}", "a")
    scene.submit_gang("gang", 4, queue="fair", share_identifier="b")
    for number in range(4):
        scene.wait(10)
        scene.exit(f"small{number}")
    assert scene.status("gang") == "STARTING"
    assert launched(scene)[4:] == ["gang"]


def test_a_share_of_next_to_no_weight_has_its_turn_within_the_window() -> None:
    scene = scene_of(weights={"heavy": 0.0001, "light": 999.9999}, window_seconds=600)
    for number in range(200):
        submit(scene, f"heavy{number}", "heavy")
        submit(scene, f"light{number}", "light")
    turns = []
    while scene.now_ms < 1_700_000_000_000 + 3_000_000 and len(launched(scene)) < 190:
        if launched(scene)[-1].startswith("light"):
            turns.append(scene.now_ms)
        run(scene, launched(scene)[-1], 20)
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
    assert len(gaps) >= 3 and max(gaps) <= (600 + 2 * 20) * 1000
