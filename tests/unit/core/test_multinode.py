"""The multi-node parallel jobs pages; facts §10."""

from __future__ import annotations

import pytest

from batchyard.core import inputs
from batchyard.core.inputs import EngineSurveyed
from batchyard.core.job import attempt_id
from batchyard.core.model import RetryRule
from tests.unit.core.builders import Scene, after


def launched(scene: Scene) -> list[int | None]:
    return [effect.index for effect in scene.launched]


def stopped(scene: Scene, job_id: str, count: int, number: int = 1) -> set[int]:
    ids = {attempt_id(job_id, index, number): index for index in range(count)}
    return {ids[stop.attempt_id] for stop in scene.stops}


def running_gang(nodes: int = 3, **terms: object) -> Scene:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", nodes, **terms)  # type: ignore[arg-type]
    main = int(terms.get("main", 0))  # type: ignore[call-overload]
    scene.start(f"a#{main}")
    scene.start(*(f"a#{index}" for index in range(nodes) if index != main))
    return scene


def test_all_nodes_are_placed_together_and_the_main_node_is_launched_first() -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 3, main=1)
    assert scene.statuses("a", "a#0", "a#1", "a#2") == ["STARTING"] * 4
    assert launched(scene) == [1]


def test_the_other_nodes_follow_when_the_main_node_runs() -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 3, main=1)
    scene.start("a#1")
    assert scene.status("a") == "RUNNING" and launched(scene) == [1, 0, 2]
    assert scene.record("a").started_at_ms == scene.record("a#1").started_at_ms


def test_every_node_has_an_address_and_instance_of_its_own() -> None:
    scene = running_gang(4)
    placements = [effect.node for effect in scene.launched]
    assert len({node.address for node in placements if node}) == 4
    assert len({effect.instance_id for effect in scene.launched}) == 4
    assert all(node is not None and node.num_nodes == 4 and node.main_node == 0 for node in placements)


def test_only_the_other_nodes_are_told_the_main_nodes_address() -> None:
    scene = running_gang(3)
    main, *others = [effect.node for effect in scene.launched]
    assert main is not None and main.main_address is None
    assert all(node is not None and node.main_address == main.address for node in others)


def test_addresses_are_free_again_when_their_nodes_have_ended() -> None:
    scene = running_gang(2)
    scene.exit("a#1")
    scene.exit("a#0")
    assert scene.yard.hosts["host"].addresses == set()


def test_the_main_nodes_exit_stops_the_others_and_decides() -> None:
    scene = running_gang(3)
    scene.exit("a#0")
    assert stopped(scene, "a", 3) == {1, 2} and scene.status("a") == "RUNNING"
    scene.exit("a#1", 143)
    scene.exit("a#2", 143)
    assert (scene.status("a"), scene.reason("a")) == ("SUCCEEDED", "Essential container in task exited")
    assert scene.statuses("a#0", "a#1") == ["SUCCEEDED", "FAILED"]


def test_times_and_exit_code_of_the_job_are_its_main_nodes() -> None:
    scene = running_gang(2)
    scene.now_ms += 100
    ended_at_ms = scene.now_ms
    scene.exit("a#0", 7)
    scene.now_ms += 100
    scene.exit("a#1", 143)
    record = scene.record("a")
    assert (record.stopped_at_ms, record.attempts[-1].exit_code) == (ended_at_ms, 7)
    assert record.attempts == scene.record("a#0").attempts


def test_a_child_nodes_death_does_nothing() -> None:
    scene = running_gang(3)
    scene.exit("a#1", 1)
    assert scene.statuses("a", "a#0", "a#1", "a#2") == ["RUNNING", "RUNNING", "FAILED", "RUNNING"]
    scene.exit("a#2", 0)
    scene.exit("a#0", 0)
    assert scene.statuses("a", "a#2") == ["SUCCEEDED", "SUCCEEDED"]


def test_a_failed_main_node_takes_the_whole_gang_into_the_next_attempt() -> None:
    scene = running_gang(2, max_attempts=2)
    scene.exit("a#1", 1)
    assert scene.status("a#1") == "RUNNING"
    scene.exit("a#0", 1)
    assert scene.statuses("a", "a#0", "a#1") == ["STARTING"] * 3
    assert launched(scene)[-1] == 0 and scene.launched[-1].number == 2
    scene.start("a#0")
    scene.start("a#1")
    scene.exit("a#1")
    scene.exit("a#0")
    assert scene.status("a") == "SUCCEEDED"
    assert [each.exit_code for each in scene.record("a").attempts] == [1, 0]


