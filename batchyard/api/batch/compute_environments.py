"""CreateComputeEnvironment, DescribeComputeEnvironments, UpdateComputeEnvironment, DeleteComputeEnvironment.

A compute environment on a local engine is an amount of vCPUs of this host: `maxvCpus`, `type` and `state` have an
effect. Everything else that AWS would use to launch EC2 instances or Fargate tasks is checked by the service's rules,
recorded and described, and has no other effect, because nothing is launched: allocationStrategy, bidPercentage,
desiredvCpus, ec2Configuration, ec2KeyPair, imageId, instanceRole, instanceTypes, launchTemplate, minvCpus,
placementGroup, scalingPolicy, securityGroupIds, spotIamFleetRole, subnets and tags of computeResources; and context,
ecsSettings, serviceRole, unmanagedvCpus and updatePolicy beside them.
"""

from __future__ import annotations

from typing import Any

from msgspec import structs
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch import compute_resources
from batchyard.api.batch.checks import (
    check_described,
    check_limit,
    check_name,
    check_tags,
    does_not_exist,
    refuse_not_built,
)
from batchyard.api.context import Context, Params, Result, operation
from batchyard.settings import Settings
from batchyard.store import environments, queues
from batchyard.store.environments import EnvironmentRow
from batchyard.wire import errors

RECORDED = ("unmanagedvCpus", "context", "ecsSettings", "updatePolicy")
"""Members of the request that are kept in the row's document as they come."""


@operation("batch", "CreateComputeEnvironment")
async def create_compute_environment(context: Context, params: Params) -> Result:
    """Answered at once, with the environment CREATING; it is VALID when the scheduler has taken it in."""
    name = params["computeEnvironmentName"]
    check_name("Compute environment", name)
    check_tags(params.get("tags", {}))
    refuse_not_built(params, ["eksConfiguration"])
    row = EnvironmentRow(
        name=name,
        arn=batch_arn(context.settings, f"compute-environment/{name}"),
        type=params["type"],
        state=params.get("state", "ENABLED"),
        status="CREATING",
        status_reason=None,
        created_at_ms=context.clock.now_ms(),
        document=_new_document(context, params),
        tags=params.get("tags", {}),
    )

    def write(connection: Connection) -> None:
        if environments.find(connection, name) is not None:
            raise errors.client_exception(f"Compute environment {name} already exists")
        check_limit("compute environments", environments.count(connection), context.settings.max_compute_environments)
        environments.insert_row(connection, row)

    await context.database.write(write)
    context.wake()
    return {"computeEnvironmentName": name, "computeEnvironmentArn": row.arn}


def _new_document(context: Context, params: Params) -> dict[str, Any]:
    resources = params.get("computeResources")
    if params["type"] == "UNMANAGED":
        if "serviceRole" not in params:
            raise errors.executing_request("ServiceRole is required.")
        if resources is not None:
            raise errors.executing_request("computeResources is not applicable for UNMANAGED compute environments.")
    else:
        if resources is None:
            raise errors.executing_request("computeResources is required for MANAGED compute environments.")
        _refuse_unmanaged_vcpus(params)
    identifier = context.ids.new()
    name = params["computeEnvironmentName"]
    settings = context.settings
    document = {
        "serviceRole": params.get("serviceRole") or _linked_role(settings),
        "uuid": identifier,
        "ecsClusterArn": f"{_cluster_prefix(settings)}{name}_Batch_{identifier}",
        **{member: params[member] for member in RECORDED if member in params},
    }
    if resources is not None:
        document["computeResources"] = compute_resources.new(resources)
    return document


def _refuse_unmanaged_vcpus(params: Params) -> None:
    if "unmanagedvCpus" in params:
        raise errors.executing_request("unmanagedvCpus is only applicable for UNMANAGED compute environments.")


def _linked_role(settings: Settings) -> str:
    """The service-linked role: what an environment without a role of its own is shown to have."""
    return (
        f"arn:{settings.partition}:iam::{settings.account_id}:role/"
        "aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"
    )


@operation("batch", "DescribeComputeEnvironments")
async def describe_compute_environments(context: Context, params: Params) -> Result:
    """The environments asked for, by name or ARN, those that exist; or all, by name."""
    limit = paging.page_size(params)
    wanted = params.get("computeEnvironments")
    if wanted:
        check_described("computeEnvironments", wanted)
        names = list(dict.fromkeys(name_from("compute-environment", each) for each in wanted))
        found = await context.database.read(lambda connection: environments.find_many(connection, names))
        return {"computeEnvironments": [describe(found[name]) for name in names if name in found]}
    scope = "DescribeComputeEnvironments"
    after = paging.decode(params["nextToken"], scope)[0] if params.get("nextToken") else ""
    rows = await context.database.read(lambda connection: environments.page(connection, after, limit + 1))
    answer: Result = {"computeEnvironments": [describe(row) for row in rows[:limit]]}
    if len(rows) > limit:
        answer["nextToken"] = paging.encode([rows[limit - 1].name], scope)
    return answer


