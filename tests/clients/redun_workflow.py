"""A redun workflow of Batch jobs, run by `test_redun.py` in redun's own environment: pi by Monte Carlo.

Six tasks that are alike make an array job; a shell script makes a single one; what they give is put together by one
more. The `fail` workflow shows how an exception comes back.
"""

from __future__ import annotations

import random

from redun import script, task

redun_namespace = "batchyard.tests"


@task(executor="batch", vcpus=1, memory=0.25)
def hits(seed: int, throws: int) -> int:
    generator = random.Random(seed)
    return sum(generator.random() ** 2 + generator.random() ** 2 <= 1 for _ in range(throws))


@task(executor="batch", vcpus=1, memory=0.25)
def estimate(found: list[int], throws: int) -> float:
    return 4 * sum(found) / (throws * len(found))


@task(script=True, executor="batch", vcpus=1, memory=0.25)
def greeting(name: str) -> str:
    return f"echo hello {name}"


@task(executor="batch", vcpus=1, memory=0.25)
def divide(number: int) -> float:
    return number / 0


@task()
def pi(seeds: int = 6, throws: int = 2000) -> list[object]:
    return [estimate([hits(seed, throws) for seed in range(seeds)], throws), greeting("batchyard")]


@task()
def fail() -> float:
    return divide(1)


__all__ = ["fail", "pi", "script"]
