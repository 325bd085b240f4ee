"""One simulation: lives of a server, one after another, on one store and one world, until all has come to rest."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from batchyard.api.bootstrap import ensure_defaults
from batchyard.api.catalogue import OPERATIONS
from batchyard.api.context import Context
from batchyard.api.roles.keys import Keys
from batchyard.clock import CountingIds
from batchyard.engines.base import HostCapacity
from batchyard.engines.simulated import Entry
from batchyard.exceptions import BatchyardError
from batchyard.runtime.job_endpoint import JobEndpoint
from batchyard.runtime.loop import Runtime
from batchyard.settings import Settings
from batchyard.telemetry.logstore import LogStore
from batchyard.wire.sigv4 import Caller
from tests.faults.disk import SimulatedDatabase, copy_template
from tests.faults.plan import MAX_FAULTS_SECONDS, Crash, Plan
from tests.faults.story import Story
from tests.faults.virtual import Calendar, EndOfTime, NeverAtRest, VirtualLoop, WallClock
from tests.faults.workload import Acknowledged, Answer, Clients, Job
from tests.faults.world import FaultyWorld, MortalEngine

STOPPED = "Stopped together with the Batchyard server"


class Options(Struct, frozen=True):
    """How to simulate. Tests of the oracle put saboteurs in the places of the database, the engine and the world."""

    database: type[SimulatedDatabase] = SimulatedDatabase
    engine: type[MortalEngine] = MortalEngine
    runtime: type[Runtime] = Runtime
    world: type[FaultyWorld] = FaultyWorld
    crashes: tuple[tuple[str, int], ...] | None = None
    """These crashes and no other faults, instead of those drawn from the seed."""


class Record(Struct):
    """All that the oracle looks at."""

    story: Story
    diary: list[Entry]
    asked: dict[str, Job]
    acknowledged: Acknowledged
    host_vcpus: int
    max_vcpus: dict[str, int]
    totals: dict[str, int]
    has_consumables: bool
    gpus: tuple[str, ...]
    plan: Plan
    downs: list[tuple[float, float]] = []
    """When there was no supervisor."""
    deaths: int = 0
    """How often a server died."""
    failure: str | None = None
    """What ended the simulation before its time."""
    described: dict[str, dict[str, Any]] = {}
    """Every job, child and node, as DescribeJobs has it."""
    consumables: dict[str, dict[str, Any]] = {}
    open_streams: list[str] = []
    stops_left: int = 0
    held: list[str] = []
    """What the world still remembers."""


class Stopped(BatchyardError):
    """A server ended as it was asked to."""


class SchedulerDied(Exception):
    """The runtime's loop ended by itself, which only a bug brings about."""


