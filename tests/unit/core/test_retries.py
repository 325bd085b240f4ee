"""User guide, "Automated Job Retries"; facts §11."""

from __future__ import annotations

import pytest

from batchyard.core.model import Attempt, JobTerms, Resources, RetryRule
from batchyard.core.retry import should_retry
from tests.unit.core.builders import Scene


def test_a_failed_attempt_goes_back_to_runnable_while_attempts_remain() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=2)
    scene.start("a")
    outcome = scene.exit("a", 1)
    assert [move.target.name for move in outcome.transitions] == ["RUNNABLE", "STARTING"]
    scene.exit("a", 1)
    assert scene.status("a") == "FAILED"
    assert [attempt.exit_code for attempt in scene.record("a").attempts] == [1, 1]


def test_attempts_are_numbered_from_one_and_have_ids_of_their_own() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=3)
    scene.exit("a", 1)
    scene.exit("a", 1)
    assert [effect.number for effect in scene.launched] == [1, 2, 3]
    assert len({effect.attempt_id for effect in scene.launched}) == 3


def test_success_ends_the_retries() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=5)
    scene.exit("a", 1)
    scene.exit("a", 0)
    assert scene.status("a") == "SUCCEEDED" and len(scene.launched) == 2


def test_a_start_failure_and_a_lost_host_are_retried() -> None:
    scene = Scene()
    scene.submit("a", max_attempts=3)
    scene.exit("a", None, "CannotStartContainerError: x", started=False)
    scene.start("a")
    scene.lose("a")
    assert scene.status("a") == "STARTING"
    assert scene.record("a").attempts[1].status_reason == "Host EC2 (instance i-1) terminated."


def test_a_job_whose_host_is_lost_for_good_says_so() -> None:
    scene = Scene()
    scene.submit("a")
    scene.start("a")
    scene.lose("a")
    assert (scene.status("a"), scene.reason("a")) == ("FAILED", "Host EC2 (instance i-1) terminated.")


def attempt(**values: object) -> Attempt:
    return Attempt("x", 1, "ce", "i-1", 0, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "ended", "retried"),
    [
        ([], attempt(exit_code=1), True),
        ([RetryRule("EXIT", on_exit_code="1")], attempt(exit_code=1), False),
        ([RetryRule("exit", on_exit_code="1*")], attempt(exit_code=137), False),
        ([RetryRule("EXIT", on_exit_code="1")], attempt(exit_code=137), True),
        ([RetryRule("EXIT", on_exit_code="1")], attempt(), True),
        (
            [RetryRule("RETRY", on_status_reason="Host EC2*"), RetryRule("EXIT", on_reason="*")],
            attempt(exit_code=1),
            False,
        ),
        (
            [RetryRule("RETRY", on_status_reason="Host EC2*"), RetryRule("EXIT", on_reason="*")],
            attempt(status_reason="Host EC2 (instance i-1) terminated."),
            True,
        ),
        ([RetryRule("EXIT", on_reason="Out*", on_exit_code="137")], attempt(exit_code=137), True),
        (
            [RetryRule("EXIT", on_reason="Out*", on_exit_code="137")],
            attempt(exit_code=137, reason="OutOfMemory"),
            False,
        ),
        ([RetryRule("EXIT", on_reason="Out")], attempt(reason="OutOfMemory"), True),
    ],
)
def test_evaluate_on_exit_takes_the_first_rule_all_of_whose_conditions_match(
    rules: list[RetryRule], ended: Attempt, retried: bool
) -> None:
    terms = JobTerms("q", Resources(1000, 1), max_attempts=2, retry_rules=tuple(rules))
    assert should_retry(terms, ended) is retried


def test_no_rule_brings_back_a_job_without_attempts_left() -> None:
    terms = JobTerms("q", Resources(1000, 1), retry_rules=(RetryRule("RETRY", on_reason="*"),))
    assert not should_retry(terms, attempt(exit_code=1))
