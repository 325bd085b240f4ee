"""The contract of `engines/base.py` on a Docker daemon.

What the engine remembers, it remembers in Docker: a container stands from its attempt's launch until the attempt is
forgotten, under the attempt's id and with labels by which the next server finds it. In this process there is only what
follows from that, and the attempts that never got as far as a container.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from batchyard.core.inputs import AttemptExited, Report
from batchyard.core.model import Usage
from batchyard.core.reasons import cannot_start
from batchyard.engines.base import Held, HostCapacity, Launch
from batchyard.engines.docker import build, honoured
from batchyard.engines.docker.attempt import Attempt, Surroundings, now_ms
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.images import Images, PullPolicy
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.networks import NodeNetwork, name_of, provide
from batchyard.engines.docker.output import Output
from batchyard.engines.docker.parse import Daemon
from batchyard.engines.docker.run import ContainerRun
from batchyard.engines.docker.usage import Groups
from batchyard.engines.docker.volumes import LABEL_VOLUME_OF, own_volumes
from batchyard.engines.process.processes import boot_id
from batchyard.engines.task import Container, Task
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError, EngineError
from batchyard.logframes import checked_attempt_id, log_path

CLOSE_SECONDS = 60.0
FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 2.0
KEPT_PREFIX = "failed-"
"""Before the name of a container that is kept, for its owner to look into, after its attempt is over."""
SERVER_ID_FILE = "docker-server-id"

_log = structlog.get_logger(__name__)


class DockerSettings(Struct, frozen=True):
    """What a server's settings say of the engine."""

    host: str
    pull: PullPolicy = "missing"
    network: str = "bridge"
    networks: dict[str, str] = {}
    """Subnet -> network."""
    private_networks: dict[str, str] = {}
    """The same for private subnets: these networks are internal."""
    cpu_quota: bool = False
    storage_quota: bool = False
    keep_failed: int = 0
    efs_address: str = "{file_system_id}.efs.{region}.amazonaws.com"
    region: str = "us-east-1"
    gpus: tuple[str, ...] = ()
    prefix: str = ""


