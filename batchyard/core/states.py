"""The states of a job and the only moves between them (user guide, "Job States").

`TRANSITIONS` is the whole truth: anything not in it is a bug, and `check` says so with the job's story.
"""

from __future__ import annotations

from enum import IntEnum

from batchyard.exceptions import IllegalTransition


class JobStatus(IntEnum):
    """A job's state; the numbers are what array children are packed as, the names are the service's own."""

    SUBMITTED = 0
    PENDING = 1
    RUNNABLE = 2
    STARTING = 3
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6

    @property
    def is_terminal(self) -> bool:
        return self >= JobStatus.SUCCEEDED


SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED = JobStatus

TRANSITIONS: dict[tuple[JobStatus, JobStatus], str] = {
    (SUBMITTED, PENDING): "it waits for a dependency, or it is an array parent whose children were spawned",
    (SUBMITTED, RUNNABLE): "it has no outstanding dependency",
    (SUBMITTED, FAILED): (
        "it was cancelled or terminated, a dependency had failed, its queue was deleted, or it can never be placed"
    ),
    (PENDING, RUNNABLE): "its last dependency succeeded",
    (PENDING, SUCCEEDED): "it is an array parent and every child succeeded",
    (PENDING, FAILED): "a dependency failed, a child failed, it was cancelled or terminated, or its queue was deleted",
    (RUNNABLE, STARTING): "it was placed on an instance",
    (RUNNABLE, FAILED): "it was cancelled or terminated, or its queue was deleted",
    (STARTING, RUNNING): "its container is up",
    (STARTING, RUNNABLE): "the attempt could not start and attempts remain",
    (STARTING, FAILED): "the attempt could not start and none remain, or it was terminated",
    (RUNNING, SUCCEEDED): "its container exited with code 0",
    (RUNNING, RUNNABLE): "the attempt failed and attempts remain",
    (RUNNING, FAILED): "the last attempt failed, timed out, was terminated, or its queue was deleted",
}


def check(source: JobStatus, target: JobStatus, story: object) -> None:
    """Raise IllegalTransition, with the job's story (`str(story)`), unless the table has the edge."""
    if (source, target) not in TRANSITIONS:
        raise IllegalTransition(f"{source.name} -> {target.name} is not a move a job can make: {story}")
