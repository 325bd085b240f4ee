"""The shares of a fair-share queue: what each has used, and its jobs that have something RUNNABLE.

A share's usage is counted in vCPU-seconds while its attempts are placed, and fades: what was used `t` seconds ago
counts exp(-2t / window). That leaves as much, in all, as fading evenly to nothing over the window would, and needs no
memory of single attempts: three numbers say it for any moment, however many attempts there were. Once a share has been
idle for a whole window, nothing of it counts any more.

Who goes next is decided by that use and by what the placed attempts are expected to use yet (`promises.py`).

A share is *active* while it has unfinished jobs or usage that counts (facts §13).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter

from msgspec import Struct, field

from batchyard.core.job import Job
from batchyard.core.model import Attempt, FairSharePolicy, ShareWeight
from batchyard.core.outcome import ShareChanged
from batchyard.core.promises import Promises, RunTime, mean_while_repeated, worth_of_run

DEFAULT_WEIGHT = 1.0
AHEAD = 200
"""Until attempts of a share have ended, they are expected to run for the window's 200th part."""


class Share(Struct):
    """One share identifier of one queue."""

    name: str
    promises: Promises
    """What its placed attempts are expected to use yet."""
    used_vcpu_seconds: float = 0.0
    """What counts of its use, as of `as_of_ms`."""
    as_of_ms: int = 0
    fades_at_ms: int = 0
    """When its use is forgotten, if nothing of it is placed."""
    vcpu_milli: int = 0
    """What its placed attempts occupy."""
    jobs: int = 0
    """Its unfinished jobs; an array or a gang is one."""
    weight: ShareWeight | None = None
    """The entry of shareDistribution that covers it."""
    heads: list[tuple[int, int, str]] = field(default_factory=list)
    """A heap of (-schedulingPriority, seq, job id); what has nothing RUNNABLE left is dropped when it surfaces."""
    queued: set[str] = field(default_factory=set)
    """The job ids in `heads`."""
    run_time: RunTime = field(default_factory=RunTime)

    def offer(self, job: Job) -> None:
        """The job has something RUNNABLE."""
        if job.job_id not in self.queued:
            self.queued.add(job.job_id)
            heapq.heappush(self.heads, (-job.terms.scheduling_priority, job.seq, job.job_id))

    def drop_head(self) -> None:
        self.queued.discard(heapq.heappop(self.heads)[2])

    def used_at(self, now_ms: int, window_seconds: int) -> float:
        """The vCPU-seconds that count at a moment not before `as_of_ms`."""
        if self.vcpu_milli == 0 and now_ms >= self.fades_at_ms:
            return 0.0
        fade = _fade(now_ms - self.as_of_ms, window_seconds)
        return self.used_vcpu_seconds * fade + _used(self.vcpu_milli, fade, window_seconds)


