"""What must hold after every step, whatever happened. Checked in tests and in debug mode."""

from __future__ import annotations

from collections import Counter

from batchyard.core.capacity import Host
from batchyard.core.consumables import needs_of
from batchyard.core.job import AnyUnit, Child, Job, split_unit_id
from batchyard.core.states import PENDING, RUNNABLE, RUNNING, STARTING, SUBMITTED, JobStatus
from batchyard.core.yard import Queue, Yard
from batchyard.exceptions import InvariantBroken


def check(yard: Yard) -> None:
    """Raise InvariantBroken, naming the job, if the yard contradicts itself."""
    live: dict[str, AnyUnit] = {}
    for job in yard.jobs.values():
        _check_job(yard, job)
        for unit in _units(job):
            _check_unit(unit)
            attempt = unit.live_attempt
            if attempt is not None:
                _require(attempt.attempt_id not in live, unit, "shares its attempt with another")
                live[attempt.attempt_id] = unit
    _require(live.keys() == yard.units_by_attempt.keys(), None, "live attempts and the index of them differ")
    _check_bookings(yard, live)
    _check_blocked(yard)
    _check_stock(yard, live)
    for queue in yard.queues.values():
        _check_shares(yard, queue, live)


def _require(condition: bool, unit: AnyUnit | None, text: str) -> None:
    if not condition:
        raise InvariantBroken(f"{text}: {unit}")


def _units(job: Job) -> list[AnyUnit]:
    if job.array is None:
        return [job]
    return [child for child in job.array.children.values() if isinstance(child, Child)]


def _check_job(yard: Yard, job: Job) -> None:
    _require(not job.status.is_terminal, job, "a finished job is still in the yard")
    # Jobs leave SUBMITTED in the order of submission, which the count of those that have not relies on.
    _require(job.status is not SUBMITTED, job, "was taken in and is still SUBMITTED")
    _require(job.terms.fault is None, job, "a job that can never be placed is still in the yard")
    _require(job.job_id in yard.queues[job.terms.queue].jobs, job, "the queue does not know its job")
    _require(not job.waiting_for or job.status is PENDING, job, "waits for others and isn't PENDING")
    for unit_id in job.waiting_for:
        _require(job.job_id in yard.dependents.get(unit_id, ()), job, f"nobody will tell it that {unit_id} ended")
    has_runnable = job.status is RUNNABLE
    if job.array is not None:
        _check_array(job)
        has_runnable = has_runnable or job.array.counts[RUNNABLE] > 0
    if job.is_multinode:
        _check_nodes(job)
    if has_runnable:
        _require(yard.queues[job.terms.queue].is_queued(job), job, "is RUNNABLE and not queued")


def _check_array(job: Job) -> None:
    array = job.array
    assert array is not None
    _require(job.status is PENDING or job.is_multinode, job, "an array parent that isn't PENDING")
    counted = Counter(array.status)
    _require(all(array.counts[status] == counted[status] for status in JobStatus), job, "children counted wrongly")
    for index, status in enumerate(array.status):
        child = array.children.get(index)
        if isinstance(child, Child):
            _require(child.status == status and bool(array.touched[index]), child, "differs from its packed status")
        else:
            _require(JobStatus(status).is_terminal or not array.touched[index], job, f"child {index} is nowhere")
        if not array.touched[index]:
            _require(status == array.rest.status, job, f"untouched child {index} differs from the rest")
        if status == RUNNABLE:
            _require(index >= array.lowest_runnable, job, f"runnable child {index} would be passed over")


def _check_nodes(job: Job) -> None:
    """A gang is placed whole or not at all, and its main node leads."""
    assert job.array is not None and job.terms.nodes is not None
    placed = [child for child in job.array.children.values() if isinstance(child, Child) and child.live_attempt]
    if job.status in (PENDING, RUNNABLE):
        _require(not placed, job, "waits and has placed nodes")
        return
    main = job.array.children.get(job.terms.nodes.main_node)
    if isinstance(main, Child):
        _require(main.attempts[-1] is job.attempts[-1], job, "its attempt isn't its main node's")
        _require(main.status is job.status, job, "differs from its main node")
    if job.status is STARTING:
        _require(job.array.counts[RUNNING] == 0, job, "a node runs before the main node")
    addresses = [child.attempts[-1].address for child in placed]
    _require(len(set(addresses)) == len(placed), job, "nodes share an address")


def _check_unit(unit: AnyUnit) -> None:
    numbers = [attempt.number for attempt in unit.attempts]
    _require(numbers == list(range(1, len(numbers) + 1)), unit, "attempts are not numbered from 1")
    _require(len(numbers) <= unit.job.terms.max_attempts, unit, "more attempts than its retry strategy allows")
    for attempt in unit.attempts[:-1]:
        _require(attempt.stopped_at_ms is not None, unit, "an attempt before the last one never ended")
    if unit.status in (STARTING, RUNNING):
        _require(bool(unit.attempts), unit, "runs without an attempt")
        _require(unit.job.is_multinode or unit.live_attempt is not None, unit, "runs without a live attempt")
        started = unit.attempts[-1].started_at_ms is not None
        _require(started == (unit.status is RUNNING), unit, "startedAt and status disagree")


