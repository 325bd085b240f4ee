"""Create, Update, Delete, Describe and ListConsumableResources, and ListJobsByConsumableResource (facts §13)."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch.checks import check_name, check_tags, does_not_exist
from batchyard.api.batch.consumable_needs import MAX_QUANTITY
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core.states import JobStatus
from batchyard.settings import Settings
from batchyard.store import consumables
from batchyard.store.consumables import ConsumableRow, JobOfConsumable
from batchyard.wire import errors

TYPES = (consumables.REPLENISHABLE, consumables.NON_REPLENISHABLE)
CHANGES = ("SET", "ADD", "REMOVE")
TOKEN_VALID_MS = 8 * 3600 * 1000
MAX_FILTER_VALUES = 100


@operation("batch", "CreateConsumableResource")
async def create_consumable_resource(context: Context, params: Params) -> Result:
    name = params["consumableResourceName"]
    check_name("Consumable resource", name)
    check_tags(params.get("tags", {}))
    kind = params.get("resourceType", consumables.REPLENISHABLE)
    if kind not in TYPES:
        raise errors.executing_request(f"resourceType {kind} must be one of {' | '.join(TYPES)}")
    row = ConsumableRow(
        name=name,
        arn=batch_arn(context.settings, f"consumable-resource/{name}"),
        type=kind,
        total=_checked_total(params.get("totalQuantity", 0)),
        in_use=0,
        created_at_ms=context.clock.now_ms(),
        tags=params.get("tags", {}),
    )

    def write(connection: Connection) -> None:
        if consumables.find(connection, name) is not None:
            raise errors.client_exception(f"Consumable resource {name} already exists")
        consumables.insert_row(connection, row)

    await context.database.write(write)
    context.wake()
    return {"consumableResourceName": name, "consumableResourceArn": row.arn}


@operation("batch", "UpdateConsumableResource")
async def update_consumable_resource(context: Context, params: Params) -> Result:
    """SET, ADD to or REMOVE from the total. The same update with the same token within 8 hours happens once."""
    kind = params.get("operation")
    if kind not in CHANGES:
        raise errors.executing_request(f"operation must be one of {' | '.join(CHANGES)}")
    if not 0 <= params.get("quantity", -1) <= MAX_QUANTITY:
        raise errors.executing_request("quantity must be provided, and be 0 or more")
    quantity: int = params["quantity"]
    now_ms = context.clock.now_ms()

    def write(connection: Connection) -> tuple[ConsumableRow, int]:
        row = _find(connection, context.settings, params["consumableResource"])
        token = params.get("clientToken")
        key = msgspec.json.encode([row.name, row.created_at_ms, kind, quantity, token]).decode()
        since_ms = now_ms - TOKEN_VALID_MS
        known = consumables.find_update(connection, key, since_ms) if token else None
        if known is not None:
            return row, known
        total = _checked_total({"SET": quantity, "ADD": row.total + quantity, "REMOVE": row.total - quantity}[kind])
        consumables.set_total(connection, row.name, total)
        if token:
            consumables.note_update(connection, key, total, now_ms, since_ms)
        return row, total

    row, total = await context.database.write(write)
    context.wake()
    return {"consumableResourceName": row.name, "consumableResourceArn": row.arn, "totalQuantity": total}


@operation("batch", "DeleteConsumableResource")
async def delete_consumable_resource(context: Context, params: Params) -> Result:
    """At once. Jobs that have some of it go on; jobs that need it wait until there is one of that name again."""

    def write(connection: Connection) -> None:
        row = _find(connection, context.settings, params["consumableResource"])
        consumables.mark_deleted(connection, row.name)

    await context.database.write(write)
    context.wake()
    return {}


@operation("batch", "DescribeConsumableResource")
async def describe_consumable_resource(context: Context, params: Params) -> Result:
    row = await context.database.read(
        lambda connection: _find(connection, context.settings, params["consumableResource"])
    )
    return {
        **_summary(row),
        "availableQuantity": max(0, row.total - row.in_use),
        "createdAt": row.created_at_ms,
        "tags": row.tags,
    }


@operation("batch", "ListConsumableResources")
async def list_consumable_resources(context: Context, params: Params) -> Result:
    """By name. A filter's values are names in any case, or prefixes and `*`."""
    limit = paging.page_size(params)
    names = _filters(params, ("CONSUMABLE_RESOURCE_NAME",)).get("CONSUMABLE_RESOURCE_NAME", [])
    scope = msgspec.json.encode(["ListConsumableResources", names]).decode()
    after = paging.decode(params["nextToken"], scope)[0] if params.get("nextToken") else ""
    rows = await context.database.read(lambda connection: consumables.page(connection, names, after, limit + 1))
    answer: Result = {"consumableResources": [_summary(row) for row in rows[:limit]]}
    if len(rows) > limit:
        answer["nextToken"] = paging.encode([rows[limit - 1].name], scope)
    return answer


