"""What the placed attempts of a share are expected to use yet.

Nobody knows how long an attempt runs; the mean of those that ended of late is what it is expected to. What is expected
of a placement counts from the placement on, so that the choice of the next share knows of those just made.

Let W be what a share has used, which fades with time constant T, and what is expected of its live attempts: each vCPU
that is expected to be occupied for r seconds yet counts as T (exp(r/T) - 1). Then W falls by exp(-t/T) between
placements, however the attempts overlap, and a placement raises it by T (exp(d/T) - 1) for each vCPU and d seconds.
"""

from __future__ import annotations

import heapq
import math

from msgspec import Struct, field

MEMORY = 16
"""How many ends the mean looks back, more or less."""
MAX_FADE_TIMES = 8
"""An attempt is expected to run no longer than so many time constants; if it does, what it uses counts all the same."""


class RunTime(Struct):
    """How long attempts have run of late: a mean in which the latest count most."""

    ends: int = 0
    mean_seconds: float = 0.0

    def ended(self, seconds: float) -> None:
        self.ends += 1
        self.mean_seconds += (seconds - self.mean_seconds) / min(self.ends, MEMORY)


class Promises(Struct):
    """The live attempts of a share whose expected end is still to come, under one time constant."""

    fade_seconds: float
    _entries: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Attempt id -> when its end is expected, and its vCPUs."""
    _due: list[tuple[int, str]] = field(default_factory=list)
    """A heap of the expected ends; entries of attempts that are over are dropped when they surface."""
    _base_ms: int = 0
    _grown: float = 0.0
    """The sum of vCPUs times exp(time to the expected end / T), as of `_base_ms`."""
    _vcpus: float = 0.0

    def add(self, attempt_id: str, vcpus: float, from_ms: int, seconds: float) -> None:
        """An attempt is placed that is expected to run so long, at most `MAX_FADE_TIMES` time constants."""
        self._rebase(from_ms)
        end_ms = from_ms + int(min(seconds, MAX_FADE_TIMES * self.fade_seconds) * 1000)
        self._entries[attempt_id] = (end_ms, vcpus)
        heapq.heappush(self._due, (end_ms, attempt_id))
        self._grown += vcpus * self._growth(end_ms)
        self._vcpus += vcpus

    def drop(self, attempt_id: str) -> None:
        """The attempt is over."""
        entry = self._entries.pop(attempt_id, None)
        if entry is None:
            return
        end_ms, vcpus = entry
        self._grown -= vcpus * self._growth(end_ms)
        self._vcpus -= vcpus
        if not self._entries:
            self._due.clear()
            self._grown = self._vcpus = 0.0

    def worth_at(self, now_ms: int) -> float:
        """What they count together, in vCPU-seconds."""
        while self._due and self._due[0][0] <= now_ms:
            self.drop(self._due[0][1])
            if self._due:
                heapq.heappop(self._due)
        self._rebase(now_ms)
        return max(0.0, self.fade_seconds * (self._grown - self._vcpus))

    def adopt(self, fade_seconds: float) -> None:
        """Go by another time constant."""
        self.fade_seconds = fade_seconds
        self._grown = sum(vcpus * self._growth(end_ms) for end_ms, vcpus in self._entries.values())

    def _rebase(self, now_ms: int) -> None:
        if now_ms > self._base_ms:
            if self._entries:
                self._grown *= math.exp((self._base_ms - now_ms) / (self.fade_seconds * 1000))
            self._base_ms = now_ms

    def _growth(self, end_ms: int) -> float:
        return math.exp((end_ms - self._base_ms) / (self.fade_seconds * 1000))


def worth_of_run(vcpus: float, seconds: float, fade_seconds: float) -> float:
    """What a placement adds to W, when the attempt is expected to run so long."""
    return vcpus * fade_seconds * math.expm1(min(seconds / fade_seconds, MAX_FADE_TIMES))


def mean_while_repeated(worth: float, vcpus: float, seconds: float, fade_seconds: float) -> float:
    """What a share uses in the mean, if it goes on to be placed an attempt like this whenever W is as low as `worth`.

    W falls from `worth` and what a placement adds back to `worth` until the next one, which tells the time between
    two placements, and so the use. Comparing this mean, rather than the lowest point that it has just before a
    placement, keeps shares that are placed seldom from getting more than they should.
    """
    if worth <= 0:
        return 0.0
    added = worth_of_run(vcpus, seconds, fade_seconds)
    if added <= worth * 1e-9:
        return worth
    return vcpus * min(seconds, MAX_FADE_TIMES * fade_seconds) / math.log1p(added / worth)
