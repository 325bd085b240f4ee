"""`batchyard jobs`: which jobs there are."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from batchyard.cli import client, output
from batchyard.cli.errors import CliError
from batchyard.cli.options import DataDirOption, EndpointOption, JsonOption
from batchyard.cli.refs import SINCE_EVER, queue_names, resolve

UNFINISHED = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
STATUSES = (*UNFINISHED, *output.ENDED)
RECENT_MS = int(timedelta(days=1).total_seconds() * 1000)
NARROW_TERMINAL = 130
"""Below this many columns, ids are shown by their first 8 characters (which every command takes as an id)."""

Job = dict[str, Any]


class Status(StrEnum):
    """The states to choose from on the command line."""

    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    RUNNABLE = "RUNNABLE"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


def jobs(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Only jobs of this queue; repeatable.")
    ] = None,
    status: Annotated[
        list[Status] | None, typer.Option("--status", "-s", case_sensitive=False, help="Only these; repeatable.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Jobs that ended longer ago than a day, too.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this name; `sim*` is a prefix.")
    ] = None,
    array: Annotated[str | None, typer.Option(metavar="JOB", help="The children of this array job.")] = None,
    nodes: Annotated[str | None, typer.Option(metavar="JOB", help="The nodes of this multi-node job.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="Show at most N jobs.")] = 50,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs of all queues, newest first: those unfinished, and those submitted within a day.

    --all shows finished jobs of any age.
    """
    statuses = [wanted.value for wanted in status or ()]
    with client.connect(endpoint, data_dir) as api:
        if array is not None and nodes is not None:
            raise CliError("--array and --nodes name one job each: give one of them.", exit_code=2)
        if array is not None:
            found = children(api.batch, resolve(api.batch, array), statuses or STATUSES)
        elif nodes is not None:
            found = children(api.batch, resolve(api.batch, nodes), statuses or STATUSES, member="multiNodeJobId")
        else:
            queues = queue or queue_names(api.batch)
            found = _of_queues(api.batch, queues, statuses, name, show_all=show_all, limit=limit)
        listed = list(islice(found, limit + 1))
    shown, is_cut = listed[:limit], len(listed) > limit
    if as_json:
        output.print_json({"jobs": shown})
        return
    narrow = output.out.is_terminal and output.out.width < NARROW_TERMINAL
    output.print_table(COLUMNS, [row(job, shorten_id=narrow) for job in shown], when_empty="No jobs.")
    if is_cut:
        output.err.print(f"Only {limit} jobs are shown; --limit shows more.")


COLUMNS = ("ID", "NAME", "QUEUE", "STATUS", "CREATED", "TIME", "EXIT", "REASON")


def row(job: Job, *, shorten_id: bool = False, reference_ms: int | None = None) -> tuple[str, ...]:
    """One job as cells of the table; `job` is a JobSummary with `jobQueue` put in."""
    exit_code = job.get("container", {}).get("exitCode")
    reason = job.get("container", {}).get("reason") or job.get("statusReason", "")
    return (
        short_id(job["jobId"]) if shorten_id else job["jobId"],
        job["jobName"],
        job.get("jobQueue", output.NOTHING),
        _status(job),
        output.format_time(job.get("createdAt"), reference_ms),
        output.format_duration(output.run_time_ms(job, reference_ms)),
        output.NOTHING if exit_code is None else str(exit_code),
        reason or output.NOTHING,
    )


def short_id(job_id: str) -> str:
    """The first 8 characters, and the index of an array child or a node."""
    for mark in ":#":
        base, found, index = job_id.partition(mark)
        if found:
            return base[:8] + mark + index
    return job_id[:8]


def children(batch: Any, parent: str, statuses: Iterable[str], *, member: str = "arrayJobId") -> Iterator[Job]:
    """The array's children in these states, by index; with `multiNodeJobId` as `member`, the job's nodes."""
    found = [
        job
        for status in statuses
        for job in client.paged(batch.list_jobs, "jobSummaryList", **{member: parent}, jobStatus=status)
    ]
    # A child that moves on while its siblings are listed may come twice; its later state counts.
    latest = {job["jobId"]: job for job in found}
    return iter(sorted(latest.values(), key=child_index))


def child_index(job: Job) -> int:
    """3 of `ID:3` and of `ID#3`."""
    return int(job["jobId"].replace("#", ":").rpartition(":")[2])


def _status(job: Job) -> str:
    """The status, and how much of an array has it."""
    size = job.get("arrayProperties", {}).get("size")
    nodes = job.get("nodeProperties", {})
    if size:
        return f"{job['status']} [{size}]"
    if "nodeIndex" in nodes:
        return f"{job['status']} [main node]" if nodes.get("isMainNode") else str(job["status"])
    return f"{job['status']} [{nodes['numNodes']} nodes]" if "numNodes" in nodes else str(job["status"])


def _of_queues(
    batch: Any, queues: list[str], statuses: list[str], name: str | None, *, show_all: bool, limit: int
) -> Iterator[Job]:
    """Jobs of these queues, newest first. No more pages are fetched than the caller consumes."""
    streams: list[Iterator[Job]] = []
    for queue in queues:
        if name is not None:
            # The service sorts by name within this filter; a name's jobs are few enough to sort here.
            found = _listed(batch, queue, filters=[{"name": "JOB_NAME", "values": [name]}])
            streams.append(iter(sorted(found, key=_newest_first)))
        elif statuses:
            streams += [_listed(batch, queue, jobStatus=status) for status in statuses]
        elif show_all:
            streams.append(_listed(batch, queue, filters=[SINCE_EVER]))
        else:
            since = {"name": "AFTER_CREATED_AT", "values": [str(output.now_ms() - RECENT_MS)]}
            streams.append(_listed(batch, queue, filters=[since]))
            streams += [_listed(batch, queue, jobStatus=status) for status in UNFINISHED]
    merged = heapq.merge(*streams, key=_newest_first)
    seen: set[str] = set()
    for job in merged:
        if job["jobId"] not in seen and (not statuses or job["status"] in statuses):
            seen.add(job["jobId"])
            yield job


def _listed(batch: Any, queue: str, **query: Any) -> Iterator[Job]:
    for job in client.paged(batch.list_jobs, "jobSummaryList", jobQueue=queue, **query):
        yield job | {"jobQueue": output.last_part(queue)}


def _newest_first(job: Job) -> int:
    return -int(job["createdAt"])
