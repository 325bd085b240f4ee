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
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec import structs

from batchyard.core.inputs import Report
from batchyard.core.model import Usage
from batchyard.engines.base import LOOPBACK, ContainerFacts, Held, HostCapacity, Launch
from batchyard.engines.docker import build, honoured, order, pause
from batchyard.engines.docker.address import ADDRESS, HostAddress
from batchyard.engines.docker.attempt import Attempt, Surroundings, now_ms
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.hosts import HostsFiles
from batchyard.engines.docker.images import Images
from batchyard.engines.docker.labels import LABEL_ATTEMPT, LABEL_CONTAINER, LABEL_SERVER, LABEL_UNREAD, PAUSE
from batchyard.engines.docker.leavings import KEPT_PREFIX, Leavings
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.networks import NodeNetwork, name_of, provide
from batchyard.engines.docker.order import Part
from batchyard.engines.docker.output import Output
from batchyard.engines.docker.parse import Daemon, State
from batchyard.engines.docker.run import ContainerRun
from batchyard.engines.docker.settings import DockerSettings
from batchyard.engines.docker.shelf import IsWanted, Shelf
from batchyard.engines.docker.starts import Starts
from batchyard.engines.docker.usage import Groups
from batchyard.engines.docker.volumes import file_systems
from batchyard.engines.process.processes import boot_id
from batchyard.engines.task import Container, Task
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError, EngineError, ImageGoneError
from batchyard.logframes import checked_attempt_id, log_id, log_path

CLOSE_SECONDS = 60.0
FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 2.0
SERVER_ID_FILE = "docker-server-id"

_log = structlog.get_logger(__name__)