class Shares(Struct):
    """All shares of a queue that are active, under the queue's policy."""

    policy: FairSharePolicy
    by_name: dict[str, Share] = field(default_factory=dict)
    last_pass_ms: int = 0
    """When jobs were last placed."""
    vcpu_milli: Counter[str] = field(default_factory=Counter)
    """What the queue's attempts occupy, by environment."""
    _covered: Counter[str] = field(default_factory=Counter)
    """How many shares each pattern of shareDistribution covers."""
    _fading: list[tuple[int, str]] = field(default_factory=list)
    """A heap of (when its use is forgotten, share) of shares without jobs; entries that came too early are put back."""
    _changed: dict[str, None] = field(default_factory=dict)
    """The shares whose rows are to be stored, in the order of the changes."""

    def of(self, job: Job) -> Share:
        """The share of an unfinished job."""
        return self.by_name[job.terms.share_identifier or ""]

    def factor(self, share: Share) -> float:
        """The share's weightFactor; one given for a prefix is multiplied by the number of shares that it covers."""
        if share.weight is None:
            return DEFAULT_WEIGHT
        pattern = share.weight.pattern
        return share.weight.factor * (self._covered[pattern] if pattern.endswith("*") else 1)

    def expected_seconds(self, share: Share) -> float:
        """How long the share's next attempt may run."""
        return share.run_time.mean_seconds if share.run_time.ends else self.policy.window_seconds / AHEAD

    def worth(self, share: Share, now_ms: int) -> float:
        """What the share has used, and what is expected of its placed attempts, in vCPU-seconds."""
        return share.used_at(now_ms, self.policy.window_seconds) + share.promises.worth_at(now_ms)

    def added(self, share: Share, vcpu_milli: int) -> float:
        """What a placement adds to `worth`."""
        fade_seconds = _fade_seconds(self.policy.window_seconds)
        return worth_of_run(vcpu_milli / 1000, self.expected_seconds(share), fade_seconds)

    def weighted(self, share: Share, worth: float, vcpu_milli: int) -> float:
        """By what the share goes, the lowest next, when its head needs so much: its mean use times its factor."""
        mean = mean_while_repeated(
            worth, vcpu_milli / 1000, self.expected_seconds(share), _fade_seconds(self.policy.window_seconds)
        )
        return mean * self.factor(share)

    def join(self, job: Job, now_ms: int) -> None:
        """A job of the share is unfinished."""
        name = job.terms.share_identifier or ""
        share = self.by_name.get(name)
        if share is None:
            share = self._create(self._new(name, as_of_ms=now_ms))
        share.jobs += 1
        if share.jobs == 1:
            self._changed[name] = None

    def leave(self, job: Job, now_ms: int) -> None:
        """A job of the share has ended."""
        share = self.of(job)
        share.jobs -= 1
        if share.jobs == 0:
            self._changed[share.name] = None
            heapq.heappush(self._fading, (share.fades_at_ms, share.name))
            self.forget_faded(now_ms)

    def begin(self, job: Job, attempt: Attempt, vcpu_milli: int) -> None:
        """An attempt is placed. After a restart it was placed before `as_of_ms`, and what it used until then counts."""
        share = self.of(job)
        at_ms = attempt.placed_at_ms
        if at_ms > share.as_of_ms:
            self._advance(share, at_ms)
        share.vcpu_milli += vcpu_milli
        share.promises.add(attempt.attempt_id, vcpu_milli / 1000, at_ms, self.expected_seconds(share))
        self.vcpu_milli[attempt.environment] += vcpu_milli
        self._changed[share.name] = None

    def end(self, job: Job, attempt: Attempt, vcpu_milli: int, now_ms: int) -> None:
        """An attempt is over: what was counted for it after it stopped is taken off again."""
        share = self.of(job)
        stopped_at_ms = attempt.stopped_at_ms or now_ms
        share.promises.drop(attempt.attempt_id)
        if attempt.started_at_ms is not None:
            share.run_time.ended(max(0, stopped_at_ms - attempt.placed_at_ms) / 1000)
        self._advance(share, now_ms)
        window_seconds = self.policy.window_seconds
        too_much = _used(vcpu_milli, _fade(now_ms - stopped_at_ms, window_seconds), window_seconds)
        share.used_vcpu_seconds = max(0.0, share.used_vcpu_seconds - too_much)
        share.vcpu_milli -= vcpu_milli
        share.fades_at_ms = now_ms + window_seconds * 1000
        self.vcpu_milli[attempt.environment] -= vcpu_milli
        self._changed[share.name] = None

    def adopt(self, policy: FairSharePolicy, now_ms: int) -> None:
        """Go by the terms of another policy, or by new terms of the same one. What was used stays as it was."""
        if policy == self.policy:
            return
        longer_ms = (policy.window_seconds - self.policy.window_seconds) * 1000
        for share in self.by_name.values():
            self._advance(share, now_ms)
            share.promises.adopt(_fade_seconds(policy.window_seconds))
            if share.fades_at_ms:
                share.fades_at_ms += longer_ms
            self._changed[share.name] = None
        self.policy = policy
        self._covered.clear()
        for share in self.by_name.values():
            self._cover(share)
        self._fading = [(share.fades_at_ms, name) for name, share in self.by_name.items() if not share.jobs]
        heapq.heapify(self._fading)

    def forget_faded(self, now_ms: int) -> None:
        """Let go of the shares that aren't active any more."""
        while self._fading and self._fading[0][0] <= now_ms:
            _, name = heapq.heappop(self._fading)
            share = self.by_name.get(name)
            if share is None or share.jobs:
                continue
            if share.fades_at_ms > now_ms:
                heapq.heappush(self._fading, (share.fades_at_ms, name))
                continue
            del self.by_name[name]
            if share.weight is not None:
                self._covered[share.weight.pattern] -= 1
            self._changed[name] = None

    def restore(self, stored: ShareChanged) -> None:
        """Put back what was stored of a share. Its jobs and live attempts come after it."""
        share = self._create(
            self._new(
                stored.share_identifier,
                used_vcpu_seconds=stored.used_vcpu_seconds,
                as_of_ms=stored.as_of_ms,
                fades_at_ms=stored.fades_at_ms,
            )
        )
        heapq.heappush(self._fading, (share.fades_at_ms, share.name))

    def take_changes(self, queue: str) -> list[ShareChanged]:
        """The rows to store since this was last asked."""
        changes = [self._row(queue, name) for name in self._changed]
        self._changed.clear()
        return changes

    def _row(self, queue: str, name: str) -> ShareChanged:
        share = self.by_name.get(name)
        if share is None:
            return ShareChanged(queue, name, removed=True)
        return ShareChanged(
            queue, name, share.used_vcpu_seconds, share.as_of_ms, share.fades_at_ms, has_jobs=share.jobs > 0
        )

    def _new(self, name: str, used_vcpu_seconds: float = 0.0, as_of_ms: int = 0, fades_at_ms: int = 0) -> Share:
        promises = Promises(_fade_seconds(self.policy.window_seconds))
        return Share(name, promises, used_vcpu_seconds, as_of_ms, fades_at_ms)

    def _create(self, share: Share) -> Share:
        self.by_name[share.name] = share
        self._cover(share)
        return share

    def _cover(self, share: Share) -> None:
        share.weight = covering(self.policy.weights, share.name)
        if share.weight is not None:
            self._covered[share.weight.pattern] += 1

    def _advance(self, share: Share, now_ms: int) -> None:
        """Say the same use as of now."""
        share.used_vcpu_seconds = share.used_at(now_ms, self.policy.window_seconds)
        share.as_of_ms = now_ms


def covering(weights: tuple[ShareWeight, ...], name: str) -> ShareWeight | None:
    """The entry for a share identifier: at most one, because entries don't overlap."""
    return next((weight for weight in weights if covers(weight.pattern, name)), None)


def covers(pattern: str, name: str) -> bool:
    """A pattern is a share identifier, or a prefix and one trailing `*`."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _fade_seconds(window_seconds: int) -> float:
    """The time constant of fading."""
    return window_seconds / 2


def _fade(elapsed_ms: int, window_seconds: int) -> float:
    """The part that is left of a use this long ago."""
    return math.exp(-2 * max(0, elapsed_ms) / (window_seconds * 1000))


def _used(vcpu_milli: int, fade: float, window_seconds: int) -> float:
    """What counts of vCPUs occupied from then, when `fade` is what is left of that moment's use, until now."""
    return vcpu_milli / 1000 * (1 - fade) * window_seconds / 2
