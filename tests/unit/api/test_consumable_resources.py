"""Consumable resources as their owners see them (facts §13)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batchyard.api.catalogue import OPERATIONS
from batchyard.core.model import ConsumableNeed, JobTerms
from batchyard.core.outcome import ConsumableUsed
from batchyard.store import consumables
from batchyard.store.progress import read_intents
from tests.unit.api.harness import World, definition, refusal, run

ARN = "arn:aws:batch:us-east-1:123456789012:"


def create(world: World, name: str = "licence", total: int = 5, **params: Any) -> dict[str, Any]:
    return world.call("CreateConsumableResource", consumableResourceName=name, totalQuantity=total, **params)


def change(world: World, kind: str, quantity: int, **params: Any) -> int:
    params = {"consumableResource": "licence", "operation": kind, "quantity": quantity, **params}
    return int(world.call("UpdateConsumableResource", **params)["totalQuantity"])


def described(world: World, name: str = "licence") -> dict[str, Any]:
    return world.call("DescribeConsumableResource", consumableResource=name)


def needs(*entries: tuple[str, int]) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": name, "quantity": number} for name, number in entries]}


def submit(world: World, name: str = "job", **params: Any) -> str:
    answer = world.call("SubmitJob", jobName=name, jobQueue="q", jobDefinition="definition", **params)
    return str(answer["jobId"])


@pytest.fixture
def queue(world: World) -> None:
    world.environment("env")
    world.queue("q", "env")


def test_a_resource_is_described_by_name_and_arn(world: World) -> None:
    wakes = world.wakes
    assert create(world, tags={"team": "risk"}) == {
        "consumableResourceName": "licence",
        "consumableResourceArn": f"{ARN}consumable-resource/licence",
    }
    assert world.wakes == wakes + 1
    assert described(world) == described(world, f"{ARN}consumable-resource/licence")
    assert described(world) == {
        "consumableResourceName": "licence",
        "consumableResourceArn": f"{ARN}consumable-resource/licence",
        "totalQuantity": 5,
        "inUseQuantity": 0,
        "availableQuantity": 5,
        "resourceType": "REPLENISHABLE",
        "createdAt": world.clock.now_ms(),
        "tags": {"team": "risk"},
    }


def test_what_is_in_use_and_spent_is_taken_off_what_is_available(world: World) -> None:
    create(world)
    world.write(lambda connection: consumables.write_use(connection, [ConsumableUsed("licence", 2, 1)]))
    found = described(world)
    assert (found["totalQuantity"], found["inUseQuantity"], found["availableQuantity"]) == (4, 2, 2)
    change(world, "SET", 1)
    assert described(world)["availableQuantity"] == 0
    world.write(lambda connection: consumables.write_use(connection, [ConsumableUsed("licence", 0, 2)]))
    assert described(world)["totalQuantity"] == 0


def test_a_total_is_set_added_to_and_removed_from(world: World) -> None:
    create(world)
    assert [change(world, "ADD", 3), change(world, "REMOVE", 2), change(world, "SET", 10)] == [8, 6, 10]
    assert described(world)["totalQuantity"] == 10


def test_the_same_update_with_the_same_token_happens_once_in_eight_hours(world: World) -> None:
    create(world)
    assert [change(world, "ADD", 1, clientToken="t") for _ in range(3)] == [6, 6, 6]
    assert change(world, "ADD", 2, clientToken="t") == 8
    assert change(world, "ADD", 1, clientToken="u") == 9
    assert change(world, "ADD", 1) == 10
    world.clock.advance(8 * 3600 * 1000)
    assert change(world, "ADD", 1, clientToken="t") == 6
    world.clock.advance(1)
    assert change(world, "ADD", 1, clientToken="t") == 11


@pytest.mark.parametrize(
    ("operation", "params", "text"),
    [
        ("CreateConsumableResource", {"consumableResourceName": "a b"}, "Consumable resource name should match"),
        (
            "CreateConsumableResource",
            {"consumableResourceName": "licence"},
            "licence already exists",
        ),
        ("CreateConsumableResource", {"consumableResourceName": "n", "totalQuantity": -1}, "total quantity must be"),
        ("CreateConsumableResource", {"consumableResourceName": "n", "resourceType": "X"}, "resourceType X must be"),
        ("CreateConsumableResource", {"consumableResourceName": "n", "tags": {"aws:x": "y"}}, "Tag key aws:x"),
        ("UpdateConsumableResource", {"operation": "SET", "quantity": -1}, "quantity must be provided"),
        ("UpdateConsumableResource", {"operation": "SET"}, "quantity must be provided"),
        ("UpdateConsumableResource", {"quantity": 1}, "operation must be one of SET | ADD | REMOVE"),
        ("UpdateConsumableResource", {"operation": "TAKE", "quantity": 1}, "operation must be one of"),
        ("UpdateConsumableResource", {"operation": "REMOVE", "quantity": 6}, "total quantity must be"),
        ("UpdateConsumableResource", {"operation": "ADD", "quantity": 2**53}, "total quantity must be"),
        ("UpdateConsumableResource", {"operation": "ADD", "quantity": 2**62}, "quantity must be provided"),
        ("ListConsumableResources", {"filters": [{"name": "NAME", "values": ["x"]}]}, "Filter NAME is not one of"),
        ("ListConsumableResources", {"filters": [{"name": "CONSUMABLE_RESOURCE_NAME"}]}, "takes from 1 to 100 values"),
        ("ListConsumableResources", {"maxResults": 101}, "maxResults must be between 1 and 100"),
        (
            "ListJobsByConsumableResource",
            {"consumableResource": "licence", "filters": [{"name": "JOB_STATUS", "values": ["DONE"]}]},
            "JOB_STATUS DONE must be one of SUBMITTED",
        ),
    ],
)
def test_bad_requests_are_refused(world: World, operation: str, params: dict[str, Any], text: str) -> None:
    create(world)
    if operation == "UpdateConsumableResource":
        params = {"consumableResource": "licence", **params}
    error = refusal(world, operation, **params)
    assert error.code == "ClientException" and text in error.message


def test_unknown_resources_do_not_exist(world: World) -> None:
    for operation in (
        "DescribeConsumableResource",
        "DeleteConsumableResource",
        "ListJobsByConsumableResource",
    ):
        error = refusal(world, operation, consumableResource="nothing")
        assert error.message == f"{ARN}consumable-resource/nothing does not exist"


def test_a_deleted_resource_is_gone_and_its_name_can_be_used_again(world: World) -> None:
    create(world)
    world.call("DeleteConsumableResource", consumableResource="licence")
    refusal(world, "DescribeConsumableResource", consumableResource="licence")
    refusal(world, "ListTagsForResource", resourceArn=f"{ARN}consumable-resource/licence")
    create(world, total=7, resourceType="NON_REPLENISHABLE")
    assert (described(world)["totalQuantity"], described(world)["resourceType"]) == (7, "NON_REPLENISHABLE")
    (event,) = world.read(lambda connection: read_intents(connection, 10)).consumables
    assert (event.consumable.total, event.removed) == (7, False)


def test_tags_are_added_and_removed(world: World) -> None:
    arn = create(world)["consumableResourceArn"]
    world.call("TagResource", resourceArn=arn, tags={"a": "1", "b": "2"})
    world.call("UntagResource", resourceArn=arn, tagKeys=["a"])
    assert described(world)["tags"] == {"b": "2"}


def test_resources_are_listed_by_name_in_pages_and_filtered_in_any_case(world: World) -> None:
    for name in ("beta", "alpha", "Alpine"):
        create(world, name)

    def names(**params: Any) -> list[str]:
        found = world.call("ListConsumableResources", **params)["consumableResources"]
        return [each["consumableResourceName"] for each in found]

    assert names() == ["Alpine", "alpha", "beta"]
    wanted = [{"name": "CONSUMABLE_RESOURCE_NAME", "values": ["ALP*", "beta"]}]
    assert names(filters=wanted) == ["Alpine", "alpha", "beta"]
    assert names(filters=[{"name": "CONSUMABLE_RESOURCE_NAME", "values": ["alpha"]}]) == ["alpha"]
    first = world.call("ListConsumableResources", maxResults=2)
    assert names(maxResults=2, nextToken=first["nextToken"]) == ["beta"]
    refusal(world, "ListConsumableResources", nextToken=first["nextToken"], filters=wanted)


@pytest.mark.usefixtures("queue")
def test_a_definition_names_resources_and_a_job_may_ask_for_others(world: World) -> None:
    create(world)
    create(world, "token")
    asked = needs((f"{ARN}consumable-resource/licence", 2))
    world.call("RegisterJobDefinition", **definition(consumableResourceProperties=asked))
    found = world.call("DescribeJobDefinitions")["jobDefinitions"][0]
    assert found["consumableResourceProperties"] == asked
    plain, other = submit(world), submit(world, consumableResourcePropertiesOverride=needs(("token", 1)))
    jobs = run(OPERATIONS[("batch", "DescribeJobs")](world.context, {"jobs": [plain, other]}))["jobs"]
    assert [job["consumableResourceProperties"] for job in jobs] == [asked, needs(("token", 1))]
    submitted = world.read(lambda connection: read_intents(connection, 10)).jobs
    wanted = [ConsumableNeed("licence", 2)], [ConsumableNeed("token", 1)]
    assert [list(job.terms.consumables) for job in submitted] == list(wanted)
    assert msgspec.json.decode(msgspec.json.encode(submitted[0].terms), type=JobTerms) == submitted[0].terms


@pytest.mark.usefixtures("queue")
def test_a_job_needs_resources_that_exist(world: World) -> None:
    world.call("RegisterJobDefinition", **definition(consumableResourceProperties=needs(("nothing", 1))))
    error = refusal(world, "SubmitJob", jobName="job", jobQueue="q", jobDefinition="definition")
    assert error.message == f"{ARN}consumable-resource/nothing does not exist"


@pytest.mark.parametrize(
    "entries",
    [
        [{"quantity": 1}],
        [{"consumableResource": "licence"}],
        [{"consumableResource": "licence", "quantity": -1}],
        needs(("licence", 1), (f"{ARN}consumable-resource/licence", 2))["consumableResourceList"],
    ],
)
def test_lists_that_make_no_sense_are_refused(world: World, entries: list[dict[str, Any]]) -> None:
    asked = {"consumableResourceList": entries}
    error = refusal(world, "RegisterJobDefinition", **definition(consumableResourceProperties=asked))
    assert "consumableResourceList" in error.message


@pytest.mark.usefixtures("queue")
def test_the_jobs_that_need_a_resource_are_listed(world: World) -> None:
    create(world)
    create(world, "token")
    world.call("RegisterJobDefinition", **definition(consumableResourceProperties=needs(("licence", 2))))
    jobs = [submit(world, name) for name in ("first", "Second", "third")]
    submit(world, consumableResourcePropertiesOverride=needs(("token", 1)))

    def listed(*filters: tuple[str, list[str]], **params: Any) -> list[str]:
        given = [{"name": name, "values": values} for name, values in filters]
        answer = world.call("ListJobsByConsumableResource", consumableResource="licence", filters=given, **params)
        return [job["jobName"] for job in answer["jobs"]]

    found = world.call("ListJobsByConsumableResource", consumableResource=f"{ARN}consumable-resource/licence")["jobs"]
    assert found[-1] == {
        "jobArn": f"{ARN}job/{jobs[0]}",
        "jobQueueArn": f"{ARN}job-queue/q",
        "jobName": "first",
        "jobDefinitionArn": f"{ARN}job-definition/definition:1",
        "jobStatus": "SUBMITTED",
        "quantity": 2,
        "createdAt": world.clock.now_ms(),
        "consumableResourceProperties": needs(("licence", 2)),
    }
    assert listed() == ["third", "Second", "first"]
    assert listed(("JOB_NAME", ["SEC*", "first"])) == ["Second", "first"]
    assert listed(("JOB_STATUS", ["RUNNABLE", "FAILED"])) == []
    assert listed(("JOB_STATUS", ["SUBMITTED"]), ("JOB_NAME", ["third"])) == ["third"]
    page = world.call("ListJobsByConsumableResource", consumableResource="licence", maxResults=2)
    assert listed(maxResults=2, nextToken=page["nextToken"]) == ["first"]
