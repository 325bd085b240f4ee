"""Where a unit may be placed, and what a unit that can't be placed yet holds back."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from batchyard.core.capacity import Environment
from batchyard.core.job import Job
from batchyard.core.model import Resources
from batchyard.core.schedule.fairshare import is_within_reservation
from batchyard.core.schedule.reservation import Reservation
from batchyard.core.yard import Queue, Yard


class Claims(Struct):
    """Environments and hosts whose next free room belongs to a blocked head of a better queue; so for consumables.

    Without claims, a stream of small jobs from a lesser queue would keep a large job of a better one waiting for ever.
    """

    environments: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)
    gpus: set[str] = field(default_factory=set)
    """Hosts whose GPUs alone are claimed: what needs none may go on being placed there."""
    consumables: set[str] = field(default_factory=set)
    reservations: list[Reservation] = field(default_factory=list)
    """Of blocked gangs whose start is known: what ends before it, or fits beside them, may still go there."""

    def allow(self, environment: Environment, need: Resources, ends_ms: int | None) -> bool:
        """May an attempt that ends by `ends_ms` (None: nobody knows) be placed there?"""
        return (
            environment.state.name not in self.environments
            and environment.host not in self.hosts
            and not (need.gpus and environment.host in self.gpus)
            and all(reservation.allows(environment, need, ends_ms) for reservation in self.reservations)
        )

    def touch(self, environment: Environment) -> bool:
        """Has somebody before a claim on the environment or its host?"""
        return (
            environment.state.name in self.environments
            or environment.host in self.hosts
            or any(reservation.concerns(environment) for reservation in self.reservations)
        )


def environments_of(yard: Yard, queue: Queue) -> Iterator[Environment]:
    """The queue's environments that take placements, in the queue's order of preference."""
    for name in queue.state.environments:
        environment = yard.environments.get(name)
        if environment is not None and environment.accepts_placements:
            yield environment


def can_take(yard: Yard, job: Job, claims: Claims) -> bool:
    """Are the consumable resources there that an attempt takes, and nobody else's?"""
    return not yard.stock.short_of(job.terms.consumables, claims.consumables)


def claim_for(yard: Yard, queue: Queue, job: Job, claims: Claims) -> None:
    """Reserve what a blocked head is short of: consumables, or else room."""
    if claim_consumables(yard, queue, job, claims):
        claim(yard, queue, job.terms.resources, claims)


def claim_consumables(yard: Yard, queue: Queue, job: Job, claims: Claims) -> bool:
    """Reserve the consumables of a blocked head that could run one day; whether it lacks nothing but room.

    A head that waits for consumables keeps no room from others.
    """
    has_all = can_take(yard, job, claims)
    if could_ever_run(yard, queue, job):
        claims.consumables.update(need.name for need in job.terms.consumables)
    return has_all


def could_ever_run(yard: Yard, queue: Queue, job: Job) -> bool:
    """Would there be room and consumables for it if nothing else ran?"""
    return is_possible(yard, queue, job.terms.resources) and yard.stock.could_meet(job.terms.consumables)


def first_with_room(
    yard: Yard, queue: Queue, need: Resources, claims: Claims, ends_ms: int | None = None
) -> Environment | None:
    """Where an attempt that needs so much, and ends by `ends_ms`, can be placed now."""
    for environment in environments_of(yard, queue):
        if (
            could_ever_hold(yard, environment, need)
            and claims.allow(environment, need, ends_ms)
            and environment.room.has_room(need)
            and is_within_reservation(yard, queue, environment, need)
            and has_room_on_host(yard, environment, need)
        ):
            return environment
    return None


def is_possible(yard: Yard, queue: Queue, need: Resources) -> bool:
    """Would `need` fit into one of the queue's environments, if that were empty?"""
    return any(could_ever_hold(yard, environment, need) for environment in environments_of(yard, queue))


def could_ever_hold(yard: Yard, environment: Environment, need: Resources) -> bool:
    """Would `need` fit if the environment and its host were empty?"""
    if environment.host is None:
        return environment.room.could_hold(need) and not need.gpus
    host = yard.hosts[environment.host]
    return environment.room.could_hold(need) and host.could_hold(need) and need.gpus <= len(host.gpus)


def has_room_on_host(yard: Yard, environment: Environment, need: Resources) -> bool:
    """Is there room beside what is placed on the environment's host?"""
    if environment.host is None:
        return True
    host = yard.hosts[environment.host]
    return host.has_room(need) and host.has_gpus(need)


def claim(yard: Yard, queue: Queue, need: Resources, claims: Claims) -> None:
    """Reserve, for a blocked head, whatever it is short of wherever it could run one day.

    Where its queue has to leave vCPUs to other shares, it is not room that it is short of. As long as it lacks GPUs it
    keeps no other room from others; and the GPUs it keeps until it is placed, whatever else it is short of by then.
    """
    for environment in environments_of(yard, queue):
        if could_ever_hold(yard, environment, need) and is_within_reservation(yard, queue, environment, need):
            host = yard.hosts[environment.host] if environment.host is not None else None
            if need.gpus and environment.host is not None:
                claims.gpus.add(environment.host)
            if host is not None and not host.has_gpus(need):
                continue
            if not environment.room.has_room(need):
                claims.environments.add(environment.state.name)
            elif environment.host is not None and not yard.hosts[environment.host].has_room(need):
                claims.hosts.add(environment.host)
