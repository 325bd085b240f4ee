"""What all measurements need: a server, requests ready to send, the load generator, CPU times."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from batchyard import testing
from batchyard.testing import Server
from bench.load import Plan, Tally

ROOT = Path(__file__).resolve().parent.parent
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=bench/20250101/us-east-1/batch/aws4_request, SignedHeaders=host, Signature=0"
)
"""Names a caller, as every client's request does. The signature itself is not checked in this version."""


class Options(Struct, frozen=True):
    """What the command line asks for."""

    quick: bool
    """Once and briefly, for a look."""


@contextlib.contextmanager
def server(engine: Literal["process", "docker"] = "process", **settings: Any) -> Iterator[Server]:
    """A fresh server, as `batchyard up` starts it."""
    with testing.server(engine, **settings) as yard:
        yield yard


def until(condition: Callable[[], bool], what: str, timeout_seconds: float = 60.0) -> None:
    """Ask until it is so."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so after {timeout_seconds:g} s")
        time.sleep(0.02)


def make_queue(yard: Server, name: str, *, vcpus: int, places_jobs: bool = True) -> None:
    """A compute environment and a queue on it, both called `name`. Without `places_jobs` it is DISABLED."""
    batch = yard.batch
    batch.create_compute_environment(
        computeEnvironmentName=name,
        type="MANAGED",
        computeResources={
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": vcpus,
            "instanceTypes": ["optimal"],
            "instanceRole": "ecsInstanceRole",
            "subnets": [],
        },
    )

    def environment_is_valid() -> bool:
        return bool(
            batch.describe_compute_environments(computeEnvironments=[name])["computeEnvironments"][0]["status"]
            == "VALID"
        )

    until(environment_is_valid, f"the environment {name} is VALID")
    batch.create_job_queue(
        jobQueueName=name, priority=1, computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}]
    )
    until(
        lambda: batch.describe_job_queues(jobQueues=[name])["jobQueues"][0]["status"] == "VALID",
        f"the queue {name} is VALID",
    )
    if not places_jobs:
        batch.update_compute_environment(computeEnvironment=name, state="DISABLED")
        until(environment_is_valid, f"the environment {name} is VALID again")


def register(yard: Server, *command: str, image: str = "busybox") -> str:
    """A job definition of one vCPU for `command`; its ARN."""
    properties = {
        "image": image,
        "command": list(command),
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
    }
    answer = yard.batch.register_job_definition(
        jobDefinitionName="bench", type="container", containerProperties=properties
    )
    return str(answer["jobDefinitionArn"])


def request(endpoint_url: str, path: str, body: dict[str, Any]) -> bytes:
    """The bytes of one request of the Batch API."""
    content = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(endpoint_url).netloc}\r\nAuthorization: {AUTHORIZATION}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def send_load(
    endpoint_url: str, content: bytes, *, connections: int, seconds: float | None = None, count: int | None = None
) -> Tally:
    """Send the request from another process. Raises RuntimeError if any of them was not answered with 200."""
    where = urlsplit(endpoint_url)
    plan = Plan(str(where.hostname), int(where.port or 0), content, connections, seconds, count)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        check=True,
    )
    tally = msgspec.json.decode(done.stdout, type=Tally)
    if tally.failures:
        raise RuntimeError(f"{len(tally.failures)} requests failed, the first with: {tally.failures[0]}")
    return tally


class Caller:
    """One kept-alive connection, and calls over it one after the other. Ended by `close`."""

    def __init__(self, yard: Server) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(yard.endpoint_url).netloc)

    def call(self, path: str, body: dict[str, Any]) -> bytes:
        """The answer's body. Raises RuntimeError unless it is a 200."""
        self._connection.request("POST", path, msgspec.json.encode(body), {"Authorization": AUTHORIZATION})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}: {content[:500]!r}")
        return content

    def status_of(self, job_id: str) -> str:
        """Raises AssertionError if the job has failed."""
        job = msgspec.json.decode(self.call("/v1/describejobs", {"jobs": [job_id]}))["jobs"][0]
        assert job["status"] != "FAILED", f"the job {job_id} failed: {job.get('statusReason')}"
        return str(job["status"])

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def caller(yard: Server) -> Iterator[Caller]:
    """A `Caller` for the length of a with-block."""
    with contextlib.closing(Caller(yard)) as opened:
        yield opened


def rss_mib(pid: int) -> float:
    """The memory that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has taken so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def supervisor_pid(yard: Server) -> int:
    """The process that spawns the jobs of this server. Raises LookupError if there is none."""
    folder = str(yard.data_dir / "engine")
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if folder in (each / "cmdline").read_bytes().decode("utf-8", "replace").split("\0"):
                    return int(each.name)
    raise LookupError(f"no supervisor of {folder}")
