"""Whether the daemon is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from batchyard.background import set_within
from batchyard.engines.docker.parse import Outage
from batchyard.exceptions import DaemonGoneError

FIRST_RETRY_SECONDS = 0.05
MAX_RETRY_SECONDS = 2.0

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Link:
    """Whether the daemon is there, for all that have to wait for it."""

    def __init__(self) -> None:
        self.is_up = asyncio.Event()
        self.is_down = asyncio.Event()
        self.outage: Outage | None = None
        """The last time that the connection was broken; None if it never was."""

    def up(self, now_ms: int) -> None:
        """The daemon answers (again)."""
        if self.outage is not None and self.outage.until_ms is None:
            self.outage = Outage(self.outage.since_ms, now_ms)
        self.is_down.clear()
        self.is_up.set()

    async def settled(self, most_seconds: float) -> None:
        """Wait, when the daemon seems to be about to go, until it is gone and back again; not long if it stays."""
        await set_within(self.is_down, most_seconds)
        await self.is_up.wait()

    def down(self, now_ms: int) -> None:
        """The daemon is gone."""
        self.is_down.set()
        if self.is_up.is_set():
            self.is_up.clear()
            self.outage = Outage(now_ms)

    async def reliably(self, call: Callable[[], Awaitable[T]]) -> T:
        """What `call()` gives, asked again whenever the daemon goes. It must be harmless to ask twice."""
        delay = FIRST_RETRY_SECONDS
        while True:
            await self.is_up.wait()
            try:
                return await call()
            except DaemonGoneError as error:
                _log.info("docker.call_failed", error=str(error))
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_SECONDS)
