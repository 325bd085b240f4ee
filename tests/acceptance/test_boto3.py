"""boto3 against a running server: environments, queues, definitions, tags, identity, and what isn't built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from batchyard.testing import Server
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, running, sh, succeed, unique, until

pytestmark = pytest.mark.acceptance

ARN = "arn:aws:batch:us-east-1:123456789012"


@contextmanager
def refused(text: str) -> Iterator[None]:
    """A ClientException whose message holds the text."""
    with pytest.raises(ClientError) as caught:
        yield
    error = caught.value.response["Error"]
    assert error["Code"] == "ClientException"
    assert text in error["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def define(yard: Server, name: str, **params: Any) -> dict[str, Any]:
    container = {"image": "busybox", "vcpus": 1, "memory": 64, "command": ["true"], **params.pop("container", {})}
    answer: dict[str, Any] = yard.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=container, **params
    )
    return answer


# ---- compute environments


def test_a_compute_environment_from_creation_to_absence(yard: Server, queues: Queues) -> None:
    name = unique("environment")
    resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": 4, "instanceTypes": ["optimal"], "subnets": ["subnet-1"]}
    resources |= {"instanceRole": "ecsInstanceRole", "securityGroupIds": ["sg-1"]}
    created = yard.batch.create_compute_environment(
        computeEnvironmentName=name, type="MANAGED", computeResources=resources, serviceRole=""
    )
    arn = created["computeEnvironmentArn"]
    assert (created["computeEnvironmentName"], arn) == (name, f"{ARN}:compute-environment/{name}")

    valid = queues.until_environment(name)
    assert valid["statusReason"] == "ComputeEnvironment Healthy"
    assert (valid["state"], valid["type"], valid["computeResources"]["maxvCpus"]) == ("ENABLED", "MANAGED", 4)
    by_arn = yard.batch.describe_compute_environments(computeEnvironments=[arn])
    assert by_arn["computeEnvironments"] == [valid]

    with refused("must be disabled"):
        yard.batch.delete_compute_environment(computeEnvironment=name)
    yard.batch.update_compute_environment(computeEnvironment=arn, state="DISABLED", computeResources={"maxvCpus": 8})
    changed = queues.until_environment(name)
    assert (changed["state"], changed["computeResources"]["maxvCpus"]) == ("DISABLED", 8)
    yard.batch.delete_compute_environment(computeEnvironment=name)
    until(lambda: queues.describe_environment(name) is None, f"{name} is gone")
    with refused(f"compute-environment/{name} does not exist"):
        yard.batch.delete_compute_environment(computeEnvironment=name)


def test_an_environment_that_a_queue_uses_is_not_deleted(yard: Server, queues: Queues) -> None:
    environment = queues.environment()
    queues.make(environments=[environment])
    yard.batch.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    queues.until_environment(environment)
    with refused("Cannot delete, found existing JobQueue relationship"):
        yard.batch.delete_compute_environment(computeEnvironment=environment)


def test_an_unmanaged_environment_shows_no_resources(yard: Server, queues: Queues) -> None:
    name = unique("environment")
    role = "arn:aws:iam::123456789012:role/AWSBatchServiceRole"
    yard.batch.create_compute_environment(computeEnvironmentName=name, type="UNMANAGED", serviceRole=role)
    assert "computeResources" not in queues.until_environment(name)


def test_a_disabled_environment_takes_no_new_jobs_until_it_is_enabled_again(
    yard: Server, queues: Queues, gate: Gate
) -> None:
    environment = queues.environment(max_vcpus=4)
    queue = queues.make(environments=[environment])
    before = yard.submit(sh(gate.wait), queue=queue)
    running(yard, before)
    yard.batch.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    queues.until_environment(environment)
    after = yard.submit(["true"], queue=queue)
    yard.wait_for(after, status="RUNNABLE")
    gate.open()
    succeed(yard, before)
    assert job_of(yard, after)["status"] == "RUNNABLE"
    yard.batch.update_compute_environment(computeEnvironment=environment, state="ENABLED")
    succeed(yard, after)


# ---- job queues


def test_a_job_queue_from_creation_to_absence(yard: Server, queues: Queues) -> None:
    first, second = queues.environment(), queues.environment()
    name = unique("queue")
    order = [{"order": 9, "computeEnvironment": second}, {"order": 2, "computeEnvironment": first}]
    created = yard.batch.create_job_queue(jobQueueName=name, priority=5, computeEnvironmentOrder=order)
    assert created["jobQueueArn"] == f"{ARN}:job-queue/{name}"

    valid = queues.until_queue(name)
    assert (valid["statusReason"], valid["state"], valid["priority"]) == ("JobQueue Healthy", "ENABLED", 5)
    assert valid["computeEnvironmentOrder"] == [
        {"order": 2, "computeEnvironment": f"{ARN}:compute-environment/{first}"},
        {"order": 9, "computeEnvironment": f"{ARN}:compute-environment/{second}"},
    ]
    with refused("already exists"):
        yard.batch.create_job_queue(jobQueueName=name, priority=5, computeEnvironmentOrder=order)
    with refused("must be disabled"):
        yard.batch.delete_job_queue(jobQueue=name)

    yard.batch.update_job_queue(
        jobQueue=created["jobQueueArn"],
        priority=7,
        state="DISABLED",
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": f"{ARN}:compute-environment/{second}"}],
    )
    changed = queues.until_queue(name)
    assert (changed["priority"], changed["state"], len(changed["computeEnvironmentOrder"])) == (7, "DISABLED", 1)
    with refused("DISABLED"):
        yard.submit(["true"], queue=name)
    yard.batch.delete_job_queue(jobQueue=name)
    until(lambda: queues.describe_queue(name) is None, f"{name} is gone")


def test_the_jobs_of_a_deleted_queue_end_failed(yard: Server, queues: Queues, gate: Gate) -> None:
    queue = queues.make(max_vcpus=1)
    runs = yard.submit(sh(gate.wait), queue=queue)
    running(yard, runs)
    waits = yard.submit(["true"], queue=queue)
    yard.batch.update_job_queue(jobQueue=queue, state="DISABLED")
    queues.until_queue(queue)
    yard.batch.delete_job_queue(jobQueue=queue)
    assert [fail(yard, job_id)["statusReason"] for job_id in (runs, waits)] == ["JobQueue deleted"] * 2
    until(lambda: queues.describe_queue(queue) is None, f"{queue} is gone")


# ---- job definitions


def test_revisions_count_up_and_are_never_used_again(yard: Server) -> None:
    name = unique("definition")
    assert [define(yard, name)["revision"] for _ in range(3)] == [1, 2, 3]
    yard.batch.deregister_job_definition(jobDefinition=f"{name}:3")
    assert define(yard, name)["revision"] == 4
    yard.batch.deregister_job_definition(jobDefinition=f"{ARN}:job-definition/{name}:4")
    definitions = yard.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert {each["revision"]: each["status"] for each in definitions} == {
        1: "ACTIVE",
        2: "ACTIVE",
        3: "INACTIVE",
        4: "INACTIVE",
    }
    active = yard.batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")["jobDefinitions"]
    assert [each["revision"] for each in active] == [1, 2]


def test_a_job_runs_the_latest_active_revision_unless_told_which(yard: Server, queue: str) -> None:
    name = unique("definition")
    for word in ("one", "two", "three"):
        define(yard, name, container={"command": ["echo", word]})
    yard.batch.deregister_job_definition(jobDefinition=f"{name}:3")

    def word_of(reference: str) -> list[str]:
        job = yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=reference)
        succeed(yard, job["jobId"])
        return yard.logs_of(job["jobId"])

    references = (name, f"{name}:1", f"{ARN}:job-definition/{name}:2", f"{ARN}:job-definition/{name}")
    assert [word_of(each) for each in references] == [["two"], ["one"], ["two"], ["two"]]
    with refused("INACTIVE"):
        yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=f"{name}:3")


def test_describing_goes_on_page_by_page(yard: Server, queues: Queues) -> None:
    name = unique("definition")
    for _ in range(5):
        define(yard, name)
    pages = yard.batch.get_paginator("describe_job_definitions").paginate(
        jobDefinitionName=name, PaginationConfig={"PageSize": 2}
    )
    assert [[each["revision"] for each in page["jobDefinitions"]] for page in pages] == [[1, 2], [3, 4], [5]]
    names = {queues.make() for _ in range(3)}
    pages = yard.batch.get_paginator("describe_job_queues").paginate(PaginationConfig={"PageSize": 2})
    found = [each["jobQueueName"] for page in pages for each in page["jobQueues"]]
    assert len(found) == len(set(found))
    assert names <= set(found)


# ---- tags


def test_tags_of_every_kind_of_resource(yard: Server, queues: Queues) -> None:
    environment = queues.environment(tags={"made": "with"})
    queue = queues.make(environments=[environment])
    definition = define(yard, unique("definition"))["jobDefinitionArn"]
    job = yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)["jobArn"]
    assert yard.batch.list_tags_for_resource(resourceArn=f"{ARN}:compute-environment/{environment}")["tags"] == {
        "made": "with"
    }
    for arn in (f"{ARN}:compute-environment/{environment}", f"{ARN}:job-queue/{queue}", definition, job):
        yard.batch.tag_resource(resourceArn=arn, tags={"made": "later", "example.com/owner": "me"})
        yard.batch.untag_resource(resourceArn=arn, tagKeys=["made", "never-there"])
        assert yard.batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"example.com/owner": "me"}
    assert job_of(yard, job.rpartition("/")[2])["tags"] == {"example.com/owner": "me"}


def test_a_jobs_tags_win_over_its_definitions_and_do_not_reach_children(yard: Server, queue: str) -> None:
    definition = define(yard, unique("definition"), tags={"a": "definition", "b": "definition"})["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="job",
        jobQueue=queue,
        jobDefinition=definition,
        tags={"b": "job", "c": "job"},
        arrayProperties={"size": 2},
    )
    assert job_of(yard, submitted["jobId"])["tags"] == {"a": "definition", "b": "job", "c": "job"}
    assert job_of(yard, f"{submitted['jobId']}:0")["tags"] == {}


# ---- who asks, and for what


def test_the_caller_is_named_after_the_access_key(yard: Server) -> None:
    identity = yard.sts.get_caller_identity()
    assert identity["Account"] == "123456789012"
    assert identity["Arn"] == "arn:aws:iam::123456789012:user/testing"


@pytest.mark.parametrize("region", ["us-west-2", "cn-north-1", "cn-northwest-1", "us-gov-west-1"])
def test_clients_of_any_region_are_served(yard: Server, region: str) -> None:
    with client(yard, region_name=region) as batch:
        queue = batch.describe_job_queues(jobQueues=["default"])["jobQueues"][0]
    assert queue["jobQueueArn"] == f"{ARN}:job-queue/default"


@pytest.mark.parametrize("access_key", ["AKIAIOSFODNN7EXAMPLE", "x", "a/key+with=signs"])
def test_any_credentials_are_taken(yard: Server, access_key: str) -> None:
    with client(yard, aws_access_key_id=access_key, aws_session_token="token") as batch:
        assert batch.describe_jobs(jobs=["nobody"])["jobs"] == []


def test_no_credentials_are_taken_too(yard: Server) -> None:
    with client(yard, config=Config(signature_version=UNSIGNED)) as batch:
        assert batch.describe_jobs(jobs=["nobody"])["jobs"] == []


@contextmanager
def client(yard: Server, service: str = "batch", **options: Any) -> Iterator[Any]:
    given = {"region_name": "us-east-1", "aws_access_key_id": "any", "aws_secret_access_key": "any", **options}
    made = boto3.client(service, endpoint_url=yard.endpoint_url, **given)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("method", "operation", "params"),
    [
        ("list_service_jobs", "ListServiceJobs", {"jobQueue": "default"}),
        ("describe_service_job", "DescribeServiceJob", {"jobId": "x"}),
        ("describe_service_environments", "DescribeServiceEnvironments", {}),
    ],
)
def test_operations_that_are_not_built_say_so(yard: Server, method: str, operation: str, params: Any) -> None:
    with refused(f"{operation} is not built in Batchyard yet"):
        getattr(yard.batch, method)(**params)
