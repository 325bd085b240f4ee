from __future__ import annotations

import asyncio
import gc

import pytest

from batchyard.background import cancelled, going_on
from tests.engine.bench import scenario


class Work:
    """Goes on until it is cancelled, and then takes its time to end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.has_begun = asyncio.Event()
        self.is_cancelled = asyncio.Event()
        self.may_end = asyncio.Event()
        self.has_ended = False
        self._error = error

    async def run(self) -> None:
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.is_cancelled.set()
            await self.may_end.wait()
            self.has_ended = True
            if self._error is not None:
                raise self._error


async def cancelled_while_it_waits(work: Work) -> asyncio.Task[None]:
    """Who waits for the end of work that is cancelled, and is cancelled meanwhile himself."""
    task = asyncio.create_task(work.run())
    await work.has_begun.wait()
    waiting = asyncio.create_task(cancelled(task))
    await work.is_cancelled.wait()
    waiting.cancel()
    work.may_end.set()
    await asyncio.wait([waiting])
    return waiting


@scenario
async def test_work_goes_on_while_the_block_lasts_and_has_ended_after_it() -> None:
    work = Work()
    work.may_end.set()
    async with going_on(work.run, "work"):
        await work.has_begun.wait()
        assert not work.is_cancelled.is_set()
    assert work.has_ended


@scenario
async def test_what_the_work_fails_with_is_raised_at_the_end_of_the_block() -> None:
    async def fail() -> None:
        raise ValueError("it can't be done")

    with pytest.raises(ValueError, match="it can't be done"):
        async with going_on(fail, "work"):
            await asyncio.sleep(0)


def test_work_whose_block_is_never_entered_is_never_begun() -> None:
    going_on(Work().run, "work")
    gc.collect()  # of a coroutine that was made in vain Python would complain here


@scenario
async def test_a_task_that_was_cancelled_before_is_no_fault_and_one_that_failed_is() -> None:
    async def fail() -> None:
        raise ValueError("it can't be done")

    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await asyncio.wait([task])
    await cancelled(task)
    failed = asyncio.create_task(fail())
    await asyncio.wait([failed])
    with pytest.raises(ValueError, match="it can't be done"):
        await cancelled(failed)


@scenario
async def test_who_is_cancelled_as_he_waits_hears_of_it() -> None:
    work = Work()
    assert (await cancelled_while_it_waits(work)).cancelled()


@scenario
async def test_a_limit_of_time_around_the_wait_holds() -> None:
    work = Work()
    task = asyncio.create_task(work.run())
    await work.has_begun.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cancelled(task)
    assert task.done()


@scenario
async def test_a_block_that_is_cancelled_ends_its_work_and_is_cancelled() -> None:
    work = Work()
    work.may_end.set()

    async def block() -> None:
        async with going_on(work.run, "work"):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await work.has_begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), work.has_ended) == (True, True)
