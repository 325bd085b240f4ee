"""GPUs: part of what an attempt needs, given out one by one, each to one attempt at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from batchyard.core import inputs, invariants
from batchyard.core.capacity import Pace
from batchyard.core.explain import Cause, Dimension, Obstacle, Shortage, explain
from batchyard.core.job import split_unit_id
from batchyard.core.model import EnvironmentState, MultiNodeTerms, NodeGroup, QueueState, Resources
from batchyard.core.restore import StoredJob, restore_job
from batchyard.core.step import step
from batchyard.core.yard import Yard
from batchyard.exceptions import InvariantBroken
from tests.unit.core.builders import Scene

TOO_LARGE = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is higher than that can"
    " be met by the CE(s) attached to the job queue."
)
FULL = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for instance type []"


def gpus_of(scene: Scene, unit_id: str) -> tuple[str, ...]:
    """Those of the unit's last attempt, as stored."""
    found: tuple[str, ...] = scene.record(unit_id).attempts[-1].gpus
    return found


def sized(*gpus: str, vcpus: int = 8) -> inputs.HostSized:
    return inputs.HostSized("host", vcpus * 1000, 8192, gpus=gpus)


def restarted(scene: Scene, unit_ids: Sequence[str], *events: inputs.Input) -> Yard:
    """A yard from the stored rows alone."""
    yard = Yard()
    first = [sized("g0", "g1", "g2", "g3"), inputs.EnvironmentChanged(EnvironmentState("ce", True, 8000))]
    joined = [inputs.InstanceRegistered("i-2", "ce", "host"), inputs.QueueChanged(QueueState("q", 1, ("ce",), 0))]
    step(yard, [*first, *joined, *events], scene.now_ms)
    for unit_id in unit_ids:
        stored = scene.stored[unit_id]
        restore_job(yard, StoredJob(stored.seq, unit_id, scene.yard.jobs[unit_id].terms, stored.record))
    invariants.check(yard)
    return yard


def test_each_attempt_gets_gpus_of_its_own_and_they_are_stored_before_it_is_launched() -> None:
    scene = Scene(vcpus=8, gpus=4)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=2)
    assert (gpus_of(scene, "a"), gpus_of(scene, "b")) == (("g0",), ("g1", "g2"))
    assert [each.gpus for each in scene.launched] == [("g0",), ("g1", "g2")]


def test_a_head_waits_for_gpus_and_gets_those_that_come_free() -> None:
    scene = Scene(vcpus=8, gpus=4)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=2)
    scene.submit("c", gpus=2)
    scene.submit("without", gpus=0)
    assert scene.statuses("c", "without") == ["RUNNABLE", "RUNNABLE"]  # first in, first out
    scene.exit("a")
    assert (gpus_of(scene, "c"), scene.status("without")) == (("g0", "g3"), "STARTING")


def test_a_job_without_gpus_has_none() -> None:
    scene = Scene(gpus=4)
    scene.submit("a")
    assert (gpus_of(scene, "a"), scene.launched[0].gpus) == ((), ())


def test_every_attempt_of_a_job_is_given_gpus_anew() -> None:
    scene = Scene(vcpus=8, gpus=3)
    scene.submit("first", gpus=1)
    scene.submit("a", gpus=2, max_attempts=2)
    scene.exit("first")
    scene.exit("a", 1)
    assert [each.gpus for each in scene.record("a").attempts] == [("g1", "g2"), ("g0", "g1")]


@pytest.mark.parametrize("how", ["exit", "lose", "not started"])
def test_gpus_are_free_again_after_every_kind_of_end(how: str) -> None:
    scene = Scene(gpus=1)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    if how == "lose":
        scene.lose("a")
    else:
        scene.exit("a", None if how == "not started" else 0, started=how == "exit")
    assert gpus_of(scene, "b") == ("g0",)


def test_children_of_an_array_share_the_gpus_out() -> None:
    scene = Scene(vcpus=8, gpus=2)
    scene.submit("a", array=3, gpus=1)
    assert [gpus_of(scene, f"a:{index}") for index in (0, 1)] == [("g0",), ("g1",)]
    assert scene.status("a:2") == "RUNNABLE"
    scene.exit("a:1")
    assert gpus_of(scene, "a:2") == ("g1",)


def gang(*groups: tuple[int, int, int]) -> MultiNodeTerms:
    """Groups of nodes: first, last, and the GPUs of each."""
    return MultiNodeTerms(0, tuple(NodeGroup(first, last, Resources(1000, 10, gpus)) for first, last, gpus in groups))


def test_the_nodes_of_a_gang_have_what_their_range_says_all_or_none() -> None:
    scene = Scene(vcpus=8, gpus=4)
    scene.submit("holder", gpus=1)
    terms = gang((0, 0, 0), (1, 2, 2))
    scene.submit("gang", vcpus=3, memory_mib=30, gpus=4, nodes=terms)
    assert scene.status("gang") == "RUNNABLE"
    scene.exit("holder")
    assert [gpus_of(scene, f"gang#{index}") for index in range(3)] == [(), ("g0", "g1"), ("g2", "g3")]
    scene.start("gang#0")
    assert {each.index: each.gpus for each in scene.launched[-3:]} == {0: (), 1: ("g0", "g1"), 2: ("g2", "g3")}


def test_behind_a_gang_goes_what_leaves_it_its_gpus() -> None:
    scene = Scene(vcpus=8, gpus=2)
    scene.submit("holder", gpus=1, timeout_seconds=600)
    scene.submit("gang", vcpus=2, memory_mib=20, gpus=2, nodes=gang((0, 1, 1)))
    scene.submit("takes a GPU", gpus=1)
    scene.submit("beside", gpus=0)
    assert scene.statuses("gang", "takes a GPU", "beside") == ["RUNNABLE", "RUNNABLE", "STARTING"]


