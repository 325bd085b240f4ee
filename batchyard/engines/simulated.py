"""An engine without processes: its attempts take virtual time, and each one's fate is settled when it is launched.

`World` stands for all that outlives a server: the supervisor, the machine and the jobs on it. `SimulatedEngine` is a
server's side of it, one for each life of a server; it remembers what it asked for until that was heard, as the process
engine does. Neither has a clock or draws lots: time, fates and the ways of messages are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptRecalled, AttemptStarted, Report
from batchyard.core.reasons import KILLED_EXIT_CODE, cannot_start
from batchyard.engines.base import Held, HostCapacity, Launch, WithoutContainers
from batchyard.engines.process.rooms import Rooms
from batchyard.logframes import checked_attempt_id

RECONNECT_SECONDS = 0.5
STRAY_SECONDS = 0.01
"""How long a new supervisor takes to be sure that nothing is left of an attempt of the one before."""


class Timeline(Protocol):
    """Virtual time, which outlives event loops."""

    def now_seconds(self) -> float:
        """Since the beginning; never runs backward."""

    def after(self, delay_seconds: float, function: Callable[[], None]) -> object:
        """Call a function later."""


class Fate(Struct, frozen=True):
    """What one attempt is going to do."""

    starts: bool = True
    """False: its container can't be started."""
    start_seconds: float = 0.0
    """From the launch to the start."""
    run_seconds: float = 1.0
    exit_code: int = 0
    stop_seconds: float | None = 0.0
    """From SIGTERM to the end; None: it ignores SIGTERM."""
    stop_exit_code: int = 143


class Entry(Struct, frozen=True):
    """What an attempt wrote about itself. `kind` is start, end, or killed: the machine ended it, nobody knows how."""

    at_seconds: float
    kind: str
    launch: Launch
    exit_code: int | None = None

    @property
    def attempt_id(self) -> str:
        return self.launch.attempt_id


class _Attempt:
    """One attempt in the world. It waits until there is room, starts a while after that, and is over once `end` is
    set."""

    def __init__(self, launch: Launch, fate: Fate) -> None:
        self.launch = launch
        self.fate = fate
        self.started_at_ms: int | None = None
        self.end: AttemptExited | AttemptLost | None = None
        self.has_room = False
        self.is_alive = False
        """Whether its processes run. Between the death of a supervisor and the next one's birth nobody sees them."""
        self.is_asked_to_stop = False

    def reports(self) -> list[Report]:
        """All that is to be told of it, in order."""
        told: list[Report] = []
        if self.started_at_ms is not None:
            told.append(AttemptStarted(self.launch.attempt_id, self.started_at_ms))
        if self.end is not None:
            told.append(self.end)
        return told


