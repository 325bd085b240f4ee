"""`batchyard logs`: what a job wrote."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchyard.cli import client, output
from batchyard.cli.container import reasons_of
from batchyard.cli.errors import CliError
from batchyard.cli.options import ContainerOption, DataDirOption, EndpointOption, JobArgument
from batchyard.cli.refs import resolve
from batchyard.cli.tail import ArrayTail, JobTail, LineFormat, log_streams
from batchyard.cli.watch import watch

MOST_TAIL_LINES = 10_000
"""What one page of GetLogEvents can hold."""


def logs(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends; wait for it if it hasn't started.")
    ] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The log of attempt N. [default: the last one]")
    ] = None,
    tail: Annotated[
        int | None,
        typer.Option("--tail", "-n", min=1, max=MOST_TAIL_LINES, metavar="N", help="Begin with the last N lines."),
    ] = None,
    container: ContainerOption = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Put the time before every line.")] = False,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print a job's log. Arrays and multi-node jobs print their children's, each line with the index before it, and
    tasks of several containers theirs, each line with the container's name before it."""
    line_format = LineFormat(timestamps=timestamps, as_json=as_json)
    with client.connect(endpoint, data_dir) as api:
        job_id = resolve(api.batch, job)
        detail = client.describe_one(api.batch, job_id)
        printer = tail_of(api, detail, line_format, attempt=attempt, tail=tail, container=container)
        if follow:
            detail = watch(api, job_id, printer.update)
        else:
            _check_attempt(detail, attempt)
            printer.update(detail)
        if not printer.has_stream:
            output.err.print(no_log_yet(detail))


def tail_of(
    api: client.Api,
    job: dict[str, Any],
    line_format: LineFormat,
    *,
    attempt: int | None = None,
    tail: int | None = None,
    container: str | None = None,
) -> JobTail | ArrayTail:
    """What prints this job's log: its own, or its children's."""
    size = job.get("arrayProperties", {}).get("size")
    nodes = job.get("nodeProperties", {}).get("numNodes")
    if not size and not nodes:
        return JobTail(api, line_format, attempt=attempt, tail=tail, container=container)
    if attempt is not None:
        kind, child = ("an array job", f"a child, such as {job['jobId']}:0")
        if nodes:
            kind, child = ("a multi-node job", f"a node, such as {job['jobId']}#0")
        raise CliError(f"{kind} has no log of its own; name {child}", exit_code=2)
    member = "multiNodeJobId" if nodes else "arrayJobId"
    return ArrayTail(api, line_format, size or nodes, tail=tail, container=container, member=member)


def no_log_yet(job: dict[str, Any]) -> str:
    reasons = ", ".join(reasons_of(job))
    reason = f": {reasons.removesuffix('.')}" if reasons else ""
    hint = "" if job["status"] in output.ENDED else " It has no log yet; -f waits for it."
    return f"Job {job['jobId']} is {job['status']}{reason}.{hint or ' It has no log.'}"


def _check_attempt(job: dict[str, Any], attempt: int | None) -> None:
    made = len(log_streams(job))
    if attempt is not None and attempt > made:
        raise CliError(f"job {job['jobId']} has made {made} {'attempt' if made == 1 else 'attempts'} so far.")
