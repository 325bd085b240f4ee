"""Job roles and the task metadata in containers, on networks from which the server's own address can't be reached."""

from __future__ import annotations

import json
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard import testing
from batchyard.engines.docker.address import ADDRESS, NETWORK
from tests.acceptance.job_cases import Gate, until
from tests.acceptance.role_cases import (
    ASKS_FOR_METADATA,
    CALLS_BACK,
    ROLE,
    USES_A_REAL_ROLE,
    WAITS,
    client,
    define,
    fetch,
    program,
    said,
    submit,
)
from tests.acceptance.test_docker import server
from tests.engine.dockerd import IMAGE, Dockerd
from tests.sts_stand_in import sts_stand_in

BRIDGE = "batchyard-test-roles"
INTERNAL = "batchyard-test-internal"


@pytest.fixture(scope="module")
def bridge(request: pytest.FixtureRequest) -> Iterator[Dockerd]:
    """The tests' daemon with a bridge, which it has none of by itself."""
    from tests.requirements import require

    require("docker")
    daemon: Dockerd = request.getfixturevalue("_shared_dockerd")
    daemon.make_network({"Name": BRIDGE, "Driver": "bridge"})
    daemon.make_network({"Name": INTERNAL, "Driver": "bridge", "Internal": True})
    yield daemon
    for network in daemon.call("GET", "/networks"):
        if network["Name"] in (BRIDGE, INTERNAL, NETWORK):
            daemon.call("DELETE", f"/networks/{network['Id']}", parse=False)


@pytest.fixture(scope="module")
def yard(bridge: Dockerd) -> Iterator[testing.Server]:
    with server(bridge, docker_network=BRIDGE) as started:
        define(started, "child", ["true"], image=IMAGE)
        yield started
    for container in bridge.containers():
        bridge.remove(container["Id"])


