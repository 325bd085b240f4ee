"""Backfilling: small jobs run behind a blocked gang as far as they cannot delay it (EASY backfill).

A gang at the head of its queue waits for the room of many nodes. Timeouts bound when the attempts before it end, and
so the time at which it starts at the latest. A later job may go first if its own timeout ends before that time, or if
it fits beside the gang even then. Where a running attempt has no timeout the start may not be known; then nothing goes
first. An attempt that ends early helps the gang at once: the bound is made anew in every pass.
"""

from __future__ import annotations

from itertools import islice

from batchyard.core import attempts
from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit
from batchyard.core.model import Attempt, Resources
from batchyard.core.schedule import feasible, order
from batchyard.core.schedule.fairshare import is_within_reservation
from batchyard.core.schedule.reservation import Reservation, Spare
from batchyard.core.yard import Pass, Queue, Yard

LOOK_AHEAD = 100
"""How many units behind the gang a pass looks at: a pass does bounded work."""
START_ALLOWANCE_MS = 10_000
"""Between an attempt's placement and the start of its container, from which its timeout counts."""


def ends_ms(unit: AnyUnit, now_ms: int) -> int | None:
    """When an attempt that is placed now has ended at the latest; None without a timeout."""
    return _bound(unit, now_ms + START_ALLOWANCE_MS)


def _bound(unit: AnyUnit, started_at_ms: int) -> int | None:
    """Timeout and grace: SIGTERM comes at the one, SIGKILL after the other."""
    terms = unit.job.terms
    if terms.timeout_seconds is None:
        return None
    return started_at_ms + (terms.timeout_seconds + terms.stop_grace_seconds) * 1000


def _live_ends_ms(unit: AnyUnit, now_ms: int) -> int | None:
    """When a live attempt has ended at the latest. The timeout of a gang counts from its main node's start."""
    attempt: Attempt = unit.job.attempts[-1] if unit.job.is_multinode else unit.attempts[-1]
    if attempt.started_at_ms is not None:
        return _bound(unit, attempt.started_at_ms)
    return _bound(unit, max(attempt.placed_at_ms + START_ALLOWANCE_MS, now_ms))


def reserve(turn: Pass, queue: Queue, unit: AnyUnit, claims: feasible.Claims) -> bool:
    """Keep room for a blocked gang where it starts soonest; False if that is not known, or `unit` is no gang."""
    if not unit.job.is_multinode:
        return False
    found = [
        reservation
        for environment in feasible.environments_of(turn.yard, queue)
        if not claims.touch(environment)
        and is_within_reservation(turn.yard, queue, environment, unit.job.terms.resources)
        and (reservation := _earliest(turn.yard, environment, unit.job.terms.resources, turn.now_ms)) is not None
    ]
    if not found:
        return False
    claims.reservations.append(min(found, key=lambda reservation: reservation.at_ms))
    return True


def _earliest(yard: Yard, environment: Environment, need: Resources, now_ms: int) -> Reservation | None:
    """The reservation at the time when enough of what is live there has ended for certain; None if that is never."""
    if not feasible.could_ever_hold(yard, environment, need):
        return None
    in_environment = Spare.of(environment.room)
    on_host = Spare(None, None) if environment.host is None else Spare.of(yard.hosts[environment.host])
    ends = []
    for unit in yard.units_by_attempt.values():
        place = yard.environments[unit.attempts[-1].environment]
        at_ms = _live_ends_ms(unit, now_ms)
        if at_ms is not None and (place is environment or (place.host is not None and place.host == environment.host)):
            ends.append((at_ms, place is environment, unit.job.terms.resources_of(unit.index)))
    at_ms = now_ms
    for end_ms, is_here, given_back in sorted(ends, key=lambda end: end[0]):
        if in_environment.holds(need) and on_host.holds(need):
            break
        at_ms = max(end_ms, now_ms)
        on_host.add(given_back)
        if is_here:
            in_environment.add(given_back)
    if not in_environment.holds(need) or not on_host.holds(need):
        return None
    in_environment.add(need, -1)
    on_host.add(need, -1)
    return Reservation(environment.state.name, environment.host, at_ms, in_environment, on_host)


def place_behind(turn: Pass, queue: Queue, claims: feasible.Claims) -> None:
    """Place what may go before the queue's blocked head, in order."""
    for unit in list(islice(order.waiting(turn.yard, queue), 1, LOOK_AHEAD + 1)):
        place_if_possible(turn, queue, unit, claims)


def place_if_possible(turn: Pass, queue: Queue, unit: AnyUnit, claims: feasible.Claims) -> bool:
    """Place a unit where there is room that is nobody else's; whether there was."""
    if not feasible.can_take(turn.yard, unit.job, claims):
        return False
    need = unit.job.terms.resources
    by_ms = ends_ms(unit, turn.now_ms) if claims.reservations else None
    environment = feasible.first_with_room(turn.yard, queue, need, claims, by_ms)
    if environment is None:
        return False
    for reservation in claims.reservations:
        reservation.book(environment, need, by_ms)
    attempts.place(turn, unit, environment)
    return True
