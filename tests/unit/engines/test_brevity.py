"""Which attempts are thought to be brief, by how long the last ones ran."""

from __future__ import annotations

from typing import cast

from batchyard.engines.process import brevity
from batchyard.engines.process.attempt import Attempt
from batchyard.engines.process.brevity import Brevity


class Named:
    """As much of an attempt as is looked at here."""

    def __init__(self, attempt_id: str) -> None:
        self.attempt_id = attempt_id


def after(brief: int, lasting: int = 0) -> Brevity:
    found = Brevity()
    for seconds, times in ((0.001, brief), (60.0, lasting)):
        for _ in range(times):
            found.ended("a", seconds)
    return found


def test_nothing_is_expected_to_be_brief_at_first() -> None:
    assert not Brevity().is_expected


def test_a_series_of_brief_attempts_makes_the_next_expected_to_be() -> None:
    assert not after(brief=10).is_expected
    assert after(brief=50).is_expected


def test_one_that_lasts_changes_nothing_and_a_few_do() -> None:
    assert after(brief=200, lasting=1).is_expected
    assert not after(brief=200, lasting=3).is_expected


def test_those_that_last_are_given_once_and_those_that_ended_never() -> None:
    found = after(brief=50)
    ended, lasting = (cast("Attempt", Named(name)) for name in ("ended", "lasting"))
    for attempt in (ended, lasting):
        found.began(attempt, at=0.0)
    found.ended("ended", 0.001)
    assert found.take_lasting(now=brevity.BRIEF_SECONDS / 2) == []
    assert found.awaits_ends
    assert found.take_lasting(now=brevity.BRIEF_SECONDS) == [lasting]
    assert not found.awaits_ends
    assert found.take_lasting(now=200.0) == []
