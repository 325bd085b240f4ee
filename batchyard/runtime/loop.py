"""The loop that makes jobs run: what happened -> step -> commit -> effects.

Everything that arrives while one turn commits goes into the next, so a busy server takes few, large turns. Effects
wait for their commit; each is idempotent, so a server that dies anywhere in a turn makes up for it when it starts:
it loads what is stored, asks the engine what it holds, and steps on the difference.
"""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from batchyard import crashpoints
from batchyard.background import cancelled
from batchyard.clock import Clock
from batchyard.core import invariants
from batchyard.core.effects import Effect, ForgetAttempt, LaunchAttempt, RecallAttempt, StopAttempt
from batchyard.core.explain import Explanation, explain
from batchyard.core.inputs import (
    ClockJumped,
    DrainRequested,
    EngineSurveyed,
    EnvironmentChanged,
    Input,
    PolicyChanged,
    QueueChanged,
    Report,
)
from batchyard.core.outcome import ChildChanged, ConsumableUsed, JobChanged, Outcome, Settled, ShareChanged
from batchyard.core.restore import restore_job, restore_share
from batchyard.core.snapshot import Snapshot, snapshot
from batchyard.core.step import step
from batchyard.core.yard import Yard
from batchyard.engines.base import Engine
from batchyard.exceptions import StoreError
from batchyard.runtime import load
from batchyard.runtime.clockwatch import ClockWatch
from batchyard.runtime.hosts import HOST, LocalHost
from batchyard.runtime.job_endpoint import JobEndpoint
from batchyard.runtime.launch import Launcher
from batchyard.runtime.launches import Launches
from batchyard.runtime.secrets import Secrets
from batchyard.settings import Settings
from batchyard.store import consumables, environments, policies, progress, queues, shares
from batchyard.store.database import MAX_ROWS_ON_LOOP, Database

MAX_JOBS_TAKEN_IN = 2000
"""Submitted jobs taken in by one turn, so that a flood of them delays no running job's end for long."""
MAX_COMMIT_RETRY_SECONDS = 5.0
MIN_TURN_SECONDS = 0.005
"""From the beginning of one turn to the next, so that a busy server takes few and large ones. After a pause of so long
the next turn begins at once."""

log = structlog.get_logger(__name__)


