"""DescribeJobs and ListJobs (facts §9)."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import job_id_from, name_from
from batchyard.api.batch import job_detail
from batchyard.api.batch.compute_environments import cluster_arns
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core.job import split_unit_id
from batchyard.core.outcome import UnitRecord
from batchyard.core.states import JobStatus
from batchyard.store import jobs, queues
from batchyard.wire import errors

MAX_DESCRIBED = 100
MAX_LISTED = 1000
MAX_LISTED_WITH_FILTERS = 100


@operation("batch", "DescribeJobs")
async def describe_jobs(context: Context, params: Params) -> Result:
    """Jobs by id or ARN, children as `ID:index`, nodes as `ID#index`, in the order asked for; unknown ids left out."""
    wanted = [job_id_from(each) for each in params["jobs"]]
    if len(wanted) > MAX_DESCRIBED:
        raise errors.executing_request(f"Maximum number of jobs supported is  {MAX_DESCRIBED}")
    now_ms = context.clock.now_ms()

    def describe(connection: Connection) -> list[dict[str, Any]]:
        units = [split_unit_id(each) for each in wanted]
        found = jobs.find(connection, {job_id for job_id, _ in units})
        children = _children(connection, found, units)
        clusters = cluster_arns(connection, context.settings)
        described = []
        for job_id, index in units:
            job = found.get(job_id)
            if job is None:
                continue
            if index is None:
                described.append(job_detail.describe(context.settings, clusters, job, now_ms))
            elif (job_id, index) in children:
                record = children[(job_id, index)]
                described.append(job_detail.describe_child(context.settings, clusters, job, index, record))
        return described

    return {"jobs": await context.database.read(describe)}


def _children(
    connection: Connection, found: dict[str, jobs.StoredJob], units: list[tuple[str, int | None]]
) -> dict[tuple[str, int], UnitRecord]:
    """The children asked for, of the parents found; those that have done nothing share the rest's record."""
    wanted: dict[str, list[int]] = {}
    for job_id, index in units:
        job = found.get(job_id)
        if index is not None and job is not None and index < (job.children or 0):
            wanted.setdefault(job_id, []).append(index)
    records = {}
    for job_id, indices in wanted.items():
        job = found[job_id]
        touched = jobs.find_children(connection, job.seq, indices)
        for index in indices:
            records[(job_id, index)] = touched.get(index) or jobs.rest_record(job)
    return records


@operation("batch", "ListJobs")
async def list_jobs(context: Context, params: Params) -> Result:
    """A queue's jobs, newest first, or an array's children or a job's nodes, by index. Only RUNNING ones by default."""
    sources = [member for member in ("jobQueue", "arrayJobId", "multiNodeJobId") if params.get(member)]
    if len(sources) != 1:
        raise errors.executing_request("Exactly one of jobQueue, arrayJobId and multiNodeJobId must be given")
    if sources == ["jobQueue"]:
        return await _list_queue(context, params)
    return await _list_children(context, params, sources[0])


async def _list_children(context: Context, params: Params, member: str) -> Result:
    """The children of the job that `member` names, arrayJobId or multiNodeJobId."""
    if params.get("filters"):
        raise errors.executing_request("filters can only be used together with jobQueue")
    job_id = job_id_from(params[member])
    status = JobStatus[params.get("jobStatus", "RUNNING")]
    limit = _limit(params, MAX_LISTED)
    first = _position(params)[1]

    def listed(connection: Connection) -> Result:
        parent = jobs.find(connection, [job_id]).get(job_id)
        if parent is None:
            raise errors.client_exception(f"Job {job_id} does not exist")
        if member == "arrayJobId" and parent.array_size is None:
            raise errors.client_exception(f"Job {job_id} is not an array job")
        if member == "multiNodeJobId" and parent.num_nodes is None:
            raise errors.client_exception(f"Job {job_id} is not a multi-node parallel job")
        page = jobs.children_page(connection, parent, status, first, limit + 1)
        summaries = [
            job_detail.summarise_child(context.settings, parent, index, record) for index, record in page[:limit]
        ]
        token = paging.encode(["", page[limit][0]], _scope(params)) if len(page) > limit else None
        return _answer(summaries, token)

    return await context.database.read(listed)