class DockerEngine:
    """Runs attempts as containers of one daemon. Its files are in `data_dir`: engine/ and logs/."""

    name = "docker"
    launches_ahead = False
    runs_containers = True
    node_network = "10"

    def __init__(self, data_dir: Path, settings: DockerSettings) -> None:
        """EngineError if the daemon's address can't be one."""
        self._data_dir = data_dir.absolute()
        self._settings = settings
        self._client: Client | None = None
        self._link = Link()
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starts = asyncio.Semaphore(max(4, 2 * (os.cpu_count() or 1)))
        self._groups = Groups()
        self._kept: list[str] = []
        self._outbox: list[Report] = []
        self._daemon: Daemon | None = None

    # ---- what is known of the daemon

    @property
    def daemon_host(self) -> str:
        return self._settings.host

    def capacity(self) -> HostCapacity:
        daemon = self._known()
        return HostCapacity(vcpu_milli=daemon.vcpu_milli, memory_mib=daemon.memory_mib, gpus=self._settings.gpus)

    def limits_enforced(self) -> str:
        daemon = self._daemon
        if daemon is None:
            return "not known before the start"
        memory = "memory" if daemon.has_memory_limit else "no memory limit (the kernel has no memory controller)"
        cpus = "vCPUs as a hard limit" if self._settings.cpu_quota else "vCPUs as shares"
        return f"{memory} and {cpus} enforced by Docker {daemon.version} (cgroup v{daemon.cgroup_version})"

    def unsupported(self, container: dict[str, object]) -> list[str]:
        return honoured.unsupported(container, storage_quota=self._settings.storage_quota)

    def _known(self) -> Daemon:
        if self._daemon is None:
            raise EngineError("the docker engine is not started")
        return self._daemon

    # ---- life

    async def start(
        self, on_reports: Callable[[Sequence[Report]], None], on_incarnation: Callable[[str], None]
    ) -> None:
        """Connect to the daemon and take up the containers that are there. EngineError if it doesn't answer."""
        self._loop = asyncio.get_running_loop()
        self._on_reports = on_reports
        self._on_incarnation = on_incarnation
        engine_dir = self._data_dir / "engine"
        try:
            engine_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            server_id = _server_id(engine_dir / SERVER_ID_FILE)
        except OSError as error:
            raise EngineError(f"the docker engine can't use {engine_dir}: {error}") from error
        client = self._client = Client(self._settings.host)
        try:
            self._daemon = await client.info()
        except (DaemonGoneError, DaemonRefusedError) as error:
            await client.close()
            self._client = None
            raise EngineError(f"no Docker daemon answers at {self._settings.host}: {error}") from error
        try:
            await provide(client, self._settings.networks.values(), self._settings.private_networks.values())
        except EngineError:
            await client.close()
            self._client = None
            raise
        self._options = build.Options(
            server_id=server_id,
            boot_id=boot_id(),
            prefix=self._settings.prefix,
            network=self._settings.network,
            networks=self._settings.networks | self._settings.private_networks,
            cpu_quota=self._settings.cpu_quota,
            storage_quota=self._settings.storage_quota,
            cgroup_parent=self._groups.can_be_used(self._daemon, is_local=client.is_local),
            efs_address=self._settings.efs_address,
            region=self._settings.region,
            has_gpus=bool(self._settings.gpus),
        )
        self._label = f"{build.LABEL_SERVER}={server_id}"
        self._nodes = NodeNetwork(client, self._link, name_of(server_id), {build.LABEL_SERVER: server_id})
        self._images = Images(client, self._link, self._settings.pull)
        on_incarnation(self._daemon.daemon_id)
        listening = asyncio.Event()
        self._spawn(self._listen(client, listening), "events of Docker")
        await listening.wait()

    async def holding(self) -> list[Held]:
        held = [Held(each.attempt_id, ended=each.has_ended) for each in self._attempts.values()]
        self._tell([report for each in self._attempts.values() for report in each.reports])
        return held

    def launch(self, launches: Sequence[Launch]) -> None:
        """ValueError if an attempt id can't be a file name."""
        for launch in launches:
            checked_attempt_id(launch.attempt_id)
        for launch in launches:
            if launch.attempt_id not in self._attempts:
                attempt = self._new_attempt(launch.attempt_id, launch)
                attempt.task = self._look_after(attempt, self._run(attempt, launch))

    def recall(self, attempt_ids: Sequence[str]) -> None:
        """Nothing waits for room here: this engine launches nothing ahead."""

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is None or attempt.has_ended:
            return
        attempt.run.stop(grace_seconds)
        if attempt.task is not None and not attempt.is_starting and not attempt.reports:
            attempt.task.cancel()
            attempt.stopped_before_start()

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.ended.is_set():
                del self._attempts[attempt_id]
                self._spawn(self._clear_away(attempt), f"clearing away {attempt_id}")

    async def close(self, *, stop_jobs: bool = False) -> None:
        if self._client is None:
            return
        if stop_jobs:
            await self._stop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for attempt in self._attempts.values():
            attempt.run.close()
        self._images.close()
        self._flush()
        await self._client.close()
        self._client = None

    async def _stop_all(self) -> None:
        for attempt in list(self._attempts.values()):
            self.stop(attempt.attempt_id, attempt.stop_grace_seconds)
        ends = [attempt.ended.wait() for attempt in self._attempts.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*ends)

    # ---- one attempt

    def _new_attempt(self, attempt_id: str, launch: Launch | None) -> Attempt:
        assert self._client is not None
        name = self._settings.prefix + attempt_id
        is_collected = launch is None or build.is_collected(_task_of(launch).containers[0])
        output = Output(self._client, name, log_path(self._data_dir / "logs", attempt_id)) if is_collected else None
        attempt = Attempt(attempt_id, ContainerRun(self._client, self._link, name, output), launch, self._report)
        self._attempts[attempt_id] = attempt
        return attempt

    async def _run(self, attempt: Attempt, launch: Launch) -> None:
        """From the launch to the end."""
        task = _task_of(launch)
        container = task.containers[0]
        async with self._starts:
            if attempt.has_ended:
                return
            if not await attempt.checked(lambda: self._images.ensure(container, launch)):
                return
            address = launch.address
            if address is not None and not await attempt.checked(lambda: self._nodes.join(attempt.attempt_id, address)):
                return
            attempt.is_starting = True
            daemon = self._known()
            if not await attempt.start(lambda: build.create_body(self._options, daemon, launch, task)):
                return
        await self._watch(attempt)

    async def _watch(self, attempt: Attempt) -> None:
        surroundings = Surroundings(self._options.boot_id, self._link, self._known)
        await attempt.watch(surroundings, lambda: self._usage(attempt.attempt_id))

    def _usage(self, attempt_id: str) -> Usage | None:
        if not self._options.cgroup_parent:
            return None
        return self._groups.usage(build.cgroup_parent(self._options, attempt_id))

    async def _clear_away(self, attempt: Attempt) -> None:
        """Remove what Docker has of an attempt that is over, or keep it for its owner to look into."""
        client = self._client
        assert client is not None
        last = attempt.reports[-1]
        failed = not isinstance(last, AttemptExited) or last.exit_code != 0
        name = attempt.run.name
        if failed and self._settings.keep_failed and await self._keep(name):
            return
        await self._remove(client, name)
        if attempt.launch is None or own_volumes(_task_of(attempt.launch)):
            await self._remove_volumes(client, attempt.attempt_id)
        await self._nodes.leave(attempt.attempt_id)
        if self._options.cgroup_parent:
            self._groups.remove(build.cgroup_parent(self._options, attempt.attempt_id))

    async def _remove(self, client: Client, name: str) -> None:
        try:
            await self._link.reliably(lambda: client.remove(name))
        except DaemonRefusedError as error:
            _log.warning("docker.container_stays", container=name, error=str(error))

    async def _remove_volumes(self, client: Client, attempt_id: str) -> None:
        label = f"{LABEL_VOLUME_OF}={self._settings.prefix}{attempt_id}"
        for volume in await self._link.reliably(lambda: client.volumes_by_label(label)):
            try:
                await self._link.reliably(functools.partial(client.remove_volume, volume))
            except DaemonRefusedError as error:
                _log.warning("docker.volume_stays", volume=volume, error=str(error))

    # ---- reports

    def _report(self, report: Report) -> None:
        self._tell([report])

    def _tell(self, reports: Sequence[Report]) -> None:
        """Tell with everything else of this turn of the loop, so that whoever awaits `holding` has its answer first."""
        if reports and not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox += reports

    def _flush(self) -> None:
        reports, self._outbox = self._outbox, []
        if reports:
            self._on_reports(reports)

    # ---- the daemon's events

    async def _listen(self, client: Client, listening: asyncio.Event) -> None:
        """Hear of the ends of containers. Each time the connection is made, look at all of them first."""
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                async for event in client.events(self._label):
                    if event:
                        self._hear(event)
                    else:
                        await self._survey(client)
                        self._link.up(now_ms())
                        listening.set()
                        delay = FIRST_RETRY_SECONDS
                error: Exception = DaemonGoneError("the events ended")
            except (DaemonGoneError, DaemonRefusedError) as caught:
                error = caught
            if self._link.is_up.is_set():
                _log.warning("docker.daemon_gone", error=str(error))
            self._link.down(now_ms())
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_SECONDS)

    def _hear(self, event: dict[str, Any]) -> None:
        attributes = event.get("Actor", {}).get("Attributes", {})
        attempt = self._attempts.get(attributes.get(build.LABEL_ATTEMPT, ""))
        if attempt is not None:
            if event.get("Action") == "oom":
                attempt.run.oom_heard = True
            elif event.get("Action") == "kill":
                attempt.run.heard_kill(str(attributes.get("signal", "")))
            else:
                attempt.run.maybe_ended.set()

    async def _survey(self, client: Client) -> None:
        """Take up every container of this server's that no attempt here has, and look at those that one has."""
        daemon = await client.info()
        known = self._known()
        if daemon.daemon_id != known.daemon_id:
            self._on_incarnation(daemon.daemon_id)
        self._daemon = daemon
        for attempt in self._attempts.values():
            attempt.run.maybe_ended.set()
        for name in await client.names_by_label(self._label):
            if name.startswith(KEPT_PREFIX):
                if name not in self._kept:
                    self._kept.append(name)
            else:
                await self._take_up(client, name)

    async def _take_up(self, client: Client, name: str) -> None:
        state = await client.inspect(name)
        if state is None:
            return
        attempt_id = state.labels.get(build.LABEL_ATTEMPT, "")
        if attempt_id in self._attempts:
            return
        if state.is_created and not state.error:
            # A server died between making and starting it: whoever wants it launched will launch it again.
            await client.remove(name)
            return
        attempt = self._new_attempt(attempt_id, None)
        attempt.is_starting = True
        if self._nodes.name in state.networks:
            self._nodes.used_by(attempt_id)
        if state.could_not_start:
            attempt.failed_to_start(cannot_start(state.error))
            return
        attempt.has_ended = state.has_ended
        attempt.started(state)
        attempt.run.adopt(state)
        attempt.task = self._look_after(attempt, self._watch(attempt))

    # ---- what is kept

    async def _keep(self, name: str) -> bool:
        """Keep a failed attempt's container under another name; the oldest of those goes when there are too many."""
        client = self._client
        assert client is not None
        try:
            await self._link.reliably(lambda: client.rename(name, KEPT_PREFIX + name))
        except DaemonRefusedError:
            return False
        self._kept.append(KEPT_PREFIX + name)
        while len(self._kept) > self._settings.keep_failed:
            oldest = self._kept.pop(0)
            await self._remove(client, oldest)
        return True

    # ---- tasks

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("docker.task_failed", task=task.get_name(), error=repr(error), exc_info=error)

    def _look_after(self, attempt: Attempt, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not attempt.ended.is_set():
                attempt.broke(error)

        task = self._spawn(coroutine, f"attempt {attempt.attempt_id}")
        task.add_done_callback(ended)
        return task


def _task_of(launch: Launch | None) -> Task:
    if launch is None or launch.task is None:
        return Task((Container(),))
    return launch.task


def _server_id(path: Path) -> str:
    """What tells this data folder's containers from others'."""
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.write_text(secrets.token_hex(16), encoding="ascii")
        temporary.replace(path)
    return path.read_text(encoding="ascii").strip()
