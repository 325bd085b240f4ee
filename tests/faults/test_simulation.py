"""Hundreds of seeds, and every place of a few workloads at which the server may die (docs/faults.md)."""

from __future__ import annotations

import os

import pytest

from tests.faults.__main__ import sweep
from tests.faults.many import Outcome, Task, run_all

BASE_VARIABLE, SEEDS_VARIABLE = "BATCHYARD_FAULTS_BASE", "BATCHYARD_FAULTS_SEEDS"
WORKERS = min(4, os.cpu_count() or 1)


def broken(outcomes: list[Outcome]) -> str:
    """What went wrong first, and how to see it again."""
    failed = sorted((each for each in outcomes if each.violations), key=lambda each: each.seed)
    if not failed:
        return ""
    worst = failed[0]
    again = f"make faults SEED={worst.seed}" + "".join(f" CRASH='{site}:{n}'" for site, n in worst.crashes or ())
    return "\n".join([f"{len(failed)} of {len(outcomes)} failed: {again}", *worst.violations, worst.story or ""])


def test_no_promise_is_broken_whatever_goes_wrong() -> None:
    base = int(os.environ.get(BASE_VARIABLE, "0"))
    seeds = range(base, base + int(os.environ.get(SEEDS_VARIABLE, "400")))
    outcomes = list(run_all([Task(seed) for seed in seeds], WORKERS))
    assert not broken(outcomes), broken(outcomes)
    # The seeds are worth something only if what they are about takes place.
    assert sum(each.deaths for each in outcomes) > len(seeds)
    assert sum(each.runs for each in outcomes) > 5 * len(seeds)


@pytest.mark.parametrize("seed", [32])
def test_no_promise_is_broken_wherever_the_server_dies(seed: int) -> None:
    """Before and after each commit, each effect and each read of one workload, once."""
    tasks = sweep(seed)
    outcomes = list(run_all(tasks, WORKERS))
    assert not broken(outcomes), broken(outcomes)
    assert len(tasks) > 50
    assert all(each.deaths == 1 for each in outcomes)


def test_a_seed_is_the_same_story_every_time() -> None:
    tasks = [Task(7, wants_story=True)]
    (first,), (second,) = list(run_all(tasks, 1)), list(run_all(tasks, 1))
    assert first == second
    assert first.story
