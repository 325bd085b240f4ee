"""Why a job isn't running: the facts, and what they mean in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from batchyard.api.context import Context
from batchyard.api.native import words
from batchyard.api.native.units import StoredUnit, attempts_below, find_unit
from batchyard.core.explain import ConsumableView, Dimension, EnvironmentView, Explanation, Shortage
from batchyard.core.model import Attempt
from batchyard.core.schedule.fairshare import ShareUse
from batchyard.core.states import JobStatus


async def why(context: Context, unit_id: str) -> dict[str, Any] | None:
    """Cause, facts and sentences. None for unknown jobs."""

    def read(connection: Connection) -> StoredUnit | None:
        return find_unit(connection, unit_id)

    unit = await context.database.read(read)
    if unit is None:
        return None
    record = unit.record
    if record.status.is_terminal:
        last = record.attempts[-1] if record.attempts else None
        return _plain(unit, "ENDED", words.ended(record.status, record.status_reason, last))
    facts = context.scheduler.explain(unit.unit_id) if context.scheduler is not None else None
    if facts is None:
        return _plain(unit, "NOT_TAKEN_IN", words.NOT_TAKEN_IN)
    answer = {"jobId": unit.unit_id, **described(facts)}
    starting = facts.counts[JobStatus.STARTING] if facts.counts else 0
    if facts.status is JobStatus.STARTING or starting:
        attempts = await context.database.read(lambda connection: list(attempts_below(connection, unit)))
        progress = _progress(context, attempts)
        if progress is not None:
            whose = "It is" if facts.status is JobStatus.STARTING else f"{starting} of its children are"
            answer |= {"progress": progress, "summary": f"{answer['summary']} {whose} {progress}."}
    return answer


def _progress(context: Context, attempts: Iterable[Attempt]) -> str | None:
    """What the first of the attempts that have not started is being made ready with."""
    waiting = (each.attempt_id for each in attempts if each.started_at_ms is None and each.stopped_at_ms is None)
    return next(filter(None, map(context.engine.progress, waiting)), None)


def _plain(unit: StoredUnit, cause: str, sentence: str) -> dict[str, Any]:
    return {"jobId": unit.unit_id, "status": unit.record.status.name, "cause": cause, "summary": sentence}


def described(facts: Explanation) -> dict[str, Any]:
    """An explanation as JSON; what is empty is left out."""
    members: dict[str, Any] = {
        "status": facts.status.name,
        "cause": facts.cause.value,
        "summary": words.summary(facts),
        "startsWhen": words.starts_when(facts),
        "jobQueue": facts.queue,
        "needs": {"vcpus": facts.need.vcpu_milli / 1000, "memoryMiB": facts.need.memory_mib, "gpus": facts.need.gpus},
        "stopReason": facts.stop_reason,
        "waitsFor": [
            {"jobId": each.job_id, **({"status": each.status.name} if each.status is not None else {})}
            for each in facts.waits_for
        ],
        "share": _share(facts.share) if facts.share is not None else None,
        "instances": facts.instances,
        "children": {
            status.name: facts.counts[status] for status in JobStatus if facts.counts and facts.counts[status]
        },
        "ahead": facts.ahead,
        "consumableResources": [_consumable(view) for view in facts.consumables],
        "environments": [_environment(view) for view in facts.environments],
    }
    if facts.next is not None:
        members["next"] = {"jobId": facts.next.unit_id, **described(facts.next)}
    return {name: value for name, value in members.items() if value not in (None, "", [], {}, 0)}


def _consumable(view: ConsumableView) -> dict[str, Any]:
    amounts = {} if view.total is None else {"total": view.total, "used": view.in_use}
    return {"consumableResource": view.name, "needed": view.needed, **amounts, "isClaimed": view.is_claimed}


def _share(share: ShareUse) -> dict[str, Any]:
    return {
        "shareIdentifier": share.share_identifier,
        "vcpus": share.vcpu_milli / 1000,
        "usedVcpuSeconds": round(share.used_vcpu_seconds, 3),
        "weightedUsage": round(share.weighted_usage, 3),
    }


def _environment(view: EnvironmentView) -> dict[str, Any]:
    shortages = [_shortage(each) for each in view.shortages]
    return {
        "computeEnvironment": view.name,
        "obstacle": view.obstacle.value,
        **({"shortages": shortages} if shortages else {}),
    }


def _shortage(shortage: Shortage) -> dict[str, Any]:
    unit = 1000 if shortage.dimension is Dimension.VCPU else 1
    return {
        "dimension": shortage.dimension.value,
        "of": "HOST" if shortage.on_host else "COMPUTE_ENVIRONMENT",
        "needed": shortage.needed / unit,
        "total": shortage.total / unit,
        "used": shortage.used / unit,
    }