def test_the_retry_waits_until_every_node_of_the_last_attempt_is_gone() -> None:
    scene = running_gang(2, max_attempts=2)
    scene.exit("a#0", 1)
    assert scene.status("a") == "RUNNING" and len(scene.launched) == 2
    scene.exit("a#1", 143)
    assert scene.status("a") == "STARTING"


def test_the_exit_rules_look_at_the_main_node() -> None:
    scene = running_gang(2, max_attempts=3, retry_rules=(RetryRule("EXIT", on_exit_code="7"),))
    scene.exit("a#0", 7)
    scene.exit("a#1", 143)
    assert scene.status("a") == "FAILED"


def test_a_main_node_that_cannot_start_ends_the_gang_without_launching_the_others() -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 3)
    scene.exit("a#0", None, "CannotStartContainerError: x", started=False)
    assert launched(scene) == [0] and scene.counts("a") == {"FAILED": 3}
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "Task failed to start")


def test_a_lost_main_node_is_retried_with_all_nodes() -> None:
    scene = running_gang(2, max_attempts=2)
    scene.lose("a#0")
    scene.lose("a#1")
    assert scene.status("a") == "STARTING"
    assert (scene.record("a").attempts[0].status_reason or "").startswith("Host EC2 (instance i-")


def test_a_timeout_covers_the_whole_job_and_reaches_every_node() -> None:
    scene = running_gang(3, timeout_seconds=60)
    scene.wait(60)
    assert stopped(scene, "a", 3) == {0, 1, 2}
    for index in (1, 0, 2):
        scene.exit(f"a#{index}", 137)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "Job attempt duration exceeded timeout")


def test_terminating_reaches_every_node() -> None:
    scene = running_gang(3, max_attempts=3)
    scene.terminate("a", "enough")
    assert stopped(scene, "a", 3) == {0, 1, 2}
    for index in range(3):
        scene.exit(f"a#{index}", 143)
    assert scene.reason("a") == scene.reason("a#2") == "enough"
    assert scene.counts("a") == {"FAILED": 3}


def test_terminating_a_gang_whose_main_node_is_starting_launches_nothing_more() -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 3)
    scene.terminate("a", "enough")
    assert stopped(scene, "a", 3) == {0}
    scene.exit("a#0", None, "stopped", started=False)
    assert launched(scene) == [0] and scene.reason("a") == "enough"


def test_a_node_that_obeys_the_signal_before_the_main_node_does_has_been_terminated_too() -> None:
    scene = running_gang(2)
    scene.terminate("a", "enough")
    scene.exit("a#1", 0)
    assert (scene.status("a#1"), scene.reason("a#1")) == ("FAILED", "enough")
    scene.exit("a#0", 0)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "enough")


def test_terminating_a_gang_whose_main_node_has_succeeded_comes_too_late() -> None:
    scene = running_gang(2)
    scene.exit("a#0")
    scene.terminate("a", "enough")
    scene.exit("a#1", 143)
    assert (scene.status("a"), scene.status("a#0")) == ("SUCCEEDED", "SUCCEEDED")


def test_terminating_a_gang_whose_main_node_has_failed_prevents_the_retry() -> None:
    scene = running_gang(2, max_attempts=2)
    scene.exit("a#0", 1)
    scene.terminate("a", "enough")
    scene.exit("a#1", 143)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "enough")


def test_one_node_can_be_terminated_alone() -> None:
    scene = running_gang(3)
    scene.terminate("a#1", "not this one")
    assert stopped(scene, "a", 3) == {1}
    scene.exit("a#1", 0)
    assert (scene.status("a#1"), scene.reason("a#1")) == ("FAILED", "not this one")
    assert scene.statuses("a", "a#0", "a#2") == ["RUNNING"] * 3


def test_a_node_that_was_terminated_before_its_start_never_starts() -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 3)
    scene.terminate("a#1", "not this one")
    scene.start("a#0")
    assert launched(scene) == [0, 2] and scene.stops == []
    assert (scene.status("a#1"), scene.reason("a#1")) == ("FAILED", "not this one")


