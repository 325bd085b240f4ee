"""What goes on beside everything else: tasks, and events that are waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def going_on(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> AsyncIterator[None]:
    """Let it go on while the with-block lasts; then it is cancelled, and waited for."""
    task = asyncio.create_task(work(), name=name)
    try:
        yield
    finally:
        await cancelled(task)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end. What it fails with, or failed with before, is raised; and whoever is himself
    cancelled as he waits hears of it then."""
    waiting = asyncio.current_task()
    assert waiting is not None
    asked_before = waiting.cancelling()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if waiting.cancelling() > asked_before or not task.done():
            raise


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event, for so long at most (None: for ever). Whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
