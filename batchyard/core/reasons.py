"""The statusReason and container.reason texts that clients compare with (facts §8)."""

from __future__ import annotations

from collections.abc import Iterable

CONTAINER_EXITED = "Essential container in task exited"
START_FAILED = "Task failed to start"
TIMED_OUT = "Job attempt duration exceeded timeout"
DEPENDENCY_FAILED = "Dependent Job failed"
ARRAY_CHILD_FAILED = "Array Child Job failed"
QUEUE_DELETED = "JobQueue deleted"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
ENVIRONMENT_HEALTHY = "ComputeEnvironment Healthy"
QUEUE_HEALTHY = "JobQueue Healthy"

# Of the head of a queue that can't be placed (facts §5): what jobStateTimeLimitActions name, " - " and a sentence.
NO_CAPACITY = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
ENVIRONMENT_TOO_SMALL = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
JOB_TOO_LARGE = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
NO_CONSUMABLES = "CAPACITY:INSUFFICIENT_CONSUMABLE_RESOURCE"
"""Batchyard's own: the service's word for it isn't documented."""
ENVIRONMENTS_INVALID = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."

MAX_REASON = 1024

KILLED_EXIT_CODE = 137
"""128 + SIGKILL: what a container that was killed reports."""


def instance_terminated(instance_id: str) -> str:
    return f"Host EC2 (instance {instance_id}) terminated."


def no_capacity(instance_types: Iterable[str]) -> str:
    wanted = ", ".join(instance_types)
    return f"{NO_CAPACITY} - Service cannot fulfill the capacity requested for instance type [{wanted}]"


def no_consumables(names: Iterable[str]) -> str:
    return f"{NO_CONSUMABLES} - The job waits for consumable resource(s): {', '.join(names)}"[:MAX_REASON]


def environment_too_small() -> str:
    return f"{ENVIRONMENT_TOO_SMALL} - CE(s) associated with the job queue cannot meet the CPU requirement of the job."


def job_too_large() -> str:
    return (
        f"{JOB_TOO_LARGE} - The job resource requirement (vCPU/memory/GPU) is higher than that can be met by the CE(s)"
        " attached to the job queue."
    )


def code_of(reason: str) -> str:
    """What jobStateTimeLimitActions compare: the part of a blocked head's reason before ` - `."""
    return reason.partition(" - ")[0]


def time_limit_reached(reason: str) -> str:
    return f"Canceled by JobStateTimeLimit action due to reason: {reason}"


def cannot_start(detail: str) -> str:
    return f"CannotStartContainerError: Error response from engine: {detail}"[:255]


def volume_missing(detail: str) -> str:
    """A file system on the network that a container was to have could not be mounted."""
    return f"ResourceInitializationError: failed to mount the EFS volume: {detail}"[:255]


def secrets_missing(detail: str) -> str:
    """A container must not run without the secrets it is owed."""
    return f"ResourceInitializationError: unable to pull secrets or registry auth: {detail}"[:255]
