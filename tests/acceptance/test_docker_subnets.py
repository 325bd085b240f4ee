"""Subnets of compute environments as Docker networks, through the real API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from batchyard import testing
from tests.acceptance.job_cases import until
from tests.engine.dockerd import IMAGE, Dockerd

NETWORKS = {
    "docker_networks": {"subnet-1": "cloud-public"},
    "docker_private_networks": {"subnet-2": "cloud-private"},
}


@pytest.fixture
def yard(dockerd: Dockerd) -> Iterator[testing.Server]:
    with testing.server("docker", docker_host=dockerd.host, docker_network="none", overcommit=True, **NETWORKS) as yard:
        yield yard
    for container in dockerd.containers():
        dockerd.remove(container["Id"])
    for name in ("cloud-public", "cloud-private"):
        dockerd.call("DELETE", f"/networks/{name}", parse=False)


def environment(yard: testing.Server) -> dict[str, Any]:
    found: dict[str, Any] = yard.batch.describe_compute_environments(computeEnvironments=["cloud"])
    return dict(found["computeEnvironments"][0])


def networks_of_a_new_job(yard: testing.Server, dockerd: Dockerd) -> list[str]:
    definition = yard.batch.register_job_definition(
        jobDefinitionName="sleeps",
        type="container",
        containerProperties={
            "image": IMAGE,
            "command": ["sleep", "600"],
            "vcpus": 1,
            "memory": 64,
            "linuxParameters": {"initProcessEnabled": True},
        },
    )
    asked = {"jobName": "job", "jobQueue": "cloud", "jobDefinition": definition["jobDefinitionArn"]}
    job = yard.batch.submit_job(**asked)["jobId"]
    yard.wait_for(job, status="RUNNING")
    found = list(dockerd.inspect(job)["NetworkSettings"]["Networks"])
    yard.batch.terminate_job(jobId=job, reason="seen")
    return found


def test_jobs_are_on_the_network_of_their_environments_subnet(yard: testing.Server, dockerd: Dockerd) -> None:
    resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": 4, "instanceTypes": ["optimal"], "instanceRole": "role"}
    resources |= {"allocationStrategy": "BEST_FIT_PROGRESSIVE"}
    resources |= {"subnets": ["subnet-9", "subnet-2"], "securityGroupIds": ["sg-1", "sg-2"]}
    yard.batch.create_compute_environment(
        computeEnvironmentName="cloud", type="MANAGED", serviceRole="", computeResources=resources
    )
    until(lambda: environment(yard)["status"] == "VALID", "the environment is there")
    order = [{"order": 1, "computeEnvironment": "cloud"}]
    yard.batch.create_job_queue(jobQueueName="cloud", priority=1, computeEnvironmentOrder=order)
    until(lambda: yard.batch.describe_job_queues(jobQueues=["cloud"])["jobQueues"][0]["status"] == "VALID", "a queue")
    described = environment(yard)["computeResources"]
    assert described["subnets"] == ["subnet-9", "subnet-2"]
    assert described["securityGroupIds"] == ["sg-1", "sg-2"]
    assert networks_of_a_new_job(yard, dockerd) == ["cloud-private"]
    yard.batch.update_compute_environment(computeEnvironment="cloud", computeResources={"subnets": ["subnet-1"]})
    until(lambda: environment(yard)["status"] == "VALID", "the environment is changed")
    assert networks_of_a_new_job(yard, dockerd) == ["cloud-public"]
    yard.batch.update_compute_environment(computeEnvironment="cloud", computeResources={"subnets": ["subnet-9"]})
    until(lambda: environment(yard)["status"] == "VALID", "the environment is changed")
    assert networks_of_a_new_job(yard, dockerd) == []
