"""A stored job as clients see it: JobDetail for DescribeJobs, JobSummary for ListJobs (facts §9).

Members without a value are left out, never null: clients test `"x" in job`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from batchyard.api.arns import batch_arn
from batchyard.api.batch import node_properties
from batchyard.core.job import Stop, StopCause
from batchyard.core.model import Attempt, ContainerEnd, JobTerms
from batchyard.core.outcome import UnitRecord
from batchyard.core.states import RUNNABLE, JobStatus
from batchyard.settings import Settings
from batchyard.store.jobs import StoredJob

Clusters = dict[str, str]
"""Compute environment name -> the ARN of the ECS cluster that stands behind it."""

_terms = msgspec.json.Decoder(JobTerms)
SUMMARY_STATES = ("STARTING", "FAILED", "RUNNING", "SUCCEEDED", "RUNNABLE", "SUBMITTED", "PENDING")


def describe(settings: Settings, clusters: Clusters, job: StoredJob, now_ms: int) -> dict[str, Any]:
    """A single job, an array parent, or a multi-node parent, which speaks for its main node."""
    described = _common(settings, clusters, job, None, job.record)
    described["tags"] = msgspec.json.decode(job.tags)
    if job.array_size is not None and job.counts is not None:
        described["arrayProperties"] = {
            "size": job.array_size,
            "statusSummary": {state: job.counts[JobStatus[state]] for state in SUMMARY_STATES},
            "statusSummaryLastUpdatedAt": job.record.stopped_at_ms or now_ms,
        }
    return described


def describe_child(
    settings: Settings, clusters: Clusters, parent: StoredJob, index: int, record: UnitRecord
) -> dict[str, Any]:
    """One child of an array, or one node. The parent's tags don't reach it."""
    described = _common(settings, clusters, parent, index, record)
    described["tags"] = {}
    if parent.num_nodes is None:
        described["arrayProperties"] = {"index": index}
    else:
        main_node = described.pop("nodeProperties")["mainNode"]
        described["nodeDetails"] = {"nodeIndex": index, "isMainNode": index == main_node}
    return described


def _common(
    settings: Settings, clusters: Clusters, job: StoredJob, index: int | None, record: UnitRecord
) -> dict[str, Any]:
    detail: dict[str, Any] = msgspec.json.decode(job.detail)
    work = _work(detail, index)
    unit_id = job.job_id if index is None else f"{job.job_id}{job.mark}{index}"
    logs = job.log_prefixes_of(detail["nodeProperties"]["mainNode"] if _is_gang(detail, index) else index)
    shown = [attempt for attempt in record.attempts if attempt.started_at_ms or attempt.stopped_at_ms]
    described = {
        "jobArn": batch_arn(settings, f"job/{unit_id}"),
        "jobName": job.name,
        "jobId": unit_id,
        "status": record.status.name,
        "createdAt": job.created_at_ms,
        "attempts": [_attempt(clusters, logs, attempt, work) for attempt in shown],
        **detail,
        "isCancelled": _is_stopped_by(record.stop, StopCause.CANCEL),
        "isTerminated": _is_stopped_by(record.stop, StopCause.TERMINATE),
    }
    if _is_gang(detail, index):
        _add_times(described, record)
        return described
    last = record.attempts[-1] if record.attempts and record.status > RUNNABLE else None
    if "ecsProperties" in work:
        described["ecsProperties"] = {"taskProperties": [_task(clusters, logs, last, work)]}
        described["container"] = {}
    else:
        described["container"] = {**work["container"], **(_container(clusters, logs[0], last) if last else {})}
    _add_times(described, record)
    return described


def _is_gang(detail: dict[str, Any], index: int | None) -> bool:
    """A multi-node parent, which speaks for its main node."""
    return "nodeProperties" in detail and index is None


def _work(detail: dict[str, Any], index: int | None) -> dict[str, Any]:
    """The `container` or `ecsProperties` that a unit runs: a node its range's, the multi-node parent the main node's.

    The parent shows neither itself: clients tell it by that.
    """
    properties = detail.get("nodeProperties")
    if properties is None:
        return detail
    node_range = node_properties.range_of(properties, properties["mainNode"] if index is None else index)
    types = node_range.get("instanceTypes")
    if "container" not in node_range or not types:
        return node_range
    return {"container": {**node_range["container"], "instanceType": types[0]}}


def _add_times(described: dict[str, Any], record: UnitRecord) -> None:
    if record.status_reason is not None:
        described["statusReason"] = record.status_reason
    if record.started_at_ms is not None:
        described["startedAt"] = record.started_at_ms
    if record.stopped_at_ms is not None:
        described["stoppedAt"] = record.stopped_at_ms


def _is_stopped_by(stop: Stop | None, cause: StopCause) -> bool:
    return stop is not None and stop.cause is cause


def _task(clusters: Clusters, logs: list[str], last: Attempt | None, work: dict[str, Any]) -> dict[str, Any]:
    """The task of a job with ecsProperties, with what became of its containers in the last attempt."""
    task = work["ecsProperties"]["taskProperties"][0]
    if last is None:
        return dict(task)
    ran = [{**_outcome(logs, last, place), **_own_interfaces(last)} for place in range(len(task["containers"]))]
    containers = [{**container, **outcome} for container, outcome in zip(task["containers"], ran, strict=True)]
    return {**task, **_place(clusters, last), "containers": containers}


def _container(clusters: Clusters, log_prefix: str, last: Attempt) -> dict[str, Any]:
    """What the last attempt adds to the job's container."""
    return {**_place(clusters, last), **_outcome([log_prefix], last, 0), **_own_interfaces(last)}


