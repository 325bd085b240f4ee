"""Heads of queues that can't be placed: the reason that they show, and the time after which they are cancelled.

The reason stands in the unit's statusReason while it is RUNNABLE and at the head of its queue (user guide, "Jobs stuck
in RUNNABLE"; facts §5): on a single job, a multi-node job or, of an array, the child whose turn it is; never on the
array's parent. A head that only waits until jobs before it end, within what its environments may use, isn't blocked.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchyard.core import reasons, stops
from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit, Stop, StopCause
from batchyard.core.model import Resources
from batchyard.core.schedule import feasible
from batchyard.core.yard import Pass, Queue, Yard


def note(turn: Pass, queue: Queue, heads: Sequence[AnyUnit]) -> None:
    """Write the reason of each head that can't be placed, when it is new, and take those back that don't hold."""
    found = {unit.unit_id: unit for unit in heads}
    for unit_id, unit in list(queue.blocked.items()):
        if unit_id not in found:
            del queue.blocked[unit_id]
            _show(turn, unit, None)
    for unit_id, unit in found.items():
        reason = reason_of(turn.yard, queue, unit)
        if reason != unit.status_reason:
            _show(turn, unit, reason)
        if reason is None:
            queue.blocked.pop(unit_id, None)
            continue
        queue.blocked[unit_id] = unit
        deadline_ms = _deadline_ms(turn, queue, unit, reason)
        if deadline_ms is not None:
            turn.wake_at(deadline_ms)


def _show(turn: Pass, unit: AnyUnit, reason: str | None) -> None:
    unit.status_reason = reason
    unit.blocked_since_ms = turn.now_ms if reason is not None else None
    turn.changed(unit)


def cancel_overdue(turn: Pass, queue: Queue, unit: AnyUnit) -> bool:
    """Cancel a head whose time is up by the queue's jobStateTimeLimitActions; whether it was."""
    if not queue.state.time_limits:
        return False
    reason = reason_of(turn.yard, queue, unit)
    deadline_ms = _deadline_ms(turn, queue, unit, reason)
    if reason is None or deadline_ms is None or turn.now_ms < deadline_ms:
        return False
    stop = Stop(StopCause.CANCEL, reasons.time_limit_reached(reasons.code_of(reason)))
    if unit.job.is_multinode:
        stops.stop_job(turn, unit.job, stop)
    else:
        stops.stop_unit(turn, unit, stop)
    return True


def _deadline_ms(turn: Pass, queue: Queue, unit: AnyUnit, reason: str | None) -> int | None:
    """When the unit's time at the head with this reason is up; None when no action is about it."""
    if reason is None:
        return None
    code = reasons.code_of(reason)
    limits = [limit.max_seconds for limit in queue.state.time_limits if limit.reason == code]
    if not limits:
        return None
    is_old = unit.status_reason == reason and unit.blocked_since_ms is not None
    since_ms = unit.blocked_since_ms if is_old and unit.blocked_since_ms is not None else turn.now_ms
    return since_ms + min(limits) * 1000


def reason_of(yard: Yard, queue: Queue, unit: AnyUnit) -> str | None:
    """The statusReason of a head that could not be placed; None when it waits for others to end, and no more."""
    need = unit.job.terms.resources
    usable = list(feasible.environments_of(yard, queue))
    if not usable:
        return reasons.ENVIRONMENTS_INVALID
    fitting = [each for each in usable if feasible.could_ever_hold(yard, each, need)]
    if not fitting:
        return _misconfiguration(usable, need)
    short = yard.stock.short_of(unit.job.terms.consumables)
    if short:
        return reasons.no_consumables(need.name for need in short)
    open_ones = [each for each in fitting if each.room.has_room(need)]
    within = queue.state.environments
    if open_ones and not any(_host_has_room(yard, each, need, within) for each in open_ones):
        return reasons.no_capacity(dict.fromkeys(name for each in open_ones for name in each.state.instance_types))
    return None


def _misconfiguration(environments: Sequence[Environment], need: Resources) -> str:
    limits = [environment.room.vcpu_milli for environment in environments]
    if all(limit is not None and limit < need.vcpu_milli for limit in limits):
        return reasons.environment_too_small()
    return reasons.job_too_large()


def _host_has_room(yard: Yard, environment: Environment, need: Resources, within: Sequence[str]) -> bool:
    """Whether there is room, once the GPUs are free again that the queue's own environments (`within`) have."""
    if environment.host is None:
        return True
    host = yard.hosts[environment.host]
    return host.has_room(need) and (not need.gpus or host.gpus_within(within) >= need.gpus)
