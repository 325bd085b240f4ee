#!/usr/bin/env python3
"""Solve one problem on several nodes of one AWS Batch job, and on one node, and compare: the driver.

    run.py                      the heat equation: both plates must be the same to the last bit
    run.py --problem training   a data-parallel training with PyTorch: the weights must be the same but for rounding

boto3 is its only client, so it works with anything that speaks the API of AWS Batch. It registers one multi-node job
definition, submits it twice (the second time with nodeOverrides, for one node), shows what the nodes say, and compares
the two results. The nodes are plain processes on this host.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
LOG_GROUP = "/aws/batch/job"
ENDED = ("SUCCEEDED", "FAILED")
ATTEMPT_SECONDS = 600
PAUSE_SECONDS = 0.25
LAST_LINES = 15
FAILURE, INTERRUPTED = 1, 130


ROUNDING = 1e-6
"""How far two trained weights may be apart: several nodes add the same numbers in another order than one."""


class RunError(Exception):
    """The run cannot go on; the message is for the person at the terminal."""


@dataclass(frozen=True)
class Problem:
    """What the nodes solve: the program, what it needs, and the result, a file of doubles."""

    name: str
    program: str
    arguments: tuple[str, ...]
    image: str
    memory_mib: int
    result: str
    size: str
    tolerance: float = 0.0
    """How far a number of several nodes may be from that of one."""

    def compared(self, nodes: int, several: bytes, alone: bytes) -> str:
        """A line that says that both results are the same; raises RunError if they aren't."""
        pair = [array("d", content) for content in (several, alone)]
        if len(several) != len(alone) or not pair[0]:
            raise RunError(f"the results have {len(several)} and {len(alone)} bytes")
        apart = max(abs(one - other) for one, other in zip(*pair, strict=True))
        if not apart <= self.tolerance or (not self.tolerance and several != alone):
            raise RunError(f"{nodes} nodes and one node differ by {apart:.3g}")
        how = f"but for rounding (by {apart:.1g} at most)" if self.tolerance else "to the last bit"
        size = self.size or str(len(pair[0]))
        return f"{nodes} nodes and one node agree on all {size} {self.result}, {how}."


def problem_of(chosen: argparse.Namespace) -> Problem:
    """The problem that the command line asks for."""
    if chosen.problem == "training":
        steps = ("--steps", str(chosen.steps or 400))
        return Problem("training", "train.py", steps, "pytorch/pytorch", 1024, "weights", "", ROUNDING)
    arguments = ("--size", str(chosen.size), "--steps", str(chosen.steps or 1500))
    return Problem("heat", "node.py", arguments, "python:3.12", 256, "cells", f"{chosen.size}x{chosen.size}")


# ---- a queue with room for all nodes


def queue_for(batch: Any, nodes: int) -> str:
    """The example's own queue, over an environment of its own with a vCPU for each node."""
    name = f"multinode-{nodes}"
    if not batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"]:
        batch.create_compute_environment(
            computeEnvironmentName=name,
            type="MANAGED",
            computeResources={
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": nodes,
                "instanceTypes": ["optimal"],
                "instanceRole": "ecsInstanceRole",
                "subnets": ["subnet-local"],
            },
        )
    until_valid(lambda: batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"])
    if not batch.describe_job_queues(jobQueues=[name])["jobQueues"]:
        order = [{"order": 1, "computeEnvironment": name}]
        batch.create_job_queue(jobQueueName=name, priority=1, computeEnvironmentOrder=order)
    until_valid(lambda: batch.describe_job_queues(jobQueues=[name])["jobQueues"])
    return name


def until_valid(find: Any) -> None:
    while True:
        (found,) = find()
        if found["status"] == "VALID":
            return
        if found["status"] == "INVALID":
            raise RunError(f"it is INVALID: {found.get('statusReason', 'no reason given')}")
        time.sleep(PAUSE_SECONDS)


# ---- the jobs


def register(batch: Any, problem: Problem, nodes: int, python: str) -> str:
    """One range of nodes for all: every node runs the same program, and finds its place by the variables. Its ARN."""
    container = {
        "image": problem.image,
        "command": [python, str(HERE / problem.program), *problem.arguments, "--output", "Ref::output"],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": str(problem.memory_mib)},
        ],
        # one thread a node, as it asks for one vCPU
        "environment": [{"name": "OPENBLAS_NUM_THREADS", "value": "1"}],
    }
    answer = batch.register_job_definition(
        jobDefinitionName=f"multinode-{problem.name}",
        type="multinode",
        nodeProperties={
            "numNodes": nodes,
            "mainNode": 0,
            "nodeRangeProperties": [{"targetNodes": "0:", "container": container}],
        },
        timeout={"attemptDurationSeconds": ATTEMPT_SECONDS},
    )
    return str(answer["jobDefinitionArn"])


