"""Waiting for a submitted job with something to look at: a progress bar for arrays, a spinner for single jobs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from batchyard.cli import client, output
from batchyard.cli.client import Api
from batchyard.cli.container import outcome_of, reasons_of
from batchyard.cli.jobs import children
from batchyard.cli.logs import tail_of
from batchyard.cli.tail import LineFormat, last_lines
from batchyard.cli.watch import watch

LAST_LINES = 20
"""Of the log of a job that failed."""
MOST_CHILDREN_NAMED = 10
WAITING = ("PENDING", "RUNNABLE")

Job = dict[str, Any]
Look = Callable[[Job], bool]


def wait_for(api: Api, job_id: str, *, follow_logs: bool, as_json: bool) -> Job:
    """Show how the job is getting on, return it when it has ended, and say how. Ctrl-C leaves it to itself."""
    last: Job = {"status": "SUBMITTED"}

    def noted(job: Job) -> bool:
        nonlocal last
        last = job
        return look(job)

    try:
        first = client.describe_one(api.batch, job_id)
        with _display(first, plain=follow_logs and not as_json) as look:
            informed = _with_progress(api, noted)
            ended = watch(api, job_id, _with_logs(api, first, informed) if follow_logs and not as_json else informed)
    except KeyboardInterrupt:
        output.err.print(f"\nJob {job_id} goes on. `batchyard terminate {job_id[:8]}` stops it.")
        if _is_waiting(last):
            output.err.print(f"It waits: `batchyard why {job_id[:8]}` says what for.")
        raise typer.Exit(130) from None
    if as_json:
        output.print_json({"jobs": [ended]})
    else:
        output.err.print(verdict(ended))
        if ended["status"] == "FAILED":
            _show_failure(api, ended, show_log=not follow_logs)
    return ended


def _is_waiting(job: Job) -> bool:
    """Nothing of it runs. An array is PENDING until all its children have ended."""
    counts = job.get("arrayProperties", {}).get("statusSummary", {})
    return job["status"] in WAITING and not (counts.get("STARTING") or counts.get("RUNNING"))


def exit_code_of(job: Job) -> int:
    """0 for success, else the job's own exit code; 1 where that is none, or none that a process can have."""
    if job["status"] == "SUCCEEDED":
        return 0
    code = outcome_of(job).get("exitCode")
    return code if isinstance(code, int) and 0 < code < 256 else 1


def verdict(job: Job) -> str:
    """How it ended, in a line."""
    exit_code = outcome_of(job).get("exitCode")
    details = reasons_of(job) if job["status"] == "FAILED" else []
    if exit_code:
        details.append(f"exit code {exit_code}")
    ran = output.run_time_ms(job)
    if ran is not None:
        details.append(output.format_duration(ran))
    text = f"Job {job['jobId']} {job['status']}"
    return f"{text}: {', '.join(details)}" if details else text


def progress_of(job: Job) -> tuple[int, int, str]:
    """An array's children that have ended, all of them, and the rest in words."""
    array = job.get("arrayProperties", {})
    counts = array.get("statusSummary", {})
    ended = sum(counts.get(status, 0) for status in output.ENDED)
    words = [f"{counts[status]} {status.lower()}" for status in ("RUNNING", "STARTING", "FAILED") if counts.get(status)]
    words += [job["progress"]] if job.get("progress") else []
    return ended, int(array.get("size", 1)), ", ".join(words)


def state_of(job: Job) -> str:
    """The status, and why it is waiting."""
    reason = job.get("progress") or job.get("statusReason")
    return f"{job['status']}: {reason}" if reason and job["status"] not in output.ENDED else str(job["status"])


@contextlib.contextmanager
def _display(job: Job, *, plain: bool) -> Iterator[Look]:
    """Something that shows each look at the job, and says whether it changed."""
    if plain or not output.err.is_terminal:
        yield _Lines().show
        return
    is_array = "size" in job.get("arrayProperties", {})
    columns = (
        (
            BarColumn(complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
        )
        if is_array
        else (TextColumn("{task.fields[words]}", markup=False), TimeElapsedColumn())
    )
    name = TextColumn("{task.description}", markup=False)
    with Progress(SpinnerColumn(), name, *columns, console=output.err, transient=True) as progress:
        task = progress.add_task(f"{job['jobName']} {job['jobId'][:8]}", words="")
        seen: tuple[int, str] | None = None

        def show(job: Job) -> bool:
            nonlocal seen
            ended, size, words = progress_of(job)
            words = words or state_of(job) if is_array else state_of(job)
            progress.update(task, completed=ended, total=size if is_array else None, words=words)
            before, seen = seen, (ended, words)
            return before != (ended, words)

        yield show


def _with_progress(api: Api, look: Look) -> Look:
    """Add to a job that is being started, or has children that are, what it is being made ready with, if the server is
    one that says so."""

    def informed(job: Job) -> bool:
        starting = job.get("arrayProperties", {}).get("statusSummary", {}).get("STARTING")
        if job["status"] == "STARTING" or starting:
            view = api.job_view(job["jobId"], "why") or {}
            job = {**job, "progress": view.get("progress")}
        return look(job)

    return informed


class _Lines:
    """Progress where there is no terminal to draw on: a line when the state changes, ten for a whole array."""

    def __init__(self) -> None:
        self._printed = ""
        self._seen: Any = None

    def show(self, job: Job) -> bool:
        now = (job["status"], job.get("statusReason"), job.get("arrayProperties", {}).get("statusSummary"))
        is_news = bool(now != self._seen)
        self._seen = now
        if job["status"] not in output.ENDED:
            self._print(job)
        return is_news

    def _print(self, job: Job) -> None:
        if "size" in job.get("arrayProperties", {}):
            ended, size, words = progress_of(job)
            step = f"{ended * 10 // size}"
            line = f"{ended} of {size} done" + (f", {words}" if words else "")
        else:
            # Figures that change all the time are for terminals.
            step = line = state_of(job).rpartition(": ")[0] if job.get("progress") else state_of(job)
        if step != self._printed:
            self._printed = step
            output.err.print(f"{job['jobName']} {job['jobId'][:8]}: {line}")


def _with_logs(api: Api, first: Job, look: Look) -> Look:
    tail = tail_of(api, first, LineFormat())

    def both(job: Job) -> bool:
        is_news = look(job)
        return tail.update(job) or is_news

    return both


def _show_failure(api: Api, job: Job, *, show_log: bool) -> None:
    """Which children failed, and the end of the log of the job, or of the first of them."""
    if "size" in job.get("arrayProperties", {}):
        failed = list(islice(children(api.batch, job["jobId"], ("FAILED",)), MOST_CHILDREN_NAMED + 1))
        if not failed:
            return
        indices = [child["jobId"].rpartition(":")[2] for child in failed[:MOST_CHILDREN_NAMED]]
        more = ", …" if len(failed) > MOST_CHILDREN_NAMED else ""
        output.err.print(f"Failed: {', '.join(indices)}{more}")
        job = client.describe_one(api.batch, failed[0]["jobId"])
        output.err.print(verdict(job))
    if not show_log:
        return
    lines = last_lines(api, job, LAST_LINES)
    if lines:
        output.err.print("The end of its log:", style="dim")
    for line in lines:
        output.err.print(f"  {line}")