def host_python(folder: Path, *parts: str) -> dict[str, Any]:
    """Members of containerProperties that run a program with this Python, from this machine's folders."""
    folders = [sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/etc", str(folder)]
    kept = [path for path in dict.fromkeys(folders) if Path(path).exists()]
    return {
        "image": IMAGE,
        "command": [sys.executable, program(folder, *parts), str(folder / "gate")],
        "volumes": [{"name": f"v{number}", "host": {"sourcePath": path}} for number, path in enumerate(kept)],
        "mountPoints": [
            {"sourceVolume": f"v{number}", "containerPath": path, "readOnly": True} for number, path in enumerate(kept)
        ],
        "jobRoleArn": ROLE,
    }


def test_boto3_in_a_container_calls_back_until_it_ends(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    properties = host_python(tmp_path, CALLS_BACK, WAITS)
    define(yard, "contained", properties.pop("command"), **properties)
    job_id = submit(yard, "contained")
    until(lambda: yard.logs_of(job_id), "the job has called once")
    it = said(yard, job_id)
    assert it["arn"] == f"arn:aws:sts::123456789012:assumed-role/Caller/{job_id}"
    assert it["method"] == "container-role"
    url = it["environment"]["AWS_ENDPOINT_URL_BATCH"]
    assert urllib.parse.urlsplit(url).hostname == ADDRESS
    assert yard.wait_for(it["other"])["status"] == "SUCCEEDED"
    batch = client("batch", url, it["keys"])
    assert batch.describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "RUNNING"
    yard.kill()
    yard.restart()
    gate.open()
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
    assert yard.logs_of(job_id)[1:] == ["RUNNING"]
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        batch.describe_jobs(jobs=[job_id])
    token = it["environment"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    assert fetch(it["environment"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"], token)[0] == 404


def test_the_address_for_containers_trusts_nobody(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    properties = host_python(tmp_path, CALLS_BACK, WAITS)
    define(yard, "guarded", properties.pop("command"), **properties)
    job_id = submit(yard, "guarded")
    until(lambda: yard.logs_of(job_id), "the job has called once")
    environment = said(yard, job_id)["environment"]
    url = environment["AWS_ENDPOINT_URL_BATCH"]
    for keys in (["testing", "testing", None], ["ASIA0" + "A" * 15, "guessed", "guessed"]):
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            client("batch", url, keys).describe_job_queues()
    assert fetch(f"{url}/v1/describejobqueues")[0] in (403, 404)
    assert fetch(f"{url}/health")[0] == 404
    assert fetch(f"{url}/batchyard/v1/jobs/{job_id}/usage")[0] == 404
    assert fetch(f"{url}/attempt/{job_id}..1.guessed/v1/describejobqueues")[0] in (403, 404)
    for shown in (None, "garbage"):
        assert fetch(environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"], shown)[0] == 403
    gate.open()


def test_every_container_finds_its_metadata(yard: testing.Server, bridge: Dockerd, tmp_path: Path) -> None:
    properties = host_python(tmp_path, ASKS_FOR_METADATA)
    define(yard, "asks", properties.pop("command"), **{**properties, "jobRoleArn": ""})
    job_id = submit(yard, "asks")
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED", yard.logs_of(job_id)
    container, task = said(yard, job_id)["documents"]
    assert container["DockerName"] == job_id
    assert len(container["DockerId"]) == 64
    assert container["Image"] == IMAGE
    assert container["Networks"][0]["NetworkMode"] == BRIDGE
    (subnet,) = bridge.call("GET", f"/networks/{BRIDGE}")["IPAM"]["Config"]
    assert ip_address(container["Networks"][0]["IPv4Addresses"][0]) in ip_network(subnet["Subnet"])
    assert task["TaskARN"] == job["container"]["taskArn"]
    assert task["Containers"] == [container]


def test_with_credentials_of_a_real_role_an_attempt_is_known_by_its_path(
    bridge: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "servers")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    gate = Gate(tmp_path / "gate")
    with sts_stand_in() as sts, server(bridge, docker_network=BRIDGE, sts_endpoint_url=sts.url) as yard:
        properties = host_python(tmp_path, USES_A_REAL_ROLE)
        define(yard, "real", properties.pop("command"), **properties)
        job_id = submit(yard, "real")
        until(lambda: yard.logs_of(job_id), "the job has called once")
        it = said(yard, job_id)
        assert (it["status"], it["keys"]) == ("RUNNING", ["ASIAREAL1", "real-secret", "real-token"])
        assert "AWS_ENDPOINT_URL_STS" not in it["environment"]
        assert sts.asked == [(ROLE, job_id)]
        url = it["environment"]["AWS_ENDPOINT_URL_BATCH"]
        assert client("batch", url, it["keys"]).describe_job_queues()["jobQueues"]
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            client("batch", url.partition("/attempt")[0], it["keys"]).describe_job_queues()
        gate.open()
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
        with pytest.raises(ClientError, match="ExpiredTokenException"):
            client("batch", url, it["keys"]).describe_job_queues()


def test_each_container_of_a_task_finds_its_own_metadata_and_the_role_of_all(
    yard: testing.Server, tmp_path: Path
) -> None:
    properties = host_python(tmp_path, ASKS_FOR_METADATA)
    volumes = properties.pop("volumes")
    del properties["jobRoleArn"]
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "128"}]
    region = {"environment": [{"name": "AWS_REGION", "value": "eu-west-1"}]}
    first = {"name": "one", "resourceRequirements": sizes, **properties, "essential": False}
    after = [{"containerName": "one", "condition": "SUCCESS"}]
    second = {**first, "name": "two", "essential": True, "dependsOn": after, **region}
    task = {"taskRoleArn": ROLE, "containers": [first, second], "volumes": volumes}
    yard.batch.register_job_definition(
        jobDefinitionName="task", type="container", ecsProperties={"taskProperties": [task]}
    )
    job_id = submit(yard, "task")
    job = yard.wait_for(job_id)
    ran = job["ecsProperties"]["taskProperties"][0]["containers"]
    where = [{"logGroupName": testing.LOG_GROUP, "logStreamName": each["logStreamName"]} for each in ran]
    spoke = [yard.logs.get_log_events(**each)["events"][0]["message"] for each in where]
    one, two = (json.loads(line) for line in spoke)
    assert [it["documents"][0]["Name"] for it in (one, two)] == ["one", "two"]
    assert one["documents"][0]["Limits"] == {"CPU": 1024, "Memory": 128}
    assert [each["Name"] for each in one["documents"][1]["Containers"]] == ["one", "two"]
    states = [[each["KnownStatus"] for each in it["documents"][1]["Containers"]] for it in (one, two)]
    assert states == [["RUNNING", "CREATED"], ["STOPPED", "RUNNING"]]
    assert one["documents"][1]["TaskARN"] == two["documents"][1]["TaskARN"]
    streams = [it["documents"][0]["LogOptions"]["awslogs-stream"] for it in (one, two)]
    assert streams == [each["logStreamName"] for each in ran]
    networks = [it["documents"][0]["Networks"][0]["NetworkMode"] for it in (one, two)]
    assert networks == [BRIDGE, BRIDGE]
    told = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    assert one["environment"][told] == two["environment"][told]
    assert [it["environment"]["AWS_REGION"] for it in (one, two)] == [testing.REGION, "eu-west-1"]


def test_the_address_comes_back_when_its_network_is_pruned(yard: testing.Server, bridge: Dockerd) -> None:
    bridge.call("DELETE", f"/networks/{NETWORK}", parse=False)
    until(lambda: NETWORK in str(bridge.call("GET", "/networks")), "the network is there again")
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))


@pytest.mark.parametrize(("network", "is_served"), [("host", True), ("none", False), (INTERNAL, False)])
def test_containers_on_the_hosts_network_use_loopback_and_those_without_a_way_out_nothing(
    bridge: Dockerd, network: str, is_served: bool
) -> None:
    with server(bridge, docker_network=network) as yard:
        define(yard, "says", ["sh", "-c", "echo uri=$AWS_CONTAINER_CREDENTIALS_FULL_URI"], image=IMAGE, jobRoleArn=ROLE)
        job_id = submit(yard, "says")
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
        said_url = yard.logs_of(job_id)[0]
        begin = f"uri={yard.endpoint_url}/v2/credentials/"
        assert said_url.startswith(begin) if is_served else said_url == "uri="
        notes = fetch(f"{yard.endpoint_url}/batchyard/v1/jobs/{job_id}/notes")[1]
        assert ("jobRoleArn" in notes["notHonoured"]) is not is_served


def test_nodes_call_back_from_their_own_network(yard: testing.Server, tmp_path: Path) -> None:
    container = host_python(tmp_path, CALLS_BACK)
    container["resourceRequirements"] = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "256"}]
    ranges = [{"targetNodes": "0:1", "container": container}]
    properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges}
    yard.batch.register_job_definition(jobDefinitionName="nodes", type="multinode", nodeProperties=properties)
    job_id = submit(yard, "nodes")
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED", yard.logs_of(f"{job_id}#0")
    assert said(yard, f"{job_id}#0")["arn"].startswith("arn:aws:sts::123456789012:assumed-role/Caller/")
