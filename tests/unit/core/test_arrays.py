"""User guide, "Array Jobs"."""

from __future__ import annotations

import tracemalloc

from tests.unit.core.builders import Scene


def test_a_parent_spawns_its_children_and_stays_pending() -> None:
    scene = Scene()
    scene.submit("a", array=3)
    assert scene.status("a") == "PENDING"
    assert scene.counts("a") == {"STARTING": 2, "RUNNABLE": 1}


def test_children_run_in_the_order_of_their_index() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=3)
    for index in range(3):
        scene.exit(f"a:{index}")
    assert [effect.index for effect in scene.launched] == [0, 1, 2]


def test_a_parent_succeeds_when_all_children_have() -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.exit("a:0")
    assert scene.status("a") == "PENDING"
    scene.exit("a:1")
    assert scene.status("a") == "SUCCEEDED"
    assert scene.record("a").stopped_at_ms == scene.now_ms and scene.record("a").attempts == ()


def test_a_failed_child_fails_the_parent_once_all_have_ended() -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.exit("a:0", 1)
    assert scene.status("a") == "PENDING"
    scene.exit("a:1")
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "Array Child Job failed")
    assert scene.status("a:1") == "SUCCEEDED"


def test_a_child_retries_before_its_later_siblings_start() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=3, max_attempts=2)
    scene.exit("a:0", 1)
    assert [(effect.index, effect.number) for effect in scene.launched] == [(0, 1), (0, 2)]


def test_cancelling_a_child_leaves_its_siblings_and_fails_the_parent() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=2)
    scene.cancel("a:1", "not this one")
    scene.exit("a:0")
    assert scene.statuses("a:0", "a:1", "a") == ["SUCCEEDED", "FAILED", "FAILED"]
    assert scene.reason("a:1") == "not this one"


def test_untouched_children_have_no_rows_of_their_own() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a", array=10_000)
    assert set(scene.stored_children) == {("a", 0)}
    scene.terminate("a")
    scene.exit("a:0", 143)
    assert scene.counts("a") == {"FAILED": 10_000} and set(scene.stored_children) == {("a", 0)}


def test_a_large_array_takes_a_few_bytes_a_child() -> None:
    scene = Scene(vcpus=1)
    tracemalloc.start()
    scene.submit("a", array=10_000)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 10_000 * 10


def test_ids_that_are_no_child_are_ignored() -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.submit("b")
    for unit_id in ("a:2", "a:x", "a:-1", "b:0", "nobody", "", ":"):
        assert scene.terminate(unit_id).transitions == []
