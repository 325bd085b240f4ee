"""Where a job runs: what a command needs that wants to go there by itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from batchyard.api.context import Context
from batchyard.api.native.units import StoredUnit, find_unit


async def place(context: Context, unit_id: str) -> dict[str, Any] | None:
    """The engine, and the attempt that is running there. None for unknown jobs."""

    def read(connection: Connection) -> StoredUnit | None:
        return find_unit(connection, unit_id)

    unit = await context.database.read(read)
    if unit is None:
        return None
    answer: dict[str, Any] = {"jobId": unit.unit_id, "engine": context.engine.name}
    running = [each for each in unit.record.attempts if each.started_at_ms and not each.stopped_at_ms]
    if running:
        answer["attemptId"] = running[-1].attempt_id
    if context.engine.daemon_host:
        answer["dockerHost"] = context.engine.daemon_host
    return answer
