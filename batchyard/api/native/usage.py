"""What a job's attempts took: peak memory, CPU time and wall time, as far as the engine could tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from batchyard.api.context import Context
from batchyard.api.native.units import attempts_below, find_unit
from batchyard.core.model import Attempt


async def usage(context: Context, unit_id: str) -> dict[str, Any] | None:
    """Each attempt's usage, and the total of them all: of a parent, that of its children. None for unknown jobs."""
    now_ms = context.clock.now_ms()

    def read(connection: Connection) -> dict[str, Any] | None:
        unit = find_unit(connection, unit_id)
        if unit is None:
            return None
        return {
            "jobId": unit.unit_id,
            "attempts": [_attempt(attempt, now_ms) for attempt in unit.record.attempts],
            "total": _total(attempts_below(connection, unit), now_ms),
        }

    return await context.database.read(read)


def _attempt(attempt: Attempt, now_ms: int) -> dict[str, Any]:
    """Times are milliseconds since the epoch; what isn't known (yet) is left out."""
    used = attempt.usage
    known = {
        "startedAt": attempt.started_at_ms,
        "stoppedAt": attempt.stopped_at_ms,
        "wallSeconds": _wall_seconds(attempt, now_ms),
        "cpuSeconds": used.cpu_seconds if used else None,
        "peakMemoryBytes": used.peak_memory_bytes if used else None,
        "gpus": list(attempt.gpus) or None,
    }
    return {
        "number": attempt.number,
        "attemptId": attempt.attempt_id,
        **{name: value for name, value in known.items() if value is not None},
    }


def _wall_seconds(attempt: Attempt, now_ms: int) -> float | None:
    """From the start of the attempt to its end, or to now while it runs."""
    if attempt.started_at_ms is None:
        return None
    return max(0, (attempt.stopped_at_ms or now_ms) - attempt.started_at_ms) / 1000


def _total(attempts: Iterable[Attempt], now_ms: int) -> dict[str, Any]:
    """Times add up over all attempts; of the peaks, the highest counts."""
    count = 0
    wall_seconds = 0.0
    cpu_seconds: list[float] = []
    peaks: list[int] = []
    for attempt in attempts:
        count += 1
        wall_seconds += _wall_seconds(attempt, now_ms) or 0
        if attempt.usage is not None and attempt.usage.cpu_seconds is not None:
            cpu_seconds.append(attempt.usage.cpu_seconds)
        if attempt.usage is not None and attempt.usage.peak_memory_bytes is not None:
            peaks.append(attempt.usage.peak_memory_bytes)
    total: dict[str, Any] = {"attempts": count, "wallSeconds": round(wall_seconds, 3)}
    if cpu_seconds:
        total["cpuSeconds"] = round(sum(cpu_seconds), 6)
    if peaks:
        total["peakMemoryBytes"] = max(peaks)
    return total
