"""Job dependencies (user guide, "Job Dependencies" and "Array Jobs").

A plain dependency waits for a whole job, or for one child of an array (`ID:3`). N_TO_N pairs the children of two
arrays by index. SEQUENTIAL makes each child wait for its earlier sibling. If a dependency fails, so does what waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchyard.core import multinode, reasons
from batchyard.core.inputs import DependencyOutcome
from batchyard.core.job import AnyUnit, Job, Stop, child_id, split_unit_id
from batchyard.core.model import Dependency, DependencyType
from batchyard.core.states import FAILED, PENDING, RUNNABLE, SUCCEEDED, JobStatus
from batchyard.core.yard import Ended, Pass, Yard, child_of, stop_of


def is_sequential(job: Job) -> bool:
    return job.terms.array_size is not None and any(
        each.type is DependencyType.SEQUENTIAL and not each.job_id for each in job.terms.depends_on
    )


def is_pairwise(job: Job, dependency: Dependency) -> bool:
    """N_TO_N pairs children only between arrays; elsewhere it waits like a plain dependency."""
    return job.terms.array_size is not None and dependency.type is DependencyType.N_TO_N


def connect(yard: Yard, job: Job, outcomes: Iterable[DependencyOutcome]) -> tuple[bool, list[int]]:
    """Make a job wait for its unfinished dependencies.

    Returns whether a plain dependency has failed already, and the indices whose own N_TO_N dependency has.
    """
    ended = {outcome.job_id: outcome for outcome in outcomes}
    failed = False
    failed_children: list[int] = []
    for dependency in job.terms.depends_on:
        if not dependency.job_id:
            continue
        outcome = ended.get(dependency.job_id)
        if is_pairwise(job, dependency):
            failed_children += _connect_pairwise(yard, job, dependency.job_id, outcome)
        elif outcome is not None:
            failed = failed or outcome.status is FAILED
        else:
            failed = _connect_plain(yard, job, dependency.job_id) or failed
    if job.array is not None and is_sequential(job):
        _connect_siblings(job)
    return failed, failed_children


def _connect_plain(yard: Yard, job: Job, unit_id: str) -> bool:
    """Wait for an unfinished job, or for a child that may be done though its array isn't."""
    parent_id, index = split_unit_id(unit_id)
    parent = yard.jobs.get(parent_id)
    if parent is None:
        return True
    status = parent.status
    if parent.array is not None and index is not None:
        status = JobStatus(parent.array.status[index])
        # However the request spelled it: its end will be told under this id.
        unit_id = child_id(parent, index)
    if not status.is_terminal and unit_id not in job.waiting_for:
        job.waiting_for |= {unit_id}
        yard.dependents.setdefault(unit_id, []).append(job.job_id)
    return status is FAILED


def _connect_pairwise(yard: Yard, job: Job, array_id: str, outcome: DependencyOutcome | None) -> list[int]:
    array = job.array
    assert array is not None
    other = yard.jobs.get(array_id)
    if outcome is not None or other is None or other.array is None:
        if outcome is None or (outcome.status is FAILED and not outcome.failed_children):
            return list(range(array.size))
        return [index for index in outcome.failed_children if index < array.size]
    if array.unmet is None:
        array.unmet = bytearray(array.size)
    failed = []
    for index in range(min(array.size, other.array.size)):
        status = other.array.status[index]
        if status == FAILED:
            failed.append(index)
        elif status != SUCCEEDED:
            array.unmet[index] += 1
    yard.pairwise.setdefault(array_id, []).append(job.job_id)
    return failed


def _connect_siblings(job: Job) -> None:
    array = job.array
    assert array is not None
    if array.unmet is None:
        array.unmet = bytearray(array.size)
    for index in range(1, array.size):
        if array.status[index - 1] != SUCCEEDED:
            array.unmet[index] += 1


def release(turn: Pass, job: Job) -> None:
    """The job waits for no other job any more: let run what has no dependency of its own left."""
    array = job.array
    if job.is_multinode:
        multinode.release(turn, job)
    elif array is None:
        _let_run(turn, job)
    elif job.stop is not None:
        turn.move_rest(job, FAILED, job.stop.reason)
        _let_run_touched(turn, job)
    elif array.unmet is None:
        turn.move_rest(job, RUNNABLE)
        _let_run_touched(turn, job)
    else:
        for index in range(array.size):
            if array.unmet[index] == 0 and array.status[index] == PENDING:
                _let_run(turn, child_of(job, index))


def _let_run_touched(turn: Pass, job: Job) -> None:
    """Children that had left the rest while the array waited: those cancelled one by one."""
    assert job.array is not None
    for index in list(job.array.children):
        child = child_of(job, index)
        if child.status is PENDING:
            _let_run(turn, child)


def _let_run(turn: Pass, unit: AnyUnit) -> None:
    """Dependencies done: RUNNABLE, or the end that a cancellation has been waiting to bring."""
    stop = stop_of(unit)
    if stop is None:
        turn.move(unit, RUNNABLE)
    else:
        turn.move(unit, FAILED, stop.reason)


def fail(turn: Pass, job: Job, stop: Stop | None = None) -> None:
    """A dependency of the whole job failed."""
    reason = stop.reason if stop else reasons.DEPENDENCY_FAILED
    if job.is_multinode:
        multinode.fail_waiting(turn, job, reason)
        return
    if job.array is None:
        turn.move(job, FAILED, reason)
        return
    for index in list(job.array.children):
        child = child_of(job, index)
        if child.status is PENDING:
            turn.move(child, FAILED, child.stop.reason if child.stop else reason)
    turn.move_rest(job, FAILED, reason)


def fail_child(turn: Pass, job: Job, index: int) -> None:
    """The dependency of one child failed."""
    child = child_of(job, index)
    if child.status is PENDING:
        stop = stop_of(child)
        turn.move(child, FAILED, stop.reason if stop else reasons.DEPENDENCY_FAILED)


def settle(turn: Pass, ended: Ended) -> None:
    """Tell everything that waits for a unit that it has ended."""
    yard = turn.yard
    unit_id = ended.job.job_id if ended.index is None else child_id(ended.job, ended.index)
    for waiter_id in yard.dependents.pop(unit_id, ()):
        waiter = yard.jobs.get(waiter_id)
        if waiter is not None and not waiter.status.is_terminal:
            waiter.waiting_for -= {unit_id}
            if ended.status is FAILED:
                fail(turn, waiter, waiter.stop)
            elif not waiter.waiting_for and waiter.status is PENDING:
                release(turn, waiter)
    if ended.index is None:
        yard.pairwise.pop(ended.job.job_id, None)
        return
    for waiter_id in yard.pairwise.get(ended.job.job_id, ()):
        waiter = yard.jobs.get(waiter_id)
        if waiter is not None:
            _child_settled(turn, waiter, ended.index, ended.status)
    if is_sequential(ended.job):
        _child_settled(turn, ended.job, ended.index + 1, ended.status)


def _child_settled(turn: Pass, job: Job, index: int, status: JobStatus) -> None:
    array = job.array
    assert array is not None
    if index >= array.size or array.unmet is None or JobStatus(array.status[index]).is_terminal:
        return
    if status is FAILED:
        fail_child(turn, job, index)
        return
    array.unmet[index] -= 1
    if array.unmet[index] == 0 and not job.waiting_for and array.status[index] == PENDING:
        _let_run(turn, child_of(job, index))
