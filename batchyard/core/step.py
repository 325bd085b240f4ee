"""The one entrance: what happened goes in, what changed and what to do next comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from batchyard.core import attempts, dependencies, inputs, reasons, resources, stops, timeouts
from batchyard.core.arrays import ArrayProgress
from batchyard.core.job import Job
from batchyard.core.outcome import Outcome
from batchyard.core.schedule.plan import place_runnable
from batchyard.core.states import FAILED, PENDING, SUBMITTED, SUCCEEDED
from batchyard.core.yard import Ended, Pass, Yard


def step(yard: Yard, events: Iterable[inputs.Input], now_ms: int) -> Outcome:
    """Take in what happened, in order, then place what can run. `yard` is changed in place."""
    turn = Pass(yard, now_ms)
    for event in events:
        _HANDLERS[type(event)](turn, event)
        _settle_ended(turn)
    timeouts.expire(turn)
    _settle_ended(turn)
    if not yard.draining:
        place_runnable(turn)
        _settle_ended(turn)
    resources.remove_deleted(turn)
    return turn.outcome()


def _submitted(turn: Pass, event: inputs.JobSubmitted) -> None:
    """The scheduler evaluates a new job: PENDING while it waits for others, else RUNNABLE."""
    yard = turn.yard
    if event.job_id in yard.jobs:
        return
    job = Job(seq=event.seq, job_id=event.job_id, terms=event.terms)
    if event.terms.children is not None:
        job.array = ArrayProgress.new(event.terms.children, SUBMITTED)
    yard.jobs[job.job_id] = job
    yard.queues[event.terms.queue].add(job, turn.now_ms)
    if event.terms.fault is not None:
        _fail_at_once(turn, job, event.terms.fault)
        return
    failed, failed_children = dependencies.connect(yard, job, event.ended_dependencies)
    if event.terms.array_size is None and not job.waiting_for and not failed:
        dependencies.release(turn, job)
        return
    turn.move(job, PENDING)
    if job.array is not None:
        turn.move_rest(job, PENDING)
    if failed:
        dependencies.fail(turn, job)
        return
    for index in failed_children:
        dependencies.fail_child(turn, job, index)
    if not job.waiting_for:
        dependencies.release(turn, job)


def _fail_at_once(turn: Pass, job: Job, fault: str) -> None:
    """The service accepts some jobs that can never be placed, and says why in their statusReason (facts §3, §7)."""
    if job.array is None:
        turn.move(job, FAILED, fault)
        return
    turn.move(job, PENDING)
    turn.move_rest(job, FAILED, fault)
    if job.is_multinode:
        turn.move(job, FAILED, fault)


def _settle_ended(turn: Pass) -> None:
    """Follow every end to those who waited for it, and arrays to their own end.

    A queue and no recursion, because chains of dependencies are long.
    """
    while turn.ended:
        ended = turn.ended.popleft()
        dependencies.settle(turn, ended)
        if ended.index is None:
            _leave(turn, ended)
        elif not ended.job.is_multinode:
            _finish_array(turn, ended.job)


def _finish_array(turn: Pass, job: Job) -> None:
    """A parent succeeds if and only if all its children did, and ends when all of them have."""
    array = job.array
    assert array is not None
    if array.ended < array.size or job.status.is_terminal:
        return
    if array.counts[SUCCEEDED] == array.size:
        turn.move(job, SUCCEEDED)
        return
    together = array.rest.status_reason if array.rest.status is FAILED else None
    turn.move(job, FAILED, job.stop.reason if job.stop else together or reasons.ARRAY_CHILD_FAILED)


def _leave(turn: Pass, ended: Ended) -> None:
    job = ended.job
    del turn.yard.jobs[job.job_id]
    turn.yard.queues[job.terms.queue].discard(job, turn.now_ms)


_HANDLERS: dict[type, Callable[[Pass, Any], None]] = {
    inputs.JobSubmitted: _submitted,
    inputs.CancelRequested: stops.cancel_requested,
    inputs.TerminateRequested: stops.terminate_requested,
    inputs.EnvironmentChanged: resources.environment_changed,
    inputs.PolicyChanged: resources.policy_changed,
    inputs.QueueChanged: resources.queue_changed,
    inputs.ConsumableChanged: resources.consumable_changed,
    inputs.InstanceRegistered: resources.instance_registered,
    inputs.HostSized: resources.host_sized,
    inputs.EngineSurveyed: resources.engine_surveyed,
    inputs.DrainRequested: stops.drain_requested,
    inputs.ClockJumped: timeouts.clock_jumped,
    inputs.AttemptStarted: attempts.started,
    inputs.AttemptExited: attempts.exited,
    inputs.AttemptLost: attempts.lost,
    inputs.AttemptRecalled: attempts.recalled,
}
