"""Fair-share scheduling (facts §13): the share that has used least, by its weight, goes next.

A share goes by what it would use in the mean if it went on as it does (`promises.py`). Within a share, higher
schedulingPriority goes first, then the order of submission. computeReservation keeps (r / 100) ^ active shares of each
environment's vCPUs free for share identifiers that aren't active yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from msgspec import Struct

from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit
from batchyard.core.model import Resources
from batchyard.core.shares import Share, Shares
from batchyard.core.yard import Queue, Yard, ascending, first_runnable, runnable_units


class FairOrder:
    """The order of one queue's jobs during one pass.

    The shares stand in a heap, so that each placement costs the logarithm of their number. A share that got a
    placement is put where it belongs then when it surfaces again.
    """

    def __init__(self, yard: Yard, shares: Shares, now_ms: int) -> None:
        self._yard = yard
        self._shares = shares
        self._now_ms = now_ms
        self._heap = [
            (*self._key(share, unit), share.name)
            for share in shares.by_name.values()
            if (unit := _first_runnable(yard, share)) is not None
        ]
        heapq.heapify(self._heap)

    def head(self) -> AnyUnit | None:
        """The unit whose turn it is. Does not remove it."""
        while self._heap:
            share = self._shares.by_name[self._heap[0][2]]
            unit = _first_runnable(self._yard, share)
            if unit is None:
                heapq.heappop(self._heap)
                continue
            entry = (*self._key(share, unit), share.name)
            if entry == self._heap[0]:
                return unit
            heapq.heapreplace(self._heap, entry)
        return None

    def pass_over(self) -> bool:
        """Leave the head's share out for the rest of the pass: it can't run, which is no reason for others to wait."""
        heapq.heappop(self._heap)
        return True

    def waiting(self) -> Iterator[AnyUnit]:
        """All RUNNABLE units as they would be placed if there were room for all now. Changes nothing."""
        shares = self._shares
        worth: dict[str, float] = {}
        frontier = []
        for share in shares.by_name.values():
            units = _runnable_units(self._yard, share)
            first = next(units, None)
            if first is not None:
                worth[share.name] = shares.worth(share, self._now_ms)
                frontier.append((*self._key(share, first, worth[share.name]), share.name, first, units))
        heapq.heapify(frontier)
        while frontier:
            _, _, name, unit, units = frontier[0]
            yield unit
            following = next(units, None)
            if following is None:
                heapq.heappop(frontier)
                continue
            share = shares.by_name[name]
            worth[name] += shares.added(share, unit.job.terms.resources.vcpu_milli)
            heapq.heapreplace(frontier, (*self._key(share, following, worth[name]), name, following, units))

    def _key(self, share: Share, head: AnyUnit, worth: float | None = None) -> tuple[float, int]:
        """Among equals, the share whose head was submitted first."""
        if worth is None:
            worth = self._shares.worth(share, self._now_ms)
        return self._shares.weighted(share, worth, head.job.terms.resources.vcpu_milli), head.job.seq


def _first_runnable(yard: Yard, share: Share) -> AnyUnit | None:
    while share.heads:
        unit = first_runnable(yard.jobs.get(share.heads[0][2]))
        if unit is not None:
            return unit
        share.drop_head()
    return None


def _runnable_units(yard: Yard, share: Share) -> Iterator[AnyUnit]:
    for _, _, job_id in ascending(share.heads):
        job = yard.jobs.get(job_id)
        if job is not None:
            yield from runnable_units(job)


def is_within_reservation(yard: Yard, queue: Queue, environment: Environment, need: Resources) -> bool:
    """Does placing this leave free what is reserved for shares that aren't active?

    A queue that runs nothing may place one job however much that needs: reserving must not stop a queue for ever.
    """
    shares = queue.shares
    if shares is None or not shares.policy.reservation_percent or not any(shares.vcpu_milli.values()):
        return True
    most = _reservable(yard, environment)
    if most is None:
        return True
    reserved = most * (shares.policy.reservation_percent / 100) ** len(active_shares(queue))
    return shares.vcpu_milli[environment.state.name] + need.vcpu_milli <= most - reserved


def _reservable(yard: Yard, environment: Environment) -> int | None:
    """The vCPUs of which a part is reserved: what the environment may have, and its host has. None reserves nothing."""
    declared = environment.room.vcpu_milli
    if declared is None:
        return environment.state.unmanaged_vcpu_milli
    host = yard.hosts.get(environment.host) if environment.host is not None else None
    return declared if host is None or host.vcpu_milli is None else min(declared, host.vcpu_milli)


def active_shares(queue: Queue) -> list[str]:
    """The identifiers of the queue's active shares, as of the last pass. A first-in-first-out queue has none."""
    return [] if queue.shares is None else list(queue.shares.by_name)


class ShareUse(Struct, frozen=True):
    """What a share uses and has used. `weighted_usage` is what it goes by before its head is looked at."""

    share_identifier: str
    vcpu_milli: int
    used_vcpu_seconds: float
    weighted_usage: float


def usage_by_share(queue: Queue, now_ms: int) -> list[ShareUse]:
    """The active shares, those with the most vCPUs in use first."""
    shares = queue.shares
    if shares is None:
        return []
    found = [
        ShareUse(
            share.name,
            share.vcpu_milli,
            share.used_at(now_ms, shares.policy.window_seconds),
            shares.weighted(share, shares.worth(share, now_ms), 0),
        )
        for share in shares.by_name.values()
    ]
    return sorted(found, key=lambda use: (-use.vcpu_milli, -use.used_vcpu_seconds, use.share_identifier))