class Life:
    """One server, from its start until it is killed."""

    def __init__(self, simulation: Simulation) -> None:
        self.loop = VirtualLoop(simulation.calendar, simulation.plan.read_seconds)
        settings = simulation.settings
        options = simulation.options
        self.database = options.database(
            settings.data_path / "batchyard.db", simulation.plan, simulation.story, lambda: self.loop
        )
        engine = options.engine(simulation.world, simulation.plan)
        endpoint = JobEndpoint(settings, Keys.load(settings.data_path), "http://127.0.0.1:8000")
        self.runtime = options.runtime(settings, simulation.clock, self.database, engine, endpoint)
        self.context = Context(
            settings=settings,
            clock=simulation.clock,
            ids=simulation.ids,
            database=self.database,
            logs=LogStore(settings.data_path / "logs"),
            engine=engine,
            wake=self.runtime.wake,
            caller=Caller(None, settings.region, "batch"),
            scheduler=self.runtime,
        )
        self.is_ready = False
        self._stop_jobs: asyncio.Future[bool] = self.loop.create_future()
        """Whether to, once the server is asked to end."""

    async def serve(self) -> BaseException | None:
        """What `batchyard up` does, without HTTP. Returns what the scheduler died of."""
        self.database.open()
        await self.runtime.start()
        await ensure_defaults(self.context)
        self.is_ready = True
        died = asyncio.create_task(self.runtime.failed())
        await asyncio.wait([died, self._stop_jobs], return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            return died.result()
        self.is_ready = False
        if self._stop_jobs.result():
            await asyncio.wait(
                [died, asyncio.create_task(self.runtime.stop_jobs(STOPPED))], return_when=asyncio.FIRST_COMPLETED
            )
        await self.runtime.close()
        await self.context.engine.close()
        raise Stopped

    def stop(self, *, jobs: bool) -> None:
        """SIGTERM: the server ends in order."""
        if not self._stop_jobs.done():
            self._stop_jobs.set_result(jobs)

    async def ask(self, operation: str, /, **params: Any) -> dict[str, Any]:
        return await OPERATIONS[("batch", operation)](self.context, params)

    def call(self, operation: str, params: dict[str, Any], answer: Answer) -> None:
        """A request arrives. Raises ConnectionError while the server doesn't listen."""
        if not self.is_ready:
            raise ConnectionError("connection refused")

        def done(task: asyncio.Task[dict[str, Any]]) -> None:
            error = task.exception()
            if error is not None and not isinstance(error, Exception):
                return
            answer(error if error is not None else task.result())

        self.loop.create_task(self.ask(operation, **params)).add_done_callback(done)

    def end(self) -> None:
        if not self.loop.is_closed():
            self.loop.abandon()
            self.database.drop()


class Simulation:
    """One seed. `run` returns what happened."""

    def __init__(self, seed: int, template: Path, folder: Path, options: Options) -> None:
        self.options = options
        self.calendar = Calendar()
        self.clock = WallClock(self.calendar)
        self.ids = CountingIds()
        self.story = Story(self.calendar.now_seconds)
        self.plan = Plan(
            seed, self.calendar, self.clock, self.story, None if options.crashes is None else list(options.crashes)
        )
        self.clients = Clients(seed, self.calendar, self.story, self._call)
        capacity = HostCapacity(self.clients.host_vcpus * 1000, 1_000_000, self.clients.gpus)
        self.world = options.world(seed, self.calendar, self.clock.now_ms, capacity, self.plan, self.story)
        self.settings = Settings(
            data_dir=str(folder), check_invariants=True, minimum_timeout_seconds=1, minimum_state_time_limit_seconds=1
        )
        copy_template(template, folder / "batchyard.db")
        self._life: Life | None = None
        self._lives: list[Life] = []
        """Kept until the end, so that nothing of a dead one is finalised at some moment."""

    def run(self) -> Record:
        record = Record(
            self.story,
            self.world.diary,
            self.clients.jobs_by_name,
            self.clients.acknowledged,
            self.clients.host_vcpus,
            self.clients.max_vcpus,
            self.clients.totals,
            self.clients.has_consumables,
            self.clients.gpus,
            self.plan,
        )
        try:
            self._live_until_rest()
            self._look(record)
        except (SchedulerDied, NeverAtRest) as error:
            record.failure = str(error)
        except EndOfTime:
            record.failure = "the server never answers"
        finally:
            for life in self._lives:
                life.end()
        record.downs = self.world.downs
        record.deaths = len(self._lives) - 1
        record.held = [held.attempt_id for held in self.world.holding()]
        return record

    # ---- lives

    def _live_until_rest(self) -> None:
        """Server after server, until one of them has nothing left to do."""
        while True:
            try:
                self._live()
            except EndOfTime:
                return
            except Crash as crash:
                self.story.tell(f"---- the server dies: {crash}")
            except BatchyardError as error:
                # It could not start, and says so. Whoever looks after it starts it again.
                self.story.tell(f"---- the server ends: {error or 'as it was asked to'}")
            self._bury()

    def _live(self) -> None:
        life = self._life = Life(self)
        self._lives.append(life)
        self.story.tell("---- a server starts")
        is_first = len(self._lives) == 1
        died_of = life.loop.run_until_complete(self._set_up(life) if is_first else life.serve())
        raise SchedulerDied(f"the scheduler stopped: {died_of!r}") from died_of

    async def _set_up(self, life: Life) -> BaseException | None:
        """In peace: make the resources, put faults and requests into the calendar."""
        serving = asyncio.create_task(life.serve())
        while not life.is_ready:  # noqa: ASYNC110 - it is ready for nobody else
            await asyncio.sleep(0.01)
        for operation, params in self.clients.setup():
            await life.ask(operation, **params)
            # In peace the scheduler takes things in at once; virtual time costs nothing.
            await asyncio.sleep(0.1)
        self.plan.arm(
            self._crash,
            self.world.lose_supervisor,
            lambda: self.world.disconnect(tell=True),
            self._stop,
        )
        self.clients.begin()
        self.calendar.after(MAX_FAULTS_SECONDS, self._heal)
        return await serving

    def _heal(self) -> None:
        self.plan.heal()
        self.clients.finish()

    def _crash(self) -> None:
        if self._life is not None:
            raise Crash("at any time")

    def _stop(self, jobs: bool) -> None:
        if self._life is not None and self._life.is_ready:
            self._life.stop(jobs=jobs)

    def _bury(self) -> None:
        """What the server was doing is left as it is; after a while the next one starts."""
        dead, self._life = self._life, None
        self.world.disconnect()
        self.clients.server_died()
        assert dead is not None
        dead.end()
        self.calendar.advance_to(self.calendar.now_seconds() + self.plan.down_seconds())

    def _call(self, operation: str, params: dict[str, Any], answer: Answer) -> None:
        if self._life is None:
            raise ConnectionError("connection refused")
        self._life.call(operation, params, answer)

    # ---- the end

    def _look(self, record: Record) -> None:
        """Ask the API for everything."""
        life = self._life
        assert life is not None
        life.loop.run_until_complete(self._describe(life, record))

    async def _describe(self, life: Life, record: Record) -> None:
        stored = list(dict.fromkeys(move.job for move in self.story.moves if move.job is not None))
        units: list[str] = []
        for job in await _described(life, stored):
            asked = record.asked[job["jobName"]]
            self.story.names.setdefault(job["jobId"], job["jobName"])
            mark, count = ("#", asked.nodes) if asked.nodes is not None else (":", asked.size or 0)
            units += [job["jobId"], *(f"{job['jobId']}{mark}{index}" for index in range(count))]
        record.described = {job["jobId"]: job for job in await _described(life, units)}
        for name in record.totals if record.has_consumables else ():
            record.consumables[name] = await life.ask("DescribeConsumableResource", consumableResource=name)
        record.open_streams, record.stops_left = await life.database.read(_leftovers)


async def _described(life: Life, units: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for begin in range(0, len(units), 100):
        found += (await life.ask("DescribeJobs", jobs=units[begin : begin + 100]))["jobs"]
    return found


def _leftovers(connection: Connection) -> tuple[list[str], int]:
    open_streams = connection.exec_driver_sql("SELECT log_id FROM log_streams WHERE closed_at_ms IS NULL")
    stops = connection.exec_driver_sql("SELECT count(*) FROM stop_requests").scalar_one()
    return [row.log_id for row in open_streams], int(stops)


def simulate(seed: int, template: Path, options: Options | None = None) -> Record:
    """One seed, from the template of a database (`disk.make_template`), beside which it works."""
    folder = template.parent / "simulated"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return Simulation(seed, template, folder, options or Options()).run()
