"""The scheduler's whole state, and the moves that every rule is made of.

`Yard` holds unfinished jobs only. A `Pass` is one call of `step` under way: it moves units along the transition table
and notes what changed; rules in the other modules call it and never touch a status themselves.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from msgspec import Struct, field, structs

from batchyard.core import effects as do
from batchyard.core import states
from batchyard.core.arrays import Rest
from batchyard.core.capacity import Environment, Host
from batchyard.core.consumables import Stock
from batchyard.core.job import AnyUnit, Child, Job, Stop
from batchyard.core.model import FairSharePolicy, QueueState
from batchyard.core.outcome import (
    ChildChanged,
    JobChanged,
    Outcome,
    Settled,
    ShareChanged,
    Transition,
    UnitRecord,
)
from batchyard.core.shares import Shares
from batchyard.core.states import RUNNABLE, RUNNING, STARTING, JobStatus

Entry = TypeVar("Entry", bound=tuple[Any, ...])

MAX_SHIFTS = 1000
"""Of each queue; GetJobQueueSnapshot looks at the first 100 units alone."""


class Queue(Struct):
    """A job queue and its jobs that have something RUNNABLE, by order of submission."""

    state: QueueState
    heads: list[tuple[int, str]] = field(default_factory=list)
    """A heap of (seq, job id); entries of jobs with nothing RUNNABLE left are dropped when they surface."""
    queued: set[str] = field(default_factory=set)
    """The job ids in `heads`."""
    jobs: set[str] = field(default_factory=set)
    """All unfinished jobs of the queue."""
    blocked: dict[str, AnyUnit] = field(default_factory=dict)
    """The heads that could not be placed and say why in their statusReason, by unit id."""
    shifts: list[tuple[int, int]] = field(default_factory=list)
    """(seq, ms), both ascending: when a unit of that seq became RUNNABLE, or ceased to be. It moved all behind it."""

    shares: Shares | None = None
    """Of a fair-share queue: its shares, which hold the jobs that have something RUNNABLE instead of `heads`."""

    def add(self, job: Job, now_ms: int) -> None:
        """The job is unfinished and belongs here."""
        self.jobs.add(job.job_id)
        if self.shares is not None:
            self.shares.join(job, now_ms)

    def discard(self, job: Job, now_ms: int) -> None:
        """The job has ended."""
        self.jobs.discard(job.job_id)
        if self.shares is not None:
            self.shares.leave(job, now_ms)

    def is_queued(self, job: Job) -> bool:
        """Will the job's turn come, if it has something RUNNABLE?"""
        return job.job_id in (self.queued if self.shares is None else self.shares.of(job).queued)

    def offer(self, job: Job) -> None:
        """The job has something RUNNABLE."""
        if self.shares is not None:
            self.shares.of(job).offer(job)
            return
        if job.job_id not in self.queued:
            self.queued.add(job.job_id)
            heapq.heappush(self.heads, (job.seq, job.job_id))

    def shifted(self, seq: int, now_ms: int) -> None:
        """A unit of the job `seq` came or went. Only the front is ever looked at, so only that much is kept."""
        shifts = self.shifts
        while shifts and shifts[-1][0] >= seq:
            shifts.pop()
        if len(shifts) < MAX_SHIFTS:
            shifts.append((seq, now_ms))

    def in_place_since_ms(self, seq: int) -> int:
        """Since when units of the job `seq` have had their positions: nothing before them has moved after that."""
        number = bisect.bisect_right(self.shifts, seq, key=lambda shift: shift[0])
        return self.shifts[number - 1][1] if number else self.state.created_at_ms


