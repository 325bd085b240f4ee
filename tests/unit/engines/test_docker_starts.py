"""Turns of attempts that begin."""

from __future__ import annotations

import asyncio
import gc

from batchyard.engines.docker.starts import TIMES_IN_ALL, Starts
from tests.engine.bench import eventually, scenario


class Crowd:
    """Attempts that begin, and go on with it until they are let go."""

    def __init__(self, starts: Starts) -> None:
        self.begun: list[str] = []
        self._starts = starts
        self._go = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, kind: str, count: int) -> None:
        self._tasks += [asyncio.create_task(self._begin(kind)) for _ in range(count)]

    async def _begin(self, kind: str) -> None:
        async with self._starts.turn(kind):
            self.begun.append(kind)
            await self._go.wait()

    async def let_go(self) -> None:
        self._go.set()
        await asyncio.gather(*self._tasks)
        self._tasks.clear()


@scenario
async def test_file_systems_that_do_not_answer_keep_only_their_own_waiting() -> None:
    crowd = Crowd(Starts(2))
    crowd.add("hangs", 5)
    await eventually(lambda: crowd.begun == ["hangs"] * 2, "two have begun")
    crowd.add("answers", 1)
    await eventually(lambda: crowd.begun[2:] == ["answers"], "another has begun")
    await crowd.let_go()
    assert len(crowd.begun) == 6


@scenario
async def test_starts_are_bounded_in_all() -> None:
    starts = Starts(1)
    crowd = Crowd(starts)
    for number in range(TIMES_IN_ALL + 3):
        crowd.add(str(number), 1)
    await eventually(lambda: starts.kinds == TIMES_IN_ALL + 3, "all have come")
    assert len(crowd.begun) == TIMES_IN_ALL
    await crowd.let_go()
    gc.collect()
    assert starts.kinds == 0, "file systems that nobody mounts now are remembered"
