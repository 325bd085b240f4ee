"""CancelJob, TerminateJob and their bulk forms. They store a request; the scheduler carries it out.

A job that has ended, or that never was, is no error: the service answers 200 (facts §3).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from batchyard.api.arns import job_id_from
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core.inputs import CancelRequested, TerminateRequested
from batchyard.store import progress
from batchyard.wire import errors

MAX_JOBS = 50
MAX_REASON = 1024
JOB_ID = re.compile(r"[A-Za-z0-9-]{1,128}([:#][0-9]{1,5})?")

Make = Callable[[str, str], progress.StopRequest]


@operation("batch", "CancelJob")
async def cancel_job(context: Context, params: Params) -> Result:
    """End a job that hasn't reached STARTING; leave any other alone."""
    return await _stop_one(context, params, CancelRequested)


@operation("batch", "TerminateJob")
async def terminate_job(context: Context, params: Params) -> Result:
    """End a job whatever it is doing."""
    return await _stop_one(context, params, TerminateRequested)


@operation("batch", "CancelJobs")
async def cancel_jobs(context: Context, params: Params) -> Result:
    return await _stop_many(context, params, CancelRequested)


@operation("batch", "TerminateJobs")
async def terminate_jobs(context: Context, params: Params) -> Result:
    return await _stop_many(context, params, TerminateRequested)


async def _stop_one(context: Context, params: Params, make: Make) -> Result:
    if not params["jobId"].strip():
        raise errors.executing_request("jobId must not be empty")
    _check_reason(params["reason"])
    await _store(context, [make(job_id_from(params["jobId"]), params["reason"])])
    return {}


async def _stop_many(context: Context, params: Params, make: Make) -> Result:
    job_ids: list[str] = params["jobs"]
    if not job_ids:
        raise errors.executing_request("jobs must not be empty")
    if len(job_ids) > MAX_JOBS:
        raise errors.executing_request(f"Maximum number of jobs supported is {MAX_JOBS}")
    _check_reason(params["reason"])
    malformed = [job_id for job_id in job_ids if not JOB_ID.fullmatch(job_id_from(job_id))]
    taken = [job_id for job_id in job_ids if job_id not in malformed]
    await _store(context, [make(job_id_from(job_id), params["reason"]) for job_id in taken])
    return {
        "successful": taken,
        "errors": [
            {"job": job_id, "code": "ValidationException", "message": f"{job_id} is not a job id"}
            for job_id in malformed
        ],
    }


def _check_reason(reason: str) -> None:
    """Given, and of 1024 characters at most (service model)."""
    if not reason.strip():
        raise errors.executing_request("reason must not be empty")
    if len(reason) > MAX_REASON:
        raise errors.executing_request(f"reason can have at most {MAX_REASON} characters")


async def _store(context: Context, requests: list[progress.StopRequest]) -> None:
    if requests:
        await context.database.write(lambda connection: progress.add_stop_requests(connection, requests))
        context.wake()