def test_a_terminated_node_comes_back_with_the_next_attempt() -> None:
    scene = running_gang(2, max_attempts=2)
    scene.terminate("a#1", "not this one")
    scene.exit("a#1", 143)
    scene.exit("a#0", 1)
    scene.start("a#0")
    scene.start("a#1")
    scene.exit("a#1", 0)
    assert scene.status("a#1") == "SUCCEEDED"


def test_after_a_restart_a_terminated_node_is_asked_to_stop_again() -> None:
    scene = running_gang(2)
    scene.terminate("a#1")
    scene.stops.clear()
    scene.tell(EngineSurveyed("host", frozenset({scene.attempt("a#0"), scene.attempt("a#1")})))
    assert stopped(scene, "a", 2) == {1}


def test_cancelling_a_waiting_gang_ends_it_and_a_running_one_goes_on() -> None:
    scene = running_gang(2)
    scene.submit_gang("b", 8)
    scene.cancel("b", "no")
    scene.cancel("a", "no")
    assert scene.status("b") == "FAILED" and scene.counts("b") == {"FAILED": 8}
    assert scene.status("a") == "RUNNING" and scene.stops == []


def test_a_gang_waits_for_its_dependencies() -> None:
    scene = Scene(vcpus=8)
    scene.submit("first")
    scene.submit_gang("a", 2, after("first"))
    scene.submit_gang("b", 2, after("a"))
    assert scene.statuses("a", "a#1", "b") == ["PENDING"] * 3
    scene.exit("first")
    assert scene.statuses("a", "a#1") == ["STARTING", "STARTING"]
    scene.start("a#0")
    scene.exit("a#0", 1)
    scene.exit("a#1", 143)
    assert scene.reason("b") == scene.reason("b#0") == "Dependent Job failed"


def test_a_gang_is_placed_whole_or_not_at_all() -> None:
    scene = Scene(vcpus=4)
    scene.submit("small")
    scene.submit_gang("a", 4)
    assert scene.status("a") == "RUNNABLE" and scene.counts("a") == {"RUNNABLE": 4}
    scene.exit("small")
    assert scene.status("a") == "STARTING"


def test_small_jobs_do_not_starve_a_waiting_gang() -> None:
    scene = Scene(vcpus=4)
    scene.queue("other", priority=0)
    scene.submit("s1")
    scene.submit("s2")
    scene.submit_gang("a", 4)
    scene.submit("s3", queue="other")
    scene.exit("s1")
    assert scene.status("s3") == "RUNNABLE"
    scene.exit("s2")
    assert scene.status("a") == "STARTING"


def test_one_node_is_a_gang_too() -> None:
    scene = Scene()
    scene.submit_gang("a", 1)
    scene.start("a#0")
    scene.exit("a#0")
    assert scene.statuses("a", "a#0") == ["SUCCEEDED", "SUCCEEDED"]


@pytest.mark.parametrize("held", [[], ["main"], ["main", "other"]])
def test_after_a_restart_a_gang_goes_on_where_it_was(held: list[str]) -> None:
    scene = Scene(vcpus=8)
    scene.submit_gang("a", 2)
    if held:
        scene.start("a#0")
    names = {"main": scene.attempt("a#0"), "other": scene.attempt("a#1")}
    scene.launched.clear()
    scene.tell(EngineSurveyed("host", frozenset(names[each] for each in held)))
    # A node that the engine holds may still wait for its start there: it is asked for again.
    assert launched(scene) == {0: [0], 1: [1], 2: [1]}[len(held)]


def test_after_a_restart_a_gang_without_its_main_node_is_stopped() -> None:
    scene = running_gang(3)
    scene.tell(EngineSurveyed("host", frozenset({scene.attempt("a#1")})))
    assert 1 in stopped(scene, "a", 3)
    scene.exit("a#1", 143)
    assert scene.status("a") == "FAILED"


def test_a_node_that_a_restart_found_stopped_is_not_ended_again_when_the_main_node_starts() -> None:
    scene = Scene(vcpus=4)
    scene.submit_gang("gang", 2, max_attempts=2)
    scene.terminate("gang#1")
    scene.tell(inputs.EngineSurveyed("host", frozenset({scene.attempt("gang#0")})))
    scene.start("gang#0")
    scene.exit("gang#0")
    assert scene.statuses("gang", "gang#0", "gang#1") == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
