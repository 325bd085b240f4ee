"""Naming a job on the command line: by id or ARN, by the first characters of its id, or by its name."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from batchyard.cli.client import paged
from batchyard.cli.errors import CliError

SHORTEST_PREFIX = 4
MOST_JOBS_SEARCHED = 10_000
"""Per queue, newest first: an abbreviated id is for a job that the user has just seen."""
SINCE_EVER = {"name": "AFTER_CREATED_AT", "values": ["1"]}
"""The ListJobs filter that every job passes, whatever its status."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}([:#]\d+)?")
_PREFIX = re.compile(rf"[0-9a-f][0-9a-f-]{{{SHORTEST_PREFIX - 1},35}}")
_SUFFIX = re.compile(r"[:#]\d+$")


def resolve(batch: Any, text: str) -> str:
    """The id of the one job that `text` names. Raises CliError when that is none, or several."""
    text = text.rpartition("/")[2] if text.startswith("arn:") else text
    if _ID.fullmatch(text):
        return text
    suffix = match.group() if (match := _SUFFIX.search(text)) else ""
    base = text.removesuffix(suffix)
    found = {job["jobId"]: job for queue in queue_names(batch) for job in _candidates(batch, queue, base)}
    if not found:
        hint = "" if len(base) >= SHORTEST_PREFIX else f" (an id can be shortened to {SHORTEST_PREFIX} characters)"
        raise CliError(f"no job has the id, the beginning of an id, or the name {base!r}{hint}.")
    if len(found) > 1:
        listed = ", ".join(f"{job['jobId']} ({job['jobName']}, {job['status']})" for job in islice(found.values(), 5))
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise CliError(f"{base!r} names {len(found)} jobs: {listed}{more}.")
    return str(next(iter(found))) + suffix


def queue_names(batch: Any) -> list[str]:
    return [queue["jobQueueName"] for queue in paged(batch.describe_job_queues, "jobQueues")]


def _candidates(batch: Any, queue: str, base: str) -> list[dict[str, Any]]:
    """The queue's jobs whose id begins with `base`, or whose name it is."""
    found: list[dict[str, Any]] = []
    if _PREFIX.fullmatch(base):
        newest = paged(batch.list_jobs, "jobSummaryList", jobQueue=queue, filters=[SINCE_EVER])
        found += [job for job in islice(newest, MOST_JOBS_SEARCHED) if job["jobId"].startswith(base)]
    if "*" not in base:
        named = {"name": "JOB_NAME", "values": [base]}
        jobs = paged(batch.list_jobs, "jobSummaryList", jobQueue=queue, filters=[named])
        found += [job for job in islice(jobs, MOST_JOBS_SEARCHED) if job["jobName"] == base]
    return found
