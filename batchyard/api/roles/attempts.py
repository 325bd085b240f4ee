"""An attempt that shows who it is, as the store has it: what it runs, its role, and whether it still goes on."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from batchyard.api.batch import node_properties
from batchyard.api.batch.compute_environments import cluster_arns
from batchyard.api.roles.keys import Bearer
from batchyard.core.model import Attempt
from batchyard.core.outcome import UnitRecord
from batchyard.core.states import RUNNING, STARTING
from batchyard.settings import Settings
from batchyard.store import jobs
from batchyard.store.database import Database


class LiveAttempt(Struct, frozen=True):
    """An attempt that has been placed and has not ended."""

    bearer: Bearer
    job: jobs.StoredJob
    attempt: Attempt
    cluster_arn: str
    work: dict[str, Any]
    """What it runs, with `container` or `ecsProperties` in it."""

    @property
    def role(self) -> str | None:
        """The ARN of the role that its job was given."""
        return role_of(self.work)


def role_of(work: dict[str, Any]) -> str | None:
    """jobRoleArn of a container, taskRoleArn of a task; None if there is none, or an empty one."""
    tasks = work.get("ecsProperties", {}).get("taskProperties", ())
    role = tasks[0].get("taskRoleArn") if tasks else work.get("container", {}).get("jobRoleArn")
    return role or None


async def live_attempt(database: Database, settings: Settings, bearer: Bearer) -> LiveAttempt | None:
    """The attempt, if it goes on; None once it has ended, and for one that never was."""

    def read(connection: Connection) -> LiveAttempt | None:
        job = jobs.find(connection, [bearer.job_id]).get(bearer.job_id)
        record = _record(connection, job, bearer.index) if job is not None else None
        if job is None or record is None or record.status not in (STARTING, RUNNING) or not record.attempts:
            return None
        attempt = record.attempts[-1]
        if attempt.attempt_id != bearer.attempt_id:
            return None
        cluster = cluster_arns(connection, settings)[attempt.environment]
        return LiveAttempt(bearer, job, attempt, cluster, _work(job, bearer.index))

    return await database.read(read)


def _record(connection: Connection, job: jobs.StoredJob, index: int | None) -> UnitRecord | None:
    if index is None:
        return job.record if job.children is None else None
    return jobs.find_children(connection, job.seq, [index]).get(index)


def _work(job: jobs.StoredJob, index: int | None) -> dict[str, Any]:
    detail: dict[str, Any] = msgspec.json.decode(job.detail)
    properties = detail.get("nodeProperties")
    return detail if properties is None or index is None else node_properties.range_of(properties, index)
