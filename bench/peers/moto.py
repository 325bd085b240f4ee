"""moto_server, which keeps AWS's resources in memory and answers as AWS would.

For SubmitJob it is told (`POST /moto-api/config`, `{"batch": {"use_docker": false}}`) to start no containers: it then
notes the job as SUCCEEDED at once and answers. That is the least that it can be asked to do; nothing is on disk.
Given a daemon, it runs each job in a container, by the Docker SDK.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import boto3
from msgspec import Struct

from bench import children
from bench.peers.environments import python_of
from bench.ports import free_port
from tests.engine import dockerd

START_SECONDS = 30.0


class Moto(Struct, frozen=True):
    """A running one, with a queue and a job definition to submit to."""

    endpoint_url: str
    queue: str
    definition: str
    batch: Any
    """A client."""


def daemon() -> AbstractContextManager[dockerd.Dockerd]:
    """One for it to run containers on. It gives them a name for the host, which a daemon without networks has to be
    told."""
    return dockerd.running("--host-gateway-ip", "127.0.0.1")


@contextlib.contextmanager
def running(docker_host: str | None = None, image: str = "busybox") -> Iterator[Moto]:
    """With the address of a Docker daemon it runs containers of the image, which have no network. Raises PeerMissing if
    it can't be installed."""
    python, port = str(python_of("moto")), free_port()
    environment = dict(os.environ)
    if docker_host is not None:
        environment |= {"DOCKER_HOST": docker_host, "MOTO_DOCKER_NETWORK_MODE": "none"}
    with children.running(
        *(python, "-I", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        _configure(port, process, use_docker=docker_host is not None)
        endpoint_url = f"http://127.0.0.1:{port}"
        yield Moto(endpoint_url, *_make_queue(endpoint_url, image))


def _configure(port: int, process: subprocess.Popen[bytes], *, use_docker: bool) -> None:
    """Wait until it answers, and tell it whether to use Docker."""
    body = json.dumps({"batch": {"use_docker": use_docker}}).encode()
    deadline = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("POST", "/moto-api/config", body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        except ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"moto_server does not answer (exit code {process.poll()})") from None
            time.sleep(0.1)
        else:
            assert status in (200, 201), f"moto_server answered its configuration with {status}"
            return
        finally:
            connection.close()


def _make_queue(endpoint_url: str, image: str) -> tuple[str, str, Any]:
    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
        )

    role = client("iam").create_role(RoleName="bench", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    batch = client("batch")
    batch.create_compute_environment(
        computeEnvironmentName="bench", type="UNMANAGED", state="ENABLED", serviceRole=role
    )
    queue = batch.create_job_queue(
        jobQueueName="bench",
        state="ENABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "bench"}],
    )
    definition = batch.register_job_definition(
        jobDefinitionName="bench",
        type="container",
        containerProperties={"image": image, "command": ["true"], "vcpus": 1, "memory": 16},
    )
    return queue["jobQueueArn"], definition["jobDefinitionArn"], batch
