"""Why a unit isn't running: the scheduler's own facts, gathered by looking and changing nothing.

The answer is what the last pass came to. After a pass, no head of a queue can be placed; so going through the queues
once more, in order and with the claims of those before, shows for each of them what its head is short of.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import islice, takewhile

from msgspec import Struct

from batchyard.core import dependencies
from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit, Child, Job, StopCause, child_id, split_unit_id
from batchyard.core.model import ConsumableNeed, Resources
from batchyard.core.schedule import feasible, order
from batchyard.core.schedule.fairshare import ShareUse, is_within_reservation, usage_by_share
from batchyard.core.states import PENDING, RUNNABLE, JobStatus
from batchyard.core.yard import Queue, Yard, child_of, stop_of

MAX_COUNTED = 10_000
"""In a fair-share queue, where what is ahead can only be counted one by one."""


class Cause(StrEnum):
    """What keeps a unit from running. The first that holds counts, in this order."""

    STOPPING = "STOPPING"
    PLACED = "PLACED"
    DEPENDENCIES = "DEPENDENCIES"
    CHILDREN = "CHILDREN"
    SHUTDOWN = "SHUTDOWN"
    TURN = "TURN"
    NO_ENVIRONMENT = "NO_ENVIRONMENT"
    TOO_LARGE = "TOO_LARGE"
    CAPACITY = "CAPACITY"
    CONSUMABLES = "CONSUMABLES"
    RESERVED = "RESERVED"
    BETTER_QUEUE = "BETTER_QUEUE"
    NOTHING = "NOTHING"


class Obstacle(StrEnum):
    """Why an environment doesn't take a unit."""

    MISSING = "MISSING"
    DISABLED = "DISABLED"
    DELETING = "DELETING"
    NO_INSTANCE = "NO_INSTANCE"
    TOO_SMALL = "TOO_SMALL"
    FULL = "FULL"
    RESERVED = "RESERVED"
    """The queue's fair-share policy keeps it for shares that aren't active (computeReservation)."""
    CLAIMED = "CLAIMED"
    NONE = "NONE"


class Dimension(StrEnum):
    VCPU = "VCPU"
    MEMORY = "MEMORY"
    GPU = "GPU"


class Shortage(Struct, frozen=True):
    """Too little of something: `total` and `used` in thousandths of a vCPU, MiB or GPUs, like `needed`.

    `on_host` tells a shortage of the machine from one of what the environment may use of it.
    """

    dimension: Dimension
    needed: int
    total: int
    used: int
    on_host: bool


class EnvironmentView(Struct, frozen=True):
    """One of the queue's compute environments as the unit meets it."""

    name: str
    obstacle: Obstacle
    shortages: tuple[Shortage, ...] = ()


class ConsumableView(Struct, frozen=True):
    """A consumable resource of which there is too little; `total` is None for one that doesn't exist.

    `is_claimed` when there is enough, and the first job of a better queue waits for it too.
    """

    name: str
    needed: int
    total: int | None
    in_use: int
    is_claimed: bool


class Awaited(Struct, frozen=True):
    """A job or child that has to succeed first; its status, as far as the scheduler still holds it."""

    job_id: str
    status: JobStatus | None


class Explanation(Struct, frozen=True, kw_only=True):
    """The facts about one unit. What doesn't matter to its cause is empty."""

    unit_id: str
    status: JobStatus
    cause: Cause
    queue: str
    need: Resources
    stop_reason: str | None = None
    is_cancelled: bool = False
    waits_for: tuple[Awaited, ...] = ()
    instances: int | None = None
    """How many instances a multi-node job needs at the same time."""
    counts: tuple[int, ...] = ()
    """Of an array: its children by JobStatus."""
    share: ShareUse | None = None
    """Of a job in a fair-share queue: what its share uses and has used."""
    ahead: int = 0
    """How many units are placed before it: those RUNNABLE in the same queue."""
    environments: tuple[EnvironmentView, ...] = ()
    consumables: tuple[ConsumableView, ...] = ()
    """The consumable resources that it is short of."""
    next: Explanation | None = None
    """The facts of the unit on which this one waits: the head of its queue, or of an array the child that is next."""


def explain(yard: Yard, unit_id: str) -> Explanation | None:
    """The facts about an unfinished job, child or node; None for one that the scheduler doesn't hold."""
    unit = yard.find(*split_unit_id(unit_id))
    if unit is None:
        return None
    if isinstance(unit, Child) and unit.parent.is_multinode and unit.status in (PENDING, RUNNABLE):
        return _explain(yard, unit.parent, unit.unit_id)
    return _explain(yard, unit, unit.unit_id)


