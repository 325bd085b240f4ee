"""What was promised, held against what happened.

An acknowledged SubmitJob is never lost; a job's state moves along the table alone, and terminal is final; jobs are
taken in by the order of submission; an attempt runs at most once and a job has at most one at a time; what the API says
of attempts is what the attempts say themselves; what was stopped stays stopped; nobody starts before what it waits for
has ended; capacity is a bound; and a GPU is one attempt's at a time; when nothing goes wrong any more, everything comes
to its end. The oracle reads rows, answers and the jobs' own diary; it knows nothing of the scheduler's insides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import msgspec

from batchyard.core import reasons
from batchyard.core.states import TRANSITIONS, JobStatus
from tests.faults.runs import Run, runs_of
from tests.faults.simulation import Record
from tests.faults.workload import GRACE_SECONDS, Job

TERMINAL = ("SUCCEEDED", "FAILED")
SLACK_SECONDS = 5.0
LATE_SECONDS = 1.0
"""An attempt that ended so long before its timeout may have been told of only after it."""


def violations(record: Record) -> list[str]:
    """Every broken promise, in words; none of a system that is right."""
    if record.failure is not None:
        return [record.failure]
    oracle = _Oracle(record)
    found: list[str] = []
    for check in (
        oracle.acknowledged_jobs_end,
        oracle.moves_are_legal,
        oracle.submissions_are_taken_in_by_their_order,
        oracle.nothing_runs_twice,
        oracle.attempts_are_told_as_they_were,
        oracle.ends_follow_from_attempts,
        oracle.parents_follow_from_children,
        oracle.stops_hold,
        oracle.timeouts_hold,
        oracle.dependencies_hold,
        oracle.capacity_is_a_bound,
        oracle.gpus_are_given_once,
        oracle.consumables_are_accounted_for,
        oracle.nothing_is_left,
    ):
        found += [record.story.named(f"{check.__name__}: {text}") for text in check()]
    return found


def _reachable() -> dict[str, set[str]]:
    """Where a job can get to from each state. One commit may hold several moves of a job."""
    reached: dict[str, set[str]] = {}
    for status in JobStatus:
        found: set[JobStatus] = set()
        frontier = [status]
        while frontier:
            source = frontier.pop()
            following = {target for before, target in TRANSITIONS if before is source} - found
            found |= following
            frontier += following
        reached[status.name] = {each.name for each in found}
    return reached


class _Oracle:
    def __init__(self, record: Record) -> None:
        self._record = record
        self._runs = runs_of(record.diary)
        self._runs_of_unit: dict[str, list[Run]] = defaultdict(list)
        for run in self._runs:
            self._runs_of_unit[run.unit_id].append(run)
        self._asked: dict[str, Job] = {
            job_id: record.asked[job["jobName"]]
            for job_id, job in record.described.items()
            if job_id == _job_of(job_id)
        }

    def _units(self) -> Iterator[tuple[str, Job, dict[str, Any]]]:
        """What runs: single jobs, children and nodes, with the job that they are of and what the API says of them."""
        for unit_id, described in self._record.described.items():
            job = self._asked[_job_of(unit_id)]
            if unit_id != _job_of(unit_id) or (job.size is None and job.nodes is None):
                yield unit_id, job, described

    # ---- the promises

    def acknowledged_jobs_end(self) -> Iterator[str]:
        for job_id, job in self._record.acknowledged.jobs.items():
            if job_id not in self._record.described:
                yield f"{job.name} was acknowledged and is gone"
        for unit_id, described in self._record.described.items():
            if described["status"] not in TERMINAL:
                yield f"{unit_id} is at rest in {described['status']} ({described.get('statusReason')})"

    def moves_are_legal(self) -> Iterator[str]:
        reachable = _reachable()
        now: dict[tuple[str, int | None], str] = {}
        for move in self._record.story.moves:
            if move.job is None:
                continue
            unit, old, new = (move.job, move.index), move.old, move.new
            if move.is_rest:
                old, new = _status_of_rest(old), _status_of_rest(new)
            if old is None and unit not in now:
                # A child's first row: until then it was one of the rest.
                old = now.get((move.job, -1)) if move.index is not None and not move.is_rest else None
            if old is not None and old != new and new not in reachable[old]:
                yield f"{unit} went from {old} to {new}"
            if unit in now and move.old is not None and now[unit] != old:
                yield f"{unit} was {now[unit]} and moved from {old}"
            now[unit] = new
        for job_id in self._asked:
            told = self._record.described[job_id]["status"]
            if now[(job_id, None)] != told:
                yield f"{job_id} is {now[(job_id, None)]} in the store and {told} in the answer"

    def submissions_are_taken_in_by_their_order(self) -> Iterator[str]:
        """The service's limit of jobs in SUBMITTED is told from the first of them and the last job of all."""
        submitted: dict[str, None] = {}
        for move in self._record.story.moves:
            if move.job is None or move.index is not None:
                continue
            if move.old is None:
                submitted[move.job] = None
            elif move.old == "SUBMITTED":
                first = next(iter(submitted))
                if move.job != first:
                    yield f"{move.job} left SUBMITTED before {first}"
                submitted.pop(move.job)

    def nothing_runs_twice(self) -> Iterator[str]:
        counted = Counter(run.attempt_id for run in self._runs)
        for unit_id, runs in self._runs_of_unit.items():
            for run in runs:
                if counted[run.attempt_id] > 1:
                    yield f"{run} started {counted[run.attempt_id]} times"
            for before, after in pairwise(runs):
                if after.started_seconds < before.ended_seconds:
                    yield f"{unit_id} ran twice at once: {before} and {after}"
                if after.number <= before.number:
                    yield f"{unit_id}: {after} came after {before}"

    def attempts_are_told_as_they_were(self) -> Iterator[str]:
        known: set[str] = set()
        for unit_id, _, described in self._units():
            runs = {run.number: run for run in self._runs_of_unit[unit_id]}
            for number, told in enumerate(described["attempts"], 1):
                run = runs.pop(number, None)
                if run is not None:
                    known.add(run.attempt_id)
                yield from _compare(unit_id, number, told, run, self._record.downs)
            for run in runs.values():
                yield f"{run} ran, and nobody tells of it"
        for run in self._runs:
            if _job_of(run.unit_id) not in self._asked:
                yield f"{run} ran for a job that is not in the store"

    def ends_follow_from_attempts(self) -> Iterator[str]:
        """A unit succeeds by its last attempt, and fails by it when there is no other left, or none is wanted.

        What is under way in an array that is cancelled goes on, and is not retried.
        """
        cancelled = {_job_of(target) for operation, target in self._taken_in() if operation == "cancel"}
        for unit_id, job, described in self._units():
            attempts = described["attempts"]
            is_gang = job.nodes is not None
            if len(attempts) > job.attempts:
                yield f"{unit_id} had {len(attempts)} attempts of {job.attempts}"
            if described["status"] == "SUCCEEDED":
                if not attempts or _code(attempts[-1]) != 0:
                    yield f"{unit_id} SUCCEEDED, and its last attempt did not"
            elif not attempts or is_gang or described.get("statusReason") != attempts[-1].get("statusReason"):
                continue
            elif described.get("statusReason") == reasons.TIMED_OUT:
                continue  # whatever it came to; `timeouts_hold` sees to it that it did time out
            elif _code(attempts[-1]) == 0:
                yield f"{unit_id} FAILED with exit code 0"
            elif _wants_retry(job, len(attempts), attempts[-1]) and not (job.size and _job_of(unit_id) in cancelled):
                yield f"{unit_id} FAILED after attempt {len(attempts)} of {job.attempts}, which was to be retried"
            for number, attempt in enumerate(attempts[:-1] if not is_gang else (), 1):
                if _code(attempt) == 0 or not _wants_retry(job, number, attempt):
                    yield f"{unit_id} was retried after attempt {number}: {attempt}"

    def _taken_in(self) -> Iterator[tuple[str, str]]:
        """The stop requests that were taken in: cancel or terminate, and of what."""
        for move in self._record.story.moves:
            if move.job is None:
                request = msgspec.json.decode(move.new)
                yield request["type"], request["job_id"]

    def parents_follow_from_children(self) -> Iterator[str]:
        for job_id, job in self._asked.items():
            if job.size is None:
                continue
            parent = self._record.described[job_id]
            children = Counter(self._record.described[f"{job_id}:{index}"]["status"] for index in range(job.size))
            summary = {state: count for state, count in parent["arrayProperties"]["statusSummary"].items() if count}
            if summary != dict(children):
                yield f"{job_id} counts {summary}, and its children are {dict(children)}"
            if (parent["status"] == "SUCCEEDED") != (children["SUCCEEDED"] == job.size):
                yield f"{job_id} is {parent['status']}, and its children are {dict(children)}"

    def stops_hold(self) -> Iterator[str]:
        """What is taken in as stopped starts no more; and what was acknowledged is taken in."""
        status: dict[tuple[str, int | None], str] = {}
        stopped: set[tuple[str, int | None]] = set()
        terminated: set[tuple[str, int | None]] = set()
        for move in self._record.story.moves:
            if move.job is None:
                request = msgspec.json.decode(move.new)
                job_id, index = _split(request["job_id"])
                is_cancel = request["type"] == "cancel"
                for unit in self._all_of(job_id, index):
                    state = status.get(unit) or status.get((job_id, -1))
                    if state not in TERMINAL and not (is_cancel and state in ("STARTING", "RUNNING")):
                        stopped.add(unit)
                    if state not in TERMINAL and not is_cancel:
                        terminated.add(unit)
                continue
            unit = (move.job, move.index)
            new = _status_of_rest(move.new) if move.is_rest else move.new
            if unit in stopped and new == "STARTING" and status.get(unit) != "STARTING":
                yield f"{unit} was started after it had been stopped"
            status[unit] = new
        for job_id, index in terminated:
            job = self._asked.get(job_id)
            if job is None:
                continue  # an acknowledged job that is gone is another promise's concern
            unit_id = job_id if index is None else f"{job_id}:{index}"
            # A gang whose main node has succeeded is over, though other nodes are still being stopped.
            if job.nodes is None and self._record.described[unit_id]["status"] != "FAILED":
                yield f"{unit_id} was terminated before its end, and SUCCEEDED"

    def _all_of(self, job_id: str, index: int | None) -> list[tuple[str, int | None]]:
        if index is not None:
            return [(job_id, index)]
        job = self._asked.get(job_id)
        count = (job.size or job.nodes or 0) if job is not None else 0
        return [(job_id, None), *((job_id, each) for each in range(count))]

    def timeouts_hold(self) -> Iterator[str]:
        """An attempt ends by its timeout, and is the last one. While there is no supervisor nobody can end it."""
        excused = SLACK_SECONDS + GRACE_SECONDS + self._record.plan.downtime_seconds
        for unit_id, job, described in self._units():
            attempts = described["attempts"]
            timed_out = described.get("statusReason") == reasons.TIMED_OUT
            if timed_out and job.timeout_seconds is None:
                yield f"{unit_id} timed out without a timeout"
            # A server that starts knows nothing of what the clock was before.
            was_misled = self._record.plan.clock_was_set and self._record.deaths > 0
            if was_misled or job.timeout_seconds is None:
                continue
            for run in self._runs_of_unit[unit_id]:
                seconds = run.ended_seconds - run.started_seconds
                seen_seconds = seconds - _overlap_seconds(run, self._record.downs)
                if seen_seconds > job.timeout_seconds + excused and job.nodes is None:
                    yield f"{run} ran for {seconds:.1f} s, and its timeout is {job.timeout_seconds} s"
                is_early = seconds < job.timeout_seconds - LATE_SECONDS and not self._record.plan.downtime_seconds
                if timed_out and is_early and job.nodes is None and run.number == len(attempts) and not run.is_killed:
                    yield f"{run} timed out early: its timeout is {job.timeout_seconds} s"

    def dependencies_hold(self) -> Iterator[str]:
        for unit_id, job, described in self._units():
            runs = self._runs_of_unit[unit_id]
            for other in self._waits_for(unit_id, job):
                status = self._record.described[other]["status"]
                if status == "FAILED" and described["status"] == "SUCCEEDED":
                    yield f"{unit_id} SUCCEEDED, and {other}, which it waited for, FAILED"
                ended = max((run.ended_seconds for run in self._runs_under(other)), default=0.0)
                if runs and status == "FAILED":
                    yield f"{runs[0]} started, and {other}, which it waited for, FAILED"
                if runs and runs[0].started_seconds < ended:
                    yield f"{runs[0]} started before {other} had ended, at {ended:.3f}"

    def _waits_for(self, unit_id: str, job: Job) -> Iterator[str]:
        _, index = _split(unit_id)
        for other, kind in job.waits_for:
            if kind == "N_TO_N":
                yield f"{other}:{index}"
            elif kind == "SEQUENTIAL":
                if index:
                    yield f"{_job_of(unit_id)}:{index - 1}"
            else:
                yield other

    def _runs_under(self, unit_id: str) -> Iterator[Run]:
        """The runs of a unit, or of all children of a parent."""
        for run in self._runs:
            if run.unit_id == unit_id or run.job_id == unit_id:
                yield run

    def capacity_is_a_bound(self) -> Iterator[str]:
        changes = [(run.started_seconds, 1, run) for run in self._runs]
        changes += [(run.ended_seconds, -1, run) for run in self._runs]
        used: Counter[str] = Counter()
        bounds = {name: count * 1000 for name, count in self._record.max_vcpus.items()}
        for at_seconds, sign, run in sorted(changes, key=lambda change: change[:2]):
            used[run.environment] += sign * run.vcpu_milli
            if used[run.environment] > bounds.get(run.environment, self._record.host_vcpus * 1000):
                yield f"{run.environment} ran {used[run.environment]} vCPU-thousandths at {at_seconds:.3f}: {run}"
            if used.total() > self._record.host_vcpus * 1000:
                yield f"the host ran {used.total()} vCPU-thousandths at {at_seconds:.3f}: {run}"

    def gpus_are_given_once(self) -> Iterator[str]:
        """An attempt has as many GPUs as its job asked for, of those that there are, and nobody else has them then."""
        owners: dict[str, Run] = {}
        for run in self._runs:
            job = self._asked.get(run.job_id)
            if job is not None and len(set(run.gpus)) != job.gpus:
                yield f"{run} was given {run.gpus}, and asked for {job.gpus}"
            for gpu in run.gpus:
                if gpu not in self._record.gpus:
                    yield f"{run} was given {gpu}, which does not exist"
                before = owners.get(gpu)
                if before is not None and before.ended_seconds > run.started_seconds:
                    yield f"{run} was given {gpu}, which {before} had"
                owners[gpu] = run

    def consumables_are_accounted_for(self) -> Iterator[str]:
        taken: Counter[str] = Counter()
        for unit_id, job, described in self._units():
            if job.nodes is None or _split(unit_id)[1] == 0:
                for name, quantity in job.needs:
                    taken[name] += quantity * len(described["attempts"])
        for name, told in self._record.consumables.items():
            expected = self._record.totals[name]
            if name == "token":
                expected += self._record.acknowledged.tokens_added - taken[name]
            if told["inUseQuantity"]:
                yield f"{told['inUseQuantity']} of {name} are in use, and nothing runs"
            if told["totalQuantity"] != expected:
                yield f"there are {told['totalQuantity']} of {name}, and should be {expected}"
        yield from self._never_more("licence", self._record.totals["licence"])

    def _never_more(self, name: str, most: int) -> Iterator[str]:
        """No more of a replenishable resource was in use at once than there is."""
        changes = []
        for run in self._runs:
            job = self._asked.get(run.job_id)
            if job is not None and (job.nodes is None or run.unit_id.endswith("#0")):
                quantity = dict(job.needs).get(name, 0)
                changes += [(run.started_seconds, quantity, run), (run.ended_seconds, -quantity, run)]
        in_use = 0
        for at_seconds, quantity, run in sorted(changes, key=lambda change: change[:2]):
            in_use += quantity
            if in_use > most:
                yield f"{in_use} of {most} {name} were in use at {at_seconds:.3f}: {run}"

    def nothing_is_left(self) -> Iterator[str]:
        for attempt_id in self._record.held:
            yield f"the engine was never told to forget {attempt_id}"
        for attempt_id in self._record.open_streams:
            yield f"the log stream of {attempt_id} was never closed"
        if self._record.stops_left:
            yield f"{self._record.stops_left} stop requests were never taken in"


