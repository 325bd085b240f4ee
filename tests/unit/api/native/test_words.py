"""The facts in plain words."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from batchyard.api.native import words
from batchyard.core.explain import (
    Awaited,
    Cause,
    ConsumableView,
    Dimension,
    EnvironmentView,
    Explanation,
    Obstacle,
    Shortage,
)
from batchyard.core.model import Attempt, Resources
from batchyard.core.schedule.fairshare import ShareUse
from batchyard.core.states import FAILED, PENDING, RUNNABLE, RUNNING, STARTING, SUCCEEDED, JobStatus


def facts(cause: Cause, status: JobStatus = RUNNABLE, **changes: Any) -> Explanation:
    values = {"unit_id": "job", "queue": "q", "need": Resources(1000, 100), **changes}
    return Explanation(cause=cause, status=status, **values)


def shortage(dimension: Dimension, needed: int, total: int, used: int = 0, *, on_host: bool = False) -> Shortage:
    return Shortage(dimension, needed, total, used, on_host)


SMALL = EnvironmentView("ce", Obstacle.TOO_SMALL, (shortage(Dimension.VCPU, 8000, 4000),))
FULL = EnvironmentView("ce", Obstacle.FULL, (shortage(Dimension.MEMORY, 300, 1000, 800, on_host=True),))
OFF = EnvironmentView("off", Obstacle.DISABLED)

HEAVY = ShareUse("heavy", 2000, 6.0, 12.0)
LIGHT = ShareUse("light", 0, 1.5, 1.5)
LICENCE = ConsumableView("licence", 2, 5, 4, is_claimed=False)
KEPT = ConsumableView("token", 1, 5, 0, is_claimed=True)
UNKNOWN = ConsumableView("nothing", 1, None, 0, is_claimed=False)

SENTENCES: list[tuple[Explanation, str]] = [
    (facts(Cause.PLACED, STARTING), "It has been placed and is about to run."),
    (facts(Cause.PLACED, RUNNING), "It is running."),
    (facts(Cause.STOPPING, RUNNING, stop_reason="enough"), "It is being stopped: enough"),
    (
        facts(Cause.STOPPING, PENDING, stop_reason="enough"),
        "It was cancelled and ends as soon as the jobs that it depends on have ended: enough",
    ),
    (
        facts(Cause.DEPENDENCIES, PENDING, waits_for=(Awaited("a", RUNNING), Awaited("b", None))),
        "It waits for 2 other jobs to succeed: a (RUNNING), b.",
    ),
    (
        facts(Cause.DEPENDENCIES, PENDING, waits_for=tuple(Awaited(str(number), PENDING) for number in range(7))),
        "It waits for 7 other jobs to succeed: 0 (PENDING), 1 (PENDING), 2 (PENDING), 3 (PENDING), 4 (PENDING)"
        " and 2 more.",
    ),
    (
        facts(Cause.CHILDREN, PENDING, counts=(0, 0, 3, 0, 2, 5, 0), next=facts(Cause.NOTHING, unit_id="job:7")),
        "It is an array job, and its children are 5 SUCCEEDED, 2 RUNNING and 3 RUNNABLE. Of child job:7: Nothing keeps"
        " it from running: the scheduler is about to place it.",
    ),
    (
        facts(Cause.TURN, ahead=1, next=facts(Cause.PLACED, RUNNING, unit_id="head")),
        "1 other job in queue q is placed first. Of head, the first: It is running.",
    ),
    (
        facts(Cause.TURN, ahead=2, share=HEAVY, next=facts(Cause.NOTHING, unit_id="head", share=LIGHT)),
        "2 other jobs in queue q are placed first. The share that has used least goes first: by its weight, heavy has"
        " used 12.0 vCPU-seconds of late, light 1.5. Of head, the first: Nothing keeps it from running: the scheduler"
        " is about to place it.",
    ),
    (
        facts(Cause.TURN, ahead=2, share=HEAVY, next=facts(Cause.NOTHING, unit_id="head", share=HEAVY)),
        "2 other jobs in queue q are placed first. Within its share, heavy, schedulingPriority and then submission"
        " decide. Of head, the first: Nothing keeps it from running: the scheduler is about to place it.",
    ),
    (
        facts(Cause.RESERVED),
        "It is the next of queue q, and would fit; but the queue's scheduling policy keeps what is free for shares that"
        " have no jobs now.",
    ),
    (
        facts(Cause.NO_ENVIRONMENT, environments=(OFF, EnvironmentView("gone", Obstacle.MISSING))),
        "No compute environment of queue q takes jobs: off is DISABLED and gone does not exist.",
    ),
    (
        facts(Cause.TOO_LARGE, environments=(SMALL, OFF)),
        "It is larger than anything that queue q has. ce: it needs 8 vCPUs, and the environment may use 4 vCPUs. off is"
        " DISABLED.",
    ),
    (
        facts(Cause.CONSUMABLES, consumables=(LICENCE, KEPT, UNKNOWN)),
        "It is the next of queue q and waits for 2 of licence, of which 1 of 5 is available, 1 of token, which is kept"
        " for the first job of a queue that goes before this one and 1 of nothing, which does not exist.",
    ),
    (
        facts(Cause.CAPACITY, environments=(FULL,), instances=3),
        "It is a multi-node job and needs 3 instances at the same time. It is the next of queue q, and there is not"
        " enough room. ce: it needs 300 MiB, and of the 1000 MiB that this machine has 200 MiB are free.",
    ),
]


@pytest.mark.parametrize(("explanation", "sentence"), SENTENCES)
def test_why(explanation: Explanation, sentence: str) -> None:
    assert words.summary(explanation) == sentence


@pytest.mark.parametrize(
    ("cause", "obstacle", "total", "used", "sentence"),
    [
        (Cause.TOO_LARGE, Obstacle.TOO_SMALL, 0, 0, "needs 2 GPUs, and this machine has none (the setting gpus)."),
        (Cause.TOO_LARGE, Obstacle.TOO_SMALL, 1, 0, "needs 2 GPUs, and this machine has 1 GPU."),
        (Cause.CAPACITY, Obstacle.FULL, 4, 3, "needs 2 GPUs, and of the 4 GPUs that this machine has 1 GPU is free."),
    ],
)
def test_too_few_gpus(cause: Cause, obstacle: Obstacle, total: int, used: int, sentence: str) -> None:
    gpu = EnvironmentView("ce", obstacle, (Shortage(Dimension.GPU, 2, total, used, on_host=True),))
    assert words.summary(facts(cause, environments=(gpu,))).endswith(f"ce: it {sentence}")


def test_what_would_start_whoever_waits_for_a_turn_includes_what_would_start_the_first() -> None:
    head = facts(Cause.CAPACITY, environments=(FULL,))
    assert words.starts_when(facts(Cause.TURN, ahead=2, next=head)) == (
        "When those before it have been placed. The first of them starts when enough of what runs there has ended."
    )
    assert words.starts_when(facts(Cause.CHILDREN, next=head)) == words.starts_when(head)


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_has_words(cause: Cause) -> None:
    explanation = facts(
        cause,
        counts=(0, 0, 1, 0, 0, 0, 0),
        waits_for=(Awaited("a", PENDING),),
        environments=(OFF,),
        consumables=(LICENCE,),
    )
    assert words.summary(explanation)
    has_answer = cause not in (Cause.PLACED, Cause.STOPPING, Cause.NOTHING, Cause.CHILDREN)
    assert bool(words.starts_when(explanation)) is has_answer


def test_the_end_is_said_with_its_reason() -> None:
    assert words.ended(SUCCEEDED, None) == "It has ended: SUCCEEDED."
    assert words.ended(FAILED, "Dependent Job failed") == "It has ended: FAILED, Dependent Job failed."
    assert words.ended(FAILED, "Host EC2 (instance i-1) terminated.") == (
        "It has ended: FAILED, Host EC2 (instance i-1) terminated."
    )


def test_the_end_of_a_job_that_failed_is_said_with_what_its_container_said() -> None:
    last = Attempt("a", 1, "default", "i-1", 0)
    not_started = replace(last, reason="CannotPullContainerError: no such host")
    assert words.ended(FAILED, "Task failed to start", not_started) == (
        "It has ended: FAILED, Task failed to start, CannotPullContainerError: no such host."
    )
    assert words.ended(FAILED, "Essential container in task exited", replace(last, exit_code=3)) == (
        "It has ended: FAILED, Essential container in task exited, exit code 3."
    )
    assert words.ended(FAILED, "The same", replace(last, reason="The same")) == "It has ended: FAILED, The same."
    assert words.ended(SUCCEEDED, "Essential container in task exited", replace(last, exit_code=0)) == (
        "It has ended: SUCCEEDED, Essential container in task exited."
    )
