"""The containers of a job, whichever way its definition describes them: `container`, or a task (ecsProperties)."""

from __future__ import annotations

from typing import Any

from batchyard.cli.errors import CliError

Members = dict[str, Any]


def containers_of(job: Members) -> list[Members]:
    """What a job, or a definition's job, runs, with what became of it."""
    own = job.get("container")
    return [own] if own else _all(job.get("ecsProperties", {}).get("taskProperties", []))


def container_of(job: Members) -> Members:
    """What a job, or a definition's job, runs; nothing where there are several."""
    return _only(containers_of(job))


def outcome_of(job: Members) -> Members:
    """What became of the job: of its container, or of its main node's in the last attempt. Of several containers, what
    became of the first essential one that failed, if one did."""
    attempts = job.get("attempts", [])
    if "nodeProperties" not in job or not attempts or job["status"] in ("SUBMITTED", "PENDING", "RUNNABLE"):
        return decisive(containers_of(job), job)
    return decisive(attempt_containers(attempts[-1]), job)


def reasons_of(job: Members) -> list[str]:
    """Why it is as it is: what the service says, and what its container says, unless that is the same."""
    return list(dict.fromkeys(filter(None, (job.get("statusReason"), outcome_of(job).get("reason")))))


def decisive(containers: list[Members], job: Members) -> Members:
    """Of the containers of one of the job's attempts, the first essential one that failed, or the first that is."""
    is_essential = [each.get("essential", True) for each in containers_of(job)] or [True] * len(containers)
    essential = [each for each, counts in zip(containers, is_essential, strict=False) if counts]
    failed = [each for each in essential if each.get("exitCode") or each.get("reason")]
    # One that waited for another in vain says more than one that was stopped for it.
    failed.sort(key=lambda each: "exitCode" in each)
    return next(iter(failed or essential), {})


def attempt_containers(attempt: Members) -> list[Members]:
    """What became of the containers in one attempt."""
    own = attempt.get("container")
    return [own] if own else _all(attempt.get("taskProperties", []))


def place_of(job: Members, name: str) -> int:
    """The place of the named container in the job's task. CliError if it has none of that name."""
    names = [each.get("name", "") for each in containers_of(job)]
    if name in names:
        return names.index(name)
    known = ", ".join(filter(None, names))
    raise CliError(f"the job has no container {name}: {f'it has {known}' if known else 'its own has no name'}.")


def _all(tasks: list[Members]) -> list[Members]:
    return [container for task in tasks for container in task.get("containers", [])]


def _only(containers: list[Members]) -> Members:
    return containers[0] if len(containers) == 1 else {}
