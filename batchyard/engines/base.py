"""What every engine is: something that runs attempts, and remembers them by attempt id.

All calls are idempotent by attempt id: launching twice starts once, stopping what has ended does nothing,
forgetting what was never known does nothing. `tests/engine/conformance.py` is this contract as tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from batchyard.core.inputs import Report
from batchyard.core.model import RoomLimit
from batchyard.engines.task import Task

LOOPBACK = "127.0.0.1"


class Launch(Struct, frozen=True, omit_defaults=True):
    """One attempt to run, complete: no placeholder is left in `command`, `environment` is all the job asked for."""

    attempt_id: str
    command: tuple[str, ...]
    environment: dict[str, str]
    vcpu_milli: int
    memory_mib: int
    stop_grace_seconds: int = 30
    rooms: tuple[RoomLimit, ...] = ()
    """For an engine that launches ahead: the attempt is started, after those before it, once it fits into all."""
    address: str | None = None
    """Of a multi-node job's node: the IPv4 address by which the other nodes reach it."""
    host_name: str | None = None
    """Of a node: what it is called."""
    task: Task | None = None
    """The containers to run it in, for engines that have any use for them (`runs_containers`)."""
    gpus: tuple[str, ...] = ()
    """The ids of the GPUs that are its own, whatever else runs."""
    subnets: tuple[str, ...] = ()
    """For an engine that runs containers: the subnets of the environment, by preference."""
    told: tuple[dict[str, str], ...] = ()
    """For an engine that runs containers: the variables by which each of the task's containers finds the server. They
    win over its own."""
    secrets: dict[str, str] = {}
    """What a secret store gave, by where from, for what isn't a variable: options of log drivers, registries."""


class Held(Struct, frozen=True):
    """An attempt that the engine still knows; `ended` ones are waiting to be forgotten."""

    attempt_id: str
    ended: bool


class ContainerFacts(Struct, frozen=True):
    """What an engine knows of a container that runs."""

    container_id: str
    name: str
    status: str
    """In the words of ECS: CREATED, RUNNING or STOPPED."""
    started_at_ms: int | None = None
    networks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The networks it is on, with its IPv4 addresses there."""


class HostCapacity(Struct, frozen=True):
    """The real size of the machine behind an engine."""

    vcpu_milli: int
    memory_mib: int
    gpus: tuple[str, ...] = ()
    """Their ids, of which an attempt gets its own."""


class Engine(Protocol):
    """Runs attempts.

    Reports come in order for each attempt: started, then exited or lost (an attempt that could not be started has an
    exit only). All may come again, whenever the engine had to connect anew: until an attempt is forgotten, and, if the
    forgetting itself got lost, after that. Whoever hears of an end that it has stored forgets it again.
    """

    name: str
    launches_ahead: bool
    """Whether it takes launches for which there is no room yet. One that does sees to the rooms by itself, by what
    really runs; one that doesn't is given no launch before there is room, and is never asked to recall any."""
    runs_containers: bool
    """Whether launches have to carry their task."""
    node_network: str
    """The first number of the addresses that nodes of multi-node jobs can have."""

    @property
    def daemon_host(self) -> str:
        """Where the container daemon listens that has the attempts, as in $DOCKER_HOST; empty without one."""

    def capacity(self) -> HostCapacity:
        """The size of the machine that attempts run on."""

    def limits_enforced(self) -> str:
        """One line for the server's start: which limits are really enforced, and how. Known once started."""

    def unsupported(self, container: dict[str, object]) -> list[str]:
        """Names of the containerProperties members, among those given, that this engine does not honour."""

    async def start(
        self, on_reports: Callable[[Sequence[Report]], None], on_incarnation: Callable[[str], None]
    ) -> None:
        """Connect; EngineError if that can't be. Both functions are called on the event loop that this runs on.

        `on_incarnation(id)` is called with the id of whatever holds the attempts, before this returns and whenever it
        had to be replaced; all attempts of an earlier incarnation that it didn't take over are reported lost, once
        nothing of them runs any more."""

    async def open_address(self) -> str | None:
        """An address of this machine, other than loopback, by which attempts reach a server on it: the same again after
        each start. None if they need none, or there is none. Asked for once, before the first launch."""

    def server_address(self, subnets: Sequence[str] = (), *, is_node: bool = False) -> str | None:
        """The address of this machine by which an attempt in an environment with these subnets, or a multi-node job's
        node, reaches a server: the one that was opened, a loopback address, or None if it can't."""

    async def container_facts(self, attempt_id: str, index: int) -> ContainerFacts | None:
        """Of a container of an attempt that runs, by its place in the task; None for what isn't in one, and while
        what runs it can't be asked."""

    async def holding(self) -> list[Held]:
        """Every attempt the engine knows and has not been told to forget. Their reports come again after it."""

    def launch(self, launches: Sequence[Launch]) -> None:
        """Start attempts. What becomes of them is reported; ValueError only for an id that can't be one."""

    def recall(self, attempt_ids: Sequence[str]) -> None:
        """Drop launches that still wait for room, and report each of those as recalled, once. Others are let be."""

    def progress(self, attempt_id: str) -> str | None:
        """What an attempt that was launched and has not started is being made ready with, in words; None if nothing."""

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        """SIGTERM, and SIGKILL after the grace. Asked again it can only shorten the grace."""

    def forget(self, attempt_ids: Sequence[str]) -> None:
        """Drop what is remembered of attempts that ended; those that go on are kept."""

    async def close(self, *, stop_jobs: bool = False) -> None:
        """Disconnect. Running attempts go on, unless `stop_jobs`: then they are stopped first, and reported."""


class WithoutContainers:
    """What an engine answers whose attempts are not in containers, but on this machine's own network."""

    async def open_address(self) -> str | None:
        return None

    def server_address(self, subnets: Sequence[str] = (), *, is_node: bool = False) -> str | None:
        return LOOPBACK

    async def container_facts(self, attempt_id: str, index: int) -> ContainerFacts | None:
        return None
