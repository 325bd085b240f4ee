"""CreateJobQueue, DescribeJobQueues, UpdateJobQueue, DeleteJobQueue (facts §5)."""

from __future__ import annotations

from typing import Any

from msgspec import structs
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch.checks import (
    check_described,
    check_limit,
    check_name,
    check_tags,
    does_not_exist,
    refuse_not_built,
)
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core import reasons
from batchyard.core.snapshot import Snapshot
from batchyard.settings import Settings
from batchyard.store import environments, policies, queues
from batchyard.store.environments import EnvironmentRow
from batchyard.store.queues import QueueEnvironment, QueueRow
from batchyard.wire import errors

NOT_BUILT = ("serviceEnvironmentOrder",)
TIME_LIMITS = "jobStateTimeLimitActions"
MAX_STATE_TIME_LIMIT_SECONDS = 86_400
ACTIONABLE_REASONS = (
    reasons.NO_CAPACITY,
    reasons.ENVIRONMENT_TOO_SMALL,
    reasons.JOB_TOO_LARGE,
    "MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS",
    "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED",
)
"""What jobStateTimeLimitActions can be about. Local engines have no roles and no EC2 instances to configure wrongly."""
MAX_SHARES_SHOWN = 20
TYPES_BUILT = ("ECS", "ECS_FARGATE")


@operation("batch", "CreateJobQueue")
async def create_job_queue(context: Context, params: Params) -> Result:
    """Answered at once, with the queue CREATING; it is VALID when the scheduler has taken it in."""
    name = params["jobQueueName"]
    check_name("Job queue", name)
    check_tags(params.get("tags", {}))
    refuse_not_built(params, NOT_BUILT)
    time_limits = _time_limits(context.settings, params)
    given_type = params.get("jobQueueType")
    if given_type is not None and given_type not in TYPES_BUILT:
        raise errors.not_built(f"jobQueueType {given_type}")
    arn = batch_arn(context.settings, f"job-queue/{name}")
    now_ms = context.clock.now_ms()

    def write(connection: Connection) -> None:
        if queues.find(connection, name) is not None:
            raise errors.client_exception(f"Job queue {name} already exists")
        check_limit("job queues", queues.count(connection), context.settings.max_job_queues)
        order, queue_type = _order(connection, context.settings, params.get("computeEnvironmentOrder", []))
        if given_type not in (None, queue_type):
            raise errors.executing_request(
                f"jobQueueType {given_type} does not match the compute environments, which make it {queue_type}"
            )
        row = QueueRow(
            name=name,
            arn=arn,
            state=params.get("state", "ENABLED"),
            status="CREATING",
            status_reason=None,
            priority=params["priority"],
            created_at_ms=now_ms,
            environments=order,
            document={"jobQueueType": queue_type, **time_limits},
            tags=params.get("tags", {}),
            policy=_policy(connection, params["schedulingPolicyArn"]) if params.get("schedulingPolicyArn") else None,
        )
        queues.insert_row(connection, row)

    await context.database.write(write)
    context.wake()
    return {"jobQueueName": name, "jobQueueArn": arn}


@operation("batch", "DescribeJobQueues")
async def describe_job_queues(context: Context, params: Params) -> Result:
    """The queues asked for, by name or ARN, those that exist; or all, by name."""
    limit = paging.page_size(params)
    wanted = params.get("jobQueues")
    if wanted:
        check_described("jobQueues", wanted)
        names = list(dict.fromkeys(name_from("job-queue", each) for each in wanted))
        found = await context.database.read(lambda connection: queues.find_many(connection, names))
        return {"jobQueues": [describe(context.settings, found[name]) for name in names if name in found]}
    scope = "DescribeJobQueues"
    after = paging.decode(params["nextToken"], scope)[0] if params.get("nextToken") else ""
    rows = await context.database.read(lambda connection: queues.page(connection, after, limit + 1))
    answer: Result = {"jobQueues": [describe(context.settings, row) for row in rows[:limit]]}
    if len(rows) > limit:
        answer["nextToken"] = paging.encode([rows[limit - 1].name], scope)
    return answer


