"""Resource-aware scheduling (facts §13): taken at STARTING, given back at the end or gone for good."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.core import inputs
from batchyard.core.explain import Cause, ConsumableView, explain
from batchyard.core.model import ConsumableNeed, ConsumableState, EnvironmentState
from batchyard.core.outcome import ConsumableSettled, ConsumableUsed, Outcome
from batchyard.core.restore import StoredJob, restore_job
from batchyard.core.step import step
from batchyard.core.yard import Yard
from tests.unit.core.builders import Scene

REASON = "CAPACITY:INSUFFICIENT_CONSUMABLE_RESOURCE - The job waits for consumable resource(s): "


def stock(total: int, name: str = "licence", *, replenishable: bool = True, **changes: Any) -> inputs.ConsumableChanged:
    return inputs.ConsumableChanged(ConsumableState(name, total, replenishable), 1, **changes)


def needs(quantity: int, name: str = "licence") -> dict[str, Any]:
    return {"consumables": (ConsumableNeed(name, quantity),)}


def used(outcome: Outcome) -> list[tuple[str, int, int]]:
    return [(each.name, each.in_use, each.spent) for each in outcome.changes if isinstance(each, ConsumableUsed)]


def level(scene: Scene, name: str = "licence") -> tuple[int, int]:
    """(total, in use)"""
    found = scene.yard.stock.by_name[name]
    return found.state.total, found.in_use


def test_a_resource_is_settled_in_the_version_that_was_taken_in() -> None:
    scene = Scene()
    assert scene.tell(stock(3)).changes == [ConsumableSettled("licence", 1)]
    assert scene.tell(stock(3, removed=True)).changes == [ConsumableSettled("licence", 1, removed=True)]


def test_a_job_takes_when_it_is_placed_and_gives_back_at_its_end() -> None:
    scene = Scene()
    scene.tell(stock(3))
    assert used(scene.submit("a", **needs(2))) == [("licence", 2, 0)]
    assert (scene.status("a"), level(scene)) == ("STARTING", (3, 2))
    assert used(scene.exit("a")) == [("licence", 0, 0)]
    assert level(scene) == (3, 0)


def test_what_is_not_replenishable_is_gone_for_good() -> None:
    scene = Scene()
    scene.tell(stock(3, replenishable=False))
    scene.submit("a", max_attempts=2, **needs(1))
    assert level(scene) == (3, 1)
    assert used(scene.exit("a", 1)) == [("licence", 1, 1)]
    assert (scene.status("a"), level(scene)) == ("STARTING", (2, 1))
    assert used(scene.exit("a")) == [("licence", 0, 1)]
    assert level(scene) == (1, 0)


def test_a_job_waits_runnable_and_says_what_for_until_there_is_enough() -> None:
    scene = Scene()
    scene.tell(stock(2), stock(0, "token"))
    scene.submit("a", **needs(2))
    scene.submit("b", consumables=(ConsumableNeed("licence", 1), ConsumableNeed("token", 1)))
    assert (scene.status("b"), scene.reason("b")) == ("RUNNABLE", f"{REASON}licence, token")
    scene.exit("a")
    assert scene.reason("b") == f"{REASON}token"
    scene.tell(stock(1, "token"))
    assert (scene.status("b"), scene.reason("b")) == ("STARTING", None)


def test_a_head_without_its_resource_blocks_its_queue_and_no_room() -> None:
    scene = Scene(vcpus=1)
    scene.queue("lesser", priority=0)
    scene.tell(stock(0))
    scene.submit("head", **needs(1))
    scene.submit("behind")
    scene.submit("elsewhere", queue="lesser")
    assert scene.statuses("head", "behind", "elsewhere") == ["RUNNABLE", "RUNNABLE", "STARTING"]


def test_small_needs_of_a_lesser_queue_do_not_starve_a_large_one() -> None:
    scene = Scene(vcpus=8)
    scene.queue("lesser", priority=0)
    scene.tell(stock(2))
    scene.submit("s1", queue="lesser", **needs(1))
    scene.submit("s2", queue="lesser", **needs(1))
    scene.submit("large", **needs(2))
    scene.submit("s3", queue="lesser", **needs(1))
    scene.exit("s1")
    assert scene.statuses("large", "s3") == ["RUNNABLE", "RUNNABLE"]
    assert scene.reason("s3") is None
    scene.exit("s2")
    assert scene.statuses("large", "s3") == ["STARTING", "RUNNABLE"]


def test_a_need_beyond_the_total_holds_nothing_back_elsewhere() -> None:
    scene = Scene()
    scene.queue("lesser", priority=0)
    scene.tell(stock(2))
    scene.submit("giant", **needs(3))
    scene.submit("small", queue="lesser", **needs(1))
    assert scene.statuses("giant", "small") == ["RUNNABLE", "STARTING"]


def test_every_child_of_an_array_takes_its_own() -> None:
    scene = Scene(vcpus=8)
    scene.tell(stock(5))
    scene.submit("array", array=4, **needs(2))
    assert (scene.counts("array"), level(scene)) == ({"STARTING": 2, "RUNNABLE": 2}, (5, 4))
    assert scene.reason("array:2") == f"{REASON}licence"
    scene.exit("array:0")
    assert scene.status("array:2") == "STARTING"


def test_what_a_gang_needs_itself_is_taken_once_with_its_main_node() -> None:
    scene = Scene(vcpus=8)
    scene.tell(stock(3, replenishable=False))
    scene.submit_gang("gang", 3, main=1, **needs(2))
    assert level(scene) == (3, 2)
    scene.start("gang#1")
    scene.exit("gang#0")
    assert level(scene) == (3, 2)
    scene.exit("gang#1")
    scene.exit("gang#2")
    assert (scene.status("gang"), level(scene)) == ("SUCCEEDED", (1, 0))


def test_a_gang_takes_what_all_its_nodes_need_or_nothing() -> None:
    scene = Scene(vcpus=8)
    scene.tell(stock(6))
    each = (ConsumableNeed("licence", 2),)
    scene.submit_gang("gang", 3, by_node=each, **needs(1))
    assert (scene.status("gang"), level(scene)) == ("RUNNABLE", (6, 0))
    assert scene.reason("gang") == f"{REASON}licence"
    scene.tell(stock(7))
    assert (scene.status("gang"), level(scene)) == ("STARTING", (7, 7))


@pytest.mark.parametrize(("replenishable", "left"), [(True, 7), (False, 0)])
def test_every_node_gives_back_what_it_took_when_it_ends(replenishable: bool, left: int) -> None:
    scene = Scene(vcpus=8)
    scene.tell(stock(7, replenishable=replenishable))
    scene.submit_gang("gang", 3, by_node=(ConsumableNeed("licence", 2),), **needs(1))
    scene.start("gang#0")
    scene.exit("gang#2")
    assert level(scene)[1] == 5
    scene.exit("gang#0")
    assert level(scene)[1] == 2
    scene.exit("gang#1", 143)
    assert (scene.status("gang"), level(scene)) == ("SUCCEEDED", (left, 0))


def test_a_gang_that_is_tried_again_takes_again() -> None:
    scene = Scene(vcpus=8)
    scene.tell(stock(9, replenishable=False))
    scene.submit_gang("gang", 2, by_node=(ConsumableNeed("licence", 2),), max_attempts=3)
    for total in (9, 5):
        assert (scene.status("gang"), level(scene)) == ("STARTING", (total, 4))
        scene.start("gang#0")
        scene.exit("gang#0", 1)
        scene.exit("gang#1", 143)
    assert (scene.status("gang"), level(scene)) == ("RUNNABLE", (1, 0))


def test_whatever_ends_an_attempt_gives_back() -> None:
    scene = Scene()
    scene.tell(stock(1))
    scene.submit("lost", **needs(1))
    scene.submit("unstarted", **needs(1))
    scene.submit("stopped", **needs(1))
    scene.lose("lost")
    scene.exit("unstarted", None, "no such command", started=False)
    scene.start("stopped")
    scene.terminate("stopped")
    scene.exit("stopped", 137)
    assert level(scene) == (1, 0)


def test_an_owner_may_take_away_what_is_in_use() -> None:
    scene = Scene()
    scene.tell(stock(3))
    scene.submit("a", **needs(3))
    scene.tell(stock(1))
    scene.submit("b", **needs(1))
    assert scene.status("b") == "RUNNABLE"
    scene.exit("a")
    assert (scene.status("b"), level(scene)) == ("STARTING", (1, 1))


def test_a_deleted_resource_is_waited_for_and_what_was_taken_of_it_counts_when_it_comes_back() -> None:
    scene = Scene()
    scene.tell(stock(2))
    scene.submit("a", **needs(2))
    scene.tell(stock(2, removed=True))
    scene.submit("b", **needs(1))
    assert scene.reason("b") == f"{REASON}licence"
    assert used(scene.tell(stock(2))) == [("licence", 2, 0)]
    assert scene.status("b") == "RUNNABLE"
    scene.exit("a")
    assert scene.status("b") == "STARTING"
    scene.tell(stock(2, removed=True))
    scene.exit("b")
    assert scene.status("b") == "SUCCEEDED"


def test_after_a_restart_what_is_in_use_follows_from_the_live_attempts() -> None:
    scene = Scene()
    scene.tell(stock(3))
    scene.submit("a", **needs(2))
    terms, record = scene.yard.jobs["a"].terms, scene.record("a")
    scene.yard = Yard()
    step(
        scene.yard,
        [
            inputs.HostSized("host", 2000, 8192),
            inputs.EnvironmentChanged(EnvironmentState("ce", True, 2000)),
            inputs.InstanceRegistered("i-2", "ce", "host"),
            stock(3),
        ],
        scene.now_ms,
    )
    scene.queue("q")
    restore_job(scene.yard, StoredJob(1, "a", terms, record))
    outcome = scene.tell(inputs.EngineSurveyed("host", frozenset({"a"})))
    assert (used(outcome), level(scene)) == ([("licence", 2, 0)], (3, 2))


def test_what_never_began_has_spent_nothing() -> None:
    """After a restart nobody knows which launches wait for room: one with consumables may be recalled too."""
    scene = Scene()
    scene.tell(stock(3, replenishable=False))
    scene.submit("a", **needs(2))
    assert used(scene.recalled("a")) == [("licence", 2, 0)]
    assert (scene.status("a"), level(scene)) == ("STARTING", (3, 2))


def test_it_explains_what_a_head_is_short_of() -> None:
    scene = Scene()
    scene.tell(stock(3))
    scene.submit("a", **needs(2))
    scene.submit("b", consumables=(ConsumableNeed("licence", 2), ConsumableNeed("nothing", 1)))
    found = explain(scene.yard, "b")
    assert found is not None and found.cause is Cause.CONSUMABLES
    assert found.consumables == (
        ConsumableView("licence", 2, 3, 2, is_claimed=False),
        ConsumableView("nothing", 1, None, 0, is_claimed=False),
    )


def test_what_a_better_queue_waits_for_is_claimed() -> None:
    scene = Scene(vcpus=8)
    scene.queue("lesser", priority=0)
    scene.tell(stock(3))
    scene.submit("a", **needs(2))
    scene.submit("b", **needs(2))
    scene.submit("c", queue="lesser", **needs(1))
    found = explain(scene.yard, "c")
    assert found is not None and found.cause is Cause.CONSUMABLES
    assert found.consumables == (ConsumableView("licence", 1, 3, 2, is_claimed=True),)
