"""Multi-node jobs for the acceptance tests: definitions of shell scripts, one for each range of nodes."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchyard.testing import Server

EXCHANGE = Path(__file__).with_name("exchange_program.py")
"""Every node tells the main node a number by TCP and hears the sum of all."""
DEADLINE_SECONDS = 60.0
_numbers = itertools.count(1)


def python(program: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(program), *arguments]


def node_range(target: str, command: list[str], **members: Any) -> dict[str, Any]:
    container = {"image": "busybox", "vcpus": 1, "memory": 64, "command": command, **members}
    return {"targetNodes": target, "container": container}


def scripted(target: str, script: str, *arguments: str | Path, **members: Any) -> dict[str, Any]:
    return node_range(target, ["sh", "-c", script, "sh", *map(str, arguments)], **members)


def define(yard: Server, ranges: list[dict[str, Any]], num_nodes: int, main: int = 0, **params: Any) -> str:
    """Register a multi-node definition; its name."""
    name = f"nodes-{next(_numbers)}"
    yard.batch.register_job_definition(
        jobDefinitionName=name,
        type="multinode",
        nodeProperties={"numNodes": num_nodes, "mainNode": main, "nodeRangeProperties": ranges},
        **params,
    )
    return name


def submit(yard: Server, queue: str, ranges: list[dict[str, Any]], num_nodes: int, main: int = 0, **params: Any) -> str:
    definition = define(yard, ranges, num_nodes, main)
    answer = yard.batch.submit_job(jobName="gang", jobQueue=queue, jobDefinition=definition, **params)
    return str(answer["jobId"])


def queue_of(yard: Server, vcpus: int) -> str:
    """A VALID queue over a compute environment of its own with so many vCPUs; its name."""
    name = f"gangs-{next(_numbers)}"
    resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": vcpus, "instanceTypes": ["optimal"]}
    resources |= {"instanceRole": "ecsInstanceRole", "subnets": ["subnet-1"]}
    yard.batch.create_compute_environment(computeEnvironmentName=name, type="MANAGED", computeResources=resources)
    until(lambda: yard.batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"])
    order = [{"order": 1, "computeEnvironment": name}]
    yard.batch.create_job_queue(jobQueueName=name, priority=1, computeEnvironmentOrder=order)
    until(lambda: yard.batch.describe_job_queues(jobQueues=[name])["jobQueues"])
    return name


def until(find: Callable[[], list[dict[str, Any]]], status: str = "VALID") -> dict[str, Any]:
    """The one resource or job that is found, once it has the status."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (found := find())[0]["status"] != status:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {status} after {DEADLINE_SECONDS:g} s: {found}")
        time.sleep(0.01)
    return found[0]


def node(yard: Server, job_id: str, index: int, status: str) -> dict[str, Any]:
    """A node as DescribeJobs gives it once it has the status."""
    return until(lambda: yard.batch.describe_jobs(jobs=[f"{job_id}#{index}"])["jobs"], status)