def _explain(yard: Yard, unit: AnyUnit, unit_id: str) -> Explanation:
    job = unit.job
    facts = Explanation(
        unit_id=unit_id,
        status=unit.status,
        cause=Cause.NOTHING,
        queue=job.terms.queue,
        need=job.terms.resources_of(unit.index),
        instances=job.terms.nodes.num_nodes if job.terms.nodes else None,
    )
    stop = stop_of(unit)
    if stop is not None:
        return _with(facts, cause=Cause.STOPPING, stop_reason=stop.reason, is_cancelled=stop.cause is StopCause.CANCEL)
    if unit.status > RUNNABLE:
        return _with(facts, cause=Cause.PLACED)
    awaited = _awaited(yard, unit)
    if awaited:
        return _with(facts, cause=Cause.DEPENDENCIES, waits_for=awaited)
    if job is unit and job.array is not None and not job.is_multinode:
        return _with(facts, cause=Cause.CHILDREN, counts=tuple(job.array.counts), next=_next_child(yard, job))
    if unit.status is not RUNNABLE:
        return facts
    if yard.draining:
        return _with(facts, cause=Cause.SHUTDOWN)
    return _explain_runnable(yard, unit, facts)


def _with(facts: Explanation, **changes: object) -> Explanation:
    values = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return Explanation(**{**values, **changes})


def _explain_runnable(yard: Yard, unit: AnyUnit, facts: Explanation) -> Explanation:
    queue = yard.queues[unit.job.terms.queue]
    facts = _with(facts, share=_share(queue, unit))
    head = _whose_turn(yard, queue, unit)
    if head is not None and head.unit_id != unit.unit_id:
        ahead = _count_ahead(yard, queue, unit)
        return _with(facts, cause=Cause.TURN, ahead=ahead, next=_explain(yard, head, head.unit_id))
    claims = _claims_before(yard, queue)
    need = unit.job.terms.resources
    views = tuple(_view(yard, queue, name, need, claims) for name in queue.state.environments)
    cause = _cause_of(views)
    short = tuple(
        _consumable(yard, each, claims) for each in yard.stock.short_of(unit.job.terms.consumables, claims.consumables)
    )
    if short and cause not in (Cause.NO_ENVIRONMENT, Cause.TOO_LARGE):
        cause = Cause.CONSUMABLES
    return _with(facts, cause=cause, environments=views, consumables=short)


def _share(queue: Queue, unit: AnyUnit) -> ShareUse | None:
    if queue.shares is None:
        return None
    uses = usage_by_share(queue, queue.shares.last_pass_ms)
    return next((use for use in uses if use.share_identifier == unit.job.terms.share_identifier), None)


def _whose_turn(yard: Yard, queue: Queue, waiting: AnyUnit | None = None) -> AnyUnit | None:
    """The head on which a RUNNABLE unit of the queue waits, or which is next at all; it may be the unit itself.

    In a fair-share queue a head that can never run is passed over, and holds up its own share alone.
    """
    left_out: set[str | None] = set()
    for unit in islice(order.waiting(yard, queue), MAX_COUNTED):
        share = unit.job.terms.share_identifier
        if share in left_out:
            continue
        if queue.shares is None or feasible.could_ever_run(yard, queue, unit.job):
            return unit
        if waiting is not None and waiting.job.terms.share_identifier == share:
            return unit
        left_out.add(share)
    return None


def _consumable(yard: Yard, need: ConsumableNeed, claims: feasible.Claims) -> ConsumableView:
    known = yard.stock.by_name.get(need.name)
    is_claimed = need.name in claims.consumables and not yard.stock.short_of([need])
    if known is None:
        return ConsumableView(need.name, need.quantity, None, 0, is_claimed)
    return ConsumableView(need.name, need.quantity, known.state.total, known.in_use, is_claimed)


def _cause_of(views: tuple[EnvironmentView, ...]) -> Cause:
    """What can change soonest: room that is taken, before sizes that somebody would have to change."""
    obstacles = {view.obstacle for view in views}
    for cause, obstacle in (
        (Cause.NOTHING, Obstacle.NONE),
        (Cause.BETTER_QUEUE, Obstacle.CLAIMED),
        (Cause.RESERVED, Obstacle.RESERVED),
        (Cause.CAPACITY, Obstacle.FULL),
        (Cause.TOO_LARGE, Obstacle.TOO_SMALL),
    ):
        if obstacle in obstacles:
            return cause
    return Cause.NO_ENVIRONMENT


def _awaited(yard: Yard, unit: AnyUnit) -> tuple[Awaited, ...]:
    """What a PENDING unit waits for: whole jobs, children, and its own counterparts in other arrays."""
    job = unit.job
    if unit.status is not PENDING:
        return ()
    names = sorted(job.waiting_for)
    if isinstance(unit, Child) and not job.is_multinode:
        for dependency in job.terms.depends_on:
            if dependencies.is_pairwise(job, dependency):
                names.append(f"{dependency.job_id}:{unit.index}")
        if dependencies.is_sequential(job) and unit.index:
            names.append(child_id(job, unit.index - 1))
    found = [Awaited(name, _status(yard, name)) for name in names]
    return tuple(each for each in found if each.status is not None and not each.status.is_terminal)