def describe(settings: Settings, row: QueueRow) -> dict[str, Any]:
    """JobQueueDetail; the environments are given as ARNs, however they were named."""
    detail = {
        "jobQueueName": row.name,
        "jobQueueArn": row.arn,
        "state": row.state,
        "status": row.status,
        "priority": row.priority,
        "computeEnvironmentOrder": [
            {
                "order": entry.order,
                "computeEnvironment": batch_arn(settings, f"compute-environment/{entry.environment}"),
            }
            for entry in row.environments
        ],
        "tags": row.tags,
        **row.document,
    }
    if row.policy is not None:
        detail["schedulingPolicyArn"] = batch_arn(settings, f"scheduling-policy/{row.policy}")
    if row.status_reason is not None:
        detail["statusReason"] = row.status_reason
    return detail


@operation("batch", "UpdateJobQueue")
async def update_job_queue(context: Context, params: Params) -> Result:
    """Answered at once, with the queue UPDATING; it is VALID again when the scheduler has taken it in."""
    refuse_not_built(params, NOT_BUILT)
    time_limits = _time_limits(context.settings, params)

    def write(connection: Connection) -> QueueRow:
        row = _find(connection, context.settings, params["jobQueue"])
        if row.status in queues.UNSETTLED:
            raise errors.client_exception("Cannot update, resource is being modified")
        order = row.environments
        if "computeEnvironmentOrder" in params:
            order, queue_type = _order(connection, context.settings, params["computeEnvironmentOrder"])
            if queue_type != row.type:
                raise errors.executing_request(
                    f"A job queue of type {row.type} cannot be given compute environments for {queue_type}"
                )
        changed = structs.replace(
            row,
            state=params.get("state", row.state),
            status="UPDATING",
            priority=params.get("priority", row.priority),
            environments=order,
            document={"jobQueueType": row.type, **time_limits} if TIME_LIMITS in params else row.document,
            policy=_changed_policy(connection, row, params),
        )
        queues.replace_row(connection, changed)
        return changed

    row = await context.database.write(write)
    context.wake()
    return {"jobQueueName": row.name, "jobQueueArn": row.arn}


@operation("batch", "DeleteJobQueue")
async def delete_job_queue(context: Context, params: Params) -> Result:
    """Only a DISABLED queue; its jobs are ended, and it is gone when the last has."""

    def write(connection: Connection) -> None:
        row = _find(connection, context.settings, params["jobQueue"])
        if row.status in queues.UNSETTLED:
            raise errors.client_exception("Cannot delete, resource is being modified")
        if row.state != "DISABLED":
            raise errors.client_exception("Cannot delete, job queue must be disabled")
        queues.replace_row(connection, structs.replace(row, status="DELETING"))

    await context.database.write(write)
    context.wake()
    return {}


@operation("batch", "GetJobQueueSnapshot")
async def get_job_queue_snapshot(context: Context, params: Params) -> Result:
    """The first 100 RUNNABLE jobs in the order in which they would be placed, and what the queue's jobs occupy."""
    row = await context.database.read(lambda connection: _find(connection, context.settings, params["jobQueue"]))
    found = context.scheduler.snapshot(row.name) if context.scheduler is not None else None
    if found is None:  # of a queue that was created just now
        found = Snapshot((), 0)
    now_ms = context.clock.now_ms()
    return {
        "frontOfQueue": {
            "jobs": [
                {
                    "jobArn": batch_arn(context.settings, f"job/{place.unit_id}"),
                    "earliestTimeAtPosition": place.since_ms,
                }
                for place in found.front
            ],
            "lastUpdatedAt": now_ms,
        },
        "queueUtilization": {
            "totalCapacityUsage": [{"capacityUnit": "VCPU", "quantity": found.used_vcpu_milli / 1000}],
            "lastUpdatedAt": now_ms,
            **_share_utilization(found),
        },
    }


def _share_utilization(found: Snapshot) -> Result:
    """fairshareUtilization: how many shares are active, and what the 20 that use most have now."""
    if found.shares is None:
        return {}
    top = [
        {
            "shareIdentifier": share.share_identifier,
            "capacityUsage": [{"capacityUnit": "VCPU", "quantity": share.vcpu_milli / 1000}],
        }
        for share in found.shares[:MAX_SHARES_SHOWN]
    ]
    return {"fairshareUtilization": {"activeShareCount": len(found.shares), "topCapacityUtilization": top}}


