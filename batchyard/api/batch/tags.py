"""TagResource, UntagResource, ListTagsForResource: on all that has an ARN."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Table

from batchyard.api.batch.checks import MAX_TAGS, check_tags, does_not_exist
from batchyard.api.context import Context, Params, Result, operation
from batchyard.store import documents, tables
from batchyard.wire import errors


class _Resource(Struct, frozen=True):
    """The row behind an ARN."""

    table: Table
    key: dict[str, Any]


@operation("batch", "ListTagsForResource")
async def list_tags_for_resource(context: Context, params: Params) -> Result:
    arn = params["resourceArn"]
    resource = _resource(arn)
    return {"tags": await context.database.read(lambda connection: _tags(connection, resource, arn))}


@operation("batch", "TagResource")
async def tag_resource(context: Context, params: Params) -> Result:
    """Add tags, or give those that are there new values."""
    arn, added = params["resourceArn"], params["tags"]
    check_tags(added)
    resource = _resource(arn)

    def write(connection: Connection) -> None:
        tags = merged(_tags(connection, resource, arn), added)
        documents.set_tags(connection, resource.table, resource.key, tags)

    await context.database.write(write)
    return {}


@operation("batch", "UntagResource")
async def untag_resource(context: Context, params: Params) -> Result:
    """Remove tags; keys that the resource doesn't have are no error."""
    arn, removed = params["resourceArn"], set(params["tagKeys"])
    resource = _resource(arn)

    def write(connection: Connection) -> None:
        tags = _tags(connection, resource, arn)
        kept = {key: value for key, value in tags.items() if key not in removed}
        documents.set_tags(connection, resource.table, resource.key, kept)

    await context.database.write(write)
    return {}


def merged(tags: dict[str, str], added: dict[str, str]) -> dict[str, str]:
    """Both, where `added` wins; refused when that is more than a resource can have."""
    check_tags(added)
    both = {**tags, **added}
    if len(both) > MAX_TAGS:
        raise errors.client_exception(f"The maximum number of tags per resource is {MAX_TAGS}")
    return both


def of_job(definition: dict[str, str], job: dict[str, str]) -> dict[str, str]:
    """A new job's tags: its definition's and its own, which win; its own alone where both are too many for one job."""
    both = {**definition, **job}
    return both if len(both) <= MAX_TAGS else job


def _tags(connection: Connection, resource: _Resource, arn: str) -> dict[str, str]:
    tags = documents.find_tags(connection, resource.table, resource.key)
    if tags is None:
        raise does_not_exist(arn)
    return tags


def _resource(arn: str) -> _Resource:
    """Where an ARN's tags are. Children of arrays and nodes can't be tagged (service model)."""
    parts = arn.split(":", 5)
    kind, _, name = parts[-1].partition("/")
    if len(parts) != 6 or parts[0] != "arn" or parts[2] != "batch":
        raise does_not_exist(arn)
    if kind == "compute-environment":
        return _Resource(tables.compute_environments, {"name": name})
    if kind == "job-queue":
        return _Resource(tables.job_queues, {"name": name})
    if kind == "scheduling-policy":
        return _Resource(tables.scheduling_policies, {"name": name})
    if kind == "consumable-resource":
        return _Resource(tables.consumable_resources, {"name": name, "deleted": 0})
    if kind == "job-definition":
        name, _, revision = name.partition(":")
        if revision.isascii() and revision.isdecimal() and len(revision) <= 9:
            return _Resource(tables.job_definitions, {"name": name, "revision": int(revision)})
    if kind == "job":
        if ":" in name or "#" in name:
            raise errors.client_exception("ARNs for child jobs of array and multi-node parallel jobs aren't supported")
        return _Resource(tables.jobs, {"job_id": name})
    raise does_not_exist(arn)
