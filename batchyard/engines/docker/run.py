"""One container's life: made, started, watched to its end, stopped, removed. It may be taken up at any point of it.

Docker itself is the memory: a container stays until its attempt is forgotten, and tells what became of it whenever it
is asked. So every step here asks first how far the container has come, and does only what is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from batchyard.background import cancelled, set_within
from batchyard.core.reasons import cannot_start
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.output import Output
from batchyard.engines.docker.parse import State, why_not_started
from batchyard.exceptions import CannotLaunchError, DaemonRefusedError, ImageGoneError

DEADLY_SIGNALS = ("2", "3", "9", "15")
"""SIGINT, SIGQUIT, SIGKILL, SIGTERM: what a container is stopped with."""

_log = structlog.get_logger(__name__)


class ContainerRun:
    """One container by name. `has_news` is set by whoever hears of it."""

    def __init__(self, client: Client, link: Link, name: str, output: Output | None) -> None:
        self.name = name
        self._client = client
        self._link = link
        self._output = output
        self._is_adopted = False
        self._signal = "SIGTERM"
        self._kill_at: float | None = None
        self._stop_changed = asyncio.Event()
        self._stopper: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None
        self.has_news = asyncio.Event()
        """Something was heard of it, perhaps its end: look."""
        self._oom_heard = asyncio.Event()
        self.killed_by_others = False

    def heard_kill(self, signal: str) -> None:
        """The daemon sent the container a signal. If that wasn't asked for here, it is the daemon's own end, which
        stops all its containers first, or somebody's `docker stop`."""
        if not self.is_stopping and signal in DEADLY_SIGNALS:
            self.killed_by_others = True

    def heard_out_of_memory(self) -> None:
        self._oom_heard.set()

    async def told_out_of_memory(self, most_seconds: float) -> bool:
        """Whether the daemon has told, or tells yet, that the kernel killed something in it for want of memory."""
        return await set_within(self._oom_heard, most_seconds)

    # ---- starting

    async def make(self, body: dict[str, Any]) -> None:
        """Make the container, unless that has been done. CannotLaunchError with the reason."""
        await self._link.reliably(lambda: self._create(body))

    async def start(self) -> State:
        """Start the container that was made, unless that has been done. CannotLaunchError with the reason."""
        return await self._link.reliably(self._start)

    async def _create(self, body: dict[str, Any]) -> None:
        try:
            await self._client.create(self.name, body)
        except DaemonRefusedError as error:
            is_image = error.status == 404 and "No such image" in str(error)
            kind = ImageGoneError if is_image else CannotLaunchError
            raise kind(why_not_started(str(error))) from error

    async def _start(self) -> State:
        # Asked first: what has run must not be started a second time, whatever became of the answer to the first.
        state = await self._client.inspect(self.name)
        refusal = "the container did not start"
        if state is not None and state.is_created and not state.error:
            try:
                await self._client.start(self.name)
            except DaemonRefusedError as error:
                # Docker keeps this with the container as well, where a later server finds it.
                refusal = str(error)
            state = await self._client.inspect(self.name)
        if state is None:
            raise CannotLaunchError(cannot_start("the container was removed before it was started"))
        if state.is_created:
            raise CannotLaunchError(why_not_started(state.error or refusal))
        return state

    # ---- running

    def adopt(self, state: State) -> None:
        """The container runs, or has run: read its log."""
        self._is_adopted = True
        self._signal = state.stop_signal
        self._follow()
        if self._kill_at is not None:
            self._begin_stopping()

    def _follow(self) -> None:
        """Read the log, unless somebody does: a reader may end early when the daemon is in trouble."""
        if self._output is not None and (self._follower is None or self._follower.done()):
            self._follower = asyncio.create_task(self._output.follow(self._link), name=f"log of {self.name}")

    async def end(self, look: Callable[[State], None]) -> State | None:
        """Wait for the container's end and for the last byte of its log; None if it vanished.

        `look` is shown its state on the way, whenever there was news of it."""
        while True:
            state = await self._link.reliably(lambda: self._client.inspect(self.name))
            if state is None or state.has_ended:
                break
            look(state)
            self._follow()
            await self._wait_for_news()
            self.has_news.clear()
        if state is not None:
            await self._finish_log()
        if self._stopper is not None:
            self._stopper.cancel()
        return state

    async def _wait_for_news(self) -> None:
        """An event of the daemon's, or the end of the log, which comes first as often as not."""
        news: list[asyncio.Task[Any]] = [asyncio.create_task(self.has_news.wait())]
        if self._follower is not None:
            news.append(self._follower)
        try:
            await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news[0].cancel()

    async def _finish_log(self) -> None:
        """Docker has the whole log before it says that a container has ended; who follows may not have seen it all."""
        if self._follower is not None:
            await cancelled(self._follower)
        if self._output is not None:
            await self._link.reliably(self._output.copy_rest)

    # ---- stopping

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM (or the image's own stop signal) now, SIGKILL after the grace; asked again it can only be sooner."""
        kill_at = asyncio.get_running_loop().time() + grace_seconds
        if self._kill_at is not None and self._kill_at <= kill_at:
            return
        self._kill_at = kill_at
        self._stop_changed.set()
        if self._is_adopted:
            self._begin_stopping()

    @property
    def is_stopping(self) -> bool:
        return self._kill_at is not None

    def _begin_stopping(self) -> None:
        if self._stopper is None:
            self._stopper = asyncio.create_task(self._stop(), name=f"stop of {self.name}")

    async def _stop(self) -> None:
        await self._kill(self._signal)
        loop = asyncio.get_running_loop()
        while self._kill_at is not None and (left := self._kill_at - loop.time()) > 0:
            self._stop_changed.clear()
            await set_within(self._stop_changed, left)
        await self._kill("SIGKILL")
        self.has_news.set()

    async def _kill(self, signal: str) -> None:
        try:
            await self._link.reliably(lambda: self._client.kill(self.name, signal))
        except DaemonRefusedError as error:
            _log.error("docker.kill_refused", container=self.name, error=str(error))

    def close(self) -> None:
        """Let go of the container; it goes on."""
        for task in (self._stopper, self._follower):
            if task is not None:
                task.cancel()