def _own_interfaces(attempt: Attempt) -> dict[str, Any]:
    return {} if attempt.address is None else {"networkInterfaces": _interfaces(attempt)}


def _interfaces(attempt: Attempt) -> list[dict[str, Any]]:
    """A node of a multi-node job has an address of its own, which all its containers share."""
    return [] if attempt.address is None else [{"privateIpv4Address": attempt.address}]


def _attempt(clusters: Clusters, logs: list[str], attempt: Attempt, work: dict[str, Any]) -> dict[str, Any]:
    place, interfaces = _place(clusters, attempt), {"networkInterfaces": _interfaces(attempt)}
    if "ecsProperties" in work:
        containers = []
        for number, container in enumerate(work["ecsProperties"]["taskProperties"][0]["containers"]):
            name = {"name": container["name"]} if container.get("name") else {}
            containers.append({**name, **_outcome(logs, attempt, number), **interfaces})
        described: dict[str, Any] = {"container": {}, "taskProperties": [{**place, "containers": containers}]}
    else:
        described = {"container": {**place, **_outcome(logs, attempt, 0), **interfaces}}
    if attempt.started_at_ms is not None:
        described["startedAt"] = attempt.started_at_ms
    if attempt.stopped_at_ms is not None:
        described["stoppedAt"] = attempt.stopped_at_ms
    if attempt.status_reason is not None:
        described["statusReason"] = attempt.status_reason
    return described


def _place(clusters: Clusters, attempt: Attempt) -> dict[str, Any]:
    """Where an attempt ran."""
    cluster = clusters[attempt.environment]
    return {
        "containerInstanceArn": f"{cluster.replace(':cluster/', ':container-instance/')}/{_hex(attempt.instance_id)}",
        "taskArn": task_arn(cluster, attempt),
    }


def task_arn(cluster: str, attempt: Attempt) -> str:
    """An attempt as an ECS task of its environment's cluster."""
    return f"{cluster.replace(':cluster/', ':task/')}/{attempt.attempt_id.replace('-', '')}"


def _outcome(logs: list[str], attempt: Attempt, place: int) -> dict[str, Any]:
    """What became of one of an attempt's containers. Where it isn't known of each, all came to what the attempt did:
    it could not be started."""
    end = attempt.containers[place] if attempt.containers else ContainerEnd(attempt.exit_code, attempt.reason)
    shown: dict[str, Any] = {}
    if attempt.started_at_ms is not None:
        shown["logStreamName"] = logs[place] + attempt.attempt_id
    if end.exit_code is not None:
        shown["exitCode"] = end.exit_code
    if end.reason is not None:
        shown["reason"] = end.reason
    return shown


def _hex(instance_id: str) -> str:
    """An ECS container instance id: 32 hex digits, here the instance's own filled up."""
    return instance_id.removeprefix("i-").ljust(32, "0")


def summarise(settings: Settings, job: StoredJob) -> dict[str, Any]:
    """A single job or a parent in a list."""
    summary = _summary(settings, job, job.job_id, job.record)
    summary["capacityUsage"] = _capacity_usage(_terms.decode(job.terms), None)
    if job.array_size is not None and job.counts is not None:
        summary["arrayProperties"] = {
            "size": job.array_size,
            "statusSummary": {state: job.counts[JobStatus[state]] for state in SUMMARY_STATES},
        }
    if job.num_nodes is not None:
        summary["nodeProperties"] = {"numNodes": job.num_nodes}
    return summary


def summarise_child(settings: Settings, parent: StoredJob, index: int, record: UnitRecord) -> dict[str, Any]:
    terms = _terms.decode(parent.terms)
    summary = _summary(settings, parent, f"{parent.job_id}{parent.mark}{index}", record)
    summary["capacityUsage"] = _capacity_usage(terms, index)
    if terms.nodes is None:
        summary["arrayProperties"] = {"index": index}
    else:
        is_main = index == terms.nodes.main_node
        summary["nodeProperties"] = {"isMainNode": is_main, "numNodes": parent.num_nodes, "nodeIndex": index}
    return summary


def _capacity_usage(terms: JobTerms, index: int | None) -> list[dict[str, Any]]:
    """The vCPUs that an attempt of the job, child or node is configured to use; of a gang, those of all its nodes."""
    return [{"capacityUnit": "VCPU", "quantity": terms.resources_of(index).vcpu_milli / 1000}]


def _summary(settings: Settings, job: StoredJob, unit_id: str, record: UnitRecord) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "jobArn": batch_arn(settings, f"job/{unit_id}"),
        "jobId": unit_id,
        "jobName": job.name,
        "createdAt": job.created_at_ms,
        "status": record.status.name,
        "jobDefinition": batch_arn(settings, f"job-definition/{job.definition}"),
        "container": {},
    }
    if job.share_identifier is not None:
        summary["shareIdentifier"] = job.share_identifier
    _add_times(summary, record)
    if record.attempts and record.status > RUNNABLE:
        last = record.attempts[-1]
        summary["scheduledAt"] = last.placed_at_ms
        if last.exit_code is not None:
            summary["container"]["exitCode"] = last.exit_code
        if last.reason is not None:
            summary["container"]["reason"] = last.reason
    if _is_stopped_by(record.stop, StopCause.CANCEL):
        summary["isCancelled"] = True
    if _is_stopped_by(record.stop, StopCause.TERMINATE):
        summary["isTerminated"] = True
    return summary
