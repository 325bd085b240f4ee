"""User guide, "Job Scheduling" and "Job Queue Parameters": order, preference, capacity."""

from __future__ import annotations

from batchyard.core.inputs import EngineSurveyed, HostSized, InstanceRegistered
from batchyard.core.job import attempt_id
from tests.unit.core.builders import Scene, after


def launched(scene: Scene) -> list[str]:
    return [effect.job_id for effect in scene.launched]


def test_jobs_start_in_the_order_of_submission() -> None:
    scene = Scene(vcpus=1)
    for job_id in "abc":
        scene.submit(job_id)
    for job_id in "abc":
        scene.exit(job_id)
    assert launched(scene) == ["a", "b", "c"]


def test_a_head_that_does_not_fit_blocks_its_queue() -> None:
    scene = Scene(vcpus=2)
    scene.submit("a")
    scene.submit("big", vcpus=2)
    scene.submit("small")
    assert launched(scene) == ["a"]
    scene.exit("a")
    scene.exit("big")
    assert launched(scene) == ["a", "big", "small"]


def test_higher_priority_queues_go_first() -> None:
    scene = Scene(vcpus=1)
    scene.queue("urgent", priority=10)
    scene.submit("first")
    scene.submit("low")
    scene.submit("high", queue="urgent")
    scene.exit("first")
    assert launched(scene) == ["first", "high"]


def test_small_jobs_of_a_lesser_queue_do_not_starve_a_large_one() -> None:
    scene = Scene(vcpus=2)
    scene.queue("urgent", priority=10)
    scene.submit("s1")
    scene.submit("s2")
    scene.submit("large", queue="urgent", vcpus=2)
    scene.submit("s3")
    scene.exit("s1")
    assert "s3" not in launched(scene)
    scene.exit("s2")
    assert launched(scene)[-1] == "large"


def test_a_head_that_is_only_kept_waiting_by_a_claim_claims_nothing_itself() -> None:
    scene = Scene(vcpus=8)
    scene.environment("x", 4)
    scene.environment("y", 4)
    for name, priority, environment in (("best", 3, "x"), ("better", 2, "x"), ("good", 1, "y")):
        scene.queue(name, priority, (environment,))
    scene.submit("a", queue="best", vcpus=2)
    scene.submit("large", queue="best", vcpus=4)
    scene.submit("small", queue="better")
    scene.submit("elsewhere", queue="good")
    assert scene.statuses("large", "small", "elsewhere") == ["RUNNABLE", "RUNNABLE", "STARTING"]


def test_a_job_too_large_for_its_queue_holds_nothing_back_elsewhere() -> None:
    scene = Scene(vcpus=2)
    scene.queue("urgent", priority=10)
    scene.submit("giant", queue="urgent", vcpus=64)
    scene.submit("small")
    assert launched(scene) == ["small"]
    assert scene.status("giant") == "RUNNABLE"


def test_environments_fill_in_the_order_of_the_queue() -> None:
    scene = Scene(vcpus=4)
    scene.environment("one", 1)
    scene.environment("two", 2)
    scene.queue("both", environments=("one", "two"))
    for job_id in "abcd":
        scene.submit(job_id, queue="both")
    assert [effect.environment for effect in scene.launched] == ["one", "two", "two"]


def test_a_disabled_environment_takes_nothing_and_what_runs_there_goes_on() -> None:
    scene = Scene()
    scene.submit("a")
    scene.environment("ce", 2, enabled=False)
    scene.submit("b")
    scene.exit("a")
    assert scene.statuses("a", "b") == ["SUCCEEDED", "RUNNABLE"]


def test_a_disabled_queue_runs_what_it_has() -> None:
    scene = Scene(vcpus=1)
    scene.submit("a")
    scene.submit("b")
    scene.queue("q", enabled=False)
    scene.exit("a")
    assert scene.status("b") == "STARTING"


def test_environments_share_the_real_size_of_their_host() -> None:
    scene = Scene(vcpus=2)
    scene.environment("more", 8)
    scene.queue("q2", environments=("more",))
    scene.submit("a", queue="q2", vcpus=2)
    scene.submit("b")
    assert launched(scene) == ["a"]