def _check_blocked(yard: Yard) -> None:
    """Only heads say that they are blocked, each for a reason, and their queues know them."""
    for queue in yard.queues.values():
        for unit_id, unit in queue.blocked.items():
            _require(unit.status is RUNNABLE and bool(unit.status_reason), unit, "is blocked without a reason")
            _require(unit.blocked_since_ms is not None, unit, "nobody knows since when it is blocked")
            _require(yard.find(*split_unit_id(unit_id)) is unit, unit, "is blocked and is somebody else")
    known = {unit_id for queue in yard.queues.values() for unit_id in queue.blocked}
    for job in yard.jobs.values():
        for unit in (job, *_units(job)):
            _require(unit.blocked_since_ms is None or unit.unit_id in known, unit, "is blocked and its queue forgot it")


def _check_shares(yard: Yard, queue: Queue, live: dict[str, AnyUnit]) -> None:
    """What a fair-share queue's shares have in jobs and vCPUs adds up; other queues have no shares."""
    name = queue.state.name
    _require((queue.shares is None) == (queue.state.policy is None), None, f"{name} isn't of the kind it was made")
    if queue.shares is None:
        return
    _require(not queue.heads, None, f"{name} has a fair-share policy and jobs in the order of submission")
    jobs = Counter(yard.jobs[job_id].terms.share_identifier or "" for job_id in queue.jobs)
    used: Counter[str] = Counter()
    environments: Counter[str] = Counter()
    for unit in live.values():
        if unit.job.terms.queue == name:
            vcpu_milli = unit.job.terms.resources_of(unit.index).vcpu_milli
            used[unit.job.terms.share_identifier or ""] += vcpu_milli
            environments[unit.attempts[-1].environment] += vcpu_milli
    _require(jobs.keys() <= queue.shares.by_name.keys(), None, f"{name} misses a share that has jobs")
    _require(environments == queue.shares.vcpu_milli, None, f"{name} counts its vCPUs by environment wrongly")
    for share in queue.shares.by_name.values():
        _require(share.jobs == jobs[share.name], None, f"{name} counts the jobs of {share.name} wrongly")
        _require(share.vcpu_milli == used[share.name], None, f"{name} counts the vCPUs of {share.name} wrongly")
        _require(share.used_vcpu_seconds >= 0, None, f"{share.name} has used less than nothing")


def _check_stock(yard: Yard, live: dict[str, AnyUnit]) -> None:
    """What is in use of a consumable resource is what live attempts have taken."""
    taken: Counter[str] = Counter()
    for unit in live.values():
        for need in needs_of(unit):
            taken[need.name] += need.quantity
    for name, consumable in yard.stock.by_name.items():
        _require(consumable.in_use == taken[name], None, f"{name} counts what is in use wrongly")
        _require(consumable.state.total >= 0, None, f"{name} has less than nothing")


def _check_bookings(yard: Yard, live: dict[str, AnyUnit]) -> None:
    attempts = [(unit.attempts[-1], unit.job.terms.resources_of(unit.index)) for unit in live.values()]
    for name, environment in yard.environments.items():
        here = [need for attempt, need in attempts if attempt.environment == name]
        room = environment.room
        _require(environment.live_attempts == len(here), None, f"{name} counts its attempts wrongly")
        for attempt_id in environment.ahead:
            is_starting = attempt_id in live and live[attempt_id].status is STARTING
            _require(is_starting, None, f"{name} has {attempt_id} waiting for room, and it isn't STARTING")
        _require(room.used_vcpu_milli == sum(need.vcpu_milli for need in here), None, f"{name} books vCPUs wrongly")
        _require(room.used_memory_mib == sum(need.memory_mib for need in here), None, f"{name} books memory wrongly")
    starting = {unit.job.job_id for unit in live.values() if unit.job.is_multinode and unit.job.status is STARTING}
    _require(starting == yard.starting_gangs, None, "knows wrongly which gangs are starting")
    for name, room in yard.hosts.items():
        addresses = {unit.attempts[-1].address for unit in live.values() if _host_of(yard, unit) == name} - {None}
        _require(room.addresses == addresses, None, f"{name} books addresses wrongly")
        _check_gpus(yard, name, room, live)
        here = [need for attempt, need in attempts if yard.environments[attempt.environment].host == name]
        _require(room.used_vcpu_milli == sum(need.vcpu_milli for need in here), None, f"{name} books vCPUs wrongly")
        _require(room.used_memory_mib == sum(need.memory_mib for need in here), None, f"{name} books memory wrongly")


def _check_gpus(yard: Yard, name: str, host: Host, live: dict[str, AnyUnit]) -> None:
    """Every live attempt has as many GPUs as it needs, and nobody else has them."""
    given: dict[str, str] = {}
    for unit in live.values():
        attempt = unit.attempts[-1]
        wanted = unit.job.terms.resources_of(unit.index).gpus
        _require(len(attempt.gpus) == wanted, unit, f"needs {wanted} GPUs and has {attempt.gpus}")
        if _host_of(yard, unit) == name:
            _require(not given.keys() & set(attempt.gpus), unit, f"has a GPU of {attempt.gpus} together with another")
            given.update(dict.fromkeys(attempt.gpus, attempt.environment))
    _require(host.gpus_in_use == given, None, f"{name} books GPUs wrongly")


def _host_of(yard: Yard, unit: AnyUnit) -> str | None:
    return yard.environments[unit.attempts[-1].environment].host
