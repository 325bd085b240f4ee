"""What the acceptance tests need of jobs and queues: commands that wait, queues of a size, waiting with a deadline."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from batchyard.testing import Server

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
ENDED = ("SUCCEEDED", "FAILED")
_numbers = itertools.count(1)


def unique(name: str) -> str:
    """A name that no other test of this server has."""
    return f"{name}-{os.getpid()}-{next(_numbers)}"


def sh(script: str, *arguments: str | Path) -> list[str]:
    """A command that runs a shell script, with the arguments as $1, $2…"""
    return ["sh", "-c", script, "sh", *map(str, arguments)]


def until(condition: Callable[[], T | None], what: str, timeout_seconds: float = DEADLINE_SECONDS) -> T:
    """The first true value of `condition`; TimeoutError, which says what was waited for, if there is none in time."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {timeout_seconds:g} s: {what}")
        time.sleep(0.01)
    return value


class Gate:
    """A file that jobs wait for: `sh(gate.wait + 'echo more')`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def wait(self) -> str:
        """A shell command that ends when the gate is open."""
        return f"while [ ! -e '{self.path}' ]; do sleep 0.03; done; "

    def open(self) -> None:
        self.path.touch()


class Queues:
    """Makes job queues and compute environments on a server."""

    def __init__(self, yard: Server) -> None:
        self._yard = yard

    def environment(self, max_vcpus: int = 4, **params: Any) -> str:
        """A VALID compute environment; its name."""
        name = unique("environment")
        resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": max_vcpus, "instanceTypes": ["optimal"]}
        resources |= {"instanceRole": "ecsInstanceRole", "subnets": ["subnet-1"]}
        self._yard.batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=resources, **params
        )
        self.until_environment(name)
        return name

    def make(self, max_vcpus: int = 4, environments: Sequence[str] = (), priority: int = 1, **params: Any) -> str:
        """A VALID queue over these environments, or over one of its own with so many vCPUs; its name."""
        name = unique("queue")
        order = [
            {"order": number, "computeEnvironment": each}
            for number, each in enumerate(environments or [self.environment(max_vcpus)], 1)
        ]
        self._yard.batch.create_job_queue(jobQueueName=name, priority=priority, computeEnvironmentOrder=order, **params)
        self.until_queue(name)
        return name

    def until_environment(self, name: str, status: str = "VALID") -> dict[str, Any]:
        """The environment once it has the status."""
        return until(lambda: self._with_status(self.describe_environment(name), status), f"{name} is {status}")

    def until_queue(self, name: str, status: str = "VALID") -> dict[str, Any]:
        return until(lambda: self._with_status(self.describe_queue(name), status), f"{name} is {status}")

    def describe_environment(self, name: str) -> dict[str, Any] | None:
        answer = self._yard.batch.describe_compute_environments(computeEnvironments=[name])
        return next(iter(answer["computeEnvironments"]), None)

    def describe_queue(self, name: str) -> dict[str, Any] | None:
        return next(iter(self._yard.batch.describe_job_queues(jobQueues=[name])["jobQueues"]), None)

    @staticmethod
    def _with_status(found: dict[str, Any] | None, status: str) -> dict[str, Any]:
        return found if found is not None and found["status"] == status else {}


def job_of(yard: Server, job_id: str) -> dict[str, Any]:
    """The job as DescribeJobs gives it now."""
    job: dict[str, Any] = yard.batch.describe_jobs(jobs=[job_id])["jobs"][0]
    return job


def jobs_of(yard: Server, job_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Any number of jobs, in the order asked for; those that the server doesn't know are missing."""
    found: list[dict[str, Any]] = []
    for begin in range(0, len(job_ids), 100):
        found += yard.batch.describe_jobs(jobs=list(job_ids[begin : begin + 100]))["jobs"]
    return found


def succeed(yard: Server, job_id: str) -> dict[str, Any]:
    """The job once it has SUCCEEDED; AssertionError with its reason if it fails."""
    return yard.wait_for(job_id, DEADLINE_SECONDS, "SUCCEEDED")


def fail(yard: Server, job_id: str) -> dict[str, Any]:
    """The job once it has FAILED; AssertionError if it succeeds."""
    return yard.wait_for(job_id, DEADLINE_SECONDS, "FAILED")


def running(yard: Server, job_id: str) -> dict[str, Any]:
    return yard.wait_for(job_id, DEADLINE_SECONDS, "RUNNING")
