"""GetJobQueueSnapshot: who goes next, since when, and what the queue's jobs occupy."""

from __future__ import annotations

from batchyard.core.job import Job
from batchyard.core.schedule import order
from batchyard.core.snapshot import MAX_FRONT, Snapshot, snapshot
from tests.unit.core.builders import Scene


def front(scene: Scene, queue: str = "q") -> dict[str, int]:
    """Unit ids in order, with the seconds since the scene began at which they came to their places."""
    return {place.unit_id: (place.since_ms - 1_000_000) // 1000 for place in taken(scene, queue).front}


def taken(scene: Scene, queue: str = "q") -> Snapshot:
    found = snapshot(scene.yard, queue)
    assert found is not None
    return found


def test_an_unknown_queue_has_no_snapshot() -> None:
    assert snapshot(Scene().yard, "other") is None


def test_runnable_jobs_stand_in_the_order_of_submission_and_arrays_by_their_children() -> None:
    scene = Scene(vcpus=1)
    scene.submit("running")
    scene.submit("a")
    scene.submit("array", array=3)
    scene.submit_gang("gang", 2)
    scene.submit("b")
    assert list(front(scene)) == ["a", "array:0", "array:1", "array:2", "gang", "b"]


def test_vcpus_in_use_are_those_of_the_queue() -> None:
    scene = Scene(vcpus=4)
    scene.queue("other")
    scene.submit("a", vcpus=1.5)
    scene.submit("b", queue="other")
    assert (taken(scene).used_vcpu_milli, taken(scene, "other").used_vcpu_milli) == (1500, 1000)


def test_a_place_is_kept_until_something_before_it_moves() -> None:
    scene = Scene(vcpus=1)
    for job_id in ("running", "a", "b", "c"):
        scene.submit(job_id)
        scene.wait(10)
    assert front(scene) == {"a": 10, "b": 20, "c": 30}
    scene.cancel("b")
    assert front(scene) == {"a": 10, "c": 40}
    scene.wait(10)
    scene.exit("running")
    assert front(scene) == {"c": 50}


def test_a_retried_job_pushes_back_those_behind_it() -> None:
    scene = Scene(vcpus=2)
    scene.submit("first", max_attempts=2)
    scene.submit("second", vcpus=2)
    scene.submit("third", vcpus=2)
    scene.wait(10)
    scene.environment("ce", 0)
    scene.exit("first", 1)
    assert front(scene) == {"first": 10, "second": 10, "third": 10}


def test_only_the_front_is_shown() -> None:
    scene = Scene(vcpus=1)
    scene.submit("running")
    scene.submit("array", array=MAX_FRONT + 50)
    assert list(front(scene))[-1] == f"array:{MAX_FRONT - 1}" and len(front(scene)) == MAX_FRONT


def test_the_order_is_read_off_the_heap_without_sorting_it() -> None:
    scene = Scene(vcpus=1)
    scene.submit("running")
    for number in range(40):
        scene.submit(f"job{number}")
    for number in range(0, 40, 3):
        scene.cancel(f"job{number}")
    waiting = [unit.unit_id for unit in order.waiting(scene.yard, scene.yard.queues["q"]) if isinstance(unit, Job)]
    assert waiting == [f"job{number}" for number in range(40) if number % 3]