class Yard(Struct):
    """All that the scheduler knows. Finished jobs leave it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    units_by_attempt: dict[str, AnyUnit] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    policies: dict[str, FairSharePolicy] = field(default_factory=dict)
    """The fair-share policies by name."""
    environments: dict[str, Environment] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    stock: Stock = field(default_factory=Stock)
    """The consumable resources."""
    dependents: dict[str, list[str]] = field(default_factory=dict)
    """Unit id -> ids of the jobs that wait for it."""
    pairwise: dict[str, list[str]] = field(default_factory=dict)
    """Array id -> ids of the arrays each of whose children waits for its child of the same index (N_TO_N)."""
    deadlines: list[tuple[int, str]] = field(default_factory=list)
    """A heap of (time-out in ms, attempt id); entries of ended attempts are dropped when they surface."""
    starting_gangs: set[str] = field(default_factory=set)
    """The ids of multi-node jobs whose main node isn't up: the other nodes have their places and are not launched."""
    draining: bool = False
    """Place nothing more: the server is about to stop together with its jobs."""

    def find(self, job_id: str, index: int | None) -> AnyUnit | None:
        """The unfinished job, or child (made an object if it wasn't one yet)."""
        job = self.jobs.get(job_id)
        if job is None or index is None:
            return job
        if job.array is None or not 0 <= index < job.array.size or JobStatus(job.array.status[index]).is_terminal:
            return None
        return child_of(job, index)


def child_of(job: Job, index: int) -> Child:
    """A child of an array as an object: the one that is there, or one fresh from the rest."""
    assert job.array is not None
    child = job.array.children.get(index)
    if isinstance(child, Child):
        return child
    return Child(parent=job, index=index, status=JobStatus(job.array.status[index]))


def first_runnable(job: Job | None) -> AnyUnit | None:
    """What of a job could be placed next: itself, a gang whole, of an array the RUNNABLE child of lowest index."""
    if job is None:
        return None
    if job.array is None or job.is_multinode:
        return job if job.status is RUNNABLE else None
    index = job.array.first_runnable()
    return None if index is None else child_of(job, index)


def ascending(heap: list[Entry]) -> Iterator[Entry]:
    """The entries of a heap in order. Changes nothing; takes no more than is asked."""
    frontier = [(heap[0], 0)] if heap else []
    while frontier:
        entry, place = heapq.heappop(frontier)
        for below in (2 * place + 1, 2 * place + 2):
            if below < len(heap):
                heapq.heappush(frontier, (heap[below], below))
        yield entry


def runnable_units(job: Job) -> Iterator[AnyUnit]:
    """All of a job that could be placed, in order."""
    if job.array is None or job.is_multinode:
        if job.status is RUNNABLE:
            yield job
        return
    index = job.array.status.find(RUNNABLE)
    while index >= 0:
        yield child_of(job, index)
        index = job.array.status.find(RUNNABLE, index + 1)


class Ended(Struct, frozen=True):
    """A unit that reached SUCCEEDED or FAILED in this pass, for those that wait for it."""

    job: Job
    index: int | None
    status: JobStatus


