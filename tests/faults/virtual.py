"""Virtual time: an event loop that never waits, a calendar that outlives it, and a wall clock that may jump.

Each life of a server has a loop of its own, which is dropped as it stands when the server dies: nothing of it runs any
more, as after SIGKILL. The calendar goes on: what happens outside the server (jobs, clients, faults) stands there.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

EPOCH_MS = 1_700_000_000_000
MOST_SECONDS = 100 * 24 * 3600.0
"""A system that has not come to rest by then never will."""
MOST_THINGS = 40_000


class EndOfTime(Exception):
    """Nothing is under way any more, and nothing will ever happen: the system has come to rest."""


class NeverAtRest(Exception):
    """Things go on and on."""


class Calendar:
    """What will happen, in order of time, then of entry. `batchyard.engines.simulated.Timeline`."""

    def __init__(self) -> None:
        self._now_seconds = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._things = 0

    def now_seconds(self) -> float:
        return self._now_seconds

    def after(self, delay_seconds: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._entries, (self._now_seconds + max(0.0, delay_seconds), next(self._numbers), function))

    def next_seconds(self) -> float | None:
        """When something happens next."""
        return self._entries[0][0] if self._entries else None

    def advance(self, most_seconds: float | None) -> None:
        """Let the next thing happen, or so much time pass, whichever is sooner. EndOfTime if there is neither."""
        self._things += 1
        if self._things > MOST_THINGS or self._now_seconds > MOST_SECONDS:
            raise NeverAtRest(f"still not at rest after {self._now_seconds:.0f} s and {self._things} things")
        following = self.next_seconds()
        if following is None and most_seconds is None:
            raise EndOfTime
        if following is not None and (most_seconds is None or following <= self._now_seconds + most_seconds):
            self._now_seconds = following
            heapq.heappop(self._entries)[2]()
        elif most_seconds is not None:
            self._now_seconds += most_seconds

    def advance_to(self, at_seconds: float) -> None:
        """Let pass what happens until then."""
        while (following := self.next_seconds()) is not None and following <= at_seconds:
            self.advance(None)
        self._now_seconds = max(self._now_seconds, at_seconds)


class WallClock:
    """The machine's clock (`batchyard.clock.Clock`): it goes with the calendar, and may be set."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self.offset_ms = 0

    def now_ms(self) -> int:
        return EPOCH_MS + self.offset_ms + int(self._calendar.now_seconds() * 1000)


class _Selector(selectors.BaseSelector):
    """Where a loop would wait for input, time passes instead. There is no input."""

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, fileobj if isinstance(fileobj, int) else fileobj.fileno(), events, data)
        self._keys[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._calendar.advance(timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the calendar's. What goes to an executor is done at once, here, takes
    `executor_seconds` to begin and as long again until its result is there."""

    def __init__(self, calendar: Calendar, executor_seconds: Callable[[], float]) -> None:
        self._calendar = calendar
        self._executor_seconds = executor_seconds
        super().__init__(_Selector(calendar))

    def time(self) -> float:
        return self._calendar.now_seconds()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = function(*arguments)
            except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
                self.call_later(self._executor_seconds(), answer, future.set_exception, error)
            else:
                self.call_later(self._executor_seconds(), answer, future.set_result, result)

        def answer(give: Callable[[Any], None], value: Any) -> None:
            if not future.cancelled():
                give(value)

        self.call_later(self._executor_seconds(), work)
        return future

    def abandon(self) -> None:
        """Drop it as it stands: no task of it goes on, not even to clean up."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()  # it never ran, so that nothing of it runs now either
        self.set_exception_handler(lambda _loop, _context: None)
        self.close()
