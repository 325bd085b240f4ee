"""What tests of engines share: an engine with its reports collected, and waiting for them with a deadline."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptStarted, Report
from batchyard.engines.base import Engine, Launch
from batchyard.telemetry.logstore import LogStore

DEADLINE_SECONDS = 30.0

P = ParamSpec("P")
T = TypeVar("T")


def scenario(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An async test, on an event loop of its own and with a deadline."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            async with asyncio.timeout(2 * DEADLINE_SECONDS):
                await function(*args, **kwargs)

        asyncio.run(limited())

    return run


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition()` is true. For what tells nobody that it has happened, such as a process that is gone."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.005)


class Bench:
    """An engine, and everything that it has reported."""

    def __init__(self, engine: Engine, data_dir: Path) -> None:
        self.engine = engine
        self.logs = LogStore(data_dir / "logs")
        self.reports: list[Report] = []
        self.incarnations: list[str] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Bench:
        await self.engine.start(self._on_reports, self.incarnations.append)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close(stop_jobs=True)

    def _on_reports(self, reports: Sequence[Report]) -> None:
        self.reports += reports
        self._news.set()

    def launch(self, attempt_id: str, *command: str, **options: Any) -> None:
        """Launch one attempt; a single word with spaces is a shell's script."""
        words = ("/bin/sh", "-c", command[0]) if len(command) == 1 and " " in command[0] else command
        terms = {"environment": {}, "vcpu_milli": 1000, "memory_mib": 256, "stop_grace_seconds": 1, **options}
        self.engine.launch([Launch(attempt_id, words, **terms)])

    def of(self, attempt_id: str) -> list[Report]:
        return [report for report in self.reports if report.attempt_id == attempt_id]

    async def wait_for(self, what: Callable[[], T | None]) -> T:
        """What `what()` gives as soon as it gives something; it is asked after every report."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (found := what()) is None:
                self._news.clear()
                await self._news.wait()
        return found

    async def _report(self, attempt_id: str, kind: type[T]) -> T:
        return await self.wait_for(lambda: next((each for each in self.of(attempt_id) if isinstance(each, kind)), None))

    async def started(self, attempt_id: str) -> AttemptStarted:
        return await self._report(attempt_id, AttemptStarted)

    async def exited(self, attempt_id: str) -> AttemptExited:
        return await self._report(attempt_id, AttemptExited)

    async def lost(self, attempt_id: str) -> AttemptLost:
        return await self._report(attempt_id, AttemptLost)

    async def run(self, attempt_id: str, *command: str, **options: Any) -> AttemptExited:
        self.launch(attempt_id, *command, **options)
        return await self.exited(attempt_id)

    def lines(self, attempt_id: str, *, complete: bool = True) -> list[str]:
        return [event.message for event in self.logs.read_forward(attempt_id, complete=complete).events]

    async def has_written(self, attempt_id: str, line: str) -> None:
        """Wait until a line is in an attempt's log."""
        await eventually(lambda: line in self.lines(attempt_id), f"{line!r} in the log of {attempt_id}")


BenchMaker = Callable[[], Bench]
