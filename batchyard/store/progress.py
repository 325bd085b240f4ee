"""What the runtime reads and writes: intents in, the outcomes of scheduler steps out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, delete, insert, select, text, update

from batchyard.core import restore
from batchyard.core.arrays import Rest
from batchyard.core.inputs import CancelRequested, ConsumableChanged, TerminateRequested
from batchyard.core.model import JobTerms
from batchyard.core.outcome import (
    ChildChanged,
    ConsumableSettled,
    EnvironmentSettled,
    JobChanged,
    PolicySettled,
    Settled,
    Transition,
    UnitRecord,
)
from batchyard.core.states import RUNNING
from batchyard.logframes import log_id
from batchyard.store import consumables, environments, policies, queues, shares
from batchyard.store.jobs import RECORD_COLUMNS, all_children, log_places, places_of, to_record
from batchyard.store.prepared import Prepared
from batchyard.store.tables import jobs, stop_requests

StopRequest = CancelRequested | TerminateRequested

_PART = 5000
"""Job ids in one statement: SQLite takes no more than 32,766 variables."""

_terms = msgspec.json.Decoder(JobTerms)
_rest = msgspec.json.Decoder(Rest)
_request = msgspec.json.Decoder(StopRequest)
_encode = msgspec.json.Encoder().encode


class SubmittedJob(Struct, frozen=True):
    seq: int
    job_id: str
    terms: JobTerms


class Intents(Struct, frozen=True):
    """All that the API has asked for and the runtime has not taken in yet."""

    environments: list[environments.EnvironmentRow]
    policies: list[policies.PolicyRow]
    queues: list[queues.QueueRow]
    consumables: list[ConsumableChanged]
    jobs: list[SubmittedJob]
    stops: list[tuple[int, StopRequest]]
    is_partial: bool
    """More submitted jobs are left. What ends jobs waits for them too: it might be meant for one of them."""


_SUBMITTED = Prepared(
    select(jobs.c.seq, jobs.c.job_id, jobs.c.terms)
    .where(text("status = 'SUBMITTED'"))
    .order_by(jobs.c.seq)
    .limit(bindparam("most"))
)
_ADD_STOP = Prepared(insert(stop_requests).values(request=bindparam("request")))
_DROP_STOP = Prepared(delete(stop_requests).where(stop_requests.c.id == bindparam("b_id")))
_STOPS = Prepared(select(stop_requests.c.id, stop_requests.c.request).order_by(stop_requests.c.id))


def add_stop_requests(connection: Connection, requests: Iterable[StopRequest]) -> None:
    _ADD_STOP.run_many(connection, [{"request": _encode(request)} for request in requests])


def read_intents(connection: Connection, most_jobs: int) -> Intents:
    """The intents so far, with at most `most_jobs` of the submitted jobs, the oldest."""
    submitted = [
        SubmittedJob(row.seq, row.job_id, _terms.decode(row.terms))
        for row in _SUBMITTED.rows(connection, {"most": most_jobs})
    ]
    is_partial = len(submitted) == most_jobs
    stops = [] if is_partial else [(row.id, _request.decode(row.request)) for row in _STOPS.rows(connection)]
    queue_rows = [row for row in queues.unsettled(connection) if not (is_partial and row.status == "DELETING")]
    return Intents(
        environments.unsettled(connection),
        policies.unsettled(connection),
        queue_rows,
        consumables.unsettled(connection),
        submitted,
        stops,
        is_partial,
    )


def drop_stop_requests(connection: Connection, ids: Sequence[int]) -> None:
    if ids:
        # One by one: however many there are, a statement has only so many variables.
        _DROP_STOP.run_many(connection, [{"b_id": each} for each in ids])


_UPDATE_JOB = Prepared(
    update(jobs)
    .where(jobs.c.seq == bindparam("b_seq"))
    .values(
        {
            name: bindparam(f"b_{name}")
            for name in (
                "status",
                "status_reason",
                "started_at_ms",
                "stopped_at_ms",
                "attempts",
                "stop",
                "blocked_since_ms",
                "counts",
                "rest",
            )
        }
    )
)
_PUT_CHILD = Prepared(
    "INSERT INTO children"
    " (parent_seq, child_index, status, status_reason, started_at_ms, stopped_at_ms, attempts, stop, blocked_since_ms)"
    " VALUES (:parent_seq, :child_index, :b_status, :b_status_reason, :b_started_at_ms, :b_stopped_at_ms, :b_attempts,"
    " :b_stop, :b_blocked_since_ms) ON CONFLICT (parent_seq, child_index) DO UPDATE SET status = excluded.status,"
    " status_reason = excluded.status_reason, started_at_ms = excluded.started_at_ms,"
    " stopped_at_ms = excluded.stopped_at_ms, attempts = excluded.attempts, stop = excluded.stop,"
    " blocked_since_ms = excluded.blocked_since_ms"
)
_OPEN_STREAM = Prepared(
    "INSERT INTO log_streams (log_group, name, log_id, created_at_ms, pattern)"
    " VALUES (:log_group, :name, :log_id, :at_ms, :pattern) ON CONFLICT DO NOTHING"
)
_OPEN_JOBS_STREAM = Prepared(
    "INSERT INTO log_streams (log_group, name, log_id, created_at_ms, pattern)"
    " SELECT log_group, log_prefix || :log_id, :log_id, :at_ms, log_pattern FROM jobs WHERE job_id = :job_id"
    " ON CONFLICT DO NOTHING"
)
_CLOSE_STREAM = Prepared("UPDATE log_streams SET closed_at_ms = :at_ms WHERE log_id = :log_id")


def write_units(connection: Connection, changes: Iterable[JobChanged | ChildChanged]) -> None:
    """Store the rows that a step changed."""
    parents, children = [], []
    for change in changes:
        values = _values(change.record)
        if isinstance(change, ChildChanged):
            values["parent_seq"] = change.parent_seq
            values["child_index"] = change.index
            children.append(values)
        else:
            values["b_seq"] = change.seq
            values["b_counts"] = _encode(change.counts) if change.counts else None
            values["b_rest"] = _encode(change.rest) if change.rest else None
            parents.append(values)
    if parents:
        _UPDATE_JOB.run_many(connection, parents)
    if children:
        _PUT_CHILD.run_many(connection, children)


def _values(record: UnitRecord) -> dict[str, Any]:
    return {
        "b_status": record.status.name,
        "b_status_reason": record.status_reason,
        "b_started_at_ms": record.started_at_ms,
        "b_stopped_at_ms": record.stopped_at_ms,
        "b_attempts": _encode(record.attempts) if record.attempts else None,
        "b_stop": _encode(record.stop) if record.stop else None,
        "b_blocked_since_ms": record.blocked_since_ms,
    }


def write_settled(connection: Connection, change: Settled) -> None:
    """A resource's latest state has been taken in, or it is gone."""
    if isinstance(change, PolicySettled):
        policies.settle(connection, change.name, change.revision)
    elif isinstance(change, ConsumableSettled):
        consumables.settle(connection, change)
    elif isinstance(change, EnvironmentSettled):
        (environments.remove if change.removed else environments.settle)(connection, change.name)
    else:
        (queues.remove if change.removed else queues.settle)(connection, change.name)
        if change.removed:
            shares.remove_queue(connection, change.name)


