"""The server's side of the process engine: asks the supervisor, and sees to it that there is one.

The supervisor may die at any moment. So whatever it has not been heard to have done is remembered here and asked again
of its successor: launches until something is reported of them, stops until the end is. Both are idempotent, and what
the dead supervisor did spawn is in its journal, by which the successor knows it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog
from msgspec import structs

from batchyard.background import cancelled, set_within
from batchyard.core.inputs import AttemptStarted, Report
from batchyard.engines.base import Held, HostCapacity, Launch, WithoutContainers
from batchyard.engines.gpus import variables_of_process
from batchyard.engines.process import host
from batchyard.engines.process.link import START_TIMEOUT_SECONDS, Link, Linker
from batchyard.engines.process.messages import (
    LAUNCHES_PER_FRAME,
    AskHolding,
    Forget,
    Holding,
    LaunchAll,
    Recall,
    Reports,
    ShutDown,
    Stop,
    ToServer,
    ToSupervisor,
)
from batchyard.engines.process.spawn import base_environment
from batchyard.exceptions import EngineError
from batchyard.logframes import checked_attempt_id

FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 10.0

_log = structlog.get_logger(__name__)


SHUT_DOWN_TIMEOUT_SECONDS = 60.0
"""How long a supervisor may take to end with its jobs: longer than the grace that a job has after SIGTERM."""


class ProcessEngine(WithoutContainers):
    """Runs attempts as process groups on this host. Everything it keeps is under `data_dir`: engine/ and logs/."""

    name = "process"
    launches_ahead = True
    runs_containers = False
    node_network = "127"
    daemon_host = ""

    def __init__(
        self,
        data_dir: Path,
        *,
        pass_environment: Sequence[str] = (),
        environ: Mapping[str, str] = os.environ,
        idle_exit_seconds: float | None = None,
        job_files: int | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        """`pass_environment` names more of the server's own variables that jobs get; `idle_exit_seconds` is how long a
        supervisor outlives its last job and server; `job_files` is the jobs' soft limit on open files, if it isn't this
        process's own; `gpus` are the ids of the machine's GPUs."""
        self._engine_dir = data_dir.absolute() / "engine"
        self._logs_dir = data_dir.absolute() / "logs"
        self._gpus = tuple(gpus)
        self._environment = base_environment(environ, pass_environment)
        if gpus:
            # A job that has asked for none sees none.
            self._environment |= variables_of_process(())
        given = {"--idle-exit-seconds": idle_exit_seconds, "--job-files": job_files}
        options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        self._linker = Linker(self._engine_dir, self._logs_dir, tuple(options))
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._incarnation = ""
        self._limits = "not known before the start"
        self._unconfirmed: dict[str, Launch] = {}
        self._stops: dict[str, int] = {}
        self._outbox: list[ToSupervisor] = []
        self._flush_is_due = False
        self._holding_waiters: list[asyncio.Future[list[Held]]] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def capacity(self) -> HostCapacity:
        return host.capacity(self._gpus)

    def limits_enforced(self) -> str:
        return self._limits

    def unsupported(self, container: dict[str, object]) -> list[str]:
        return host.unsupported(container)

    async def start(
        self, on_reports: Callable[[Sequence[Report]], None], on_incarnation: Callable[[str], None]
    ) -> None:
        """Connect to the supervisor of the folder, or start one. EngineError, with what it said, if none comes up."""
        self._loop = asyncio.get_running_loop()
        self._on_reports = on_reports
        self._on_incarnation = on_incarnation
        try:
            for folder in (self._engine_dir, self._logs_dir):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            link, early = await self._linker.open(self._environment)
        except OSError as error:
            raise EngineError(f"the process engine can't use {self._engine_dir}: {error}") from error
        self._incarnation = link.welcome.incarnation
        on_incarnation(self._incarnation)
        self._adopt(link, early)
        self._task = asyncio.create_task(self._run(link), name="process-engine")

    async def holding(self) -> list[Held]:
        waiter: asyncio.Future[list[Held]] = self._loop.create_future()
        self._holding_waiters.append(waiter)
        self._send(AskHolding())
        return await waiter

    def launch(self, launches: Sequence[Launch]) -> None:
        """ValueError if an attempt id can't be a file name."""
        told = [_with_gpus(launch) for launch in launches]
        for launch in told:
            self._unconfirmed[checked_attempt_id(launch.attempt_id)] = launch
        for batch in _batches(told):
            self._send(LaunchAll(batch))

    def recall(self, attempt_ids: Sequence[str]) -> None:
        self._send(Recall(list(attempt_ids)))

    def progress(self, attempt_id: str) -> str | None:
        """Nothing has to be made ready."""
        return None

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        self._stops[attempt_id] = min(grace_seconds, self._stops.get(attempt_id, grace_seconds))
        self._send(Stop(attempt_id, grace_seconds))

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            self._unconfirmed.pop(attempt_id, None)
            self._stops.pop(attempt_id, None)
        self._send(Forget(list(attempt_ids)))

    async def close(self, *, stop_jobs: bool = False) -> None:
        if self._task is None:
            return
        if stop_jobs:
            await set_within(self._linked, START_TIMEOUT_SECONDS)
        self._is_closing = True
        if stop_jobs and self._link is not None:
            self._send(ShutDown())
            await asyncio.wait([self._task], timeout=SHUT_DOWN_TIMEOUT_SECONDS)
        else:
            self._flush()
        await cancelled(self._task)
        self._task = None
        for waiter in self._holding_waiters:
            waiter.cancel()

    # ---- the connection

    def _send(self, message: ToSupervisor) -> None:
        """Send with everything else of this turn of the loop. Without a link, only what `_adopt` can't know is kept."""
        if self._link is None and not isinstance(message, Forget):
            return
        self._outbox.append(message)
        if not self._flush_is_due and self._link is not None:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._link is not None and self._outbox:
            messages, self._outbox = self._outbox, []
            self._link.send(messages)

    def _adopt(self, link: Link, early: Sequence[ToServer]) -> None:
        """Use a new link: ask for all that may not have been heard by the one before."""
        self._link = link
        self._limits = link.welcome.limits
        forgets = [message for message in self._outbox if isinstance(message, Forget)]
        self._outbox = [LaunchAll(batch) for batch in _batches(list(self._unconfirmed.values()))]
        self._outbox += [Stop(attempt_id, grace) for attempt_id, grace in self._stops.items()]
        self._outbox += forgets
        if self._holding_waiters:
            self._outbox.append(AskHolding())
        self._flush()
        self._linked.set()
        for message in early:
            self._take(message)

    async def _run(self, link: Link) -> None:
        """Read from the supervisor; when it is gone, from the next."""
        while True:
            try:
                while messages := await link.receive():
                    for message in messages:
                        self._take(message)
            except (OSError, EngineError) as error:
                _log.warning("engine.connection_broken", error=str(error))
            finally:
                self._link = None
                self._linked.clear()
                await link.close()
            if self._is_closing:
                return
            _log.warning("engine.supervisor_gone", incarnation=self._incarnation)
            link, early = await self._reopen()
            if link.welcome.incarnation != self._incarnation:
                self._incarnation = link.welcome.incarnation
                self._loop.call_soon(self._on_incarnation, self._incarnation)
            self._adopt(link, early)
            # What was reported while nobody was connected comes with the answer.
            self._send(AskHolding())

    async def _reopen(self) -> tuple[Link, list[ToServer]]:
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                return await self._linker.open(self._environment)
            except (OSError, EngineError) as error:
                _log.error("engine.no_supervisor", error=str(error), retry_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_SECONDS)

    def _take(self, message: ToServer) -> None:
        match message:
            case Reports(reports):
                for report in reports:
                    self._unconfirmed.pop(report.attempt_id, None)
                    if not isinstance(report, AttemptStarted):
                        self._stops.pop(report.attempt_id, None)
                # Not called from here, so that whoever awaits `holding` has its answer first.
                self._loop.call_soon(self._on_reports, reports)
            case Holding(held):
                waiters, self._holding_waiters = self._holding_waiters, []
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(held)


def _with_gpus(launch: Launch) -> Launch:
    """The launch with the variables that show it its GPUs; they win over the job's own."""
    if not launch.gpus:
        return launch
    return structs.replace(launch, environment={**launch.environment, **variables_of_process(launch.gpus)})


def _batches(launches: Sequence[Launch]) -> list[list[Launch]]:
    iterator = iter(launches)
    return list(iter(lambda: list(itertools.islice(iterator, LAUNCHES_PER_FRAME)), []))
