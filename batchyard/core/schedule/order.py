"""Which job goes next: queues by priority, and in a queue first in, first out or fair share (facts §13)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from batchyard.core.job import AnyUnit
from batchyard.core.schedule.fairshare import FairOrder
from batchyard.core.yard import Queue, Yard, ascending, first_runnable, runnable_units


def queues_by_priority(yard: Yard) -> list[Queue]:
    """Higher priority first; among equals, the older queue."""
    return sorted(yard.queues.values(), key=lambda queue: (-queue.state.priority, queue.state.created_at_ms))


class SubmissionOrder:
    """First in, first out."""

    def __init__(self, yard: Yard, queue: Queue) -> None:
        self._yard = yard
        self._queue = queue

    def head(self) -> AnyUnit | None:
        """The first RUNNABLE unit in the order of submission, children by index. Does not remove it."""
        heads = self._queue.heads
        while heads:
            _, job_id = heads[0]
            unit = first_runnable(self._yard.jobs.get(job_id))
            if unit is not None:
                return unit
            heapq.heappop(heads)
            self._queue.queued.discard(job_id)
        return None

    def pass_over(self) -> bool:
        """A head that can't run blocks its queue."""
        return False

    def waiting(self) -> Iterator[AnyUnit]:
        """All RUNNABLE units in order. Changes nothing; takes no more than is asked."""
        for _, job_id in ascending(self._queue.heads):
            job = self._yard.jobs.get(job_id)
            if job is not None:
                yield from runnable_units(job)


Order = SubmissionOrder | FairOrder


def order_of(yard: Yard, queue: Queue, now_ms: int) -> Order:
    """The order in which the queue's units are placed during one pass."""
    if queue.shares is not None:
        return FairOrder(yard, queue.shares, now_ms)
    return SubmissionOrder(yard, queue)


def waiting(yard: Yard, queue: Queue) -> Iterator[AnyUnit]:
    """All RUNNABLE units in the order in which the last pass would have placed them.

    Changes nothing; takes no more than is asked.
    """
    return order_of(yard, queue, queue.shares.last_pass_ms if queue.shares is not None else 0).waiting()
