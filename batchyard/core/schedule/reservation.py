"""Room that is kept for a blocked gang, and what may still be placed beside it."""

from __future__ import annotations

from msgspec import Struct

from batchyard.core.capacity import Environment, Host, Room
from batchyard.core.model import Resources


class Spare(Struct):
    """What is left of a room once the gang has its share. None is without bound."""

    vcpu_milli: int | None
    memory_mib: int | None
    gpus: int | None = None

    @classmethod
    def of(cls, room: Room) -> Spare:
        """What is free now."""
        return cls(
            None if room.vcpu_milli is None else room.vcpu_milli - room.used_vcpu_milli,
            None if room.memory_mib is None else room.memory_mib - room.used_memory_mib,
            len(room.free_gpus()) if isinstance(room, Host) else None,
        )

    def holds(self, need: Resources) -> bool:
        return (
            (self.vcpu_milli is None or need.vcpu_milli <= self.vcpu_milli)
            and (self.memory_mib is None or need.memory_mib <= self.memory_mib)
            and (self.gpus is None or need.gpus <= self.gpus)
        )

    def add(self, need: Resources, sign: int = 1) -> None:
        if self.vcpu_milli is not None:
            self.vcpu_milli += sign * need.vcpu_milli
        if self.memory_mib is not None:
            self.memory_mib += sign * need.memory_mib
        if self.gpus is not None:
            self.gpus += sign * need.gpus


class Reservation(Struct):
    """A blocked gang starts in this environment at `at_ms` at the latest, if nothing placed before delays it."""

    environment: str
    host: str | None
    at_ms: int
    in_environment: Spare
    """What the gang leaves over of the environment at that time."""
    on_host: Spare
    """What it leaves over of the host."""

    def concerns(self, environment: Environment) -> bool:
        return environment.state.name == self.environment or (self.host is not None and environment.host == self.host)

    def allows(self, environment: Environment, need: Resources, ends_ms: int | None) -> bool:
        """Would an attempt there that ends by `ends_ms` (None: nobody knows) leave the gang its room and time?"""
        if not self.concerns(environment) or (ends_ms is not None and ends_ms <= self.at_ms):
            return True
        return self.on_host.holds(need) and (
            environment.state.name != self.environment or self.in_environment.holds(need)
        )

    def book(self, environment: Environment, need: Resources, ends_ms: int | None) -> None:
        """An attempt was placed: what it takes past the gang's start is spare no more."""
        if not self.concerns(environment) or (ends_ms is not None and ends_ms <= self.at_ms):
            return
        self.on_host.add(need, -1)
        if environment.state.name == self.environment:
            self.in_environment.add(need, -1)
