"""What one step came to: rows to store, transitions for telemetry, effects to carry out after the commit."""

from __future__ import annotations

from msgspec import Struct, field

from batchyard.core.arrays import Rest
from batchyard.core.effects import Effect
from batchyard.core.job import Stop
from batchyard.core.model import Attempt
from batchyard.core.states import JobStatus


class UnitRecord(Struct, frozen=True):
    """The moving half of a single job's, array parent's or child's row, as it stands after the step."""

    status: JobStatus
    status_reason: str | None
    started_at_ms: int | None
    stopped_at_ms: int | None
    attempts: tuple[Attempt, ...]
    stop: Stop | None
    blocked_since_ms: int | None = None


class JobChanged(Struct, frozen=True):
    """`counts` (children by status) and `rest` are given for array parents."""

    seq: int
    job_id: str
    record: UnitRecord
    counts: tuple[int, ...] | None = None
    rest: Rest | None = None


class ChildChanged(Struct, frozen=True):
    parent_seq: int
    job_id: str
    index: int
    record: UnitRecord


class EnvironmentSettled(Struct, frozen=True):
    """The scheduler has taken an environment's latest state in: it is VALID, or (`removed`) gone."""

    name: str
    removed: bool = False


class QueueSettled(Struct, frozen=True):
    """The scheduler has taken a queue's latest state in: it is VALID, or (`removed`) gone."""

    name: str
    removed: bool = False


class PolicySettled(Struct, frozen=True):
    """The scheduler has taken this revision of a scheduling policy in, and its queues go by it."""

    name: str
    revision: str


class ShareChanged(Struct, frozen=True):
    """What a share of a fair-share queue has used, as `shares.Share` has it; `removed` when that is forgotten."""

    queue: str
    share_identifier: str
    used_vcpu_seconds: float = 0.0
    as_of_ms: int = 0
    fades_at_ms: int = 0
    has_jobs: bool = False
    removed: bool = False


class ConsumableSettled(Struct, frozen=True):
    """The scheduler has taken this version of a consumable resource in, or (`removed`) let go of it."""

    name: str
    version: int
    removed: bool = False


class ConsumableUsed(Struct, frozen=True):
    """How much of a consumable resource is in use now, and what is gone from its total since it was last stored."""

    name: str
    in_use: int
    spent: int


Settled = EnvironmentSettled | QueueSettled | PolicySettled | ConsumableSettled

Change = JobChanged | ChildChanged | Settled | ShareChanged | ConsumableUsed


class Transition(Struct, frozen=True):
    """One move of one unit. The rest of an array moves as one: `index` is None and `children` says how many."""

    job_id: str
    index: int | None
    source: JobStatus
    target: JobStatus
    at_ms: int
    reason: str | None = None
    attempt_id: str | None = None
    children: int = 0
    lists_logs: bool = False
    """Whether its log streams are listed beside the job: it is a node, or has several."""


class Outcome(Struct):
    changes: list[Change] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    next_deadline_ms: int | None = None
    """When to step again at the latest: the next timeout, or the end of a blocked head's time."""
