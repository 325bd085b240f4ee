"""Every operation that is built: importing the modules registers them."""

from __future__ import annotations

from batchyard.api import logs, sts
from batchyard.api.batch import (
    compute_environments,
    consumable_resources,
    job_definitions,
    job_queues,
    jobs,
    scheduling_policies,
    stop_jobs,
    submit_job,
    tags,
)
from batchyard.api.context import OPERATIONS

__all__ = ["MODULES", "OPERATIONS"]

MODULES = (
    compute_environments,
    consumable_resources,
    job_definitions,
    job_queues,
    jobs,
    logs,
    scheduling_policies,
    stop_jobs,
    sts,
    submit_job,
    tags,
)