def _overlap_seconds(run: Run, spans: list[tuple[float, float]]) -> float:
    """How much of a run's time is in any of the spans."""
    return sum(max(0.0, min(run.ended_seconds, end) - max(run.started_seconds, begin)) for begin, end in spans)


def _compare(
    unit_id: str, number: int, told: dict[str, Any], run: Run | None, downs: list[tuple[float, float]]
) -> Iterator[str]:
    """An attempt as the API has it, against what it says itself.

    It is lost if it ran when its supervisor died, and in no other case."""
    who = f"attempt {number} of {unit_id}"
    code, reason = _code(told), told.get("statusReason", "")
    is_lost = reason.startswith("Host EC2")
    if "stoppedAt" not in told:
        yield f"{who} is over, and has no stoppedAt"
    if run is None:
        if code is not None or "startedAt" in told:
            yield f"{who} is told to have run, and never did: {told}"
        return
    if not told["container"]["taskArn"].endswith(run.attempt_id.replace("-", "")):
        yield f"{who} is told with another id: {told}"
    if is_lost:
        if not any(run.started_seconds <= down and run.ended_seconds >= down for down, _ in downs):
            yield f"{run} is told to be lost, and its supervisor lived: {told}"
        return
    if run.is_killed:
        yield f"{run} ended with its host, and is told to have ended otherwise: {told}"
    elif code != run.exit_code:
        yield f"{run} is told with exit code {code}"
    elif "startedAt" not in told:
        yield f"{run} is told without startedAt"


def _wants_retry(job: Job, number: int, attempt: dict[str, Any]) -> bool:
    """The retry strategy, read anew."""
    if number >= job.attempts:
        return False
    code = _code(attempt)
    facts = {
        "onExitCode": None if code is None else str(code),
        "onReason": attempt["container"].get("reason"),
        "onStatusReason": attempt.get("statusReason"),
    }
    for rule in job.rules:
        wanted = {key: pattern for key, pattern in rule.items() if key != "action" and pattern != "*"}
        if all(facts[key] is not None and fnmatchcase(facts[key] or "", pattern) for key, pattern in wanted.items()):
            return rule["action"] == "RETRY"
    return True


def _code(attempt: dict[str, Any]) -> int | None:
    code: int | None = attempt["container"].get("exitCode")
    return code


def _status_of_rest(document: Any) -> str | None:
    return None if document is None else JobStatus(msgspec.json.decode(document)["status"]).name


def _job_of(unit_id: str) -> str:
    return _split(unit_id)[0]


def _split(unit_id: str) -> tuple[str, int | None]:
    for mark in "#:":
        job_id, found, index = unit_id.partition(mark)
        if found:
            return job_id, int(index)
    return unit_id, None
