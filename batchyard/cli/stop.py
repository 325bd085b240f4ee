"""`batchyard cancel` and `batchyard terminate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchyard.cli import client, output
from batchyard.cli.errors import CliError
from batchyard.cli.options import DataDirOption, EndpointOption, JobsArgument, JsonOption
from batchyard.cli.refs import resolve

ReasonOption = Annotated[
    str | None, typer.Option("--reason", "-r", metavar="TEXT", help="Becomes the job's status reason.")
]


def cancel(
    jobs: JobsArgument,
    reason: ReasonOption = None,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel jobs that have not started. Started ones are left alone: `terminate` stops those."""
    with client.connect(endpoint, data_dir) as api:
        found = _details(api.batch, jobs)
        done = [job for job in found if job["status"] not in (*output.ENDED, "STARTING", "RUNNING")]
        for job in done:
            api.batch.cancel_job(jobId=job["jobId"], reason=reason or "Cancelled with batchyard cancel")
    _report(found, done, "cancelled", as_json)
    started = [job["jobId"] for job in found if job["status"] in ("STARTING", "RUNNING")]
    if started:
        raise CliError(f"already started, so not cancelled (`batchyard terminate` stops it): {', '.join(started)}")


def terminate(
    jobs: JobsArgument,
    reason: ReasonOption = None,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop running jobs (SIGTERM first, SIGKILL after a while), and cancel those that have not started."""
    with client.connect(endpoint, data_dir) as api:
        found = _details(api.batch, jobs)
        done = [job for job in found if job["status"] not in output.ENDED]
        for job in done:
            api.batch.terminate_job(jobId=job["jobId"], reason=reason or "Terminated with batchyard terminate")
    _report(found, done, "terminated", as_json)


def _details(batch: Any, names: list[str]) -> list[dict[str, Any]]:
    """The named jobs, each once. Raises CliError before anything is stopped when one of them is not there."""
    ids = list(dict.fromkeys(resolve(batch, name) for name in names))
    found = client.describe_all(batch, ids)
    missing = set(ids) - {job["jobId"] for job in found}
    if missing:
        raise CliError(f"there is no job {', '.join(sorted(missing))}; nothing was done.")
    return found


def _report(found: list[dict[str, Any]], done: list[dict[str, Any]], deed: str, as_json: bool) -> None:
    if as_json:
        stopped = [job["jobId"] for job in done]
        output.print_json(
            {
                "jobs": [
                    {"jobId": job["jobId"], "previousStatus": job["status"], deed: job["jobId"] in stopped}
                    for job in found
                ]
            }
        )
        return
    for job in found:
        if job in done:
            output.out.print(f"{job['jobId']} is being {deed} (it was {job['status']}).")
        elif job["status"] in output.ENDED:
            output.out.print(f"{job['jobId']} has already {job['status']}.")
