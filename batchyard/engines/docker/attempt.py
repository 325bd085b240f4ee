"""One attempt: its containers from the launch to the last report, and what was reported.

What is done next is `order.py`'s to decide, from how far each container has come; here that is done, and watched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import Struct
from msgspec.structs import replace

from batchyard.background import set_within
from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptStarted, Report
from batchyard.core.model import ContainerEnd, Usage
from batchyard.core.reasons import KILLED_EXIT_CODE, OUT_OF_MEMORY, cannot_start
from batchyard.engines.base import Launch
from batchyard.engines.docker import build, order, parse
from batchyard.engines.docker.labels import LABEL_BOOT
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.order import Decision, Part, Seen
from batchyard.engines.docker.parse import Daemon, State
from batchyard.engines.docker.run import ContainerRun
from batchyard.exceptions import CannotLaunchError

MAX_REASON = 255
DAEMON_SHUTDOWN_SECONDS = 15.0
"""How long Docker gives its containers when it ends, unless it is told otherwise."""
LATE_NEWS_SECONDS = 1.0
"""How long after a container's end Docker may tell why something in it was killed."""
STOPPED_BEFORE_START = cannot_start("stopped before it was started")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Surroundings(Struct, frozen=True):
    """What an attempt lives in besides its containers."""

    boot_id: str
    link: Link
    daemon: Callable[[], Daemon]
    share: Callable[[str, int], None]
    """Gives an attempt its vCPUs, in thousandths, where a control group around its containers has them."""
    usage: Callable[[str], Usage | None]
    memory_kills: Callable[[], int | None]
    lacked_memory: Callable[[str, int | None, int | None], bool]
    tell: Callable[[Report], None]


