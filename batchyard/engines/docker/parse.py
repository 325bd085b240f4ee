"""What Docker's answers mean: pure, and lenient with what isn't known yet."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import Struct

from batchyard.core.reasons import OUT_OF_MEMORY, cannot_start, volume_missing
from batchyard.engines.base import ContainerFacts

MIB = 1024 * 1024
PART_BYTES = 16 * 1024
SYSTEMD = "systemd"
"""A cgroup driver of Docker's."""
SLICE = ".slice"
"""What systemd's groups of groups end with."""
LOST_EXIT_CODE = 255
"""What Docker writes for a container that had gone when the daemon came back."""

_STREAM_HEADER = struct.Struct(">BxxxL")
_ZERO_TIME = "0001-01-01"
_KEPT_APART = {"name=selinux", "name=userns"}
_NO_HEALTH_CHECK = ("", "none")
_PASSING = "/cgroup: no such process"
"""Podman says so of a container that ends while it is looked at: ask again."""
_GONE = (
    _PASSING,
    "ttrpc: closed",
    "transport is closing",
    "containerd.sock",
    "context canceled",
    "shutdown is in progress",
)
"""Parts of messages that say more of the daemon, which is ending or starting, than of the container."""


_NOT_MOUNTED = re.compile(
    r"failed to mount local volume: mount :(?P<path>.*):/[^:]*, data: addr=(?P<address>[^,]*),.*?: (?P<cause>[^:]+)$",
    re.DOTALL,
)
_NO_ADDRESS = re.compile(r"error resolving passed in network volume address: (?P<cause>.*)", re.DOTALL)


class Daemon(Struct, frozen=True):
    """What is to be known of a daemon."""

    daemon_id: str
    version: str
    architecture: str
    vcpu_milli: int
    memory_mib: int
    log_drivers: frozenset[str]
    cgroup_version: str
    cgroup_driver: str
    has_memory_limit: bool
    live_restore: bool
    """Whether containers go on while the daemon is away."""
    is_podman: bool
    shares_files: bool
    """Whether a file of this host's is to a container what it is to others: no SELinux, and no other user ids."""


class State(Struct, frozen=True):
    """How far a container has come. `error` is why it could not be started."""

    is_created: bool
    is_running: bool
    started_at_ms: int | None
    finished_at_ms: int | None
    exit_code: int
    oom_killed: bool
    error: str
    stop_signal: str
    labels: dict[str, str]
    health: str | None = None
    """`starting`, `healthy` or `unhealthy` while it runs, if its image says how to check."""
    networks: frozenset[str] = frozenset()
    memory_limit_bytes: int | None = None
    cpu_shares: int = 0

    @property
    def could_not_start(self) -> bool:
        return self.is_created and bool(self.error)

    @property
    def has_ended(self) -> bool:
        return not self.is_created and not self.is_running


class Outage(Struct, frozen=True):
    """The last time that the daemon was away; `until_ms` is None while it is."""

    since_ms: int
    until_ms: int | None = None

    def saw_the_end_of(self, state: State) -> bool:
        """Whether a container that ran before has ended in this time."""
        if state.started_at_ms is not None and state.started_at_ms > self.since_ms:
            return False
        ended_ms = state.finished_at_ms
        return ended_ms is None or (self.since_ms <= ended_ms and (self.until_ms is None or ended_ms <= self.until_ms))


def daemon_of(info: Mapping[str, Any]) -> Daemon:
    """From GET /info."""
    plugins = info.get("Plugins") or {}
    return Daemon(
        daemon_id=_daemon_id(info),
        version=str(info.get("ServerVersion") or "?"),
        architecture=str(info.get("Architecture") or ""),
        vcpu_milli=int(info.get("NCPU") or 1) * 1000,
        memory_mib=int(info.get("MemTotal") or 0) // MIB,
        log_drivers=frozenset(plugins.get("Log") or ()),
        cgroup_version=str(info.get("CgroupVersion") or "1"),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        has_memory_limit=bool(info.get("MemoryLimit")),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        is_podman=_is_podman(info),
        shares_files=not _is_podman(info) and not _KEPT_APART & _security_options(info),
    )


def _security_options(info: Mapping[str, Any]) -> set[str]:
    """Their names, without what is said of them."""
    return {str(option).partition(",")[0] for option in info.get("SecurityOptions") or ()}


def _is_podman(info: Mapping[str, Any]) -> bool:
    return "k8s-file" in ((info.get("Plugins") or {}).get("Log") or ())


def _daemon_id(info: Mapping[str, Any]) -> str:
    """What tells a daemon from another. Podman makes up an ID for each answer, so of that it is where its data is."""
    if _is_podman(info):
        return f"podman {info.get('Name')} {info.get('DockerRootDir')}"
    return str(info.get("ID") or info.get("Name") or "docker")


