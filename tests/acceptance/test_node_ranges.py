"""What a node range may hold beside a container: a task (ecsProperties), a pod, consumable resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import Server, server
from tests.acceptance.multinode_cases import define, node, queue_of, scripted, submit

pytestmark = pytest.mark.acceptance

SLEEP = "while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server(overcommit=True, check_invariants=True) as yard:
        yield yard


@pytest.fixture(scope="module")
def queue(yard: Server) -> str:
    return queue_of(yard, 16)


def needs(**quantities: int) -> dict[str, Any]:
    entries = [{"consumableResource": name, "quantity": quantity} for name, quantity in quantities.items()]
    return {"consumableResourceList": entries}


def in_use(yard: Server, name: str) -> tuple[int, int]:
    """(total, in use)"""
    found = yard.batch.describe_consumable_resource(consumableResource=name)
    return found["totalQuantity"], found["inUseQuantity"]


def task(script: str, *more: dict[str, Any], **members: Any) -> dict[str, Any]:
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    container = {"name": "work", "image": "busybox", "command": ["sh", "-c", script], "resourceRequirements": sizes}
    others = [{**container, **each} for each in more]
    return {"taskProperties": [{"containers": [{**container, **members}, *others]}]}


def test_a_gang_takes_what_all_its_nodes_need_at_once_and_gives_it_back(yard: Server, queue: str) -> None:
    yard.batch.create_consumable_resource(consumableResourceName="seats", totalQuantity=4)
    yard.batch.create_consumable_resource(
        consumableResourceName="tokens", totalQuantity=10, resourceType="NON_REPLENISHABLE"
    )
    ranges = [
        {**scripted("0", "while [ ! -e $1 ]; do sleep 0.05; done", yard.data_dir / "go")},
        {**scripted("1:", SLEEP), "consumableResourceProperties": needs(seats=2, tokens=1)},
    ]
    definition = define(yard, ranges, 3, consumableResourceProperties=needs(seats=1))
    shown = yard.batch.describe_job_definitions(jobDefinitionName=definition)["jobDefinitions"][0]
    assert shown["nodeProperties"]["nodeRangeProperties"][1]["consumableResourceProperties"] == needs(seats=2, tokens=1)
    gang = yard.batch.submit_job(jobName="gang", jobQueue=queue, jobDefinition=definition)["jobId"]
    waiting = yard.wait_for(gang, status="RUNNABLE")
    assert waiting["statusReason"].endswith("seats")
    assert (in_use(yard, "seats"), in_use(yard, "tokens")) == ((4, 0), (10, 0))
    listed = yard.batch.list_jobs_by_consumable_resource(consumableResource="seats")["jobs"]
    assert [(each["quantity"], each["jobStatus"]) for each in listed] == [(5, "RUNNABLE")]
    yard.batch.update_consumable_resource(consumableResource="seats", operation="ADD", quantity=1)
    for index in range(3):
        node(yard, gang, index, "RUNNING")
    assert (in_use(yard, "seats"), in_use(yard, "tokens")) == ((5, 5), (10, 2))
    (yard.data_dir / "go").touch()
    assert yard.wait_for(gang)["status"] == "SUCCEEDED"
    assert (in_use(yard, "seats"), in_use(yard, "tokens")) == ((5, 0), (8, 0))


def test_an_override_replaces_what_a_range_consumes(yard: Server, queue: str) -> None:
    yard.batch.create_consumable_resource(consumableResourceName="chairs", totalQuantity=2)
    ranges = [{**scripted("0:", SLEEP), "consumableResourceProperties": needs(chairs=9)}]
    override = {"targetNodes": "0:", "consumableResourcePropertiesOverride": needs(chairs=1)}
    gang = submit(yard, queue, ranges, 2, nodeOverrides={"nodePropertyOverrides": [override]})
    described = yard.wait_for(gang, status="RUNNING")
    assert described["nodeProperties"]["nodeRangeProperties"][0]["consumableResourceProperties"] == needs(chairs=1)
    assert in_use(yard, "chairs") == (2, 2)
    yard.batch.terminate_job(jobId=gang, reason="seen")
    yard.wait_for(gang)
    assert in_use(yard, "chairs") == (2, 0)


def test_a_resource_that_is_not_there_is_refused(yard: Server, queue: str) -> None:
    ranges = [{**scripted("0:", "true"), "consumableResourceProperties": needs(nothing=1)}]
    with pytest.raises(ClientError, match="consumable-resource/nothing does not exist"):
        submit(yard, queue, ranges, 2)


def test_nodes_run_the_container_of_a_task(yard: Server, queue: str) -> None:
    ranges = [
        {"targetNodes": "0", "ecsProperties": task("echo main $AWS_BATCH_JOB_NODE_INDEX; exit 3", stopTimeout=2)},
        {"targetNodes": "1:", "ecsProperties": task(SLEEP)},
    ]
    changed = {"taskProperties": [{"containers": [{"name": "work", "command": ["sh", "-c", f"echo hi; {SLEEP}"]}]}]}
    override = {"targetNodes": "1:", "ecsPropertiesOverride": changed}
    gang = submit(yard, queue, ranges, 2, nodeOverrides={"nodePropertyOverrides": [override]})
    parent = yard.wait_for(gang, status="FAILED")
    assert "container" not in parent and "ecsProperties" not in parent
    (of_parent,) = parent["attempts"][0]["taskProperties"][0]["containers"]
    assert of_parent["exitCode"] == 3 and of_parent["logStreamName"].split("/")[1] == "work"
    main = yard.batch.describe_jobs(jobs=[f"{gang}#0"])["jobs"][0]
    (ran,) = main["ecsProperties"]["taskProperties"][0]["containers"]
    assert (main["container"], ran["exitCode"], ran["logStreamName"]) == ({}, 3, of_parent["logStreamName"])
    assert yard.logs_of(f"{gang}#0") == ["main 0"]


def test_tasks_of_several_containers_and_pods_are_described_and_refused_when_submitted(
    yard: Server, queue: str
) -> None:
    several = [{"targetNodes": "0:", "ecsProperties": task("true", {"name": "other"})}]
    pod = {"podProperties": {"containers": [{"image": "busybox"}]}}
    pods = [{"targetNodes": "0:", "eksProperties": pod}]
    for ranges, kind, text in (
        (several, "ECS", "Running a task of several containers"),
        (pods, "EKS", "can not run Jobs with capability EKS"),
    ):
        name = define(yard, ranges, 2)
        shown = yard.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"][0]
        assert shown["containerOrchestrationType"] == kind
        with pytest.raises(ClientError, match=text):
            yard.batch.submit_job(jobName="gang", jobQueue=queue, jobDefinition=name)