def submit(batch: Any, queue: str, definition: str, output: Path, nodes: int) -> str:
    """The job's id."""
    answer = batch.submit_job(
        jobName=f"multinode-{nodes}",
        jobQueue=queue,
        jobDefinition=definition,
        parameters={"output": str(output)},
        nodeOverrides={"numNodes": nodes},
    )
    return str(answer["jobId"])


def until_ended(batch: Any, job_id: str) -> dict[str, Any]:
    """The job's detail when it has ended; what it waits for is printed when that changes."""
    shown = ""
    for job in looks(batch, job_id):
        state = " ".join(filter(None, (job["status"], job.get("statusReason"))))
        if state != shown:
            print(f"  {state}", file=sys.stderr)
            shown = state
        if job["status"] == "RUNNABLE" and "MISCONFIGURATION" in job.get("statusReason", ""):
            batch.terminate_job(jobId=job_id, reason="it can never start")
            raise RunError("the nodes don't fit onto this host together: start the server with --overcommit")
        if job["status"] in ENDED:
            return job
    raise RunError(f"the service no longer knows the job {job_id}")


def looks(batch: Any, job_id: str) -> Iterator[dict[str, Any]]:
    while found := batch.describe_jobs(jobs=[job_id])["jobs"]:
        yield found[0]
        time.sleep(PAUSE_SECONDS)


def nodes_of(batch: Any, job_id: str, count: int) -> list[dict[str, Any]]:
    """Every node's detail: its id is the job's, `#` and its index."""
    found: list[dict[str, Any]] = []
    for first in range(0, count, 100):
        wanted = [f"{job_id}#{index}" for index in range(first, min(first + 100, count))]
        found += batch.describe_jobs(jobs=wanted)["jobs"]
    return found


def log_lines(logs: Any, node: dict[str, Any]) -> list[str]:
    """The end of what the node wrote."""
    stream = node.get("container", {}).get("logStreamName")
    if stream is None:
        return []
    page = logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=False, limit=LAST_LINES)
    return [event["message"] for event in page["events"]]


def solved(batch: Any, logs: Any, job_id: str, nodes: int) -> None:
    """Wait for a job and print what its nodes said; raises RunError if it failed."""
    job = until_ended(batch, job_id)
    for node in nodes_of(batch, job_id, nodes):
        for line in log_lines(logs, node):
            print(line)
    if job["status"] != "SUCCEEDED":
        code = job["attempts"][-1]["container"].get("exitCode", "none") if job["attempts"] else "none"
        raise RunError(f"the job on {nodes} nodes failed: {job.get('statusReason')}; the main node's exit code: {code}")


# ---- the run


def run(chosen: argparse.Namespace) -> int:
    """The whole of it; the exit status."""
    batch, logs = boto3.client("batch"), boto3.client("logs")
    problem = problem_of(chosen)
    output = Path(chosen.output).absolute()
    queue = chosen.queue or queue_for(batch, chosen.nodes)
    definition = register(batch, problem, chosen.nodes, chosen.python)
    results = {}
    for nodes in (chosen.nodes, 1):
        results[nodes] = output / f"{problem.name}-{nodes}.bin"
        job_id = submit(batch, queue, definition, results[nodes], nodes)
        print(f"{nodes} {'nodes' if nodes > 1 else 'node'}: job {job_id}", file=sys.stderr)
        try:
            solved(batch, logs, job_id, nodes)
        except KeyboardInterrupt:
            print("interrupted: terminating the job", file=sys.stderr)
            batch.terminate_job(jobId=job_id, reason="interrupted by the user")
            return INTERRUPTED
    print(f"\n{problem.compared(chosen.nodes, results[chosen.nodes].read_bytes(), results[1].read_bytes())}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Parse the command line and run; the exit status."""
    parser = argparse.ArgumentParser(description="Solve one problem on several nodes of one job.")
    parser.add_argument("--problem", choices=("heat", "training"), default="heat", help="default: %(default)s")
    parser.add_argument("--nodes", type=int, default=4, help="nodes of the job (default: %(default)s)")
    parser.add_argument("--size", type=int, default=240, help="rows and columns of the plate (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="at most so many steps (default: 1500, or 400 of the training)")
    parser.add_argument("--queue", help="job queue (default: one that is made, with room for all nodes)")
    parser.add_argument(
        "--output", default="demo-output/multinode", help="folder for the results (default: %(default)s)"
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter of the nodes (default: this one)")
    try:
        return run(parser.parse_args(arguments))
    except (BotoCoreError, ClientError, RunError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return FAILURE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
