"""The container of a job, whichever way its definition describes it: `container`, or a task of one (ecsProperties)."""

from __future__ import annotations

from typing import Any

Members = dict[str, Any]


def container_of(job: Members) -> Members:
    """What a job, or a definition's job, runs, with what became of it; nothing where there are several."""
    return job.get("container") or _only(job.get("ecsProperties", {}).get("taskProperties", []))


def outcome_of(job: Members) -> Members:
    """What became of the job: of its container, or of its main node's in the last attempt."""
    attempts = job.get("attempts", [])
    if "nodeProperties" not in job or not attempts or job["status"] in ("SUBMITTED", "PENDING", "RUNNABLE"):
        return container_of(job)
    return attempt_container(attempts[-1])


def attempt_container(attempt: Members) -> Members:
    """What became of the container in one attempt."""
    return attempt.get("container") or _only(attempt.get("taskProperties", []))


def _only(tasks: list[Members]) -> Members:
    containers = [container for task in tasks for container in task.get("containers", [])]
    return containers[0] if len(containers) == 1 else {}
