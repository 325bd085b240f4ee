"""Launching ahead: an engine with short attempts is given the next ones before there is room for them (ADR 11)."""

from __future__ import annotations

from typing import Any

from batchyard.core import inputs
from batchyard.core.model import ConsumableNeed, ConsumableState, EnvironmentState, RoomLimit
from batchyard.core.restore import StoredJob, restore_job
from batchyard.core.schedule.ahead import MAX_AHEAD, MIN_ENDS, RECALL_AFTER_MS
from batchyard.core.states import JobStatus
from batchyard.core.yard import Yard
from tests.unit.core.builders import Scene


def scene_with_short_jobs(run_seconds: float = 0.001, *, launches_ahead: bool = True, **options: Any) -> Scene:
    """A scene in which so many short attempts have ended that their length is known."""
    scene = Scene(launches_ahead=launches_ahead, **options)
    scene.submit("short", array=MIN_ENDS)
    for index in range(MIN_ENDS):
        scene.start(f"short:{index}")
        scene.now_ms += int(run_seconds * 1000)
        scene.exit(f"short:{index}")
    assert scene.status("short") == "SUCCEEDED"
    scene.launched.clear()
    return scene


def starting(scene: Scene, job_id: str) -> int:
    return scene.counts(job_id).get("STARTING", 0)


def test_short_attempts_are_launched_ahead() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.submit("next", array=500)
    assert starting(scene, "next") == 2 + MAX_AHEAD


def test_long_attempts_are_not() -> None:
    scene = scene_with_short_jobs(run_seconds=1, vcpus=2)
    scene.submit("next", array=500)
    assert starting(scene, "next") == 2


def test_the_longer_they_are_the_fewer_go_ahead() -> None:
    scene = scene_with_short_jobs(run_seconds=0.02, vcpus=4)
    scene.submit("next", array=500)
    assert starting(scene, "next") == 4 + 10


def test_nothing_goes_ahead_before_the_length_is_known() -> None:
    scene = Scene(launches_ahead=True, vcpus=2)
    scene.submit("first", array=500)
    assert starting(scene, "first") == 2


def test_an_engine_that_does_not_see_to_its_room_is_given_none_ahead() -> None:
    scene = scene_with_short_jobs(launches_ahead=False, vcpus=2)
    scene.submit("next", array=500)
    assert starting(scene, "next") == 2
    assert scene.launched[0].rooms == ()


def test_the_launches_say_how_large_the_rooms_are() -> None:
    scene = scene_with_short_jobs(vcpus=2, memory_mib=8192)
    scene.submit("next")
    assert scene.launched[0].rooms == (RoomLimit("environment ce", 2000, None), RoomLimit("host host", 2000, 8192))


def test_every_end_lets_another_go_ahead() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.submit("next", array=500)
    scene.start("next:0", "next:1")
    assert starting(scene, "next") == MAX_AHEAD
    scene.exit("next:0")
    scene.start("next:2")
    assert (starting(scene, "next"), scene.counts("next")["RUNNING"]) == (MAX_AHEAD, 2)


def test_what_could_never_fit_does_not_go_ahead() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.submit("large", vcpus=3)
    assert scene.status("large") == "RUNNABLE"


def test_a_gang_and_a_job_that_takes_consumables_do_not_go_ahead() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.tell(inputs.ConsumableChanged(ConsumableState("licence", 5, True), 1))
    scene.queue("other")
    scene.submit("one", vcpus=2)
    scene.submit_gang("gang", 2)
    scene.submit("licensed", queue="other", consumables=(ConsumableNeed("licence", 1),))
    assert scene.statuses("one", "gang", "licensed") == ["STARTING", "RUNNABLE", "RUNNABLE"]


def test_fair_share_queues_place_nothing_ahead() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.fair_queue("fair")
    scene.submit("next", array=10, queue="fair", share_identifier="a")
    assert starting(scene, "next") == 2


def test_a_lesser_queue_does_not_go_ahead_of_a_blocked_head() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.queue("urgent", priority=9)
    scene.submit("first", queue="urgent")
    scene.submit_gang("gang", 2, queue="urgent")
    scene.submit("lesser", array=10)
    assert (scene.status("gang"), starting(scene, "lesser")) == ("RUNNABLE", 0)


def test_nothing_goes_ahead_into_the_room_of_nodes_that_are_launched_later() -> None:
    """The engine would start it at once: of a gang it knows only the nodes that it was given."""
    scene = scene_with_short_jobs(vcpus=4)
    scene.submit_gang("gang", 4)
    scene.submit("next", array=10)
    assert (scene.status("gang"), starting(scene, "next")) == ("STARTING", 0)
    scene.start("gang#0")
    order = [(launch.job_id, launch.index) for launch in scene.launched]
    assert order[:4] == [("gang", 0), ("gang", 1), ("gang", 2), ("gang", 3)] and starting(scene, "next") == 10


