"""Why a unit isn't running: one cause, and the facts that belong to it."""

from __future__ import annotations

import pytest

from batchyard.core import inputs
from batchyard.core.explain import (
    Awaited,
    Cause,
    Dimension,
    EnvironmentView,
    Explanation,
    Obstacle,
    Shortage,
    explain,
)
from batchyard.core.inputs import DependencyOutcome
from batchyard.core.model import EnvironmentState, FairSharePolicy
from batchyard.core.states import PENDING, RUNNABLE, RUNNING, STARTING, SUCCEEDED
from tests.unit.core.builders import N_TO_N, SEQUENTIAL, Scene, after


def facts(scene: Scene, unit_id: str) -> Explanation:
    found = explain(scene.yard, unit_id)
    assert found is not None and found.unit_id == unit_id
    return found


def waits_for(scene: Scene, unit_id: str) -> list[Awaited]:
    found = facts(scene, unit_id)
    assert found.cause is Cause.DEPENDENCIES
    return list(found.waits_for)


def test_what_the_scheduler_does_not_hold_it_cannot_explain() -> None:
    scene = Scene()
    scene.submit("a")
    scene.exit("a")
    scene.submit("array", array=2)
    for unit_id in ("a", "nobody", "array:2", "array:x", ""):
        assert explain(scene.yard, unit_id) is None


def test_what_runs_is_placed() -> None:
    scene = Scene()
    scene.submit("a")
    assert (facts(scene, "a").cause, facts(scene, "a").status) == (Cause.PLACED, STARTING)
    scene.start("a")
    assert (facts(scene, "a").cause, facts(scene, "a").status) == (Cause.PLACED, RUNNING)


def test_a_job_waits_for_the_jobs_and_children_it_depends_on() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("array", array=2)
    ended = [DependencyOutcome("long-ago", SUCCEEDED)]
    scene.submit("b", after("a"), after("array:1"), after("long-ago"), ended=ended)
    assert waits_for(scene, "b") == [Awaited("a", STARTING), Awaited("array:1", RUNNABLE)]
    scene.exit("a")
    assert waits_for(scene, "b") == [Awaited("array:1", RUNNABLE)]


def test_children_wait_for_their_counterparts_and_siblings() -> None:
    scene = Scene(vcpus=1)
    scene.submit("first", array=2)
    scene.submit("second", after("first", N_TO_N), array=2)
    scene.submit("chain", after("", SEQUENTIAL), array=3)
    assert waits_for(scene, "second:1") == [Awaited("first:1", RUNNABLE)]
    assert waits_for(scene, "chain:2") == [Awaited("chain:1", PENDING)]
    assert facts(scene, "chain:0").cause is Cause.TURN


def test_an_array_tells_of_its_children_and_of_the_next_one() -> None:
    scene = Scene(vcpus=1)
    scene.submit("array", array=3)
    found = facts(scene, "array")
    assert found.cause is Cause.CHILDREN and found.next is not None
    assert (found.counts[RUNNABLE], found.counts[STARTING]) == (2, 1)
    assert (found.next.unit_id, found.next.cause) == ("array:1", Cause.CAPACITY)


def test_whoever_is_not_first_waits_for_its_turn() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("array", array=3)
    scene.submit("last")
    assert facts(scene, "array:2").ahead == 2
    found = facts(scene, "last")
    assert (found.cause, found.ahead) == (Cause.TURN, 3)
    assert found.next is not None and (found.next.unit_id, found.next.cause) == ("array:0", Cause.CAPACITY)


def test_a_head_is_short_of_room_in_its_environment_and_on_its_host() -> None:
    scene = Scene(vcpus=2, memory_mib=1000)
    scene.submit("a", vcpus=1, memory_mib=900)
    scene.submit("b", vcpus=2, memory_mib=200)
    found = facts(scene, "b")
    assert found.cause is Cause.CAPACITY
    assert found.environments == (
        EnvironmentView(
            "ce",
            Obstacle.FULL,
            (
                Shortage(Dimension.VCPU, 2000, 2000, 1000, on_host=False),
                Shortage(Dimension.VCPU, 2000, 2000, 1000, on_host=True),
                Shortage(Dimension.MEMORY, 200, 1000, 900, on_host=True),
            ),
        ),
    )


def test_a_job_larger_than_its_environments() -> None:
    scene = Scene(vcpus=2, memory_mib=1000)
    scene.submit("a", vcpus=1, memory_mib=1001)
    found = facts(scene, "a")
    assert found.cause is Cause.TOO_LARGE
    assert found.environments[0].shortages == (Shortage(Dimension.MEMORY, 1001, 1000, 0, on_host=True),)