@operation("batch", "ListJobsByConsumableResource")
async def list_jobs_by_consumable_resource(context: Context, params: Params) -> Result:
    """Jobs that need the resource, newest first; an array is one job."""
    limit = paging.page_size(params)
    filters = _filters(params, ("JOB_STATUS", "JOB_NAME"))
    unknown = [value for value in filters.get("JOB_STATUS", []) if value not in JobStatus.__members__]
    if unknown:
        raise errors.executing_request(f"JOB_STATUS {unknown[0]} must be one of {' | '.join(JobStatus.__members__)}")
    statuses = [JobStatus[value] for value in filters.get("JOB_STATUS", [])]
    name = name_from("consumable-resource", params["consumableResource"])
    scope = msgspec.json.encode(["ListJobsByConsumableResource", name, sorted(filters.items())]).decode()
    before_seq = int(paging.decode(params["nextToken"], scope)[0]) if params.get("nextToken") else None

    def listed(connection: Connection) -> list[JobOfConsumable]:
        _find(connection, context.settings, name)
        patterns = filters.get("JOB_NAME", [])
        return consumables.jobs_page(connection, name, statuses, patterns, before_seq, limit + 1)

    found = await context.database.read(listed)
    answer: Result = {"jobs": [_job(context.settings, each) for each in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = paging.encode([found[limit - 1].job.seq], scope)
    return answer


def _job(settings: Settings, found: JobOfConsumable) -> dict[str, Any]:
    job, record = found.job, found.job.record
    detail: dict[str, Any] = msgspec.json.decode(job.detail)
    optional = {
        "statusReason": record.status_reason,
        "startedAt": record.started_at_ms,
        "shareIdentifier": detail.get("shareIdentifier"),
    }
    return {
        "jobArn": batch_arn(settings, f"job/{job.job_id}"),
        "jobQueueArn": detail["jobQueue"],
        "jobName": job.name,
        "jobDefinitionArn": detail["jobDefinition"],
        "jobStatus": record.status.name,
        "quantity": found.quantity,
        "createdAt": job.created_at_ms,
        "consumableResourceProperties": detail.get("consumableResourceProperties", {}),
        **{member: value for member, value in optional.items() if value is not None},
    }


def _summary(row: ConsumableRow) -> dict[str, Any]:
    return {
        "consumableResourceName": row.name,
        "consumableResourceArn": row.arn,
        "totalQuantity": row.total,
        "inUseQuantity": row.in_use,
        "resourceType": row.type,
    }


def _filters(params: Params, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """The values of each filter by its name; a job or resource must pass all filters."""
    found: dict[str, list[str]] = {}
    for each in params.get("filters", []):
        name, values = each.get("name", ""), each.get("values", [])
        if name not in allowed:
            raise errors.executing_request(f"Filter {name} is not one of {', '.join(allowed)}")
        if name in found:
            raise errors.executing_request(f"Filter {name} can be used once")
        if not 1 <= len(values) <= MAX_FILTER_VALUES or not all(values):
            raise errors.executing_request(f"Filter {name} takes from 1 to {MAX_FILTER_VALUES} values")
        found[name] = values
    return found


def _checked_total(total: int) -> int:
    if not 0 <= total <= MAX_QUANTITY:
        raise errors.executing_request(f"The total quantity must be from 0 to {MAX_QUANTITY}, and would be {total}")
    return total


def _find(connection: Connection, settings: Settings, reference: str) -> ConsumableRow:
    name = name_from("consumable-resource", reference)
    row = consumables.find(connection, name)
    if row is None:
        raise does_not_exist(batch_arn(settings, f"consumable-resource/{name}"))
    return row