async def _list_queue(context: Context, params: Params) -> Result:
    name = name_from("job-queue", params["jobQueue"])
    wanted = _filter(name, params)
    limit = _limit(params, MAX_LISTED_WITH_FILTERS if params.get("filters") else MAX_LISTED)
    after = _position(params) if params.get("nextToken") else None

    def listed(connection: Connection) -> Result:
        if queues.find(connection, name) is None:
            raise errors.client_exception(f"Job queue job-queue/{name} does not exist")
        page = jobs.page(connection, wanted, after, limit + 1)
        token = None
        if len(page) > limit:
            token = paging.encode(list(jobs.position(wanted, page[limit - 1])), _scope(params))
        return _answer([job_detail.summarise(context.settings, job) for job in page[:limit]], token)

    return await context.database.read(listed)


def _answer(summaries: list[dict[str, Any]], token: str | None) -> Result:
    return {"jobSummaryList": summaries, **({"nextToken": token} if token else {})}


def _limit(params: Params, most: int) -> int:
    limit = params.get("maxResults", most)
    if not 1 <= limit <= 1000:
        raise errors.executing_request("maxResults must be between 1 and 1000")
    return min(int(limit), most)


def _position(params: Params) -> jobs.Position:
    """Where the page before ended: a position in a queue, ("", next index) in an array."""
    token = params.get("nextToken")
    if not token:
        return ("", 0)
    order, number = paging.decode(token, _scope(params))
    return order, number


def _scope(params: Params) -> str:
    """What a nextToken is good for: the same listing, whatever its page size."""
    listing = {member: value for member, value in params.items() if member not in ("nextToken", "maxResults")}
    return "ListJobs" + msgspec.json.encode(listing, order="deterministic").decode()


def _filter(queue: str, params: Params) -> jobs.JobFilter:
    """One filter at most; it spans all states, but SHARE_IDENTIFIER goes together with jobStatus."""
    filters = params.get("filters", [])
    if not filters:
        return jobs.JobFilter(queue=queue, status=JobStatus[params.get("jobStatus", "RUNNING")])
    if len(filters) > 1:
        raise errors.executing_request("Only one filter can be used at a time")
    name = filters[0].get("name", "")
    values = filters[0].get("values", [])
    if len(values) != 1 or not values[0]:
        raise errors.executing_request(f"Filter {name} takes exactly one value")
    value = values[0]
    if name == "JOB_NAME":
        return jobs.JobFilter(queue=queue, name=value)
    if name == "JOB_DEFINITION":
        return jobs.JobFilter(queue=queue, definition=_definition_pattern(value))
    if name in ("BEFORE_CREATED_AT", "AFTER_CREATED_AT"):
        if not value.isdecimal() or len(value) > 15:
            raise errors.executing_request(f"Filter {name} takes milliseconds since the epoch")
        if name == "BEFORE_CREATED_AT":
            return jobs.JobFilter(queue=queue, created_before_ms=int(value))
        return jobs.JobFilter(queue=queue, created_after_ms=int(value))
    if name == "SHARE_IDENTIFIER":
        status = JobStatus[params["jobStatus"]] if "jobStatus" in params else None
        return jobs.JobFilter(queue=queue, status=status, share_identifier=value)
    raise errors.executing_request(
        f"Filter {name} is not one of JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT, AFTER_CREATED_AT, SHARE_IDENTIFIER"
    )


def _definition_pattern(value: str) -> str:
    """A name matches all its revisions, `name*` is a prefix, an ARN (or `name:rev`) means one revision."""
    name = name_from("job-definition", value)
    if name.endswith("*") or ":" in name:
        return name
    return f"{name}:*"