def state_of(inspected: Mapping[str, Any]) -> State:
    """From GET /containers/{id}/json."""
    state = inspected.get("State") or {}
    config = inspected.get("Config") or {}
    status = state.get("Status")
    health = (state.get("Health") or {}).get("Status")
    host = inspected.get("HostConfig") or {}
    return State(
        is_created=status in ("created", "configured", "initialized"),
        is_running=bool(state.get("Running")) or status in ("running", "paused", "restarting", "removing"),
        started_at_ms=time_ms(state.get("StartedAt")),
        finished_at_ms=time_ms(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        stop_signal=str(config.get("StopSignal") or "SIGTERM"),
        labels=dict(config.get("Labels") or {}),
        health=health if isinstance(health, str) and health not in _NO_HEALTH_CHECK else None,
        networks=frozenset((inspected.get("NetworkSettings") or {}).get("Networks") or ()),
        memory_limit_bytes=int(host.get("Memory") or 0) or None,
        cpu_shares=int(host.get("CpuShares") or 0),
    )


def facts_of(inspected: Mapping[str, Any]) -> ContainerFacts:
    """From GET /containers/{id}/json, for who asks from within the container."""
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    state = state_of(inspected)
    return ContainerFacts(
        container_id=str(inspected.get("Id") or ""),
        name=str(inspected.get("Name") or "").removeprefix("/"),
        status="CREATED" if state.is_created else "RUNNING" if state.is_running else "STOPPED",
        started_at_ms=state.started_at_ms,
        networks=tuple(
            (str(name), tuple(filter(None, [str((network or {}).get("IPAddress") or "")])))
            for name, network in networks.items()
        ),
    )


def time_ms(text: object) -> int | None:
    """Milliseconds since the epoch of one of Docker's times; None for the zero time."""
    if not isinstance(text, str) or not text or text.startswith(_ZERO_TIME):
        return None
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000 + moment.microsecond // 1000


def end_of(state: State) -> tuple[int, str | None]:
    """A container's exit code and, if there is one, its reason. As ECS does: the kernel killed something in it for want
    of memory, and it failed."""
    if state.oom_killed and state.exit_code:
        return state.exit_code, OUT_OF_MEMORY
    return state.exit_code, None


def why_not_started(message: str) -> str:
    """The reason of a container that Docker did not start. Of a volume that it could not mount it says so much that the
    cause, which comes last, would be cut off."""
    if (found := _NOT_MOUNTED.search(message)) is not None:
        return volume_missing(f"{found['address']}:{found['path']}: {found['cause'].strip()}")
    if (found := _NO_ADDRESS.search(message)) is not None:
        return volume_missing(found["cause"].strip())
    return cannot_start(message)


def died_with_the_daemon(state: State, daemon: Daemon, outage: Outage | None, is_this_boot: bool) -> bool:
    """Whether the container was ended by the end of the daemon or of the machine, and not by anything of its own.

    A daemon that comes back stops the containers that it finds running, unless it has live-restore; what they made of
    that tells nothing of their work.
    """
    if not is_this_boot and state.exit_code == LOST_EXIT_CODE:
        return True
    if outage is None or not outage.saw_the_end_of(state):
        return False
    return not daemon.live_restore or state.exit_code == LOST_EXIT_CODE


def is_about_the_daemon(message: str) -> bool:
    return any(part in message for part in _GONE)


class Entry(NamedTuple):
    """A piece of a container's output, as Docker keeps it: a line, or a part of a long one."""

    at_ms: int
    payload: bytes
    begins_a_line: bool
    """Neither of the container's streams is in the middle of a long line before it."""


class LogDemultiplexer:
    """Docker's stream of a log: entries of a header and a payload, which begins with its time.

    Docker cuts lines of more than 16 KiB into parts of so much and a rest, and its `local` driver forgets the newline
    after the rest, which is put back here. (The very last rest gets one even if it had none, which no reader sees.)
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._cut: set[int] = set()
        """The streams, standard output and standard error, in the middle of a long line."""

    def feed(self, data: bytes) -> Iterator[Entry]:
        """The entries completed by `data`."""
        buffer = self._buffer
        buffer += data
        offset, size = 0, len(buffer)
        while size - offset >= _STREAM_HEADER.size:
            stream, length = _STREAM_HEADER.unpack_from(buffer, offset)
            end = offset + _STREAM_HEADER.size + length
            if end > size:
                break
            stamp, _, payload = bytes(buffer[offset + _STREAM_HEADER.size : end]).partition(b" ")
            offset = end
            begins_a_line = not self._cut
            payload = self._mended(stream, payload)
            if payload:
                yield Entry(time_ms(stamp.decode("ascii", "replace")) or 0, payload, begins_a_line)
        del buffer[:offset]

    def _mended(self, stream: int, payload: bytes) -> bytes:
        if len(payload) == PART_BYTES and not payload.endswith(b"\n"):
            self._cut.add(stream)
        elif stream in self._cut:
            self._cut.discard(stream)
            return payload if payload.endswith(b"\n") else payload + b"\n"
        return payload


def frames_of(entries: Iterable[tuple[int, bytes]], most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Entries with neighbours of the same millisecond put together, none larger than `most_bytes`."""
    together: list[bytes] = []
    size, at_ms = 0, 0
    for stamp_ms, payload in entries:
        for begin in range(0, len(payload), most_bytes):
            part = payload[begin : begin + most_bytes]
            if together and (stamp_ms != at_ms or size + len(part) > most_bytes):
                yield at_ms, b"".join(together)
                together, size = [], 0
            together.append(part)
            size += len(part)
            at_ms = stamp_ms
    if together:
        yield at_ms, b"".join(together)