class Runtime:
    """The one scheduler. `start()`, then it runs until `close()`; `failed` tells if it ever stops by itself."""

    def __init__(
        self, settings: Settings, clock: Clock, database: Database, engine: Engine, endpoint: JobEndpoint
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._engine = engine
        self._host = LocalHost(engine, settings.data_path, settings.overcommit)
        self._endpoint = endpoint
        self._launcher = Launcher(database, endpoint, with_tasks=engine.runs_containers)
        self._launches = Launches(self._launcher, engine, Secrets(settings), clock, self._reported)
        self._yard = Yard()
        self._inbox: list[Input] = []
        self._intents_waiting = True
        self._awake = asyncio.Event()
        self._drained = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_turn_at = 0.0
        self._clock_watch: ClockWatch | None = None

    async def start(self) -> None:
        """Load what is stored, find the running attempts again, and begin to schedule."""
        await self._engine.start(self._reported, self._incarnated)
        await self._endpoint.open(self._engine)
        if crashpoints.ARMED:
            crashpoints.reach("runtime.engine_started")
        resources = await self._database.read(load.read_resources)
        await self._carry_out(self._step([self._host.sized(), *resources, *self._instances_for(resources)]))
        for share in await self._database.read(shares.all_rows):
            restore_share(self._yard, share)
        await self._restore_jobs()
        if crashpoints.ARMED:
            crashpoints.reach("runtime.restored")
        held = frozenset(held.attempt_id for held in await self._engine.holding())
        if crashpoints.ARMED:
            crashpoints.reach("runtime.surveyed")
        self._inbox.append(EngineSurveyed(HOST, held))
        self._clock_watch = ClockWatch(self._clock, asyncio.get_running_loop().time)
        log.info("runtime.started", unfinished_jobs=len(self._yard.jobs), attempts_held=len(held))
        self.wake()
        self._task = asyncio.create_task(self._run(), name="runtime")

    async def _restore_jobs(self) -> None:
        after_seq = 0
        # There may be a million, and all of them stay: the collector would only look through them again and again.
        gc.disable()
        try:
            while stored := await self._database.read(
                functools.partial(load.read_jobs, yard=self._yard, after_seq=after_seq)
            ):
                for each in stored:
                    restore_job(self._yard, each)
                after_seq = stored[-1].seq
        finally:
            gc.freeze()
            gc.enable()

    async def failed(self) -> BaseException | None:
        """Wait until the loop ends; return what it died of, None if it was closed."""
        assert self._task is not None
        await asyncio.wait([self._task])
        return None if self._task.cancelled() else self._task.exception()

    def wake(self) -> None:
        """An intent has been committed."""
        self._intents_waiting = True
        self._awake.set()

    def explain(self, unit_id: str) -> Explanation | None:
        """Why an unfinished job isn't running, as of the last step."""
        return explain(self._yard, unit_id)

    def snapshot(self, queue: str) -> Snapshot | None:
        """The front of a queue and what its jobs occupy, as of the last step."""
        return snapshot(self._yard, queue)

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def running_attempts(self) -> int:
        return len(self._yard.units_by_attempt)

    async def stop_jobs(self, reason: str) -> None:
        """Terminate every running attempt and wait until all have ended and that is stored."""
        self._inbox.append(DrainRequested(reason))
        self._awake.set()
        async with self._drained:
            await self._drained.wait_for(lambda: self._yard.draining and not self.running_attempts)

    async def close(self) -> None:
        """Stop scheduling. What runs goes on, and is found again by the next start."""
        self._launches.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await cancelled(self._task)

    def _reported(self, reports: Sequence[Report]) -> None:
        self._inbox.extend(reports)
        self._awake.set()

    def _incarnated(self, incarnation: str) -> None:
        self._host.incarnated(incarnation)
        self._inbox.extend(self._host.register(self._yard.environments))
        self._awake.set()

    def _instances_for(self, events: Sequence[Input]) -> list[Input]:
        """This host, as the instance of every environment that is new or changed."""
        return self._host.register(event.environment.name for event in events if isinstance(event, EnvironmentChanged))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._awake.wait()
            await asyncio.sleep(max(0.0, self._next_turn_at - loop.time()))
            self._next_turn_at = loop.time() + MIN_TURN_SECONDS
            self._awake.clear()
            events, stop_ids = await self._take_in()
            outcome = self._step(events)
            await self._carry_out(outcome, stop_ids)
            self._set_timer(outcome.next_deadline_ms)
            if self._yard.draining:
                async with self._drained:
                    self._drained.notify_all()

    async def _take_in(self) -> tuple[list[Input], list[int]]:
        """What the engine reported and what the API stored since the last turn."""
        events, self._inbox = self._inbox, []
        if not self._intents_waiting:
            return events, []
        self._intents_waiting = False
        while True:
            try:
                intents, submissions = await self._database.read(self._read_intents)
                break
            except StoreError:
                log.exception("runtime.intents_unreadable")
                await asyncio.sleep(MAX_COMMIT_RETRY_SECONDS)
        if intents.is_partial:
            self.wake()
        changed = [EnvironmentChanged(environments.to_state(row)) for row in intents.environments]
        stored = [*changed, *self._instances_for(changed)]
        stored.extend(PolicyChanged(policies.to_state(row)) for row in intents.policies)
        states = [QueueChanged(queues.to_state(row)) for row in intents.queues]
        stored.extend(each for each in states if not each.queue.deleting)
        stored.extend(intents.consumables)
        stored.extend(submissions)
        # Deletions and stops go after the submissions: they hold for jobs that were submitted before them.
        stored.extend(each for each in states if each.queue.deleting)
        stops = [request for _, request in intents.stops]
        # Submissions go before the reports: a dependency that was unfinished when they were read must still be so.
        return [*stored, *events, *stops], [stop_id for stop_id, _ in intents.stops]

    def _read_intents(self, connection: Connection) -> tuple[progress.Intents, list[Input]]:
        intents = progress.read_intents(connection, MAX_JOBS_TAKEN_IN)
        return intents, load.submissions(connection, intents.jobs, self._yard)

    def _step(self, events: Sequence[Input]) -> Outcome:
        if self._clock_watch is not None and (jump_ms := self._clock_watch.jump_ms()):
            log.warning("runtime.clock_jumped", by_ms=jump_ms)
            events = [ClockJumped(jump_ms), *events]
        outcome = step(self._yard, events, self._clock.now_ms())
        if self._settings.check_invariants:
            invariants.check(self._yard)
        return outcome

    async def _carry_out(self, outcome: Outcome, stop_ids: Sequence[int] = ()) -> None:
        """Commit, then act."""
        launches = [effect for effect in outcome.effects if isinstance(effect, LaunchAttempt)]
        if outcome.changes or stop_ids:
            if crashpoints.ARMED:
                crashpoints.reach("runtime.before_commit")
            await self._commit(outcome, stop_ids)
            if crashpoints.ARMED:
                crashpoints.reach("runtime.after_commit")
        if launches:
            await self._prepare(launches)
        self._act(outcome.effects)
        self._launcher.trim()

    async def _commit(self, outcome: Outcome, stop_ids: Sequence[int]) -> None:
        """Store a step's outcome. If the database can't take it, nothing else happens until it can."""

        def write(connection: Connection) -> None:
            units = [change for change in outcome.changes if isinstance(change, JobChanged | ChildChanged)]
            progress.write_units(connection, units)
            progress.write_streams(connection, outcome.transitions)
            progress.drop_stop_requests(connection, stop_ids)
            shares.write(connection, [change for change in outcome.changes if isinstance(change, ShareChanged)])
            consumables.write_use(
                connection, [change for change in outcome.changes if isinstance(change, ConsumableUsed)]
            )
            for change in outcome.changes:
                if isinstance(change, Settled):
                    progress.write_settled(connection, change)

        delay_seconds = 0.05
        while True:
            try:
                await self._database.write(write, is_long=len(outcome.changes) + len(stop_ids) > MAX_ROWS_ON_LOOP)
                return
            except StoreError as error:
                log.error("runtime.commit_failed", error=str(error), retry_in_seconds=delay_seconds)
                await asyncio.sleep(delay_seconds)
                delay_seconds = min(delay_seconds * 2, MAX_COMMIT_RETRY_SECONDS)

    async def _prepare(self, launches: Sequence[LaunchAttempt]) -> None:
        while True:
            try:
                await self._launcher.prepare([effect.job_id for effect in launches])
                return
            except StoreError:
                log.exception("runtime.launch_details_unreadable")
                await asyncio.sleep(MAX_COMMIT_RETRY_SECONDS)

    def _act(self, effects: Sequence[Effect]) -> None:
        """Hand a step's effects to the engine, in bulk and in order of kind: launches, recalls, stops, forgets."""
        if (
            self._launches.begin([effect for effect in effects if isinstance(effect, LaunchAttempt)])
            and crashpoints.ARMED
        ):
            crashpoints.reach("runtime.after_launch")
        recalls = [effect.attempt_id for effect in effects if isinstance(effect, RecallAttempt)]
        if recalls:
            self._launches.recall(recalls)
        self._act_on_the_started(effects)

    def _act_on_the_started(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StopAttempt) and not self._launches.stop(effect.attempt_id):
                self._engine.stop(effect.attempt_id, effect.grace_seconds)
                if crashpoints.ARMED:
                    crashpoints.reach("runtime.after_stop")
        forgets = [effect.attempt_id for effect in effects if isinstance(effect, ForgetAttempt)]
        if forgets:
            if crashpoints.ARMED:
                crashpoints.reach("runtime.before_forget")
            self._engine.forget(forgets)
            if crashpoints.ARMED:
                crashpoints.reach("runtime.after_forget")

    def _set_timer(self, deadline_ms: int | None) -> None:
        """Wake up for the next timeout."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline_ms is not None:
            delay_seconds = max(0.0, (deadline_ms - self._clock.now_ms()) / 1000)
            self._timer = asyncio.get_running_loop().call_later(delay_seconds, self._awake.set)
