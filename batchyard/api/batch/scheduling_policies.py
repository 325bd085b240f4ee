"""Create-, Describe-, List-, Update- and DeleteSchedulingPolicy (facts §13). Quota shares are not built."""

from __future__ import annotations

import itertools
from typing import Any

from msgspec import structs
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch.checks import check_described, check_name, check_tags, does_not_exist, refuse_not_built
from batchyard.api.batch.job_shares import is_share_pattern
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core.shares import covers
from batchyard.settings import Settings
from batchyard.store import policies, queues
from batchyard.store.policies import PolicyRow
from batchyard.wire import errors

NOT_BUILT = ("quotaSharePolicy",)
MAX_DECAY_SECONDS = 604_800
MAX_RESERVATION = 99
MIN_WEIGHT, MAX_WEIGHT = 0.0001, 999.9999
MAX_ENTRIES = 500
"""Of shareDistribution: as many as there can be active shares."""


@operation("batch", "CreateSchedulingPolicy")
async def create_scheduling_policy(context: Context, params: Params) -> Result:
    """A policy that queues can be created with, or changed to, at once."""
    name = params["name"]
    check_name("Scheduling policy", name)
    check_tags(params.get("tags", {}))
    _check_kind(params)
    row = PolicyRow(
        name=name,
        arn=batch_arn(context.settings, f"scheduling-policy/{name}"),
        revision=context.ids.new(),
        document=_fairshare(params.get("fairsharePolicy", {})),
        tags=params.get("tags", {}),
    )

    def write(connection: Connection) -> None:
        if policies.find(connection, name) is not None:
            raise errors.client_exception(f"Scheduling policy {name} already exists")
        policies.insert_row(connection, row)

    await context.database.write(write)
    context.wake()
    return {"name": name, "arn": row.arn}


@operation("batch", "DescribeSchedulingPolicies")
async def describe_scheduling_policies(context: Context, params: Params) -> Result:
    """The policies asked for by ARN, those that exist, in the order asked for."""
    check_described("arns", params["arns"])
    names = list(dict.fromkeys(name_from("scheduling-policy", each) for each in params["arns"]))
    found = await context.database.read(lambda connection: policies.find_many(connection, names))
    return {"schedulingPolicies": [describe(found[name]) for name in names if name in found]}


def describe(row: PolicyRow) -> dict[str, Any]:
    """SchedulingPolicyDetail."""
    return {"name": row.name, "arn": row.arn, "fairsharePolicy": row.document, "tags": row.tags}


@operation("batch", "ListSchedulingPolicies")
async def list_scheduling_policies(context: Context, params: Params) -> Result:
    """The ARNs of all policies, by name."""
    limit = paging.page_size(params)
    scope = "ListSchedulingPolicies"
    after = paging.decode(params["nextToken"], scope)[0] if params.get("nextToken") else ""
    rows = await context.database.read(lambda connection: policies.page(connection, after, limit + 1))
    answer: Result = {"schedulingPolicies": [{"arn": row.arn} for row in rows[:limit]]}
    if len(rows) > limit:
        answer["nextToken"] = paging.encode([rows[limit - 1].name], scope)
    return answer


@operation("batch", "UpdateSchedulingPolicy")
async def update_scheduling_policy(context: Context, params: Params) -> Result:
    """A fairsharePolicy that is given replaces the whole of the old one; the policy's queues go by it at once."""
    _check_kind(params)
    document = _fairshare(params["fairsharePolicy"]) if "fairsharePolicy" in params else None

    def write(connection: Connection) -> None:
        row = _find(connection, context.settings, params["arn"])
        if document is not None:
            policies.replace_row(connection, structs.replace(row, revision=context.ids.new(), document=document))

    await context.database.write(write)
    context.wake()
    return {}


@operation("batch", "DeleteSchedulingPolicy")
async def delete_scheduling_policy(context: Context, params: Params) -> Result:
    """Refused while a queue has the policy, be it one that is being deleted."""

    def write(connection: Connection) -> None:
        row = _find(connection, context.settings, params["arn"])
        if queues.using_policy(connection, row.name):
            raise errors.client_exception("Cannot delete, found existing JobQueue relationship")
        policies.remove(connection, row.name)

    await context.database.write(write)
    return {}


def _find(connection: Connection, settings: Settings, reference: str) -> PolicyRow:
    name = name_from("scheduling-policy", reference)
    row = policies.find(connection, name)
    if row is None:
        raise does_not_exist(batch_arn(settings, f"scheduling-policy/{name}"))
    return row


def _check_kind(params: Params) -> None:
    if "fairsharePolicy" in params and "quotaSharePolicy" in params:
        raise errors.executing_request("Only one of fairsharePolicy and quotaSharePolicy can be given")
    refuse_not_built(params, NOT_BUILT)


def _fairshare(given: dict[str, Any]) -> dict[str, Any]:
    """A fairsharePolicy, checked, as it is described: what isn't given is 0 or empty."""
    decay_seconds = given.get("shareDecaySeconds", 0)
    if not 0 <= decay_seconds <= MAX_DECAY_SECONDS:
        raise errors.executing_request(f"shareDecaySeconds must be between 0 and {MAX_DECAY_SECONDS}")
    reservation = given.get("computeReservation", 0)
    if not 0 <= reservation <= MAX_RESERVATION:
        raise errors.executing_request(f"computeReservation must be between 0 and {MAX_RESERVATION}")
    distribution = given.get("shareDistribution", [])
    if len(distribution) > MAX_ENTRIES:
        raise errors.executing_request(f"shareDistribution can have at most {MAX_ENTRIES} entries")
    for entry in distribution:
        _check_entry(entry)
    _check_overlaps([entry["shareIdentifier"] for entry in distribution])
    return {
        "shareDecaySeconds": decay_seconds,
        "computeReservation": reservation,
        "shareDistribution": distribution,
    }


def _check_entry(entry: dict[str, Any]) -> None:
    if not is_share_pattern(entry["shareIdentifier"]):
        raise errors.executing_request(
            "shareIdentifier should have up to 255 letters and digits, and may end with an asterisk"
        )
    weight = entry.get("weightFactor", MAX_WEIGHT)
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise errors.executing_request(f"weightFactor must be between {MIN_WEIGHT} and {MAX_WEIGHT}")


def _check_overlaps(patterns: list[str]) -> None:
    """No share may be covered by two entries. Sorted, a prefix stands right before something that it covers."""
    ordered = sorted(patterns, key=lambda pattern: (pattern.rstrip("*"), not pattern.endswith("*")))
    for one, next_one in itertools.pairwise(ordered):
        if one == next_one or covers(one, next_one.rstrip("*")):
            raise errors.executing_request(f"shareDistribution has overlapping entries: {one} and {next_one}")
