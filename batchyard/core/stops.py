"""Ending jobs before their time: CancelJob, TerminateJob, timeouts and deleted queues (API reference; facts §8).

Cancel touches only what hasn't reached STARTING, and leaves a PENDING job until its dependencies are done.
Terminate ends everything: what runs gets SIGTERM, the grace period, SIGKILL.
"""

from __future__ import annotations

from batchyard.core import effects as do
from batchyard.core import inputs, multinode
from batchyard.core.job import AnyUnit, Child, Job, Stop, StopCause, split_unit_id
from batchyard.core.states import FAILED, RUNNABLE, RUNNING, STARTING
from batchyard.core.yard import Pass


def cancel_requested(turn: Pass, event: inputs.CancelRequested) -> None:
    _requested(turn, event.job_id, Stop(StopCause.CANCEL, event.reason))


def terminate_requested(turn: Pass, event: inputs.TerminateRequested) -> None:
    _requested(turn, event.job_id, Stop(StopCause.TERMINATE, event.reason))


def _requested(turn: Pass, unit_id: str, stop: Stop) -> None:
    unit = turn.yard.find(*split_unit_id(unit_id))
    if isinstance(unit, Job):
        stop_job(turn, unit, stop)
    elif unit is not None and unit.job.is_multinode:
        multinode.stop_node(turn, unit, stop)
    elif unit is not None:
        stop_unit(turn, unit, stop)


def stop_job(turn: Pass, job: Job, stop: Stop) -> None:
    """Stop a single job, or a parent with all its children."""
    if job.is_multinode:
        multinode.stop_whole(turn, job, stop)
    elif job.array is not None:
        _stop_array(turn, job, stop)
    else:
        stop_unit(turn, job, stop)


def drain_requested(turn: Pass, event: inputs.DrainRequested) -> None:
    """Terminate what runs; jobs that wait stay as they are, for the next server."""
    turn.yard.draining = True
    for unit in list(turn.yard.units_by_attempt.values()):
        stop = Stop(StopCause.TERMINATE, event.reason)
        if unit.job.is_multinode:
            multinode.stop_whole(turn, unit.job, stop)
        else:
            stop_unit(turn, unit, stop)


def stop_unit(turn: Pass, unit: AnyUnit, stop: Stop) -> None:
    """Stop one single job or child. The first stop holds, but terminating overrides a cancellation still waiting."""
    if unit.status in (STARTING, RUNNING):
        if stop.cause is not StopCause.CANCEL and unit.live_attempt is not None:
            _stop_attempt(turn, unit, stop)
        return
    if unit.stop is None or unit.stop.cause is StopCause.CANCEL:
        unit.stop = stop
        turn.changed(unit)
    if unit.status is RUNNABLE or stop.cause is not StopCause.CANCEL:
        turn.move(unit, FAILED, unit.stop.reason)


def _stop_attempt(turn: Pass, unit: AnyUnit, stop: Stop) -> None:
    if unit.stop is None or unit.stop.cause is StopCause.CANCEL:
        unit.stop = stop
        turn.changed(unit)
    turn.effect(do.StopAttempt(unit.attempts[-1].attempt_id, unit.job.terms.stop_grace_seconds))


def _stop_array(turn: Pass, job: Job, stop: Stop) -> None:
    """Stop every child; the parent ends when all of them have."""
    array = job.array
    assert array is not None
    if job.stop is None or job.stop.cause is StopCause.CANCEL:
        job.stop = stop
        turn.changed(job)
    for child in list(array.children.values()):
        assert isinstance(child, Child)
        stop_unit(turn, child, job.stop)
    if array.rest.status is RUNNABLE or job.stop.cause is not StopCause.CANCEL:
        turn.move_rest(job, FAILED, job.stop.reason)