def test_room_that_is_taken_counts_before_an_environment_that_is_too_small() -> None:
    scene = Scene(vcpus=4)
    scene.environment("small", 1)
    scene.environment("off", 4, enabled=False)
    scene.queue("q", environments=("small", "off", "gone", "ce"))
    scene.submit("a", vcpus=3)
    scene.submit("b", vcpus=2)
    found = facts(scene, "b")
    assert found.cause is Cause.CAPACITY
    assert [view.obstacle for view in found.environments] == [
        Obstacle.TOO_SMALL,
        Obstacle.DISABLED,
        Obstacle.MISSING,
        Obstacle.FULL,
    ]


def test_a_queue_without_an_environment_that_takes_jobs() -> None:
    scene = Scene()
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", False, 2000)))
    scene.submit("a")
    assert facts(scene, "a").cause is Cause.NO_ENVIRONMENT


def test_room_kept_for_a_better_queue() -> None:
    scene = Scene(vcpus=2)
    scene.queue("urgent", priority=10)
    scene.submit("running")
    scene.submit("large", queue="urgent", vcpus=2)
    scene.submit("small")
    found = facts(scene, "small")
    assert found.cause is Cause.BETTER_QUEUE and found.environments[0].obstacle is Obstacle.CLAIMED
    assert facts(scene, "large").cause is Cause.CAPACITY


def test_a_gang_needs_its_instances_together_and_so_do_its_nodes() -> None:
    scene = Scene(vcpus=2)
    scene.submit("running")
    scene.submit_gang("gang", 2)
    for unit_id in ("gang", "gang#1"):
        found = facts(scene, unit_id)
        assert (found.cause, found.instances, found.need.vcpu_milli) == (Cause.CAPACITY, 2, 2000)


def test_a_stop_counts_before_everything_else() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.cancel("b", "no need")
    scene.terminate("a", "enough")
    found = facts(scene, "a")
    assert (found.cause, found.stop_reason, found.is_cancelled) == (Cause.STOPPING, "enough", False)
    assert facts(scene, "b").is_cancelled


def test_a_server_that_is_stopping_places_nothing() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b")
    scene.tell(inputs.DrainRequested("bye"))
    assert facts(scene, "b").cause is Cause.SHUTDOWN


@pytest.mark.parametrize("unit_id", ["a", "array", "array:1", "last"])
def test_explaining_changes_nothing(unit_id: str) -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("array", array=3)
    scene.submit("cancelled")
    scene.cancel("cancelled")
    scene.submit("last")
    before = str(scene.yard.queues), str(scene.yard.environments), len(scene.yard.jobs["array"].array.children)  # type: ignore[union-attr]
    assert facts(scene, unit_id)
    assert before == (
        str(scene.yard.queues),
        str(scene.yard.environments),
        len(scene.yard.jobs["array"].array.children),  # type: ignore[union-attr]
    )


def fair(reservation_percent: int = 0) -> Scene:
    """Four vCPUs and a fair-share queue `fair`."""
    scene = Scene(vcpus=4)
    scene.tell(inputs.PolicyChanged(FairSharePolicy("policy", "1", reservation_percent=reservation_percent)))
    scene.queue("fair", policy="policy")
    return scene


def share(scene: Scene, job_id: str, identifier: str, vcpus: float = 1) -> None:
    scene.submit(job_id, queue="fair", share_identifier=identifier, vcpus=vcpus)


def test_in_a_fair_share_queue_the_share_that_has_used_least_goes_first() -> None:
    scene = fair()
    share(scene, "running", "a", 4)
    share(scene, "second", "a")
    scene.wait(10)
    share(scene, "first", "b")
    found = facts(scene, "second")
    assert (found.cause, found.ahead) == (Cause.TURN, 1)
    assert found.next is not None and found.next.unit_id == "first"
    assert found.share is not None and found.next.share is not None
    assert found.share.share_identifier == "a" and found.next.share.share_identifier == "b"
    assert found.share.weighted_usage > found.next.share.weighted_usage


def test_a_share_whose_head_can_never_run_holds_up_nobody_else() -> None:
    scene = fair()
    share(scene, "running", "b", 4)
    share(scene, "giant", "a", 64)
    share(scene, "behind", "a")
    share(scene, "other", "c")
    assert facts(scene, "giant").cause is Cause.TOO_LARGE
    behind = facts(scene, "behind")
    assert behind.next is not None and behind.next.unit_id == "giant"
    assert facts(scene, "other").cause is Cause.CAPACITY


def test_room_reserved_for_other_shares() -> None:
    scene = fair(reservation_percent=50)
    share(scene, "running", "a", 2)
    share(scene, "next", "a")
    found = facts(scene, "next")
    assert found.cause is Cause.RESERVED and found.environments[0].obstacle is Obstacle.RESERVED
