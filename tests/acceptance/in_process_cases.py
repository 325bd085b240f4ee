"""The wire and the API over a real database, in this process: no socket, no engine, and no scheduler, so that nothing
but the requests themselves changes the store."""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs
from sqlalchemy import insert

from batchyard.api.catalogue import OPERATIONS
from batchyard.clock import CountingIds
from batchyard.core.snapshot import Snapshot
from batchyard.store.tables import log_streams
from batchyard.wire.front import Front
from batchyard.wire.serialise import Response
from tests.acceptance.bad_input_cases import CONTRACT, HttpRequest, Key, Names, good_requests, http_request
from tests.databases import Tables
from tests.unit.api.harness import DATABASE, World, definition, open_world, run

LOG_GROUP = "/aws/batch/job"
MAX_REQUEST_BYTES = 65_536


class IdleScheduler:
    """Knows every queue, and nothing of any job."""

    def explain(self, unit_id: str) -> None:
        return None

    def snapshot(self, queue: str) -> Snapshot:
        return Snapshot(front=(), used_vcpu_milli=0)


class InProcess:
    """The front and every operation over a real database, in this process. No runtime: jobs stay SUBMITTED."""

    def __init__(self, world: World, names: Names) -> None:
        self._world = world
        self._front = Front(
            CONTRACT,
            {key: self._handler(key) for key in OPERATIONS},
            default_region=world.context.settings.region,
            ids=world.context.ids,
            max_request_bytes=MAX_REQUEST_BYTES,
        )
        self.names = names
        self.good = good_requests(names)

    def _handler(self, key: Key) -> Any:
        async def handle(caller: Any, params: dict[str, Any]) -> dict[str, Any]:
            context = structs.replace(self._world.context, caller=caller, scheduler=IdleScheduler())
            return await OPERATIONS[key](context, params)

        return handle

    def send(self, request: HttpRequest) -> Response:
        return run(self._exchange(request))

    def call(self, key: Key, params: Any) -> Response:
        return self.send(http_request(key, params))

    async def _exchange(self, request: HttpRequest) -> Response:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": request.method,
            "path": "not read",
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()],
        }
        await self._front(scope, receive, send)
        return Response(sent[0]["status"], sent[0]["headers"], sent[1]["body"])

    def tables(self) -> Tables:
        """All rows of all tables, to see that nothing changed."""
        return self._world.tables()


def _insert_stream(world: World, name: str, attempt_id: str) -> None:
    row = {"log_group": LOG_GROUP, "name": name, "log_id": attempt_id, "created_at_ms": world.clock.now_ms()}
    world.write(lambda connection: connection.execute(insert(log_streams), row) and None)


def _furnish(world: World) -> Names:
    """What the good requests are about."""
    world.environment("environment")
    world.environment("spare-environment", state="DISABLED")
    world.queue("queue", "environment")
    world.queue("spare-queue", "environment", state="DISABLED")
    world.call("RegisterJobDefinition", **definition("definition"))
    world.call("CreateSchedulingPolicy", name="policy", fairsharePolicy={"shareDecaySeconds": 60})
    world.call("CreateConsumableResource", consumableResourceName="consumable", totalQuantity=3)
    job = {"jobQueue": "queue", "jobDefinition": "definition"}
    job_id = world.call("SubmitJob", jobName="single", **job)["jobId"]
    array_id = world.call("SubmitJob", jobName="array", arrayProperties={"size": 3}, **job)["jobId"]
    stream = f"definition/default/{job_id}"
    _insert_stream(world, stream, job_id)
    return Names(
        environment="environment",
        spare_environment="spare-environment",
        queue="queue",
        spare_queue="spare-queue",
        definition="definition",
        consumable="consumable",
        policy="policy",
        job_id=job_id,
        array_id=array_id,
        log_group=LOG_GROUP,
        log_stream=stream,
    )


class Furnished(NamedTuple):
    """A database with all that the good requests are about, made once and copied."""

    content: bytes
    names: Names
    ids: CountingIds
    """As far as they were given out."""


@functools.cache
def _furnished() -> Furnished:
    with tempfile.TemporaryDirectory() as folder:
        with open_world(Path(folder)) as world:
            names = _furnish(world)
        ids = world.context.ids
        assert isinstance(ids, CountingIds)
        return Furnished((Path(folder) / DATABASE).read_bytes(), names, ids)


@contextmanager
def in_process(folder: Path) -> Iterator[InProcess]:
    furnished = _furnished()
    (folder / DATABASE).write_bytes(furnished.content)
    with open_world(folder) as world:
        world.context = structs.replace(world.context, ids=copy.copy(furnished.ids))
        yield InProcess(world, furnished.names)
