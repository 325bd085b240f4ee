"""A server without HTTP: the real API, store and runtime over an engine whose attempts end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from batchyard.api.bootstrap import ensure_defaults
from batchyard.api.catalogue import OPERATIONS
from batchyard.api.context import Context
from batchyard.api.roles.keys import Keys
from batchyard.clock import RandomIds, SystemClock
from batchyard.core.inputs import AttemptExited, AttemptStarted, Report
from batchyard.engines.base import Held, HostCapacity, Launch, WithoutContainers
from batchyard.runtime.job_endpoint import JobEndpoint
from batchyard.runtime.loop import Runtime
from batchyard.settings import Settings
from batchyard.telemetry.logstore import LogStore
from batchyard.wire.sigv4 import Caller
from tests import databases


class ScriptedEngine(WithoutContainers):
    """Remembers what it was told. Outlives the runtime, as a real engine's supervisor does."""

    name = "scripted"
    launches_ahead = False
    runs_containers = False
    node_network = "127"
    daemon_host = ""

    def __init__(self, vcpus: int = 2) -> None:
        self.vcpus = vcpus
        self.launches: dict[str, Launch] = {}
        self.launched_again: list[str] = []
        self.stopped: list[str] = []
        self.held: dict[str, bool] = {}
        self._on_reports: Callable[[Sequence[Report]], None] = lambda reports: None

    def capacity(self) -> HostCapacity:
        return HostCapacity(self.vcpus * 1000, 16_384)

    def limits_enforced(self) -> str:
        return "limits: none"

    def unsupported(self, container: dict[str, object]) -> list[str]:
        return []

    async def start(
        self, on_reports: Callable[[Sequence[Report]], None], on_incarnation: Callable[[str], None]
    ) -> None:
        self._on_reports = on_reports
        on_incarnation("first")

    async def holding(self) -> list[Held]:
        return [Held(attempt_id, ended) for attempt_id, ended in self.held.items()]

    def launch(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            if launch.attempt_id in self.held:
                self.launched_again.append(launch.attempt_id)
            self.launches[launch.attempt_id] = launch
            self.held[launch.attempt_id] = False

    def recall(self, attempt_ids: Sequence[str]) -> None:
        raise AssertionError("only an engine that launches ahead is asked to recall")

    def progress(self, attempt_id: str) -> str | None:
        """Nothing has to be made ready."""
        return None

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        self.stopped.append(attempt_id)

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            self.held.pop(attempt_id, None)

    async def close(self, *, stop_jobs: bool = False) -> None:
        return

    def report(self, *reports: Report) -> None:
        self._on_reports(reports)

    def start_and_exit(self, attempt_id: str, code: int = 0) -> None:
        now_ms = SystemClock().now_ms()
        self.held[attempt_id] = True
        self.report(AttemptStarted(attempt_id, now_ms), AttemptExited(attempt_id, now_ms, code))


class House:
    """One running server; `call` is the API, `until` waits for what must come true."""

    def __init__(self, context: Context, runtime: Runtime, engine: ScriptedEngine) -> None:
        self.context = context
        self.runtime = runtime
        self.engine = engine

    async def call(self, operation: str, service: str = "batch", /, **params: Any) -> dict[str, Any]:
        return await OPERATIONS[(service, operation)](self.context, params)

    async def define(self, name: str = "jd", **properties: Any) -> None:
        container = {"image": "busybox", "vcpus": 1, "memory": 64, "command": ["true"], **properties}
        await self.call(
            "RegisterJobDefinition", jobDefinitionName=name, type="container", containerProperties=container
        )

    async def submit(self, name: str = "job", definition: str = "jd", **params: Any) -> str:
        answer = await self.call("SubmitJob", jobName=name, jobQueue="default", jobDefinition=definition, **params)
        return str(answer["jobId"])

    async def job(self, job_id: str) -> dict[str, Any]:
        jobs = (await self.call("DescribeJobs", jobs=[job_id]))["jobs"]
        return dict(jobs[0])

    async def until_status(self, job_id: str, status: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while (job := await self.job(job_id))["status"] != status:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        return job

    async def until_async(self, condition: Callable[[House], Coroutine[Any, Any, bool]]) -> None:
        async with asyncio.timeout(10):
            while not await condition(self):  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@asynccontextmanager
async def house(folder: Path, engine: ScriptedEngine | None = None, **changes: Any) -> AsyncIterator[House]:
    settings = Settings(data_dir=str(folder), check_invariants=True, **changes)
    engine = engine or ScriptedEngine()
    database = databases.opened(folder / "batchyard.db")
    endpoint = JobEndpoint(settings, Keys.load(folder), "http://127.0.0.1:8000")
    runtime = Runtime(settings, SystemClock(), database, engine, endpoint)
    try:
        await runtime.start()
        context = Context(
            settings=settings,
            clock=SystemClock(),
            ids=RandomIds(),
            database=database,
            logs=LogStore(folder / "logs"),
            engine=engine,
            wake=runtime.wake,
            caller=Caller(None, settings.region, "batch"),
            scheduler=runtime,
        )
        await ensure_defaults(context)
        yield House(context, runtime, engine)
    finally:
        await runtime.close()
        database.close()


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)
