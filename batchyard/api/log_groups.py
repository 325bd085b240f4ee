"""Log groups: DescribeLogGroups, retention, DeleteLogGroup; and how requests name a group."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.context import Context, Params, Result, operation
from batchyard.exceptions import ApiError
from batchyard.settings import Settings
from batchyard.store import logs
from batchyard.store.logs import GroupRow
from batchyard.telemetry.logstore import LogStore
from batchyard.wire import errors

MAX_DESCRIBED = 50
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
STREAMS_PER_DELETE = 5000


@operation("logs", "DescribeLogGroups")
async def describe_log_groups(context: Context, params: Params) -> Result:
    """Groups by name; `/aws/batch/job` is always there."""
    for member in ("accountIdentifiers", "includeLinkedAccounts"):
        if params.get(member):
            raise errors.invalid_parameter(f"{member} is not built in Batchyard yet")
    prefix, pattern = params.get("logGroupNamePrefix"), params.get("logGroupNamePattern")
    if prefix and pattern:
        raise errors.invalid_parameter("logGroupNamePrefix and logGroupNamePattern are mutually exclusive")
    identifiers = {group_name(each) for each in params.get("logGroupIdentifiers", [])}
    limit = params.get("limit", MAX_DESCRIBED)
    scope = f"DescribeLogGroups {prefix} {pattern} {sorted(identifiers)}"
    after = position(params, scope)[0] if params.get("nextToken") else ""
    groups = [
        group
        for group in await context.database.read(logs.all_groups)
        if group.name > after
        and group.name.startswith(prefix or "")
        and (pattern or "") in group.name
        and (not identifiers or group.name in identifiers)
        and params.get("logGroupClass", "STANDARD") == "STANDARD"
    ]
    answer: Result = {"logGroups": [_describe_group(context.settings, group) for group in groups[:limit]]}
    if len(groups) > limit:
        answer["nextToken"] = paging.encode([groups[limit - 1].name], scope)
    return answer


def _describe_group(settings: Settings, group: GroupRow) -> dict[str, Any]:
    arn = group_arn(settings, group.name)
    described = {
        "logGroupName": group.name,
        "creationTime": group.created_at_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": 0,
        "logGroupClass": "STANDARD",
    }
    if group.retention_days is not None:
        described["retentionInDays"] = group.retention_days
    return described


@operation("logs", "PutRetentionPolicy")
async def put_retention_policy(context: Context, params: Params) -> Result:
    """Streams of the group are removed so many days after their attempts ended, if their jobs are kept that long."""
    name, days = params["logGroupName"], params["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(map(str, RETENTION_DAYS))
        raise errors.invalid_parameter(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{allowed}]"
        )
    await _set_retention(context, name, days)
    return {}


@operation("logs", "DeleteRetentionPolicy")
async def delete_retention_policy(context: Context, params: Params) -> Result:
    """Streams of the group are kept as long as their jobs again."""
    await _set_retention(context, params["logGroupName"], None)
    return {}


async def _set_retention(context: Context, name: str, days: int | None) -> None:
    now_ms = context.clock.now_ms()

    def write(connection: Connection) -> None:
        check_group(connection, name)
        logs.set_retention(connection, name, days, now_ms)

    await context.database.write(write)


@operation("logs", "DeleteLogGroup")
async def delete_log_group(context: Context, params: Params) -> Result:
    """Remove a group with its streams and their events; `/aws/batch/job` itself stays, emptied."""
    name = params["logGroupName"]

    await context.database.read(lambda connection: check_group(connection, name))

    def delete_some(connection: Connection) -> list[str]:
        log_ids = logs.delete_streams_of_group(connection, name, STREAMS_PER_DELETE)
        if len(log_ids) < STREAMS_PER_DELETE:
            logs.delete_group(connection, name)
        return log_ids

    while True:
        log_ids = await context.database.write(delete_some, is_long=True)
        await asyncio.to_thread(delete_files, context.logs, log_ids)
        if len(log_ids) < STREAMS_PER_DELETE:
            return {}


def delete_files(store: LogStore, log_ids: list[str]) -> None:
    for log_id in log_ids:
        store.delete(log_id)


def group_of(params: Params) -> str:
    """The group that a request names, by logGroupName or logGroupIdentifier."""
    name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
    if bool(name) == bool(identifier):
        raise errors.invalid_parameter("Exactly one of logGroupName and logGroupIdentifier must be given")
    return name or group_name(str(identifier))


def group_name(identifier: str) -> str:
    """The name in a name or an ARN: `arn:aws:logs:REGION:ACCOUNT:log-group:NAME`, with or without `:*`."""
    parts = identifier.split(":")
    return parts[6] if len(parts) >= 7 and parts[0] == "arn" and parts[5] == "log-group" else identifier


def check_group(connection: Connection, name: str) -> None:
    if not logs.group_exists(connection, name):
        raise errors.resource_not_found("The specified log group does not exist.")


def group_arn(settings: Settings, name: str) -> str:
    return f"arn:{settings.partition}:logs:{settings.region}:{settings.account_id}:log-group:{name}"


def position(params: Params, scope: str) -> list[Any]:
    """The position in the request's nextToken."""
    decoded: list[Any] = paging.decode(params["nextToken"], scope, lambda _: bad_token())
    return decoded


def bad_token() -> ApiError:
    return errors.invalid_parameter("The specified nextToken is invalid.")