class Attempt:
    """An attempt and its containers, `runs`, in the order of its task. `reports` is everything told of it so far."""

    def __init__(
        self,
        attempt_id: str,
        parts: Sequence[Part],
        runs: Sequence[ContainerRun],
        launch: Launch | None,
        host: Surroundings,
    ) -> None:
        """Without a `launch`, an earlier server has launched it."""
        self.attempt_id = attempt_id
        self.runs = runs
        self.launch = launch
        self.reports: list[Report] = []
        self.ended = asyncio.Event()
        self.has_ended = False
        """Its containers are known to have ended, though perhaps not all of it is told yet."""
        self.is_starting = False
        """Docker may have something of it."""
        self.task: asyncio.Task[None] | None = None
        self._parts = parts
        self._seen = [Seen() for _ in parts]
        self._host = host
        self._news = asyncio.Event()
        self._grace_seconds: int | None = None
        self._stopped_at_ms: int | None = None
        self._memory_kills_before = host.memory_kills()
        self._vcpu_milli = launch.vcpu_milli if launch is not None else None

    @property
    def stop_grace_seconds(self) -> int:
        return self.launch.stop_grace_seconds if self.launch is not None else order.DEFAULT_STOP_TIMEOUT_SECONDS

    def run_of(self, container: str) -> ContainerRun | None:
        """The container at a place of its task; None if there is none, as for the one that holds what they share."""
        return self.runs[int(container)] if container.isdecimal() and int(container) < len(self.runs) else None

    def stop(self, grace_seconds: int) -> None:
        """Stop its containers: SIGTERM, and SIGKILL after the grace, or what a container has of its own if that is
        less. Asked again it can only be sooner."""
        if self._stopped_at_ms is None or self._grace_seconds is None:
            self._stopped_at_ms, self._grace_seconds = now_ms(), grace_seconds
        self._grace_seconds = min(self._grace_seconds, grace_seconds)
        self._news.set()

    # ---- from the launch to the end

    async def run(
        self,
        turn: AbstractAsyncContextManager[None],
        make_ready: Callable[[], Awaitable[None]],
        make: Callable[[], Awaitable[None]],
    ) -> None:
        """Make the containers, and see to them. `turn` bounds how many attempts begin at a time; what has to be made
        ready first may take long, and keeps no others from starting."""
        async with asyncio.TaskGroup() as watchers:
            try:
                await make_ready()
            except CannotLaunchError as error:
                self.failed_to_start(str(error))
                return
            async with turn:
                if self.has_ended:
                    return
                try:
                    await make()
                except CannotLaunchError as error:
                    self.failed_to_start(str(error))
                    return
                decision = await self._step(watchers)
            await self._see_to_its_end(watchers, decision)

    def found(self, states: Mapping[int, State]) -> None:
        """An earlier server has made its containers; those that are not among `states` are gone."""
        self.is_starting = True
        self.has_ended = all(state.has_ended or state.could_not_start for state in states.values())
        self._vcpu_milli = sum(build.vcpu_milli_of(state.cpu_shares) for state in states.values())
        for place in range(len(self._parts)):
            state = states.get(place)
            if state is None:
                self._seen[place] = Seen(ended_at_ms=now_ms(), lost=True)
            elif state.could_not_start:
                self._refuse(place, parse.why_not_started(state.error))
            elif not state.is_created:
                self._saw_start(place, state)
        self._report_start(order.decide(self._parts, self._seen, now_ms()))

    async def take_up(self) -> None:
        """See to containers that were found."""
        if any(each.is_running for each in self._seen):
            # The earlier server may have died right after the start.
            self._share()
        async with asyncio.TaskGroup() as watchers:
            for place, each in enumerate(self._seen):
                if each.is_running:
                    self._watch_over(place, watchers)
            await self._see_to_its_end(watchers, await self._step(watchers))

    async def _see_to_its_end(self, watchers: asyncio.TaskGroup, decision: Decision) -> None:
        while decision.end is None:
            await self._wait(decision.look_again_at_ms)
            decision = await self._step(watchers)
        self._finish(decision.end)

    async def _step(self, watchers: asyncio.TaskGroup) -> Decision:
        """Do what can be done now."""
        while True:
            decision = order.decide(self._parts, self._seen, now_ms(), self._stopped_at_ms)
            for place, reason in decision.refused.items():
                self._refuse(place, cannot_start(reason))
            for place in decision.stop:
                self.runs[place].stop(self._grace_of(place))
            if not decision.start and not decision.refused:
                self._report_start(decision)
                return decision
            await asyncio.gather(*(self._start(place, watchers) for place in decision.start))

    def _grace_of(self, place: int) -> int:
        given = [seconds for seconds in (self._grace_seconds, self._parts[place].stop_timeout) if seconds is not None]
        return min(given, default=order.DEFAULT_STOP_TIMEOUT_SECONDS)

    async def _wait(self, until_ms: int | None) -> None:
        seconds = None if until_ms is None else max(0, until_ms - now_ms()) / 1000
        await set_within(self._news, seconds)
        self._news.clear()

    # ---- one container

    def _refuse(self, place: int, reason: str) -> None:
        self._seen[place] = Seen(refused_at_ms=now_ms(), reason=reason[:MAX_REASON])

    async def _start(self, place: int, watchers: asyncio.TaskGroup) -> None:
        try:
            state = await self.runs[place].start()
        except CannotLaunchError as error:
            self._refuse(place, str(error))
            return
        self._share()
        self._saw_start(place, state)
        self._watch_over(place, watchers)

    def _share(self) -> None:
        """Docker makes the group around the containers as it starts the first of them."""
        if self._vcpu_milli is not None:
            self._host.share(self.attempt_id, self._vcpu_milli)

    def _saw_start(self, place: int, state: State) -> None:
        """A container runs, or has run."""
        self._seen[place] = Seen(started_at_ms=state.started_at_ms or now_ms(), health=state.health)
        self.runs[place].adopt(state)

    def _watch_over(self, place: int, watchers: asyncio.TaskGroup) -> None:
        watchers.create_task(self._watch(place), name=f"container {self.runs[place].name}")

    async def _watch(self, place: int) -> None:
        """Wait for a container's end, and say what it was."""
        state = await self.runs[place].end(lambda state: self._look(place, state))
        self._seen[place] = await self._judged(place, state)
        self._news.set()

    def _look(self, place: int, state: State) -> None:
        if state.health != self._seen[place].health:
            self._seen[place] = replace(self._seen[place], health=state.health)
            self._news.set()

    async def _judged(self, place: int, state: State | None) -> Seen:
        run, seen = self.runs[place], self._seen[place]
        if state is None:
            return replace(seen, ended_at_ms=now_ms(), lost=True)
        stopped = run.is_stopping or self._stopped_at_ms is not None
        is_this_boot = state.labels.get(LABEL_BOOT) == self._host.boot_id
        died = parse.died_with_the_daemon(state, self._host.daemon(), self._host.link.outage, is_this_boot)
        if (died or run.killed_by_others) and not stopped:
            if not died:
                # Most likely the daemon stops its containers because it ends itself: a retry is for the next one.
                await self._host.link.settled(DAEMON_SHUTDOWN_SECONDS)
            return replace(seen, ended_at_ms=now_ms(), lost=True)
        code, reason = parse.end_of(state)
        if reason is None and code and not stopped and await self._ran_out_of_memory(run, state):
            reason = OUT_OF_MEMORY
        ended_at_ms = max(state.finished_at_ms or now_ms(), seen.started_at_ms or 0)
        return replace(seen, ended_at_ms=ended_at_ms, exit_code=code, reason=reason)

    async def _ran_out_of_memory(self, run: ContainerRun, state: State) -> bool:
        """Docker doesn't always have it in the container's state: its event may come before the end's, after it, or,
        from a container that is gone too soon, never. Of what was killed the control group knows."""
        if state.exit_code != KILLED_EXIT_CODE:
            return await run.told_out_of_memory(0)
        limit_bytes = state.memory_limit_bytes if len(self.runs) == 1 else None
        lacked = self._host.lacked_memory(self.attempt_id, limit_bytes, self._memory_kills_before)
        return lacked or await run.told_out_of_memory(LATE_NEWS_SECONDS)

    # ---- reports

    def _report_start(self, decision: Decision) -> None:
        """It has started when its last container has (job states: waiting for other containers is STARTING)."""
        started = [each.started_at_ms for each in self._seen if each.started_at_ms is not None]
        if started and not self.reports and (decision.is_started or decision.end is not None):
            self._report(AttemptStarted(self.attempt_id, max(started)))

    def _finish(self, end: order.End) -> None:
        started = [each.started_at_ms for each in self._seen if each.started_at_ms is not None]
        if end.lost:
            self._end(AttemptLost(self.attempt_id, now_ms()))
        elif not started:
            self.failed_to_start(end.reason or STOPPED_BEFORE_START, self._ends())
        else:
            at_ms = max(each.ended_at_ms or 0 for each in self._seen)
            usage = self._host.usage(self.attempt_id)
            report = AttemptExited(self.attempt_id, at_ms, end.exit_code, end.reason, usage=usage)
            self._end(replace(report, containers=self._ends()))

    def _ends(self) -> tuple[ContainerEnd, ...]:
        """How each container of a task of several has ended."""
        if len(self.runs) == 1:
            return ()
        return tuple(ContainerEnd(each.exit_code, each.reason) for each in self._seen)

    def failed_to_start(self, reason: str, containers: tuple[ContainerEnd, ...] = ()) -> None:
        report = AttemptExited(self.attempt_id, now_ms(), None, reason[:MAX_REASON], started=False)
        self._end(replace(report, containers=containers))

    def stopped_before_start(self) -> None:
        self.failed_to_start(STOPPED_BEFORE_START)

    def broke(self, error: BaseException) -> None:
        """Something that should not happen kept the attempt from being looked after."""
        self.failed_to_start(cannot_start(f"{type(error).__name__}: {error}"))

    def _end(self, report: Report) -> None:
        self.has_ended = True
        self._report(report)
        self.ended.set()

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        self._host.tell(report)

    def close(self) -> None:
        """Let go of its containers; they go on."""
        for run in self.runs:
            run.close()
