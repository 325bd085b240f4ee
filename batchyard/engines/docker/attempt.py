"""One attempt: its container from the launch to the last report, and what was reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptStarted, Report
from batchyard.core.model import Usage
from batchyard.core.reasons import OUT_OF_MEMORY, cannot_start
from batchyard.engines.base import Launch
from batchyard.engines.docker import parse
from batchyard.engines.docker.build import LABEL_BOOT
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.parse import Daemon, State
from batchyard.engines.docker.run import ContainerRun
from batchyard.exceptions import CannotLaunchError

MAX_REASON = 255
DAEMON_SHUTDOWN_SECONDS = 15.0
"""How long Docker gives its containers when it ends, unless it is told otherwise."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Surroundings(Struct, frozen=True):
    """What an attempt's end is judged by besides its container."""

    boot_id: str
    link: Link
    daemon: Callable[[], Daemon]


class Attempt:
    """An attempt and its container. `reports` is everything told of it so far."""

    def __init__(
        self, attempt_id: str, run: ContainerRun, launch: Launch | None, tell: Callable[[Report], None]
    ) -> None:
        self.attempt_id = attempt_id
        self.run = run
        self.launch = launch
        self.reports: list[Report] = []
        self.ended = asyncio.Event()
        self.has_ended = False
        """Its container is known to have ended, though perhaps not all of it is told yet."""
        self.is_starting = False
        self.task: asyncio.Task[None] | None = None
        self._tell = tell

    @property
    def stop_grace_seconds(self) -> int:
        return self.launch.stop_grace_seconds if self.launch is not None else 30

    def started(self, state: State) -> None:
        self._report(AttemptStarted(self.attempt_id, state.started_at_ms or now_ms()))

    def failed_to_start(self, reason: str) -> None:
        self._end(AttemptExited(self.attempt_id, now_ms(), None, reason[:MAX_REASON], started=False))

    def stopped_before_start(self) -> None:
        self.failed_to_start(cannot_start("stopped before it was started"))

    async def watch(self, host: Surroundings, usage: Callable[[], Usage | None]) -> None:
        """Wait for the container's end, and tell it."""
        state = (await self.run.end()).state
        if state is None:
            self._end(AttemptLost(self.attempt_id, now_ms()))
            return
        stopped = self.run.is_stopping
        is_this_boot = state.labels.get(LABEL_BOOT) == host.boot_id
        died = parse.died_with_the_daemon(state, host.daemon(), host.link.outage, is_this_boot)
        if (died or self.run.killed_by_others) and not stopped:
            if not died:
                # Most likely the daemon stops its containers because it ends itself: a retry is for the next one.
                await host.link.settled(DAEMON_SHUTDOWN_SECONDS)
            self._end(AttemptLost(self.attempt_id, now_ms()))
            return
        code, reason = parse.end_of(state)
        if reason is None and code and self.run.oom_heard and not stopped:
            reason = OUT_OF_MEMORY
        started_at_ms = self.reports[0].at_ms if self.reports else 0
        at_ms = max(state.finished_at_ms or now_ms(), started_at_ms)
        self._end(AttemptExited(self.attempt_id, at_ms, code, reason, usage=usage()))

    def _end(self, report: Report) -> None:
        self.has_ended = True
        self._report(report)
        self.ended.set()

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        self._tell(report)

    def broke(self, error: BaseException) -> None:
        """Something that should not happen kept the attempt from being looked after."""
        self.failed_to_start(cannot_start(f"{type(error).__name__}: {error}"))

    async def checked(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Do what has to be done before the start; false if it can't be, which is told."""
        try:
            await step()
        except CannotLaunchError as error:
            self.failed_to_start(str(error))
            return False
        return True

    async def start(self, body: Callable[[], dict[str, object]]) -> bool:
        """Make and start the container; false if it could not be, which is told."""
        try:
            state = await self.run.start(body())
        except CannotLaunchError as error:
            self.failed_to_start(str(error))
            return False
        self.started(state)
        return True
