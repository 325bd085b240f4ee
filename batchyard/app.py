"""The composition root: the only file that wires everything, and the server's life from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import structlog
import uvicorn
import uvloop

from batchyard import __version__, collector, serverinfo
from batchyard.api import doors
from batchyard.api.bootstrap import ensure_defaults
from batchyard.api.context import Context
from batchyard.api.roles.keys import Keys
from batchyard.background import set_within
from batchyard.clock import RandomIds, SystemClock
from batchyard.engines.base import Engine
from batchyard.engines.choose import choose, remember
from batchyard.exceptions import BatchyardError, DataFolderError, SettingsError
from batchyard.runtime import secrets
from batchyard.runtime.job_endpoint import JobEndpoint
from batchyard.runtime.loop import Runtime
from batchyard.runtime.retention import Retention
from batchyard.serverinfo import ServerInfo
from batchyard.settings import Settings
from batchyard.store import jobs
from batchyard.store.database import Database
from batchyard.telemetry.logstore import LogStore
from batchyard.wire import connections
from batchyard.wire.sigv4 import Caller

SECOND_SIGNAL_SECONDS = 3.0
"""How long a stopping server with running jobs waits for the second Ctrl-C."""

PART_FOR_ATTEMPTS = 4
"""One in so many places for connections is at the address that attempts come to."""

log = structlog.get_logger(__name__)


def serve(settings: Settings, on_ready: Callable[[ServerInfo], None], on_stopping: Callable[[int], None]) -> None:
    """Run the server in the foreground until SIGINT or SIGTERM.

    Jobs that run then go on, and the next `serve` on the same data folder finds them again; a second signal, or
    SIGUSR2, stops them too. `on_ready` is called once GET /health answers, `on_stopping` with the number of running
    attempts. Raises SettingsError, DataFolderError, StoreError or EngineError when the server can't start or go on.
    """
    _check_address(settings)
    secrets.check(settings)
    with _data_folder(settings.data_path):
        uvloop.run(_serve(settings, on_ready, on_stopping))


async def _serve(
    settings: Settings, on_ready: Callable[[ServerInfo], None], on_stopping: Callable[[int], None]
) -> None:
    stopping = _Stopping()
    stopping.listen()
    job_files = connections.raise_file_limit()
    listener = _listen(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        database = Database(settings.data_path / "batchyard.db")
        database.open()
        stack.callback(database.close)
        engine = choose(settings, job_files, functools.partial(_is_image_needed, database))
        keys = Keys.load(settings.data_path)
        endpoint = JobEndpoint(settings, keys, _url(listener))
        stack.callback(endpoint.close)
        runtime = Runtime(settings, SystemClock(), database, engine, endpoint)
        stack.push_async_callback(engine.close)
        await runtime.start()
        remember(settings.data_path, engine.name)
        stack.push_async_callback(runtime.close)
        logs = LogStore(settings.data_path / "logs")
        context = Context(
            settings=settings,
            clock=SystemClock(),
            ids=RandomIds(),
            database=database,
            logs=logs,
            engine=engine,
            wake=runtime.wake,
            caller=Caller(None, settings.region, "batch"),
            scheduler=runtime,
        )
        await ensure_defaults(context)
        await stack.enter_async_context(Retention(settings, SystemClock(), database, logs).running())
        info = _info(settings, listener, engine)
        async with _served(doors.Doors(context, keys), runtime, listener, endpoint.listener, settings):
            collector.spare()
            serverinfo.write(settings.data_path, info)
            stack.callback(serverinfo.remove, settings.data_path)
            on_ready(info)
            await _until_stopped(runtime, stopping)
        on_stopping(runtime.running_attempts)
        await _leave_or_stop_jobs(runtime, stopping)
        if not runtime.running_attempts:
            await runtime.close()
            await _first_of(engine.close(stop_jobs=True), stopping.everything.wait())


async def _is_image_needed(database: Database, image: str) -> bool:
    return await database.read(lambda connection: jobs.is_image_needed(connection, image))


class _Stopping:
    """What the signals ask for: the first ends the server, the second its jobs as well, the third waits for nothing."""

    def __init__(self) -> None:
        self.server = asyncio.Event()
        self.jobs = asyncio.Event()
        self.everything = asyncio.Event()

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._ask)
        loop.add_signal_handler(signal.SIGTERM, self._ask)
        loop.add_signal_handler(signal.SIGUSR2, self._ask_for_jobs)

    def _ask(self) -> None:
        asked = (each for each in (self.server, self.jobs) if not each.is_set())
        next(asked, self.everything).set()

    def _ask_for_jobs(self) -> None:
        self.server.set()
        self.jobs.set()


async def _until_stopped(runtime: Runtime, stopping: _Stopping) -> None:
    """Wait for a signal. Raises what the scheduler died of, if it does: what is stored is right, go on from there."""
    signalled = asyncio.create_task(stopping.server.wait())
    died = asyncio.create_task(runtime.failed())
    await asyncio.wait([signalled, died], return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if died.done() and (cause := died.result()) is not None:
        raise BatchyardError(f"the scheduler stopped: {cause!r}; jobs go on, start the server again") from cause
    died.cancel()


async def _leave_or_stop_jobs(runtime: Runtime, stopping: _Stopping) -> None:
    if runtime.running_attempts and not stopping.jobs.is_set():
        await set_within(stopping.jobs, SECOND_SIGNAL_SECONDS)
    if stopping.jobs.is_set():
        await _first_of(
            runtime.stop_jobs("Stopped together with the Batchyard server"),
            runtime.failed(),
            stopping.everything.wait(),
        )


async def _first_of(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Wait until one is done, and let go of the others."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Http(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _served(
    both: doors.Doors, runtime: Runtime, own: socket.socket, attempts: socket.socket | None, settings: Settings
) -> AsyncIterator[None]:
    """Answer at the server's own address, and at the one of attempts if there is one.

    Each has its own places for connections, so that whoever takes all those of the second leaves the first alone.
    """
    most = connections.max_connections(settings.max_connections)
    for_attempts = 0 if attempts is None else max(1, most // PART_FOR_ATTEMPTS)
    async with contextlib.AsyncExitStack() as stack:
        application = both.own(lambda: runtime.is_running)
        await stack.enter_async_context(_http(application, own, settings, most - for_attempts))
        if attempts is not None:
            application = both.attempts(attempts.getsockname()[0])
            await stack.enter_async_context(_http(application, attempts, settings, for_attempts))
        yield


@contextlib.asynccontextmanager
async def _http(
    application: Any, listener: socket.socket, settings: Settings, max_connections: int
) -> AsyncIterator[None]:
    limits = connections.Limits(
        request_seconds=settings.request_timeout_seconds,
        max_head_bytes=settings.max_request_head_bytes,
        max_request_bytes=settings.max_request_bytes,
        max_connections=max_connections,
    )
    config = uvicorn.Config(
        application,
        http=cast(Any, connections.factory(limits, RandomIds())),
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    server = _Http(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.002)
    if task.done():
        await task
    try:
        async with connections.watched(server.server_state.connections, limits):
            yield
    finally:
        server.should_exit = True
        await task


def _info(settings: Settings, listener: socket.socket, engine: Engine) -> ServerInfo:
    return ServerInfo(
        endpoint_url=_url(listener),
        pid=os.getpid(),
        data_dir=str(settings.data_path),
        region=settings.region,
        account_id=settings.account_id,
        engine=engine.name,
        limits=engine.limits_enforced(),
        gpus=len(engine.capacity().gpus),
        version=__version__,
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _check_address(settings: Settings) -> None:
    """Requests are not authenticated yet, and whoever can submit a job can run a command: loopback only."""
    try:
        is_loopback = settings.host == "localhost" or ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        raise SettingsError(f"settings: host is {settings.host!r}, it must be an IP address or localhost") from None
    if not is_loopback:
        raise SettingsError(
            f"settings: host is {settings.host}, but only loopback addresses are allowed: requests are not"
            " authenticated in this version, and whoever can reach the server can run commands"
        )


def _listen(settings: Settings) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    return listener


@contextlib.contextmanager
def _data_folder(path: Path) -> Iterator[None]:
    """Make the data folder, and hold it against a second server."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise DataFolderError(f"cannot use the data folder {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = serverinfo.read(path)
        where = f" at {other.endpoint_url} (process {other.pid})" if other else ""
        raise DataFolderError(f"the data folder {path} is in use by another server{where}") from None
    else:
        yield
    finally:
        os.close(lock)