class World:
    """Runs attempts, and remembers each until it is told to forget it. `diary` is what the attempts say themselves."""

    def __init__(
        self,
        timeline: Timeline,
        wall_ms: Callable[[], int],
        fate_of: Callable[[Launch], Fate],
        capacity: HostCapacity,
    ) -> None:
        self.diary: list[Entry] = []
        self.capacity = capacity
        self.timeline = timeline
        self.engine: SimulatedEngine | None = None
        """The server that is connected."""
        self.incarnation = 0
        self.is_up = False
        self.downs: list[tuple[float, float]] = []
        """From when to when there was no supervisor, each time that one had died."""
        self._wall_ms = wall_ms
        self._fate_of = fate_of
        self._attempts: dict[str, _Attempt] = {}
        self._rooms = Rooms()

    # ---- the supervisor

    def connect(self, engine: SimulatedEngine) -> str:
        """A server connects: a supervisor is started if there is none. Returns the incarnation's id."""
        if not self.is_up:
            self.is_up = True
            if self.downs:
                self.downs[-1] = (self.downs[-1][0], self.timeline.now_seconds())
            self.incarnation += 1
            self._rooms = Rooms()
            self._clear_away()
        self.engine = engine
        return f"incarnation-{self.incarnation}"

    def disconnect(self, *, tell: bool = False) -> None:
        """The connection is gone; what was under way on it is lost. `tell` the server, unless it is dead itself."""
        engine, self.engine = self.engine, None
        if tell and engine is not None:
            engine.disconnected()

    def lose_supervisor(self) -> None:
        """It dies: nobody reads exit codes any more, and what hadn't been started yet is forgotten."""
        if not self.is_up:
            return
        self.is_up = False
        self.downs.append((self.timeline.now_seconds(), float("inf")))
        for attempt_id, attempt in list(self._attempts.items()):
            if attempt.started_at_ms is None and attempt.end is None:
                del self._attempts[attempt_id]
        self.disconnect(tell=True)

    def _clear_away(self) -> None:
        """A new supervisor ends what it finds of its predecessor's, and reports it lost."""
        for attempt in self._attempts.values():
            attempt.has_room = False
            if attempt.end is not None:
                continue
            if attempt.is_alive:
                attempt.is_alive = False
                self._write("killed", attempt)
            self.timeline.after(STRAY_SECONDS, self._later(self._lost, attempt))

    def _lost(self, attempt: _Attempt) -> None:
        self._over(attempt, AttemptLost(attempt.launch.attempt_id, self._wall_ms()))

    # ---- what servers ask for

    def launch(self, launch: Launch) -> None:
        """Start an attempt soon, unless it is known."""
        if not self.is_known(launch.attempt_id):
            self._attempts[launch.attempt_id] = _Attempt(launch, self._fate_of(launch))
            self._rooms.wait(launch)
            self._start_what_fits()

    def _start_what_fits(self) -> None:
        for launch in self._rooms.admit():
            attempt = self._attempts[launch.attempt_id]
            attempt.has_room = True
            self.timeline.after(attempt.fate.start_seconds, self._later(self._start, attempt))

    def recall(self, attempt_ids: Sequence[str]) -> None:
        """Drop what still waits for room, and tell so once."""
        for attempt_id in attempt_ids:
            if self._rooms.drop(attempt_id):
                del self._attempts[attempt_id]
                self.tell([AttemptRecalled(attempt_id, self._wall_ms())])
        self._start_what_fits()

    def is_known(self, attempt_id: str) -> bool:
        return attempt_id in self._attempts

    def progress(self, attempt_id: str) -> str | None:
        """Nothing has to be made ready."""
        return None

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        attempt = self._attempts.get(attempt_id)
        if attempt is None or attempt.end is not None:
            return
        if attempt.started_at_ms is None:
            reason = cannot_start("stopped before it was started")
            self._over(attempt, AttemptExited(attempt_id, self._wall_ms(), None, reason, started=False))
            return
        self.timeline.after(grace_seconds, self._later(self._kill, attempt))
        if attempt.fate.stop_seconds is not None and not attempt.is_asked_to_stop:
            self.timeline.after(
                attempt.fate.stop_seconds, self._later(self._exit, attempt, attempt.fate.stop_exit_code)
            )
        attempt.is_asked_to_stop = True

    def stop_all(self) -> None:
        """Stop each with its own grace."""
        for attempt in list(self._attempts.values()):
            self.stop(attempt.launch.attempt_id, attempt.launch.stop_grace_seconds)

    def end(self, attempt_id: str, exit_code: int) -> None:
        """Let an attempt that runs end by itself, before its time."""
        if (attempt := self._attempts.get(attempt_id)) is not None:
            self._exit(attempt, exit_code)

    def forget(self, attempt_ids: Sequence[str]) -> None:
        """Drop what has ended."""
        for attempt_id in attempt_ids:
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.end is not None:
                del self._attempts[attempt_id]

    def holding(self) -> list[Held]:
        return [Held(attempt_id, ended=each.end is not None) for attempt_id, each in self._attempts.items()]

    def reports_of_held(self) -> list[Report]:
        return [report for attempt in self._attempts.values() for report in attempt.reports()]

    # ---- what becomes of attempts

    def _start(self, attempt: _Attempt) -> None:
        if not self._is_current(attempt) or attempt.started_at_ms is not None:
            return
        attempt_id = attempt.launch.attempt_id
        if not attempt.fate.starts:
            reason = cannot_start("it can't be started")
            self._over(attempt, AttemptExited(attempt_id, self._wall_ms(), None, reason, started=False))
            return
        attempt.started_at_ms = self._wall_ms()
        attempt.is_alive = True
        self._write("start", attempt)
        self.timeline.after(attempt.fate.run_seconds, self._later(self._exit, attempt, attempt.fate.exit_code))
        self.tell([AttemptStarted(attempt_id, attempt.started_at_ms)])

    def _exit(self, attempt: _Attempt, code: int) -> None:
        if not attempt.is_alive:
            return
        attempt.is_alive = False
        self._write("end", attempt, code)
        if self.is_up:
            self._over(attempt, AttemptExited(attempt.launch.attempt_id, self._wall_ms(), code))

    def _kill(self, attempt: _Attempt) -> None:
        if self.is_up:
            self._exit(attempt, KILLED_EXIT_CODE)

    def _over(self, attempt: _Attempt, end: AttemptExited | AttemptLost) -> None:
        if attempt.end is None and self.is_up:
            attempt.end = end
            self.tell([end])
            self._rooms.drop(attempt.launch.attempt_id)
            if attempt.has_room:
                attempt.has_room = False
                self._rooms.leave(attempt.launch)
            self._start_what_fits()

    def _is_current(self, attempt: _Attempt) -> bool:
        return attempt.end is None and self._attempts.get(attempt.launch.attempt_id) is attempt

    def _write(self, kind: str, attempt: _Attempt, code: int | None = None) -> None:
        self.diary.append(Entry(self.timeline.now_seconds(), kind, attempt.launch, code))

    def tell(self, reports: list[Report]) -> None:
        """Report to the server that is connected; whoever connects later asks for what is held."""
        if self.engine is not None:
            self.engine.hear(reports)

    def _later(self, function: Callable[..., None], *arguments: Any) -> Callable[[], None]:
        """A call that nothing but this incarnation's time brings; jobs outlive supervisors, so `_exit` always comes."""
        incarnation = self.incarnation

        def call() -> None:
            if incarnation == self.incarnation or function == self._exit:
                function(*arguments)

        return call