def write_streams(connection: Connection, transitions: Iterable[Transition]) -> None:
    """A log stream is there as soon as its job is RUNNING, and closed when the attempt has ended."""
    opened: list[dict[str, Any]] = []
    listed: list[Transition] = []
    closed: list[dict[str, Any]] = []
    for move in transitions:
        if move.attempt_id is None or RUNNING not in (move.target, move.source):
            continue
        if move.lists_logs:
            listed.append(move)
        elif move.target is not RUNNING:
            closed.append({"log_id": move.attempt_id, "at_ms": move.at_ms})
        else:
            opened.append({"log_id": move.attempt_id, "at_ms": move.at_ms, "job_id": move.job_id})
    if listed:
        streams = _listed_streams(connection, listed)
        _OPEN_STREAM.run_many(connection, [row for move, row in streams if move.target is RUNNING])
        closed += [{"log_id": row["log_id"], "at_ms": row["at_ms"]} for move, row in streams if move.source is RUNNING]
    if opened:
        _OPEN_JOBS_STREAM.run_many(connection, opened)
    if closed:
        _CLOSE_STREAM.run_many(connection, closed)


def _listed_streams(connection: Connection, moves: Sequence[Transition]) -> list[tuple[Transition, dict[str, Any]]]:
    """The log streams of attempts that have several, and of nodes: each has a log configuration of its own."""
    places = {
        row.job_id: log_places.decode(row.log_places)
        for some in _in_parts(list({move.job_id for move in moves}))
        for row in connection.execute(select(jobs.c.job_id, jobs.c.log_places).where(jobs.c.job_id.in_(some)))
    }
    rows = []
    for move in moves:
        assert move.attempt_id is not None
        for place in places_of(places[move.job_id], move.index):
            row = {
                "log_group": place.log_group,
                "name": place.log_prefix + move.attempt_id,
                "log_id": log_id(move.attempt_id, place.container),
                "at_ms": move.at_ms,
                "pattern": place.log_pattern,
            }
            rows.append((move, row))
    return rows


_UNFINISHED = Prepared(
    select(
        jobs.c.seq,
        jobs.c.job_id,
        jobs.c.terms,
        *RECORD_COLUMNS,
        jobs.c.rest,
    )
    .where(text("stopped_at_ms IS NULL"), text("status != 'SUBMITTED'"), jobs.c.seq > bindparam("after"))
    .order_by(jobs.c.seq)
    .limit(bindparam("most"))
)


def read_unfinished(connection: Connection, after_seq: int, most: int) -> list[restore.StoredJob]:
    """Unfinished jobs that had been taken in, in the order of submission, without their ended dependencies.

    At most `most` of them, those after `after_seq`: there may be more than would fit into memory as rows.
    """
    return [
        restore.StoredJob(
            row.seq,
            row.job_id,
            _terms.decode(row.terms),
            to_record(row),
            _rest.decode(row.rest) if row.rest else None,
            tuple(all_children(connection, row.seq).items()) if row.rest else (),
        )
        for row in _UNFINISHED.rows(connection, {"after": after_seq, "most": most})
    ]


class LaunchDetail(Struct, frozen=True):
    """What launching an attempt of a job takes beyond the scheduler's effect."""

    job_id: str
    queue: str
    array_size: int | None
    terms: bytes
    detail: bytes


def read_launch_details(connection: Connection, job_ids: Sequence[str]) -> list[LaunchDetail]:
    query = select(jobs.c.job_id, jobs.c.queue, jobs.c.array_size, jobs.c.terms, jobs.c.detail)
    return [
        LaunchDetail(row.job_id, row.queue, row.array_size, row.terms, row.detail)
        for some in _in_parts(job_ids)
        for row in connection.execute(query.where(jobs.c.job_id.in_(some)))
    ]


def _in_parts(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as one statement may name."""
    for start in range(0, len(job_ids), _PART):
        yield job_ids[start : start + _PART]
