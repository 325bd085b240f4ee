from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert

from batchyard.api.batch.tags import merged
from batchyard.exceptions import ApiError
from batchyard.store.tables import jobs
from tests.unit.api.harness import World, definition, refusal

ARN = "arn:aws:batch:us-east-1:123456789012:"
RESOURCES = ("compute-environment/env", "job-queue/q", "job-definition/d:1", "job/some-id")


@pytest.fixture
def tagged(world: World) -> World:
    """One resource of each kind, with the tag a=1."""
    tags = {"a": "1"}
    world.environment("env", tags=tags)
    world.queue("q", "env", tags=tags)
    world.call("RegisterJobDefinition", **definition("d", tags=tags))
    job: dict[str, Any] = {
        "job_id": "some-id",
        "name": "job",
        "queue": "q",
        "definition": "d:1",
        "status": "SUBMITTED",
        "created_at_ms": 1,
        "log_group": "/aws/batch/job",
        "log_prefix": "d/default/",
        "terms": b"{}",
        "detail": b"{}",
        "tags": b'{"a":"1"}',
    }
    world.write(lambda connection: connection.execute(insert(jobs), job) and None)
    return world


def tags_of(world: World, resource: str) -> dict[str, str]:
    tags: dict[str, str] = world.call("ListTagsForResource", resourceArn=ARN + resource)["tags"]
    return tags


@pytest.mark.parametrize("resource", RESOURCES)
def test_tags_are_listed_added_changed_and_removed(tagged: World, resource: str) -> None:
    assert tags_of(tagged, resource) == {"a": "1"}
    assert tagged.call("TagResource", resourceArn=ARN + resource, tags={"a": "2", "b.c/d": ""}) == {}
    assert tags_of(tagged, resource) == {"a": "2", "b.c/d": ""}
    assert tagged.call("UntagResource", resourceArn=ARN + resource, tagKeys=["a", "unknown"]) == {}
    assert tags_of(tagged, resource) == {"b.c/d": ""}


def test_tags_show_in_descriptions_and_change_no_status(tagged: World) -> None:
    wakes = tagged.wakes
    tagged.call("TagResource", resourceArn=f"{ARN}job-queue/q", tags={"b": "2"})
    described = tagged.described_queue("q")
    assert (described["tags"], described["status"]) == ({"a": "1", "b": "2"}, "VALID")
    assert tagged.wakes == wakes


UNKNOWN = (
    "compute-environment/nowhere",
    "job-queue/nowhere",
    "job-definition/d:2",
    "job-definition/d",
    "job-definition/d:x",
    "job/nowhere",
    "scheduling-policy/nowhere",
    "",
)


@pytest.mark.parametrize("operation", ["ListTagsForResource", "TagResource", "UntagResource"])
@pytest.mark.parametrize("resource", UNKNOWN)
def test_tags_of_what_does_not_exist_are_refused(tagged: World, operation: str, resource: str) -> None:
    members = {"TagResource": {"tags": {"x": "y"}}, "UntagResource": {"tagKeys": ["x"]}}.get(operation, {})
    error = refusal(tagged, operation, resourceArn=ARN + resource, **members)
    assert (error.code, error.message) == ("ClientException", f"{ARN}{resource} does not exist")


@pytest.mark.parametrize("arn", ["env", "arn:aws:s3:::bucket", "::::::", "arn"])
def test_what_is_no_arn_of_the_service_does_not_exist(tagged: World, arn: str) -> None:
    assert refusal(tagged, "ListTagsForResource", resourceArn=arn).message == f"{arn} does not exist"


@pytest.mark.parametrize("child", ["some-id:0", "some-id#0"])
def test_children_have_no_tags_of_their_own(tagged: World, child: str) -> None:
    error = refusal(tagged, "TagResource", resourceArn=f"{ARN}job/{child}", tags={"x": "y"})
    assert error.message.startswith("ARNs for child jobs")


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ({str(key): "" for key in range(50)}, "The maximum number of tags per resource is 50"),
        ({"aws:x": ""}, "Tag key aws:x is not valid"),
        ({"": "x"}, "Tag keys must have 1 to 128 characters"),
        ({"x": "v" * 257}, "The value of tag x has more than 256 characters"),
        ({"batchyard:engine": "docker"}, "Tag batchyard:engine is not built in Batchyard yet"),
    ],
)
def test_bad_tags_are_refused_and_change_nothing(tagged: World, tags: dict[str, str], text: str) -> None:
    error = refusal(tagged, "TagResource", resourceArn=f"{ARN}job/some-id", tags=tags)
    assert error.message.startswith(text)


def test_a_jobs_own_tags_win_over_its_definitions() -> None:
    assert merged({"a": "1", "b": "2"}, {"b": "3"}) == {"a": "1", "b": "3"}
    with pytest.raises(ApiError):
        merged({str(key): "" for key in range(30)}, {f"x{key}": "" for key in range(21)})
