"""Array jobs (user guide, "Array Jobs"): one record and a byte per child, however large the array.

Children that have done nothing yet are not objects. They are *the rest*: they share one state, stored once with the
parent. A child leaves the rest (is *touched*) when it first moves on its own, and from then on has a row of its own.
"""

from __future__ import annotations

from msgspec import Struct, field

from batchyard.core.states import JobStatus


class Rest(Struct, frozen=True):
    """The state that all untouched children share."""

    status: JobStatus
    status_reason: str | None = None
    stopped_at_ms: int | None = None


class ArrayProgress(Struct):
    """Where an array's children are."""

    size: int
    rest: Rest
    status: bytearray
    """The JobStatus of each child, by index."""
    touched: bytearray
    """1 for each child that has left the rest."""
    counts: list[int]
    """Children by JobStatus: the statusSummary."""
    unmet: bytearray | None = None
    """For N_TO_N and SEQUENTIAL: how many of its own dependencies each child still waits for."""
    lowest_runnable: int = 0
    """No child below this index is RUNNABLE."""
    children: dict[int, object] = field(default_factory=dict)
    """The touched, unfinished children by index (`job.Child`)."""

    @classmethod
    def new(cls, size: int, status: JobStatus) -> ArrayProgress:
        counts = [0] * len(JobStatus)
        counts[status] = size
        return cls(size, Rest(status), bytearray([status]) * size, bytearray(size), counts)

    @property
    def ended(self) -> int:
        return self.counts[JobStatus.SUCCEEDED] + self.counts[JobStatus.FAILED]

    def set_status(self, index: int, status: JobStatus) -> None:
        self.counts[self.status[index]] -= 1
        self.counts[status] += 1
        self.status[index] = status
        if status is JobStatus.RUNNABLE and index < self.lowest_runnable:
            self.lowest_runnable = index

    def set_rest(self, rest: Rest) -> list[int]:
        """Move all untouched children at once; return their indices."""
        moved = [index for index, touched in enumerate(self.touched) if not touched]
        self.counts[self.rest.status] -= len(moved)
        self.counts[rest.status] += len(moved)
        for index in moved:
            self.status[index] = rest.status
        self.rest = rest
        if moved and rest.status is JobStatus.RUNNABLE:
            self.lowest_runnable = min(self.lowest_runnable, moved[0])
        return moved

    def first_runnable(self) -> int | None:
        """The lowest index that is RUNNABLE."""
        index = self.status.find(JobStatus.RUNNABLE, self.lowest_runnable)
        if index < 0:
            self.lowest_runnable = self.size
            return None
        self.lowest_runnable = index
        return index