def describe(row: EnvironmentRow) -> dict[str, Any]:
    """ComputeEnvironmentDetail."""
    detail = {
        "computeEnvironmentName": row.name,
        "computeEnvironmentArn": row.arn,
        "type": row.type,
        "state": row.state,
        "status": row.status,
        "tags": row.tags,
        "containerOrchestrationType": "ECS",
        **row.document,
    }
    if "computeResources" in row.document:
        detail["computeResources"] = compute_resources.described(row.document["computeResources"])
    if row.status_reason is not None:
        detail["statusReason"] = row.status_reason
    return detail


def cluster_arns(connection: Connection, settings: Settings) -> Clusters:
    """The ARN of the ECS cluster that each environment is shown to have, by the environment's name.

    Jobs outlive their environment; one that was deleted is shown with a cluster of its own name.
    """
    found = Clusters(settings)
    found.update((row.name, row.document["ecsClusterArn"]) for row in environments.all_rows(connection))
    return found


class Clusters(dict[str, str]):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, name: str) -> str:
        return f"{_cluster_prefix(self._settings)}{name}"


def _cluster_prefix(settings: Settings) -> str:
    return f"arn:{settings.partition}:ecs:{settings.region}:{settings.account_id}:cluster/"


@operation("batch", "UpdateComputeEnvironment")
async def update_compute_environment(context: Context, params: Params) -> Result:
    """Answered at once, with the environment UPDATING; it is VALID again when the scheduler has taken it in."""
    refuse_not_built(params, ["eksConfiguration"])

    def write(connection: Connection) -> EnvironmentRow:
        row = _find(connection, context.settings, params["computeEnvironment"])
        if row.status in environments.UNSETTLED:
            raise errors.client_exception("Cannot update, resource is being modified")
        changed = structs.replace(
            row,
            state=params.get("state", row.state),
            status="UPDATING",
            document=_updated_document(row, params),
        )
        environments.replace_row(connection, changed)
        return changed

    row = await context.database.write(write)
    context.wake()
    return {"computeEnvironmentName": row.name, "computeEnvironmentArn": row.arn}


def _updated_document(row: EnvironmentRow, params: Params) -> dict[str, Any]:
    if row.type == "UNMANAGED" and "computeResources" in params:
        raise errors.executing_request("computeResources is not applicable for UNMANAGED compute environments.")
    if row.type == "MANAGED":
        _refuse_unmanaged_vcpus(params)
    document = {**row.document, **{member: params[member] for member in RECORDED if member in params}}
    if params.get("serviceRole"):
        document["serviceRole"] = _updated_role(row.document["serviceRole"], params["serviceRole"])
    if "computeResources" in params:
        current = row.document["computeResources"]
        document["computeResources"], replaced = compute_resources.updated(current, params["computeResources"])
        if replaced:
            _check_replacement(document["serviceRole"], current, replaced)
    return document


def _updated_role(current: str, wanted: str) -> str:
    """One's own role can be changed for another, not for the service-linked role or back (service model)."""
    if _is_linked(current) != _is_linked(wanted):
        raise errors.executing_request(
            "serviceRole cannot be changed between a service-linked role and a regular role."
        )
    return wanted


def _is_linked(role: str) -> bool:
    return "role/aws-service-role/batch.amazonaws.com/" in role or role == "AWSServiceRoleForBatch"


def _check_replacement(role: str, current: dict[str, Any], replaced: list[str]) -> None:
    """What replaces instances needs the service-linked role and a strategy other than BEST_FIT (facts §4)."""
    members = ", ".join(replaced)
    if current["type"] in compute_resources.FARGATE_TYPES:
        return
    if not _is_linked(role):
        raise errors.executing_request(
            f"Updating {members} requires an infrastructure update, which requires the service-linked role."
        )
    if current.get("allocationStrategy", "BEST_FIT") == "BEST_FIT":
        raise errors.executing_request(
            f"Updating {members} requires an infrastructure update, which BEST_FIT allocation does not support."
        )


@operation("batch", "DeleteComputeEnvironment")
async def delete_compute_environment(context: Context, params: Params) -> Result:
    """Only a DISABLED environment that no queue uses; it is gone when its last running job has ended."""

    def write(connection: Connection) -> None:
        row = _find(connection, context.settings, params["computeEnvironment"])
        if row.status in environments.UNSETTLED:
            raise errors.client_exception("Cannot delete, resource is being modified")
        if row.state != "DISABLED":
            raise errors.client_exception("Cannot delete, compute environment must be disabled")
        if queues.using_environment(connection, row.name):
            raise errors.client_exception("Cannot delete, found existing JobQueue relationship")
        environments.replace_row(connection, structs.replace(row, status="DELETING"))

    await context.database.write(write)
    context.wake()
    return {}


def _find(connection: Connection, settings: Settings, reference: str) -> EnvironmentRow:
    name = name_from("compute-environment", reference)
    row = environments.find(connection, name)
    if row is None:
        raise does_not_exist(batch_arn(settings, f"compute-environment/{name}"))
    return row
