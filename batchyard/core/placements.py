"""What a placement books and gives back: the attempt, its room, its consumables, its share's use."""

from __future__ import annotations

from batchyard.core import effects as do
from batchyard.core import reasons
from batchyard.core.capacity import Environment
from batchyard.core.consumables import needs_of
from batchyard.core.job import AnyUnit, attempt_id
from batchyard.core.model import Attempt, RoomLimit
from batchyard.core.yard import Pass, Yard


def next_attempt(turn: Pass, unit: AnyUnit, environment: Environment, instance_id: str) -> Attempt:
    number = len(unit.attempts) + 1
    name = environment.state.name
    attempt = Attempt(attempt_id(unit.job.job_id, unit.index, number), number, name, instance_id, turn.now_ms)
    gpus = unit.job.terms.resources_of(unit.index).gpus
    if gpus and environment.host is not None:
        attempt.gpus = tuple(turn.yard.hosts[environment.host].free_gpus()[:gpus])
    unit.attempts = (*unit.attempts, attempt)
    return attempt


def launch_effect(
    yard: Yard, unit: AnyUnit, attempt: Attempt, node: do.NodePlacement | None = None
) -> do.LaunchAttempt:
    """The order to launch an attempt; a node of a multi-node job is told its place.

    A node takes of its rooms and waits for none: all nodes had room when they were placed, and a node left out now,
    because its environment has been made smaller since, would leave the others waiting for it.
    """
    rooms = yard.environments[attempt.environment].rooms(yard.hosts)
    if node is not None:
        rooms = tuple(RoomLimit(room.name, None, None) for room in rooms)
    return do.LaunchAttempt(
        attempt.attempt_id,
        unit.job.job_id,
        unit.index,
        attempt.number,
        attempt.environment,
        attempt.instance_id,
        node,
        rooms,
        attempt.gpus,
        yard.environments[attempt.environment].state.subnets,
    )


def occupy(yard: Yard, unit: AnyUnit, attempt: Attempt) -> None:
    """Book the attempt's resources, its GPUs among them, with its environment and host, and take what it consumes."""
    yard.stock.take(needs_of(unit))
    yard.units_by_attempt[attempt.attempt_id] = unit
    environment = yard.environments[attempt.environment]
    environment.live_attempts += 1
    need = unit.job.terms.resources_of(unit.index)
    environment.room.take(need)
    shares = yard.queues[unit.job.terms.queue].shares
    if shares is not None:
        shares.begin(unit.job, attempt, need.vcpu_milli)
    if environment.host is not None:
        host = yard.hosts[environment.host]
        host.take(need)
        if attempt.gpus:
            host.gpus_in_use.update(dict.fromkeys(attempt.gpus, attempt.environment))
        if attempt.address is not None:
            host.addresses.add(attempt.address)


def release(turn: Pass, unit: AnyUnit, attempt: Attempt, *, is_used: bool = True) -> None:
    """Give back all that `occupy` booked; of an attempt that never was (not `is_used`) nothing is spent either."""
    yard = turn.yard
    yard.stock.give_back(needs_of(unit), is_used=is_used)
    del yard.units_by_attempt[attempt.attempt_id]
    environment = yard.environments[attempt.environment]
    environment.live_attempts -= 1
    environment.ahead.pop(attempt.attempt_id, None)
    need = unit.job.terms.resources_of(unit.index)
    environment.room.give_back(need)
    shares = yard.queues[unit.job.terms.queue].shares
    if shares is not None:
        shares.end(unit.job, attempt, need.vcpu_milli, turn.now_ms)
    if environment.host is not None:
        host = yard.hosts[environment.host]
        host.give_back(need)
        for gpu in attempt.gpus:
            del host.gpus_in_use[gpu]
        if attempt.address is not None:
            host.addresses.discard(attempt.address)


def give_up(turn: Pass, unit: AnyUnit) -> None:
    """End an attempt that was placed and never reached its engine."""
    attempt = unit.attempts[-1]
    attempt.stopped_at_ms = turn.now_ms
    attempt.status_reason = reasons.START_FAILED
    release(turn, unit, attempt)
