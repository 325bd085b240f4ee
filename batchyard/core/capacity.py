"""What may run where: hosts with a real size, and compute environments with a declared one.

A local engine's host is shared by every environment on it, so an attempt occupies both; a host of unknown size
(`--overcommit`) never runs out.
"""

from __future__ import annotations

from msgspec import Struct, field

from batchyard.core.model import EnvironmentState, Resources


class Room(Struct):
    """A bound on vCPUs and memory, and what is taken of it. A total of None is unbounded."""

    vcpu_milli: int | None
    memory_mib: int | None
    used_vcpu_milli: int = 0
    used_memory_mib: int = 0

    def could_hold(self, need: Resources) -> bool:
        """Would `need` fit if nothing else were placed? GPUs are held by no engine yet."""
        return (
            (self.vcpu_milli is None or need.vcpu_milli <= self.vcpu_milli)
            and (self.memory_mib is None or need.memory_mib <= self.memory_mib)
            and need.gpus == 0
        )

    def has_room(self, need: Resources) -> bool:
        return (self.vcpu_milli is None or self.used_vcpu_milli + need.vcpu_milli <= self.vcpu_milli) and (
            self.memory_mib is None or self.used_memory_mib + need.memory_mib <= self.memory_mib
        )

    def take(self, need: Resources) -> None:
        self.used_vcpu_milli += need.vcpu_milli
        self.used_memory_mib += need.memory_mib

    def give_back(self, need: Resources) -> None:
        self.used_vcpu_milli -= need.vcpu_milli
        self.used_memory_mib -= need.memory_mib


class Host(Room, kw_only=True):
    """A machine, with the IPv4 addresses that it gives to the nodes on it: `block` is their first two numbers."""

    block: str = "127.64"
    addresses: set[str] = field(default_factory=set)
    """The addresses in use."""

    def take_address(self) -> str:
        number = 1
        while (address := f"{self.block}.{number // 250}.{number % 250 + 1}") in self.addresses:
            number += 1
        self.addresses.add(address)
        return address


class Environment(Struct):
    """A compute environment with the instance that serves it; no instance, no placement."""

    state: EnvironmentState
    room: Room
    instance_id: str | None = None
    host: str | None = None
    live_attempts: int = 0

    @property
    def accepts_placements(self) -> bool:
        return self.state.enabled and not self.state.deleting and self.instance_id is not None