def test_nodes_of_a_gang_that_was_placed_wait_for_no_room() -> None:
    """Else the main node would wait for ever for those that an environment made smaller has no room for."""
    scene = Scene(vcpus=4, launches_ahead=True)
    scene.submit_gang("gang", 4)
    scene.tell(inputs.EnvironmentChanged(EnvironmentState("ce", True, 2000)))
    scene.start("gang#0")
    rooms = (RoomLimit("environment ce", None, None), RoomLimit("host host", None, None))
    assert [launch.rooms for launch in scene.launched] == [rooms] * 4


def test_a_gang_that_starts_is_found_again_after_a_restart() -> None:
    scene = scene_with_short_jobs(vcpus=2)
    scene.submit_gang("gang", 2)
    job = scene.yard.jobs["gang"]
    restarted = Scene(vcpus=2, launches_ahead=True)
    stored = scene.stored["gang"]
    children = tuple((index, scene.record(f"gang#{index}")) for index in range(2))
    restore_job(restarted.yard, StoredJob(job.seq, "gang", job.terms, stored.record, stored.rest, children))
    assert restarted.tell() and restarted.yard.starting_gangs == {"gang"}


def test_what_fits_beside_a_waiting_gang_does_not_go_ahead() -> None:
    """Each alone would leave the gang its room; together they take it, and nobody knows for how long."""
    scene = scene_with_short_jobs(vcpus=4)
    scene.queue("urgent", priority=9)
    scene.submit("before", vcpus=4, queue="urgent", timeout_seconds=60)
    scene.start("before")
    scene.submit_gang("gang", 2, queue="urgent")
    scene.submit("lesser", array=10)
    assert (scene.status("gang"), starting(scene, "lesser")) == ("RUNNABLE", 0)


class TestRecall:
    def scene(self) -> Scene:
        scene = scene_with_short_jobs(vcpus=1)
        scene.submit("long")
        scene.start("long")
        scene.submit("waits")
        assert scene.status("waits") == "STARTING"
        return scene

    def test_what_waits_too_long_is_recalled_and_runnable_again(self) -> None:
        scene = self.scene()
        outcome = scene.wait((RECALL_AFTER_MS - 1) / 1000)
        assert scene.recalls == []
        assert outcome.next_deadline_ms == scene.now_ms + 1
        scene.wait(0.001)
        assert scene.recalls == [scene.attempt("waits")]
        scene.recalled("waits")
        assert scene.status("waits") == "RUNNABLE"
        assert scene.record("waits").attempts == ()

    def test_its_attempt_has_the_same_number_again(self) -> None:
        scene = self.scene()
        first = scene.attempt("waits")
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.recalled("waits")
        scene.exit("long")
        assert scene.attempt("waits") == first
        assert scene.record("waits").attempts[0].number == 1

    def test_afterwards_nothing_goes_ahead_until_the_length_is_known_again(self) -> None:
        scene = self.scene()
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.recalled("waits")
        scene.submit("another")
        assert scene.statuses("waits", "another") == ["RUNNABLE", "RUNNABLE"]

    def test_a_recall_that_got_lost_is_made_again(self) -> None:
        scene = self.scene()
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.wait(RECALL_AFTER_MS / 1000)
        assert scene.recalls == [scene.attempt("waits")] * 2

    def test_what_began_in_the_meantime_goes_on(self) -> None:
        scene = self.scene()
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.exit("long")
        scene.start("waits")
        scene.wait(RECALL_AFTER_MS / 1000)
        assert (scene.status("waits"), len(scene.recalls)) == ("RUNNING", 1)

    def test_a_job_that_was_terminated_ends_when_it_is_recalled(self) -> None:
        scene = self.scene()
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.terminate("waits", "enough")
        scene.recalled("waits")
        assert (scene.status("waits"), scene.reason("waits")) == ("FAILED", "enough")

    def test_children_of_a_cancelled_array_end_when_they_are_recalled(self) -> None:
        scene = scene_with_short_jobs(vcpus=1)
        scene.submit("array", array=2)
        scene.start("array:0")
        scene.cancel("array", "not needed")
        assert scene.status("array:1") == "STARTING"
        scene.wait(RECALL_AFTER_MS / 1000)
        scene.recalled("array:1")
        assert (scene.status("array:1"), scene.reason("array:1")) == ("FAILED", "not needed")

    def test_after_a_restart_what_has_not_begun_is_recalled_too(self) -> None:
        scene = self.scene()
        stored, terms = dict(scene.stored), {job_id: job.terms for job_id, job in scene.yard.jobs.items()}
        scene.yard = Yard()
        scene.tell(
            inputs.HostSized("host", 1000, 8192, launches_ahead=True),
            inputs.EnvironmentChanged(EnvironmentState("ce", True, 1000)),
            inputs.InstanceRegistered("i-1", "ce", "host"),
        )
        scene.queue("q")
        for job_id, its_terms in terms.items():
            restore_job(scene.yard, StoredJob(stored[job_id].seq, job_id, its_terms, stored[job_id].record))
        held = frozenset(scene.attempt(job_id) for job_id in terms)
        scene.tell(inputs.EngineSurveyed("host", held))
        assert scene.launched[-1].job_id == "waits"
        scene.wait(RECALL_AFTER_MS / 1000)
        assert scene.recalls == [scene.attempt("waits")]
        assert JobStatus.STARTING is scene.yard.jobs["waits"].status