# ---- who waits for what


def test_a_job_that_needs_more_gpus_than_there_are_says_so_and_blocks_its_queue() -> None:
    scene = Scene(gpus=1)
    scene.submit("a", gpus=2)
    scene.submit("behind")
    assert (scene.reason("a"), scene.status("behind")) == (TOO_LARGE, "RUNNABLE")
    facts = explain(scene.yard, "a")
    assert facts is not None and facts.cause is Cause.TOO_LARGE
    assert facts.environments[0].shortages == (Shortage(Dimension.GPU, 2, 1, 0, on_host=True),)


def test_a_host_without_gpus_runs_everything_else() -> None:
    scene = Scene()
    scene.queue("better", 5)
    scene.submit("a", queue="better", gpus=1)
    scene.submit("b")
    assert (scene.reason("a"), scene.status("b")) == (TOO_LARGE, "STARTING")


def test_waiting_for_the_queues_own_jobs_to_give_back_their_gpus_is_no_fault() -> None:
    scene = Scene(gpus=1)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    assert (scene.status("b"), scene.reason("b")) == ("RUNNABLE", None)
    facts = explain(scene.yard, "b")
    assert facts is not None and facts.cause is Cause.CAPACITY
    assert facts.environments[0].shortages == (Shortage(Dimension.GPU, 1, 1, 1, on_host=True),)


def test_gpus_that_another_environment_has_are_capacity_that_cannot_be_had() -> None:
    scene = Scene(gpus=1)
    scene.environment("other", 2)
    scene.queue("elsewhere", 1, ("other",))
    scene.submit("a", queue="elsewhere", gpus=1)
    scene.submit("b", gpus=1)
    assert scene.reason("b") == FULL


def test_gpus_are_kept_for_a_better_queue_and_other_room_is_not() -> None:
    scene = Scene(vcpus=4, gpus=2)
    scene.queue("better", 5)
    scene.submit("holder", gpus=1)
    scene.submit("wants both", queue="better", gpus=2)
    scene.submit("without")
    scene.submit("wants one", gpus=1)
    assert scene.statuses("wants both", "without", "wants one") == ["RUNNABLE", "STARTING", "RUNNABLE"]
    facts = explain(scene.yard, "wants one")
    assert facts is not None and facts.environments[0].obstacle is Obstacle.CLAIMED
    scene.exit("holder")
    assert scene.statuses("wants both", "wants one") == ["STARTING", "RUNNABLE"]


def test_a_head_keeps_its_gpus_while_it_waits_for_the_rest_of_its_room() -> None:
    """Else small jobs, with GPUs and without, could take turns in keeping it waiting."""
    scene = Scene(vcpus=4, gpus=2)
    scene.environment("small", 2)
    scene.queue("better", 5, ("small",))
    scene.submit("holder", vcpus=2, queue="better")
    scene.submit("head", vcpus=2, queue="better", gpus=2)
    scene.submit("other", gpus=1)
    assert scene.statuses("head", "other") == ["RUNNABLE", "RUNNABLE"]
    scene.exit("holder")
    assert scene.status("head") == "STARTING"


def test_nothing_that_needs_a_gpu_is_launched_ahead() -> None:
    scene = Scene(vcpus=8, launches_ahead=True, gpus=1)
    scene.yard.environments["ce"].pace = Pace(16, 1.0)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    assert scene.status("b") == "RUNNABLE"


def test_overcommitted_vcpus_make_no_gpus() -> None:
    scene = Scene(gpus=1)
    scene.tell(inputs.HostSized("host", None, None, gpus=("g0",)))
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    assert scene.statuses("a", "b") == ["STARTING", "RUNNABLE"]


# ---- over a restart


def test_a_restart_knows_who_has_what() -> None:
    scene = Scene(vcpus=8, gpus=4)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=2)
    scene.exit("a")
    scene.submit("c", gpus=1)
    yard = restarted(scene, ["b", "c"])
    assert yard.hosts["host"].gpus_in_use == {"g0": "ce", "g1": "ce", "g2": "ce"}
    assert yard.hosts["host"].gpus_in_use == scene.yard.hosts["host"].gpus_in_use
    outcome = step(yard, [inputs.EngineSurveyed("host", frozenset())], scene.now_ms)
    assert sorted(each.gpus for each in outcome.effects) == [("g0",), ("g1", "g2")]  # type: ignore[union-attr]


def test_a_gpu_that_is_gone_after_a_restart_is_its_attempts_own_until_the_end() -> None:
    scene = Scene(vcpus=8, gpus=2)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    fewer = sized("g1", "g9")
    yard = restarted(scene, ["a", "b"], fewer)
    unit = yard.find(*split_unit_id("a"))
    assert unit is not None and yard.hosts["host"].free_gpus() == ["g9"]
    step(yard, [inputs.AttemptExited(unit.attempts[-1].attempt_id, scene.now_ms, 0)], scene.now_ms)
    assert yard.hosts["host"].gpus_in_use == {"g1": "ce"}
    invariants.check(yard)


def test_the_invariants_notice_a_gpu_that_two_attempts_have() -> None:
    scene = Scene(vcpus=8, gpus=2)
    scene.submit("a", gpus=1)
    scene.submit("b", gpus=1)
    scene.yard.jobs["b"].attempts[-1].gpus = ("g0",)
    with pytest.raises(InvariantBroken, match="together with another"):
        invariants.check(scene.yard)
