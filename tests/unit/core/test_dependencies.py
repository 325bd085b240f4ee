"""User guide, "Job Dependencies"."""

from __future__ import annotations

import pytest

from batchyard.core.inputs import AttemptExited, DependencyOutcome, JobSubmitted
from batchyard.core.model import JobTerms, Resources
from batchyard.core.states import FAILED, SUCCEEDED
from tests.unit.core.builders import N_TO_N, SEQUENTIAL, Scene, after

ONE = Resources(1000, 1)


def test_a_job_waits_in_pending_until_all_its_dependencies_succeeded() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b")
    scene.submit("c", after("a"), after("b"))
    assert scene.status("c") == "PENDING"
    scene.exit("a")
    assert scene.status("c") == "PENDING"
    scene.exit("b")
    assert scene.status("c") == "STARTING"


def test_a_failed_dependency_fails_what_waits_for_it() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.submit("c", after("b"))
    scene.exit("a", 1)
    for unit in ("b", "c"):
        assert (scene.status(unit), scene.reason(unit)) == ("FAILED", "Dependent Job failed")
        assert scene.record(unit).attempts == () and scene.record(unit).stopped_at_ms == scene.now_ms


def test_a_long_chain_fails_without_recursion() -> None:
    scene = Scene()
    scene.submit("0")
    scene.tell(
        *(
            JobSubmitted(100 + number, str(number), JobTerms("q", ONE, depends_on=(after(str(number - 1)),)))
            for number in range(1, 3000)
        )
    )
    scene.exit("0", 1)
    assert scene.yard.jobs == {}


def test_dependencies_that_ended_before_count() -> None:
    scene = Scene()
    scene.submit("b", after("a"), ended=[DependencyOutcome("a", SUCCEEDED)])
    scene.submit("c", after("x"), ended=[DependencyOutcome("x", FAILED)])
    assert scene.statuses("b", "c") == ["STARTING", "FAILED"]


def test_two_failing_dependencies_fail_a_job_once() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"))
    scene.submit("c", after("a"), after("b"))
    scene.exit("a", 1)
    assert scene.status("c") == "FAILED"


def test_an_array_waits_as_a_whole() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"), array=3)
    assert scene.counts("b") == {"PENDING": 3} and scene.status("b") == "PENDING"
    scene.exit("a")
    assert scene.counts("b") == {"STARTING": 2, "RUNNABLE": 1}


def test_an_array_whose_dependency_failed_fails_with_all_its_children() -> None:
    scene = Scene()
    scene.submit("a")
    scene.submit("b", after("a"), array=3)
    scene.exit("a", 1)
    assert scene.counts("b") == {"FAILED": 3}
    assert scene.statuses("b", "b:2") == ["FAILED", "FAILED"]
    assert scene.reason("b") == scene.reason("b:2") == "Dependent Job failed"


def test_a_plain_dependency_on_an_array_waits_for_the_whole_array() -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.submit("b", after("a"))
    scene.exit("a:0")
    assert scene.status("b") == "PENDING"
    scene.exit("a:1")
    assert scene.status("b") == "STARTING"


def test_n_to_n_pairs_children_by_index() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", array=3)
    scene.submit("b", after("a", N_TO_N), array=3)
    scene.exit("a:1")
    assert scene.statuses("b:0", "b:1", "b:2") == ["PENDING", "STARTING", "PENDING"]


def test_n_to_n_fails_only_the_child_whose_partner_failed() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", array=2)
    scene.submit("b", after("a", N_TO_N), array=2)
    scene.exit("a:0", 1)
    scene.exit("a:1")
    scene.exit("b:1")
    assert scene.statuses("b:0", "b:1", "b") == ["FAILED", "SUCCEEDED", "FAILED"]
    assert (scene.reason("b:0"), scene.reason("b")) == ("Dependent Job failed", "Array Child Job failed")


def test_n_to_n_with_an_array_that_is_half_done() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", array=3)
    scene.exit("a:0")
    scene.exit("a:1", 1)
    scene.submit("b", after("a", N_TO_N), array=3)
    assert scene.statuses("b:0", "b:1", "b:2") == ["STARTING", "FAILED", "PENDING"]


def test_n_to_n_with_an_array_that_ended_before() -> None:
    scene = Scene(vcpus=8)
    scene.submit("b", after("a", N_TO_N), array=3, ended=[DependencyOutcome("a", FAILED, (2,))])
    assert scene.statuses("b:0", "b:1", "b:2") == ["STARTING", "STARTING", "FAILED"]


def test_sequential_children_run_one_after_the_other() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", after("", SEQUENTIAL), array=3)
    assert scene.counts("a") == {"STARTING": 1, "PENDING": 2}
    scene.exit("a:0")
    assert scene.counts("a") == {"SUCCEEDED": 1, "STARTING": 1, "PENDING": 1}
    scene.exit("a:1")
    scene.exit("a:2")
    assert scene.status("a") == "SUCCEEDED"


def test_a_failed_sequential_child_fails_all_after_it() -> None:
    scene = Scene()
    scene.submit("a", after("", SEQUENTIAL), array=200)
    scene.exit("a:0")
    scene.exit("a:1", 1)
    assert scene.counts("a") == {"SUCCEEDED": 1, "FAILED": 199}
    assert (scene.status("a"), scene.reason("a:2")) == ("FAILED", "Dependent Job failed")


def test_n_to_n_and_sequential_together_wait_for_both() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", array=2)
    scene.submit("b", after("a", N_TO_N), after("", SEQUENTIAL), array=2)
    scene.exit("a:1")
    assert scene.statuses("b:0", "b:1") == ["PENDING", "PENDING"]
    scene.exit("a:0")
    scene.exit("b:0")
    assert scene.status("b:1") == "STARTING"


@pytest.mark.parametrize(("code", "status"), [(0, "STARTING"), (1, "FAILED")])
def test_a_job_can_wait_for_one_child(code: int, status: str) -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.submit("b", after("a:1"))
    scene.exit("a:0")
    scene.submit("c", after("a:0"))
    assert scene.statuses("b", "c") == ["PENDING", "STARTING"]
    scene.exit("c")
    scene.exit("a:1", code)
    assert scene.status("b") == status


def test_a_child_may_be_named_like_a_node() -> None:
    scene = Scene()
    scene.submit("a", array=2)
    scene.submit("b", after("a#1"))
    scene.exit("a:0")
    assert scene.status("b") == "PENDING"
    scene.exit("a:1")
    assert scene.status("b") == "STARTING"


def test_a_dependency_and_its_dependent_may_come_in_one_step_with_an_end() -> None:
    scene = Scene(vcpus=8)
    scene.submit("a", array=2)
    terms = JobTerms("q", ONE, depends_on=(after("a", N_TO_N),), array_size=2)
    scene.tell(AttemptExited(scene.attempt("a:1"), scene.now_ms, 0), JobSubmitted(99, "b", terms))
    assert scene.statuses("b:0", "b:1") == ["PENDING", "STARTING"]