def _time_limits(settings: Settings, params: Params) -> dict[str, Any]:
    """What a queue's document holds of its jobStateTimeLimitActions, checked; an empty list takes them away."""
    actions = params.get(TIME_LIMITS, [])
    least, most = settings.minimum_state_time_limit_seconds, MAX_STATE_TIME_LIMIT_SECONDS
    for entry in actions:
        if entry["action"] != "CANCEL":
            raise errors.executing_request("The only action supported in jobStateTimeLimitActions is CANCEL")
        if not least <= entry["maxTimeSeconds"] <= most:
            raise errors.executing_request(f"maxTimeSeconds must be between {least} and {most}")
        if entry["reason"] not in ACTIONABLE_REASONS:
            allowed = ", ".join(ACTIONABLE_REASONS)
            raise errors.executing_request(f"reason {entry['reason']} in jobStateTimeLimitActions is none of {allowed}")
    named = [entry["reason"] for entry in actions]
    if len(set(named)) < len(named):
        raise errors.executing_request("jobStateTimeLimitActions names a reason more than once")
    return {TIME_LIMITS: actions} if actions else {}


def _order(
    connection: Connection, settings: Settings, given: list[dict[str, Any]]
) -> tuple[tuple[QueueEnvironment, ...], str]:
    """computeEnvironmentOrder, sorted, and the type of queue that it makes.

    Up to three environments (a setting), which exist, are VALID, and are either all EC2 and SPOT or all Fargate. All of
    them run on this server's machines, so that they share one architecture.
    """
    if not given:
        raise errors.client_exception("At least 1 compute environment must be provided")
    most = settings.max_queue_environments
    if most and len(given) > most:
        raise errors.executing_request(f"computeEnvironmentOrder can have at most {most} entries")
    entries = [
        QueueEnvironment(entry["order"], name_from("compute-environment", entry["computeEnvironment"]))
        for entry in given
    ]
    if len({entry.environment for entry in entries}) < len(entries):
        raise errors.executing_request("computeEnvironmentOrder names a compute environment more than once")
    found = environments.find_many(connection, [entry.environment for entry in entries])
    for entry in entries:
        _check_environment(settings, entry.environment, found.get(entry.environment))
    types = {"ECS_FARGATE" if row.is_fargate else "ECS" for row in found.values()}
    if len(types) > 1:
        raise errors.executing_request("EC2 and Fargate compute environments cannot be mixed in a job queue")
    return tuple(sorted(entries, key=lambda entry: entry.order)), types.pop()


def _check_environment(settings: Settings, name: str, row: EnvironmentRow | None) -> None:
    if row is None:
        raise does_not_exist(batch_arn(settings, f"compute-environment/{name}"))
    if row.status != "VALID":
        raise errors.client_exception(
            f"Compute Environment {row.arn} is not valid. It must be valid before attaching it to the job queue"
        )


def _policy(connection: Connection, reference: str) -> str:
    """The name of a scheduling policy that exists."""
    name = name_from("scheduling-policy", reference)
    if policies.find(connection, name) is None:
        raise errors.client_exception(f"Scheduling policy {reference} does not exist")
    return name


def _changed_policy(connection: Connection, row: QueueRow, params: Params) -> str | None:
    """A queue's policy can be replaced and not removed; one that was created without stays without (facts §5)."""
    reference = params.get("schedulingPolicyArn")
    if reference is None or (reference == "" and row.policy is None):
        return row.policy
    if row.policy is None:
        raise errors.executing_request(
            f"Job queue {row.name} was created without a scheduling policy, and cannot be given one"
        )
    if not reference:
        raise errors.executing_request(f"The scheduling policy of job queue {row.name} cannot be removed")
    return _policy(connection, reference)


def _find(connection: Connection, settings: Settings, reference: str) -> QueueRow:
    name = name_from("job-queue", reference)
    row = queues.find(connection, name)
    if row is None:
        raise does_not_exist(batch_arn(settings, f"job-queue/{name}"))
    return row