class DockerEngine:
    """Runs attempts as containers of one daemon. Its files are in `data_dir`: engine/ and logs/."""

    name = "docker"
    launches_ahead = False
    runs_containers = True
    node_network = "10"

    def __init__(self, data_dir: Path, settings: DockerSettings, is_wanted: IsWanted | None = None) -> None:
        """`is_wanted` says whether an unfinished job names an image."""
        self._is_wanted = is_wanted
        self._data_dir = data_dir.absolute()
        self._settings = settings
        self._client: Client | None = None
        self._link = Link()
        self._attempts: dict[str, Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starts = Starts(max(4, 2 * (os.cpu_count() or 1)))
        self._groups = Groups()
        self._hosts = HostsFiles(self._data_dir / "engine" / "hosts")
        self._outbox: list[Report] = []
        self._daemon: Daemon | None = None
        self._has_address = False
        """Whether containers with a way out of their network reach a server on this machine."""
        self._internal: frozenset[str] = frozenset()

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
        roles = self.server_address() is not None
        return honoured.unsupported(container, storage_quota=self._settings.storage_quota, roles=roles)

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
            self._options = await self._meet(client, server_id)
        except EngineError:
            await client.close()
            self._client = None
            raise
        self._label = f"{LABEL_SERVER}={server_id}"
        self._nodes = NodeNetwork(client, self._link, name_of(server_id), {LABEL_SERVER: server_id})
        self._leavings = Leavings(
            client, self._link, self._options, self._nodes, self._groups, self._hosts, self._settings.keep_failed
        )
        self._shelf = Shelf(client, self._link, engine_dir, self._settings.images_max_bytes, self._is_wanted)
        self._images = Images(client, self._link, self._settings.pull, self._shelf)
        on_incarnation(self._known().daemon_id)
        listening = asyncio.Event()
        self._spawn(self._listen(client, listening), "events of Docker")
        await listening.wait()
        names = {run.name for attempt in self._attempts.values() for run in attempt.runs}
        self._hosts.keep_only(names | self._leavings.kept())
        self._spawn(self._leavings.tidy(self._attempts), "tidying up")

    async def _meet(self, client: Client, server_id: str) -> build.Options:
        """What holds for all containers, of the settings and of what the daemon can do."""
        settings = self._settings
        try:
            daemon = self._daemon = await client.info()
        except (DaemonGoneError, DaemonRefusedError) as error:
            raise EngineError(f"no Docker daemon answers at {settings.host}: {error}") from error
        await provide(client, settings.networks.values(), settings.private_networks.values())
        has_hosts = settings.may_be_offline and await self._hosts.can_be_used(client, daemon, server_id)
        return build.Options(
            server_id=server_id,
            boot_id=boot_id(),
            data_dir=str(self._data_dir),
            prefix=settings.prefix,
            network=settings.network,
            networks=settings.networks | settings.private_networks,
            cpu_quota=settings.cpu_quota,
            storage_quota=settings.storage_quota,
            cgroup_driver=self._groups.driver(daemon, is_local=client.is_local),
            hosts_dir=str(self._hosts.folder) if has_hosts else "",
            efs_address=settings.efs_address,
            region=settings.region,
            has_gpus=bool(settings.gpus),
        )

    async def open_address(self) -> str | None:
        """None where no container has a network, and where the daemon's networks aren't this machine's."""
        client = self._client
        assert client is not None
        if (self._settings.network == build.NO_NETWORK and not self._settings.networks) or not client.is_local:
            return None
        found = await self._link.reliably(client.networks)
        self._internal = frozenset(name for name, is_internal in found.items() if is_internal)
        host = HostAddress(client, self._link)
        self._has_address = await host.obtain()
        if not self._has_address:
            return None
        self._spawn(host.keep(), "address for containers")
        return ADDRESS

    def server_address(self, subnets: Sequence[str] = (), *, is_node: bool = False) -> str | None:
        if self._client is None or not self._client.is_local:
            return None
        network = self._nodes.name if is_node else build.network_of(self._options, subnets)
        if network == "host":
            return LOOPBACK
        return ADDRESS if self._has_address and network != build.NO_NETWORK and network not in self._internal else None

    async def container_facts(self, attempt_id: str, index: int) -> ContainerFacts | None:
        attempt = self._attempts.get(attempt_id)
        run = attempt.run_of(str(index)) if attempt is not None else None
        if run is None or self._client is None:
            return None
        try:
            facts = await self._client.facts(run.name)
            if facts is not None and not facts.networks:
                # The containers of a task of several are all on the network of one that does nothing else.
                holder = await self._client.facts(build.pause_name(self._settings.prefix, attempt_id))
                facts = structs.replace(facts, networks=holder.networks) if holder is not None else facts
        except (DaemonGoneError, DaemonRefusedError) as error:
            _log.info("docker.no_facts", container=run.name, error=str(error))
            return None
        return facts

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
                containers = _task_of(launch).containers
                unread = {place for place, each in enumerate(containers) if not build.is_collected(each)}
                attempt = self._new_attempt(launch.attempt_id, launch, order.parts_of(containers), unread)
                ready = functools.partial(self._make_ready, launch)
                make = functools.partial(self._make, attempt, launch)
                turn = self._starts.turn(file_systems(_task_of(launch)))
                attempt.task = self._look_after(attempt, attempt.run(turn, ready, make))

    def recall(self, attempt_ids: Sequence[str]) -> None:
        """Nothing waits for room here: this engine launches nothing ahead."""

    def progress(self, attempt_id: str) -> str | None:
        pulling = self._images.progress_of(attempt_id)
        return None if pulling is None else f"pulling {pulling}"

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        attempt = self._attempts.get(attempt_id)
        if attempt is None or attempt.has_ended:
            return
        attempt.stop(grace_seconds)
        if attempt.task is not None and not attempt.is_starting and not attempt.reports:
            attempt.task.cancel()
            attempt.stopped_before_start()

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            attempt = self._attempts.get(attempt_id)
            if attempt is not None and attempt.ended.is_set():
                del self._attempts[attempt_id]
                self._spawn(self._clear_away(attempt), f"clearing away {attempt_id}")

    async def _clear_away(self, attempt: Attempt) -> None:
        await self._leavings.clear_away(attempt)
        self._trim_images()

    async def close(self, *, stop_jobs: bool = False) -> None:
        if self._client is None:
            return
        if stop_jobs:
            await self._stop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for attempt in self._attempts.values():
            attempt.close()
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

    def _new_attempt(
        self, attempt_id: str, launch: Launch | None, parts: Sequence[Part], unread: Collection[int]
    ) -> Attempt:
        """`unread` are the places of the containers whose output goes elsewhere."""
        names = build.container_names(self._settings.prefix, attempt_id, parts)
        runs = [self._new_run(attempt_id, place, name, is_read=place not in unread) for place, name in enumerate(names)]
        host = Surroundings(
            self._options.boot_id,
            self._link,
            self._known,
            self._share,
            self._usage,
            self._memory_kills,
            self._lacked_memory,
            self._report,
        )
        attempt = Attempt(attempt_id, parts, runs, launch, host)
        self._attempts[attempt_id] = attempt
        return attempt

    def _new_run(self, attempt_id: str, place: int, name: str, *, is_read: bool) -> ContainerRun:
        assert self._client is not None
        output = None
        if is_read:
            path = log_path(self._data_dir / "logs", log_id(attempt_id, place))
            output = Output(self._client, name, path)
        return ContainerRun(self._client, self._link, name, output)

    async def _make_ready(self, launch: Launch) -> None:
        """Have all images. CannotLaunchError if one of them can't be had."""
        await asyncio.gather(*(self._images.ensure(container, launch) for container in _task_of(launch).containers))
        self._trim_images()

    def _trim_images(self) -> None:
        if self._settings.images_max_bytes is not None:
            self._spawn(self._shelf.trim(self._held_images), "trimming images")

    def _held_images(self) -> set[str]:
        """What attempts that have not ended are made from, or are about to be."""
        launches = (each.launch for each in self._attempts.values() if not each.has_ended and each.launch is not None)
        return {container.image for launch in launches for container in _task_of(launch).containers}

    async def _make(self, attempt: Attempt, launch: Launch) -> None:
        """Make all containers of an attempt, so that from the first start on everything is in Docker.
        CannotLaunchError if one of them can't be made."""
        task = _task_of(launch)
        if launch.address is not None:
            await self._nodes.join(attempt.attempt_id, launch.address)
        attempt.is_starting = True
        daemon = self._known()
        bodies = [build.create_body(self._options, daemon, launch, task, place) for place in range(len(attempt.runs))]
        if build.has_own_hosts_file(bodies[0]):
            self._hosts.make(attempt.runs[0].name)
        if (body := build.pause_body(self._options, launch, task)) is not None:
            await self._make_pause(attempt.attempt_id, body)
        for run, body, container in zip(attempt.runs, bodies, task.containers, strict=True):
            try:
                await run.make(body)
            except ImageGoneError:
                # Somebody removed it since it was looked for.
                await self._images.ensure(container, launch)
                await run.make(body)

    async def _make_pause(self, attempt_id: str, body: dict[str, Any]) -> None:
        assert self._client is not None
        await pause.ensure_image(self._client, self._link, self._known().architecture)
        run = ContainerRun(self._client, self._link, build.pause_name(self._settings.prefix, attempt_id), None)
        await run.make(body)
        await run.start()

    def _share(self, attempt_id: str, vcpu_milli: int) -> None:
        if self._options.cgroup_driver:
            self._groups.share(build.cgroup_parent(self._options, attempt_id), vcpu_milli)

    def _usage(self, attempt_id: str) -> Usage | None:
        if not self._options.cgroup_driver:
            return None
        return self._groups.usage(build.cgroup_parent(self._options, attempt_id))

    def _memory_kills(self) -> int | None:
        return self._groups.memory_kills() if self._options.cgroup_driver else None

    def _lacked_memory(self, attempt_id: str, limit_bytes: int | None, kills_before: int | None) -> bool:
        if not self._options.cgroup_driver:
            return False
        return self._groups.lacked_memory(build.cgroup_parent(self._options, attempt_id), limit_bytes, kills_before)

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
        attempt = self._attempts.get(attributes.get(LABEL_ATTEMPT, ""))
        run = attempt.run_of(attributes.get(LABEL_CONTAINER, "")) if attempt is not None else None
        if run is not None:
            if event.get("Action") == "oom":
                run.heard_out_of_memory()
            elif event.get("Action") == "kill":
                run.heard_kill(str(attributes.get("signal", "")))
            else:
                run.has_news.set()

    async def _survey(self, client: Client) -> None:
        """Take up every container of this server's that no attempt here has, and look at those that one has."""
        daemon = await client.info()
        known = self._known()
        if daemon.daemon_id != known.daemon_id:
            self._on_incarnation(daemon.daemon_id)
        self._daemon = daemon
        for attempt in self._attempts.values():
            for run in attempt.runs:
                run.has_news.set()
        found: dict[str, dict[str, State]] = {}
        for name, labels in reversed(await client.containers_by_label(self._label)):
            attempt_id = labels.get(LABEL_ATTEMPT, "")
            if name.startswith(KEPT_PREFIX):
                self._leavings.found_kept(attempt_id, name)
            elif not name.startswith(self._settings.prefix + attempt_id):
                # Somebody's own, of an image that he made of an attempt's container: labels go along.
                continue
            elif attempt_id not in self._attempts and (state := await client.inspect(name)) is not None:
                found.setdefault(attempt_id, {})[name] = state
        for attempt_id, states in found.items():
            await self._take_up(client, attempt_id, states)

    async def _take_up(self, client: Client, attempt_id: str, found: dict[str, State]) -> None:
        """Go on with an attempt of an earlier server's, whose containers these are."""
        containers = {name: state for name, state in found.items() if state.labels[LABEL_CONTAINER] != PAUSE}
        if all(state.is_created and not state.error for state in containers.values()):
            # A server died before it started any: whoever wants the attempt launched will launch it again.
            for name in found:
                await client.remove(name)
            return
        parts = build.parts_in(next(iter(containers.values())).labels)
        states = {int(state.labels[LABEL_CONTAINER]): state for state in containers.values()}
        unread = {place for place, state in states.items() if LABEL_UNREAD in state.labels}
        attempt = self._new_attempt(attempt_id, None, parts, unread)
        if any(self._nodes.name in state.networks for state in found.values()):
            self._nodes.used_by(attempt_id)
        attempt.found(states)
        attempt.task = self._look_after(attempt, attempt.take_up())

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


def _task_of(launch: Launch) -> Task:
    return launch.task or Task((Container(),))


def _server_id(path: Path) -> str:
    """What tells this data folder's containers from others'. A file that a power cut has left empty names nobody."""
    if not path.exists() or not path.read_bytes().strip():
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="ascii") as file:
            file.write(secrets.token_hex(16))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return path.read_text(encoding="ascii").strip()