class SimulatedEngine(WithoutContainers):
    """A server's side of a `World`."""

    name = "simulated"
    launches_ahead = True
    runs_containers = False
    node_network = "127"
    daemon_host = ""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_linked = False
        self._incarnation = ""
        self._unconfirmed: dict[str, Launch] = {}
        self._stops: dict[str, int] = {}
        self._forgets: list[str] = []
        self._relinking: asyncio.TimerHandle | None = None
        self._linked = asyncio.Event()
        self._news = asyncio.Event()

    def capacity(self) -> HostCapacity:
        return self._world.capacity

    def limits_enforced(self) -> str:
        return "not enforced: nothing is really used"

    def unsupported(self, container: dict[str, object]) -> list[str]:
        return []

    async def start(
        self, on_reports: Callable[[Sequence[Report]], None], on_incarnation: Callable[[str], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_reports = on_reports
        self._on_incarnation = on_incarnation
        self._incarnation = self._world.connect(self)
        self._is_linked = True
        self._linked.set()
        on_incarnation(self._incarnation)

    async def holding(self) -> list[Held]:
        await self._linked.wait()
        held = self._world.holding()
        self.hear(self._world.reports_of_held())
        return held

    def launch(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            checked_attempt_id(launch.attempt_id)
        for launch in launches:
            self._unconfirmed[launch.attempt_id] = launch
            if self._is_linked:
                self._world.launch(launch)

    def recall(self, attempt_ids: Sequence[str]) -> None:
        if self._is_linked:
            self._world.recall(attempt_ids)

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        self._stops[attempt_id] = min(grace_seconds, self._stops.get(attempt_id, grace_seconds))
        if self._is_linked:
            self._world.stop(attempt_id, grace_seconds)

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            self._unconfirmed.pop(attempt_id, None)
            self._stops.pop(attempt_id, None)
        if self._is_linked:
            self._world.forget(attempt_ids)
        else:
            self._forgets.extend(attempt_ids)

    async def close(self, *, stop_jobs: bool = False) -> None:
        if stop_jobs and self._is_linked:
            self._world.stop_all()
            while any(not held.ended for held in self._world.holding()):
                self._news.clear()
                await self._news.wait()
        if self._relinking is not None:
            self._relinking.cancel()
        if self._is_linked:
            self._is_linked = False
            self._world.disconnect()

    # ---- what the world does

    def hear(self, reports: Sequence[Report]) -> None:
        """The world's reports arrive."""
        if reports:
            self._loop.call_soon(self._take, list(reports))

    def _take(self, reports: list[Report]) -> None:
        if not self._is_linked:
            return
        self._news.set()
        for report in reports:
            self._unconfirmed.pop(report.attempt_id, None)
            if not isinstance(report, AttemptStarted):
                self._stops.pop(report.attempt_id, None)
        self._on_reports(reports)

    def disconnected(self) -> None:
        """The connection broke, the server goes on: try again in a moment."""
        self._is_linked = False
        self._linked.clear()
        self._relinking = self._loop.call_later(self.reconnect_seconds(), self._relink)

    def reconnect_seconds(self) -> float:
        """How long it takes to connect again."""
        return RECONNECT_SECONDS

    def _relink(self) -> None:
        """Ask again for all that may not have been heard, and hear again all that may have been missed."""
        incarnation = self._world.connect(self)
        self._is_linked = True
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._on_incarnation(incarnation)
        for launch in self._unconfirmed.values():
            self._world.launch(launch)
        for attempt_id, grace_seconds in self._stops.items():
            self._world.stop(attempt_id, grace_seconds)
        forgets, self._forgets = self._forgets, []
        self._world.forget(forgets)
        self._linked.set()
        self.hear(self._world.reports_of_held())