def _status(yard: Yard, unit_id: str) -> JobStatus | None:
    job_id, index = split_unit_id(unit_id)
    job = yard.jobs.get(job_id)
    if job is None or index is None or job.array is None:
        return None if job is None else job.status
    return JobStatus(job.array.status[index]) if index < job.array.size else None


def _next_child(yard: Yard, job: Job) -> Explanation | None:
    """The child that is placed next, or else the first that waits for something else."""
    array = job.array
    assert array is not None
    for status in (RUNNABLE, PENDING):
        index = array.status.find(status)
        if index >= 0:
            child = child_of(job, index)
            return _explain(yard, child, child.unit_id)
    return None


def _count_ahead(yard: Yard, queue: Queue, unit: AnyUnit) -> int:
    """How many units come before: those of jobs submitted earlier, and an array's own children of lower index.

    In a fair-share queue, those of the shares whose turn comes before, in the order that holds now.
    """
    ahead = 0
    if queue.shares is not None:
        before = takewhile(lambda other: other.unit_id != unit.unit_id, order.waiting(yard, queue))
        return sum(1 for _ in islice(before, MAX_COUNTED))
    for seq, job_id in queue.heads:
        job = yard.jobs.get(job_id)
        if job is None or seq > unit.job.seq:
            continue
        if seq == unit.job.seq:
            ahead += job.array.status.count(RUNNABLE, 0, unit.index) if job.array and unit.index else 0
        elif job.array is not None and not job.is_multinode:
            ahead += job.array.counts[RUNNABLE]
        else:
            ahead += job.status is RUNNABLE
    return ahead


def _claims_before(yard: Yard, queue: Queue) -> feasible.Claims:
    """What the blocked heads of better queues have reserved."""
    claims = feasible.Claims()
    for better in order.queues_by_priority(yard):
        if better is queue:
            break
        head = _whose_turn(yard, better)
        if head is not None:
            feasible.claim_for(yard, better, head.job, claims)
    return claims


def _view(yard: Yard, queue: Queue, name: str, need: Resources, claims: feasible.Claims) -> EnvironmentView:
    environment = yard.environments.get(name)
    if environment is None:
        return EnvironmentView(name, Obstacle.MISSING)
    if environment.state.deleting:
        return EnvironmentView(name, Obstacle.DELETING)
    if not environment.state.enabled:
        return EnvironmentView(name, Obstacle.DISABLED)
    if environment.instance_id is None:
        return EnvironmentView(name, Obstacle.NO_INSTANCE)
    never = _shortages(yard, environment, need, is_empty=True)
    if never:
        return EnvironmentView(name, Obstacle.TOO_SMALL, never)
    now = _shortages(yard, environment, need, is_empty=False)
    if now:
        return EnvironmentView(name, Obstacle.FULL, now)
    if not is_within_reservation(yard, queue, environment, need):
        return EnvironmentView(name, Obstacle.RESERVED)
    is_claimed = (
        name in claims.environments
        or environment.host in claims.hosts
        or (need.gpus > 0 and environment.host in claims.gpus)
    )
    return EnvironmentView(name, Obstacle.CLAIMED if is_claimed else Obstacle.NONE)


def _shortages(yard: Yard, environment: Environment, need: Resources, *, is_empty: bool) -> tuple[Shortage, ...]:
    """What the environment and its host have too little of, as they are or if nothing were placed there."""
    rooms = [(environment.room, False)]
    if environment.host is not None:
        rooms.append((yard.hosts[environment.host], True))
    found = []
    for room, on_host in rooms:
        for dimension, needed, total, used in (
            (Dimension.VCPU, need.vcpu_milli, room.vcpu_milli, room.used_vcpu_milli),
            (Dimension.MEMORY, need.memory_mib, room.memory_mib, room.used_memory_mib),
        ):
            used = 0 if is_empty else used
            if total is not None and used + needed > total:
                found.append(Shortage(dimension, needed, total, used, on_host))
    if need.gpus:
        total, free = _gpus(yard, environment)
        if need.gpus > (total if is_empty else free):
            found.append(Shortage(Dimension.GPU, need.gpus, total, 0 if is_empty else total - free, on_host=True))
    return tuple(found)


def _gpus(yard: Yard, environment: Environment) -> tuple[int, int]:
    """How many GPUs the environment's host has, and how many of them are free."""
    if environment.host is None:
        return 0, 0
    host = yard.hosts[environment.host]
    return len(host.gpus), len(host.free_gpus())
