"""What goes on beside everything else: tasks, and events that are waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def going_on(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Let it go on while the with-block lasts; then it is cancelled, and waited for."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event, for so long at most (None: for ever). Whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
