"""The oracle finds out whoever breaks a rule: what a simulation can't fail to see, it need not be believed about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.faults import saboteurs
from tests.faults.many import SHARED_MEMORY, template
from tests.faults.oracle import violations
from tests.faults.simulation import Options, simulate

SEEDS = range(60)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


def broken_promises(options: Options) -> set[str]:
    """The promises that the first seed breaks which shows the sabotage."""
    for seed in SEEDS:
        if found := violations(simulate(seed, template(), options)):
            return {text.partition(":")[0] for text in found}
    return set()


TOLD, TWICE, END = "attempts_are_told_as_they_were", "nothing_runs_twice", "acknowledged_jobs_end"


@pytest.mark.parametrize(
    ("options", "promises"),
    [
        (Options(runtime=saboteurs.ActsBeforeTheCommit), {TWICE, TOLD}),
        (Options(world=saboteurs.StartsTwice), {TWICE}),
        (Options(runtime=saboteurs.TakesInTheLastFirst), {"submissions_are_taken_in_by_their_order"}),
        (Options(engine=saboteurs.HoldsNothing), {TWICE, TOLD}),
        (Options(engine=saboteurs.ForgetsBeforeTheCommit), {TWICE, TOLD}),
        (Options(engine=saboteurs.NeverForgets), {"nothing_is_left"}),
        (Options(engine=saboteurs.LosesLaunches), {END}),
        (Options(database=saboteurs.AcknowledgesWhatFails), {END, TWICE, TOLD}),
        (Options(engine=saboteurs.ChoosesGpusItself), {"gpus_are_given_once"}),
        (Options(world=saboteurs.TellsWrongCodes), {TOLD}),
        (Options(world=saboteurs.HidesStarts), {TWICE, TOLD}),
    ],
    ids=lambda each: _name(each) if isinstance(each, Options) else "",
)
def test_a_broken_rule_is_found_out(options: Options, promises: set[str]) -> None:
    assert broken_promises(options) & promises


def _name(options: Options) -> str:
    parts = (options.runtime, options.world, options.engine, options.database)
    return next(part.__name__ for part in parts if part.__module__ == saboteurs.__name__)


def test_a_system_that_is_right_breaks_no_promise() -> None:
    for seed in range(10):
        assert violations(simulate(seed, template(), Options())) == []


def test_an_attempt_may_outlast_its_timeout_while_there_is_no_supervisor() -> None:
    """In this seed one dies shortly before it would have killed what ignores SIGTERM, and the next comes late."""
    assert violations(simulate(5004737, template(), Options())) == []


def test_simulations_leave_nothing_on_a_disk() -> None:
    if not SHARED_MEMORY.is_dir():
        pytest.skip("requires /dev/shm")
    assert Path(template()).is_relative_to(SHARED_MEMORY)
