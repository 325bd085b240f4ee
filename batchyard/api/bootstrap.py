"""What an empty data folder gets: the compute environment `default` and the queue `default`, over this host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import Connection

from batchyard import crashpoints
from batchyard.api.batch.compute_environments import create_compute_environment
from batchyard.api.batch.job_queues import create_job_queue
from batchyard.api.context import Context
from batchyard.store import environments, queues

NAME = "default"


async def ensure_defaults(context: Context) -> None:
    """Create whichever of the two is missing, unless somebody has begun to make the folder their own.

    A server that died between the two steps completes them at its next start.
    """
    names = await context.database.read(_names)
    if names[1] or names[0] - {NAME}:
        return
    if NAME not in names[0]:
        vcpus = max(1, context.engine.capacity().vcpu_milli // 1000)
        await create_compute_environment(
            context,
            {
                "computeEnvironmentName": NAME,
                "type": "MANAGED",
                "computeResources": {
                    "type": "EC2",
                    "minvCpus": 0,
                    "maxvCpus": vcpus,
                    "instanceTypes": ["optimal"],
                    "instanceRole": "ecsInstanceRole",
                    "subnets": ["subnet-local"],
                },
            },
        )
    await _until(context, _environment_is_valid)
    if crashpoints.ARMED:
        crashpoints.reach("bootstrap.between")
    await create_job_queue(
        context,
        {
            "jobQueueName": NAME,
            "priority": 1,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": NAME}],
        },
    )
    await _until(context, _queue_is_valid)


async def _until(context: Context, condition: Callable[[Connection], bool]) -> None:
    """Ask again until the scheduler has taken it in, as any client does."""
    while not await context.database.read(condition):  # noqa: ASYNC110 - a row in the store signals nothing
        await asyncio.sleep(0.005)


def _names(connection: Connection) -> tuple[set[str], set[str]]:
    return (
        {row.name for row in environments.all_rows(connection)},
        {row.name for row in queues.all_rows(connection)},
    )


def _environment_is_valid(connection: Connection) -> bool:
    row = environments.find(connection, NAME)
    return row is not None and row.status == "VALID"


def _queue_is_valid(connection: Connection) -> bool:
    row = queues.find(connection, NAME)
    return row is not None and row.status == "VALID"
