"""Job timeouts (user guide, "Job Timeouts"): counted from the startedAt of each attempt anew, and never retried."""

from __future__ import annotations

import heapq

from batchyard.core import inputs, reasons
from batchyard.core.job import AnyUnit, Stop, StopCause
from batchyard.core.stops import stop_job, stop_unit
from batchyard.core.yard import Pass, Yard


def watch(yard: Yard, unit: AnyUnit) -> None:
    """Note when a RUNNING unit's attempt times out, if it can. A multi-node job's main node counts for all."""
    nodes = unit.job.terms.nodes
    if nodes is not None and unit.index != nodes.main_node:
        return
    attempt = unit.attempts[-1]
    timeout_seconds = unit.job.terms.timeout_seconds
    if timeout_seconds is not None and attempt.started_at_ms is not None:
        heapq.heappush(yard.deadlines, (attempt.started_at_ms + timeout_seconds * 1000, attempt.attempt_id))


def clock_jumped(turn: Pass, event: inputs.ClockJumped) -> None:
    """What has been counting goes on counting: neither an attempt nor a blocked head has got older by a set clock."""
    yard = turn.yard
    yard.deadlines = [(at_ms + event.by_ms, attempt_id) for at_ms, attempt_id in yard.deadlines]
    for queue in yard.queues.values():
        for unit in queue.blocked.values():
            if unit.blocked_since_ms is not None:
                unit.blocked_since_ms += event.by_ms
                turn.changed(unit)


def expire(turn: Pass) -> None:
    """Stop the attempts whose time is up."""
    deadlines = turn.yard.deadlines
    while deadlines and deadlines[0][0] <= turn.now_ms:
        _, attempt_id = heapq.heappop(deadlines)
        unit = turn.yard.units_by_attempt.get(attempt_id)
        if unit is not None:
            stop = Stop(StopCause.TIMEOUT, reasons.TIMED_OUT)
            if unit.job.is_multinode:
                stop_job(turn, unit.job, stop)
            else:
                stop_unit(turn, unit, stop)
