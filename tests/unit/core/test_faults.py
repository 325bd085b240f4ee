"""Jobs that are accepted and can never be placed: the statusReason says why (facts §3, §7)."""

from __future__ import annotations

from batchyard.core.inputs import DependencyOutcome
from batchyard.core.states import JobStatus
from tests.unit.core.builders import Scene, after

FAULT = "Container Overrides length must be at most 8192"


def test_a_job_that_can_never_be_placed_fails_at_once_without_an_attempt() -> None:
    scene = Scene()
    outcome = scene.submit("a", fault=FAULT, max_attempts=3)
    assert [(move.source.name, move.target.name) for move in outcome.transitions] == [("SUBMITTED", "FAILED")]
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", FAULT)
    assert scene.record("a").stopped_at_ms == scene.now_ms
    assert scene.record("a").attempts == ()
    assert scene.launched == []


def test_an_array_fails_with_all_its_children() -> None:
    scene = Scene()
    scene.submit("a", fault=FAULT, array=3)
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", FAULT)
    assert scene.counts("a") == {"FAILED": 3}
    assert scene.reason("a:1") == FAULT


def test_a_gang_fails_with_all_its_nodes() -> None:
    scene = Scene()
    scene.submit_gang("g", 2, fault=FAULT)
    assert (scene.status("g"), scene.reason("g")) == ("FAILED", FAULT)
    assert scene.counts("g") == {"FAILED": 2}


def test_it_does_not_wait_for_its_dependencies_and_fails_those_that_wait_for_it() -> None:
    scene = Scene()
    scene.submit("first")
    scene.submit("a", after("first"), fault=FAULT)
    assert scene.status("a") == "FAILED"
    scene.submit("b", after("a"), ended=[DependencyOutcome("a", JobStatus.FAILED)])
    assert (scene.status("b"), scene.reason("b")) == ("FAILED", "Dependent Job failed")
    scene.exit("first")
    assert scene.status("first") == "SUCCEEDED"
