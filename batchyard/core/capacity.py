"""What may run where: hosts with a real size, and compute environments with a declared one.

A local engine's host is shared by every environment on it, so an attempt occupies both; a host of unknown size
(`--overcommit`) never runs out.
"""

from __future__ import annotations

from collections.abc import Container
from math import inf

from msgspec import Struct, field

from batchyard.core.model import EnvironmentState, Resources, RoomLimit

PACE_MEMORY = 16
"""How many ends a mean looks back, more or less."""


class Room(Struct):
    """A bound on vCPUs and memory, and what is taken of it. A total of None is unbounded."""

    vcpu_milli: int | None
    memory_mib: int | None
    used_vcpu_milli: int = 0
    used_memory_mib: int = 0

    def could_hold(self, need: Resources) -> bool:
        """Would `need` fit if nothing else were placed? GPUs are the host's concern alone."""
        return (self.vcpu_milli is None or need.vcpu_milli <= self.vcpu_milli) and (
            self.memory_mib is None or need.memory_mib <= self.memory_mib
        )

    def has_room(self, need: Resources) -> bool:
        return (self.vcpu_milli is None or self.used_vcpu_milli + need.vcpu_milli <= self.vcpu_milli) and (
            self.memory_mib is None or self.used_memory_mib + need.memory_mib <= self.memory_mib
        )

    def times(self, need: Resources) -> float:
        """How often `need` would fit if nothing else were placed; infinitely often where nothing bounds it."""
        of_vcpus = inf if self.vcpu_milli is None else self.vcpu_milli // max(1, need.vcpu_milli)
        of_memory = inf if self.memory_mib is None else self.memory_mib // max(1, need.memory_mib)
        return min(of_vcpus, of_memory)

    def take(self, need: Resources) -> None:
        self.used_vcpu_milli += need.vcpu_milli
        self.used_memory_mib += need.memory_mib

    def give_back(self, need: Resources) -> None:
        self.used_vcpu_milli -= need.vcpu_milli
        self.used_memory_mib -= need.memory_mib


class Host(Room, kw_only=True):
    """A machine, with its GPUs, and with the IPv4 addresses that it gives to the nodes on it: `block` is their first
    two numbers."""

    block: str = "127.64"
    addresses: set[str] = field(default_factory=set)
    """The addresses in use."""
    launches_ahead: bool = False
    """Whether its engine takes launches for which there is no room yet (`schedule/ahead.py`)."""
    gpus: tuple[str, ...] = ()
    """The ids of its GPUs."""
    gpus_in_use: dict[str, str] = field(default_factory=dict)
    """GPU -> the environment of the attempt that has it. It may be one that the host has no more, after a restart."""

    def free_gpus(self) -> list[str]:
        return [gpu for gpu in self.gpus if gpu not in self.gpus_in_use]

    def has_gpus(self, need: Resources) -> bool:
        """Are as many GPUs free as `need` has? They are looked at only where one is wanted."""
        return not need.gpus or len(self.free_gpus()) >= need.gpus

    def gpus_within(self, environments: Container[str]) -> int:
        """How many GPUs would be free if nothing ran in these environments."""
        return sum(gpu not in self.gpus_in_use or self.gpus_in_use[gpu] in environments for gpu in self.gpus)

    def take_address(self) -> str:
        number = 1
        while (address := f"{self.block}.{number // 250}.{number % 250 + 1}") in self.addresses:
            number += 1
        self.addresses.add(address)
        return address


class Pace(Struct):
    """How long attempts have run of late in an environment: a mean in which the latest count most."""

    ends: int = 0
    mean_run_ms: float = 0.0

    def ended(self, run_ms: int) -> None:
        self.ends += 1
        self.mean_run_ms += (run_ms - self.mean_run_ms) / min(self.ends, PACE_MEMORY)


class Environment(Struct):
    """A compute environment with the instance that serves it; no instance, no placement."""

    state: EnvironmentState
    room: Room
    instance_id: str | None = None
    host: str | None = None
    live_attempts: int = 0
    ahead: dict[str, int] = field(default_factory=dict)
    """The attempts that were launched before there was room and have not started: id and when, in ms, oldest first."""
    pace: Pace = field(default_factory=Pace)

    @property
    def accepts_placements(self) -> bool:
        return self.state.enabled and not self.state.deleting and self.instance_id is not None

    def rooms(self, hosts: dict[str, Host]) -> tuple[RoomLimit, ...]:
        """The rooms that an attempt here takes of, for an engine that launches ahead; none for one that doesn't."""
        if self.host is None or not hosts[self.host].launches_ahead:
            return ()
        host = hosts[self.host]
        own = RoomLimit(f"environment {self.state.name}", self.room.vcpu_milli, self.room.memory_mib)
        if host.vcpu_milli is None and host.memory_mib is None:
            return (own,)
        return own, RoomLimit(f"host {self.host}", host.vcpu_milli, host.memory_mib)