def test_overcommitted_hosts_never_run_out() -> None:
    scene = Scene(vcpus=1)
    scene.tell(HostSized("host", None, None))
    scene.environment("more", 64)
    scene.queue("q2", environments=("more",))
    for job_id in "abc":
        scene.submit(job_id, queue="q2", vcpus=16, memory_mib=1_000_000)
    assert launched(scene) == ["a", "b", "c"]


def test_memory_counts_as_vcpus_do() -> None:
    scene = Scene(vcpus=8, memory_mib=1000)
    scene.submit("a", memory_mib=600)
    scene.submit("b", memory_mib=600)
    assert launched(scene) == ["a"]


def test_fractions_of_a_vcpu_add_up() -> None:
    scene = Scene(vcpus=1)
    for number in range(5):
        scene.submit(str(number), vcpus=0.25)
    assert len(scene.launched) == 4


def test_an_environment_without_an_instance_places_nothing() -> None:
    scene = Scene()
    scene.yard.environments["ce"].instance_id = None
    scene.submit("a")
    assert scene.status("a") == "RUNNABLE"
    scene.tell(InstanceRegistered("i-2", "ce", "host"))
    assert scene.status("a") == "STARTING"


def test_a_deleted_environment_goes_when_its_last_attempt_has_ended() -> None:
    scene = Scene()
    scene.submit("a")
    scene.environment("ce", 2, enabled=False, deleting=True)
    assert "ce" in scene.yard.environments
    scene.exit("a")
    assert "ce" not in scene.yard.environments


def survey(scene: Scene, *held: str) -> None:
    scene.tell(EngineSurveyed("host", frozenset(held)))


def test_after_a_restart_an_attempt_that_never_reached_its_engine_is_launched() -> None:
    scene = Scene()
    scene.submit("a")
    survey(scene)
    assert launched(scene) == ["a", "a"] and scene.status("a") == "STARTING"
    assert len({effect.attempt_id for effect in scene.launched}) == 1


def test_after_a_restart_what_still_waits_in_its_engine_is_asked_for_again() -> None:
    """Whatever holds it may die before it starts it, and then only this server can tell its successor."""
    scene = Scene()
    scene.submit("a")
    survey(scene, scene.attempt("a"))
    assert launched(scene) == ["a", "a"]
    scene.start("a")
    survey(scene, scene.attempt("a"))
    assert launched(scene) == ["a", "a"]


def test_after_a_restart_a_running_attempt_that_is_gone_is_lost() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=2)
    scene.start("a")
    survey(scene)
    assert scene.launched[-1].attempt_id == attempt_id("a", None, 2)


def test_after_a_restart_a_held_attempt_goes_on() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.start("a")
    survey(scene, "a")
    assert launched(scene) == ["a"] and scene.stops == []


def test_after_a_restart_a_stop_is_asked_for_again() -> None:
    scene = Scene()
    scene.submit("a")
    scene.terminate("a")
    survey(scene, "a")
    assert [stop.attempt_id for stop in scene.stops] == ["a", "a"]


def test_after_a_restart_a_stopped_attempt_that_never_started_ends() -> None:
    scene = Scene()
    scene.submit("a")
    scene.terminate("a", "enough")
    survey(scene)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "enough") and launched(scene) == ["a"]


def test_after_a_restart_attempts_of_nobody_are_stopped_and_forgotten() -> None:
    scene = Scene()
    survey(scene, "stray")
    assert [stop.attempt_id for stop in scene.stops] == ["stray"] and scene.forgotten == ["stray"]


def test_an_attempt_is_launched_into_the_subnets_that_its_environment_has_then() -> None:
    scene = Scene(vcpus=2)
    scene.environment("ce", 2, subnets=("subnet-1", "subnet-2"))
    scene.submit("a")
    scene.environment("ce", 2, subnets=("subnet-3",))
    scene.submit("b")
    assert [each.subnets for each in scene.launched] == [("subnet-1", "subnet-2"), ("subnet-3",)]