class Pass:
    """One step under way."""

    def __init__(self, yard: Yard, now_ms: int) -> None:
        self.yard = yard
        self.now_ms = now_ms
        self.ended: deque[Ended] = deque()
        self._changed: dict[tuple[str, int | None], AnyUnit] = {}
        self._settled: dict[tuple[type, str], Settled] = {}
        self._transitions: list[Transition] = []
        self._effects: list[do.Effect] = []
        self._wake_at_ms: int | None = None

    def effect(self, effect: do.Effect) -> None:
        self._effects.append(effect)

    def wake_at(self, at_ms: int) -> None:
        """Step again at this time at the latest."""
        self._wake_at_ms = at_ms if self._wake_at_ms is None else min(at_ms, self._wake_at_ms)

    def settle(self, settled: Settled) -> None:
        self._settled[(type(settled), settled.name)] = settled

    def changed(self, unit: AnyUnit) -> None:
        """Store this unit's row after the step."""
        if isinstance(unit, Child):
            array = unit.parent.array
            assert array is not None
            array.touched[unit.index] = 1
            if not unit.status.is_terminal:
                array.children[unit.index] = unit
        self._changed[(unit.job.job_id, unit.index)] = unit

    def move(self, unit: AnyUnit, target: JobStatus, reason: str | None = None) -> None:
        """Take a unit along one edge of the table; raises IllegalTransition, changing nothing, if there is none."""
        source = unit.status
        states.check(source, target, unit)
        unit.status = target
        unit.status_reason = reason
        if unit.blocked_since_ms is not None:
            unit.blocked_since_ms = None
            self.yard.queues[unit.job.terms.queue].blocked.pop(unit.unit_id, None)
        attempt = unit.attempts[-1] if source in (STARTING, RUNNING) or target is STARTING else None
        if attempt is not None and target is not STARTING:
            unit.started_at_ms = attempt.started_at_ms
        if target.is_terminal:
            unit.stopped_at_ms = (attempt and attempt.stopped_at_ms) or self.now_ms
        self._transitions.append(
            Transition(
                unit.job.job_id,
                unit.index,
                source,
                target,
                self.now_ms,
                reason,
                attempt.attempt_id if attempt is not None else None,
                lists_logs=(isinstance(unit, Child) and unit.parent.is_multinode) or unit.job.terms.containers > 1,
            )
        )
        self.changed(unit)
        if RUNNABLE in (source, target):
            self.yard.queues[unit.job.terms.queue].shifted(unit.job.seq, self.now_ms)
        self._keep_books(unit, target)

    def _keep_books(self, unit: AnyUnit, target: JobStatus) -> None:
        job = unit.job
        if isinstance(unit, Child):
            assert job.array is not None
            job.array.set_status(unit.index, target)
            self._changed[(job.job_id, None)] = job
            if target.is_terminal:
                job.array.children.pop(unit.index, None)
        elif job.is_multinode:
            (self.yard.starting_gangs.add if target is STARTING else self.yard.starting_gangs.discard)(job.job_id)
        if target is RUNNABLE:
            self.yard.queues[job.terms.queue].offer(job)
        elif target.is_terminal:
            self.ended.append(Ended(job, unit.index, target))

    def move_rest(self, job: Job, target: JobStatus, reason: str | None = None) -> None:
        """Take all untouched children of an array along one edge at once."""
        array = job.array
        assert array is not None
        source = array.rest.status
        if source is target or source.is_terminal:
            return
        states.check(source, target, f"the untouched children of {job.job_id}")
        moved = array.set_rest(Rest(target, reason, self.now_ms if target.is_terminal else None))
        self._changed[(job.job_id, None)] = job
        if not moved:
            return
        self._transitions.append(Transition(job.job_id, None, source, target, self.now_ms, reason, children=len(moved)))
        if RUNNABLE in (source, target):
            self.yard.queues[job.terms.queue].shifted(job.seq, self.now_ms)
        if target is RUNNABLE:
            self.yard.queues[job.terms.queue].offer(job)
        elif target.is_terminal:
            self.ended.extend(Ended(job, index, target) for index in moved)

    def outcome(self) -> Outcome:
        deadlines = self.yard.deadlines
        while deadlines and deadlines[0][1] not in self.yard.units_by_attempt:
            heapq.heappop(deadlines)
        if deadlines:
            self.wake_at(deadlines[0][0])
        return Outcome(
            [
                *map(_change, self._changed.values()),
                *self._settled.values(),
                *self._share_changes(),
                *self.yard.stock.take_changes(),
            ],
            self._transitions,
            self._effects,
            self._wake_at_ms,
        )

    def _share_changes(self) -> list[ShareChanged]:
        queues = [(name, queue.shares) for name, queue in self.yard.queues.items()]
        return [change for name, shares in queues if shares is not None for change in shares.take_changes(name)]


def _change(unit: AnyUnit) -> JobChanged | ChildChanged:
    record = UnitRecord(
        unit.status,
        unit.status_reason,
        unit.started_at_ms,
        unit.stopped_at_ms,
        tuple(structs.replace(attempt) for attempt in unit.attempts),
        unit.stop,
        unit.blocked_since_ms,
    )
    if isinstance(unit, Child):
        return ChildChanged(unit.parent.seq, unit.parent.job_id, unit.index, record)
    array = unit.array
    return JobChanged(
        unit.seq, unit.job_id, record, tuple(array.counts) if array else None, array.rest if array else None
    )


def stop_of(unit: AnyUnit) -> Stop | None:
    """The stop that holds for a unit: its own, or its array parent's."""
    return unit.stop or unit.job.stop
