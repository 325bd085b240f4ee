"""SubmitJob (user guide, "Submitting a Job"): check all that can be checked now, store the job in SUBMITTED, answer.

What a job will run is settled here once: the definition's properties, the overrides, the parameters. Later changes
to the definition do not touch it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import Connection

from batchyard import crashpoints
from batchyard.api.arns import batch_arn, job_id_from, name_from
from batchyard.api.batch import tags
from batchyard.api.batch.checks import MAX_TAGS, check_limit, check_tags
from batchyard.api.batch.consumable_needs import check_known, check_needs, needs_of, properties_of
from batchyard.api.batch.job_definitions import (
    check_retry_strategy,
    check_timeout,
    described_retry_strategy,
    parse_definition_reference,
    runs_on_eks,
)
from batchyard.api.batch.job_shares import JobShare, share_of
from batchyard.api.batch.job_work import Work, work_of
from batchyard.api.context import Context, Params, Result, operation
from batchyard.core.job import split_unit_id
from batchyard.core.model import Dependency, DependencyType, JobTerms, RetryRule
from batchyard.exceptions import ApiError
from batchyard.settings import Settings
from batchyard.store import consumables, definitions, jobs, queues
from batchyard.store.definitions import DefinitionRow
from batchyard.store.documents import Document, decode_document
from batchyard.store.queues import QueueRow
from batchyard.wire import errors

MIN_ARRAY_SIZE = 2
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@operation("batch", "SubmitJob")
async def submit_job(context: Context, params: Params) -> Result:
    """Store a new job. The answer comes once it is durable; DescribeJobs sees it from then on."""
    _check_request(context.settings, params)
    job_id = context.ids.new()
    now_ms = context.clock.now_ms()

    def accept(connection: Connection) -> None:
        most = context.settings.max_submitted_jobs
        if most:
            check_limit("jobs in SUBMITTED state", jobs.submitted_count(connection), most)
        queue = _queue(connection, params["jobQueue"])
        definition = _definition(connection, params["jobDefinition"])
        document = decode_document(definition.document)
        _check_platform(queue, document)
        depends_on = _dependencies(connection, params)
        share = share_of(connection, queue, params, document, now_ms, context.settings.max_active_shares)
        work = work_of(definition, document, params)
        if work.containers > 1 and not context.engine.runs_containers:
            raise errors.not_built(f"Running a task of several containers with the {context.engine.name} engine")
        row = _row(context, job_id, now_ms, params, queue, definition, document, depends_on, share, work)
        check_known(connection, context.settings, work.consumables)
        jobs.insert_submitted(connection, row)
        consumables.add_job(connection, job_id, work.consumables)

    await context.database.write(accept)
    if crashpoints.ARMED:
        crashpoints.reach("submit.after_commit")
    context.wake()
    return {"jobArn": batch_arn(context.settings, f"job/{job_id}"), "jobName": params["jobName"], "jobId": job_id}


def _check_request(settings: Settings, params: Params) -> None:
    """What can be refused without looking at anything stored."""
    if not JOB_NAME.fullmatch(params["jobName"]):
        raise errors.executing_request("Job name should match valid pattern")
    size = _array_size(params)
    most = settings.max_array_size
    if size is not None and not MIN_ARRAY_SIZE <= size <= most:
        raise errors.executing_request(f"Array size must be between {MIN_ARRAY_SIZE} and {most}")
    if settings.max_dependencies and len(params.get("dependsOn", ())) > settings.max_dependencies:
        raise errors.executing_request(f"A job can depend on at most {settings.max_dependencies} jobs")
    if settings.max_submit_job_bytes and len(msgspec.json.encode(params)) > settings.max_submit_job_bytes:
        kib = settings.max_submit_job_bytes / 1024
        raise errors.executing_request(f"Limits Error: SubmitJob payload size is above the limits {kib:g} KB")
    # Luigi sends both with every job, empty when there is nothing to say; then the definition's count.
    check_retry_strategy(params.get("retryStrategy") or None)
    check_timeout(settings, params.get("timeout") or None)
    check_tags(params.get("tags", {}))
    check_needs(params.get("consumableResourcePropertiesOverride"))


def _array_size(params: Params) -> int | None:
    size: int | None = params.get("arrayProperties", {}).get("size")
    return size


def _queue(connection: Connection, reference: str) -> QueueRow:
    queue = queues.find(connection, name_from("job-queue", reference))
    if queue is None or queue.status == "DELETING":
        raise errors.client_exception(f"Job queue job-queue/{name_from('job-queue', reference)} does not exist")
    if queue.state != "ENABLED":
        raise errors.executing_request(f"JobQueue {queue.arn} is DISABLED and takes no new jobs")
    return queue


def _definition(connection: Connection, reference: str) -> DefinitionRow:
    name, revision = parse_definition_reference(reference)
    definition = definitions.find_for_submission(connection, name, revision)
    if definition is None:
        raise errors.client_exception(f"Job definition {reference} does not exist")
    if definition.status != "ACTIVE":
        raise errors.executing_request(f"JobDefinition {definition.arn} is INACTIVE")
    return definition


def _check_platform(queue: QueueRow, document: Document) -> None:
    if runs_on_eks(document):
        raise _cannot_run("EKS")
    capabilities = document.get("platformCapabilities", ["EC2"])
    capability = "FARGATE" if queue.type == "ECS_FARGATE" else "EC2"
    if capabilities and capability not in capabilities:
        raise _cannot_run(", ".join(capabilities))


def _cannot_run(capability: str) -> ApiError:
    return errors.client_exception(
        f"Job Queue is attached to Compute Environment that can not run Jobs with capability {capability}."
    )


def _dependencies(connection: Connection, params: Params) -> tuple[Dependency, ...]:
    """dependsOn, checked: what it names exists, and its types make sense for this job.

    A job that is no array may send a type together with a job id: it waits like any other dependency.
    """
    size = _array_size(params)
    found = []
    for entry in params.get("dependsOn", ()):
        kind = DependencyType(entry.get("type", DependencyType.PLAIN))
        job_id = job_id_from(entry.get("jobId", ""))
        if not job_id and kind is not DependencyType.SEQUENTIAL:
            raise errors.executing_request("A dependency needs a jobId, unless its type is SEQUENTIAL")
        if not job_id and size is None:
            raise errors.executing_request("A SEQUENTIAL dependency without a jobId is only valid for array jobs")
        if size is None or (job_id and kind is DependencyType.SEQUENTIAL):
            kind = DependencyType.PLAIN
        if job_id:
            _check_dependency(connection, job_id, kind, size)
        found.append(Dependency(job_id, kind))
    return tuple(found)


def _check_dependency(connection: Connection, job_id: str, kind: DependencyType, size: int | None) -> None:
    unit = split_unit_id(job_id)
    status = jobs.statuses(connection, [unit]).get(unit)
    if status is None:
        raise errors.executing_request(f"Job {job_id} given in dependsOn does not exist")
    if kind is DependencyType.N_TO_N and status.array_size != size:
        raise errors.executing_request(
            f"An N_TO_N dependency needs an array job of the same size: {job_id} has size {status.array_size or 1}"
        )


def _row(
    context: Context,
    job_id: str,
    now_ms: int,
    params: Params,
    queue: QueueRow,
    definition: DefinitionRow,
    document: Document,
    depends_on: tuple[Dependency, ...],
    share: JobShare,
    work: Work,
) -> jobs.JobRow:
    retry = described_retry_strategy(params.get("retryStrategy") or document.get("retryStrategy") or {})
    timeout = params.get("timeout") or document.get("timeout")
    terms = JobTerms(
        queue=queue.name,
        resources=work.resources,
        max_attempts=retry.get("attempts", 1),
        retry_rules=tuple(_rule(rule) for rule in retry.get("evaluateOnExit", ())),
        timeout_seconds=timeout["attemptDurationSeconds"] if timeout else None,
        depends_on=depends_on,
        array_size=_array_size(params),
        nodes=work.nodes,
        stop_grace_seconds=work.stop_grace_seconds,
        containers=work.containers if work.nodes is None else 1,
        consumables=work.consumables,
        fault=_fault(context.settings, work, params, definition, document),
        share_identifier=share.identifier,
        scheduling_priority=share.priority or 0,
    )
    detail: dict[str, Any] = {
        "jobQueue": queue.arn,
        "jobDefinition": definition.arn,
        "dependsOn": params.get("dependsOn", []),
        "parameters": work.parameters,
        **work.detail,
        "retryStrategy": {"attempts": 1, "evaluateOnExit": [], **retry},
        "platformCapabilities": document.get("platformCapabilities", ["EC2"]),
        **share.described(),
        "propagateTags": _propagates_tags(params, document),
    }
    if timeout:
        detail["timeout"] = timeout
    if needs_of(document, params):
        detail["consumableResourceProperties"] = properties_of(document, params)
    return jobs.JobRow(
        job_id=job_id,
        name=params["jobName"],
        queue=queue.name,
        definition=f"{definition.name}:{definition.revision}",
        created_at_ms=now_ms,
        array_size=terms.array_size,
        log_group=work.log_group,
        log_prefix=work.log_prefix,
        log_pattern=work.log_pattern,
        share_identifier=share.identifier,
        terms=msgspec.json.encode(terms),
        detail=msgspec.json.encode(detail),
        tags=msgspec.json.encode(tags.of_job(definition.tags, params.get("tags", {}))),
        num_nodes=work.nodes.num_nodes if work.nodes else None,
        log_places=msgspec.json.encode(work.log_places) if work.log_places else None,
    )


def _propagates_tags(params: Params, document: Document) -> bool:
    return bool(params.get("propagateTags", document.get("propagateTags", False)))


def _fault(settings: Settings, work: Work, params: Params, definition: DefinitionRow, document: Document) -> str | None:
    """What the service finds out after it took the job in; the job then fails with this statusReason (facts §3, §7)."""
    if settings.max_overrides_length and work.overrides_length > settings.max_overrides_length:
        return f"Container Overrides length must be at most {settings.max_overrides_length}"
    together = definition.tags.keys() | params.get("tags", {}).keys()
    if _propagates_tags(params, document) and len(together) > MAX_TAGS:
        return f"The combined number of tags of the job and its job definition must be at most {MAX_TAGS}"
    return None


def _rule(rule: dict[str, str]) -> RetryRule:
    return RetryRule(rule["action"], rule.get("onStatusReason"), rule.get("onReason"), rule.get("onExitCode"))
