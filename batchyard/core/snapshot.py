"""The front of a queue and what its jobs occupy, for GetJobQueueSnapshot."""

from __future__ import annotations

from itertools import islice

from msgspec import Struct

from batchyard.core.schedule import order
from batchyard.core.schedule.fairshare import ShareUse, usage_by_share
from batchyard.core.yard import Yard

MAX_FRONT = 100


class Place(Struct, frozen=True):
    """A RUNNABLE unit and since when it has had its place in the queue."""

    unit_id: str
    since_ms: int


class Snapshot(Struct, frozen=True):
    """`front` holds the first RUNNABLE units, the next to be placed first. Arrays stand there by their children."""

    front: tuple[Place, ...]
    used_vcpu_milli: int
    shares: tuple[ShareUse, ...] | None = None
    """Of a fair-share queue: its active shares, those with the most vCPUs first."""


def snapshot(yard: Yard, queue_name: str) -> Snapshot | None:
    """The queue as of the last step; None for one that the scheduler doesn't hold (yet)."""
    queue = yard.queues.get(queue_name)
    if queue is None:
        return None
    front = tuple(
        Place(unit.unit_id, queue.in_place_since_ms(unit.job.seq))
        for unit in islice(order.waiting(yard, queue), MAX_FRONT)
    )
    used = sum(
        unit.job.terms.resources_of(unit.index).vcpu_milli
        for unit in yard.units_by_attempt.values()
        if unit.job.terms.queue == queue_name
    )
    shares = queue.shares
    return Snapshot(front, used, tuple(usage_by_share(queue, shares.last_pass_ms)) if shares is not None else None)
