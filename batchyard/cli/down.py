"""`batchyard down`: stop the server that runs on a data folder of this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from batchyard import serverinfo
from batchyard.cli import client, output
from batchyard.cli.errors import CliError, explain
from batchyard.cli.refs import queue_names
from batchyard.serverinfo import ServerInfo
from batchyard.settings import default_data_dir

POLL_SECONDS = 0.05


def down(
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The server's data folder. [default: where `up` puts it]")
    ] = None,
    stop_jobs: Annotated[bool, typer.Option("--stop-jobs", help="Stop the running jobs too.")] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="Give up when the server is still there by then.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what happened as JSON.")] = False,
) -> None:
    """Stop the server. Running jobs go on, and the next `batchyard up` finds them again, unless --stop-jobs."""
    folder = (data_dir or default_data_dir()).expanduser().resolve()
    info = serverinfo.read(folder)
    if info is None:
        _report_none(folder, stop_jobs=stop_jobs, as_json=as_json)
        return
    running = _running_jobs(info)
    os.kill(info.pid, signal.SIGUSR2 if stop_jobs else signal.SIGTERM)
    with output.err.status("Stopping the jobs and the server…" if stop_jobs else "Stopping the server…"):
        _wait_until_gone(info, timeout)
    if as_json:
        output.print_json({"stopped": True, "pid": info.pid, "runningJobs": running, "jobsStopped": stop_jobs})
    else:
        output.out.print(f"The server on {folder} has stopped. {_about_jobs(running, stop_jobs)}")


def _report_none(folder: Path, *, stop_jobs: bool, as_json: bool) -> None:
    """No server: what was asked for is so already, save that jobs of an earlier server can't be stopped from here."""
    if stop_jobs:
        raise CliError(
            f"no server runs on {folder}. Should jobs of an earlier one still be running, start it again with "
            "`batchyard up` on that folder, and then stop both with `batchyard down --stop-jobs`."
        )
    if as_json:
        output.print_json({"stopped": False})
    else:
        output.out.print(f"No server runs on {folder}.")


def _about_jobs(running: int | None, stop_jobs: bool) -> str:
    if not running:
        return "" if running is None else "No job was running."
    jobs = "1 job" if running == 1 else f"{running} jobs"
    if stop_jobs:
        return f"It stopped {jobs}."
    return f"{jobs} {'goes' if running == 1 else 'go'} on running; `batchyard up` finds them again."


def _running_jobs(info: ServerInfo) -> int | None:
    """How many jobs have a process now; None when the server can't say any more."""
    endpoint = client.Endpoint(info.endpoint_url, info.endpoint_url, info.region, is_own_server=True)
    try:
        with client.Api(endpoint) as api:
            return sum(_count(api.batch, queue) for queue in queue_names(api.batch))
    except Exception as error:
        if explain(error) is None:
            raise
        return None


def _count(batch: Any, queue: str) -> int:
    statuses = ("STARTING", "RUNNING")
    return sum(
        1
        for status in statuses
        for _ in client.paged(batch.list_jobs, "jobSummaryList", jobQueue=queue, jobStatus=status)
    )


def _wait_until_gone(info: ServerInfo, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while serverinfo.is_alive(info):
        if time.monotonic() > deadline:
            raise CliError(f"the server (process {info.pid}) is still there after {timeout_seconds:g} s.")
        time.sleep(POLL_SECONDS)
