"""The documents of the ECS task metadata endpoint, version 4, as far as an attempt has what they tell of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from batchyard.api.batch.job_detail import task_arn
from batchyard.api.roles.attempts import LiveAttempt
from batchyard.core.model import JobTerms
from batchyard.core.states import RUNNING
from batchyard.engines.base import ContainerFacts
from batchyard.settings import Settings
from batchyard.store.jobs import places_of

CPU_UNITS_PER_VCPU = 1024
DEFAULT_NAME = "default"
"""What AWS Batch calls the container of a job with containerProperties."""
LABELS = "com.amazonaws.ecs."


def container_document(
    settings: Settings, live: LiveAttempt, terms: JobTerms, facts: ContainerFacts | None, index: int = 0
) -> dict[str, Any]:
    """A container of the attempt. `facts` are what its engine knows of it."""
    container = _containers(live)[index]
    name = container.get("name") or DEFAULT_NAME
    arn = task_arn(live.cluster_arn, live.attempt)
    family, _, revision = live.job.definition.rpartition(":")
    started_at_ms = facts.started_at_ms if facts else live.attempt.started_at_ms
    status = facts.status if facts else "RUNNING" if started_at_ms is not None else "CREATED"
    document: dict[str, Any] = {
        "DockerId": facts.container_id if facts else live.attempt.attempt_id.replace("-", ""),
        "Name": name,
        "DockerName": facts.name if facts else live.attempt.attempt_id,
        "Image": container.get("image", ""),
        "Labels": {
            f"{LABELS}cluster": live.cluster_arn,
            f"{LABELS}container-name": name,
            f"{LABELS}task-arn": arn,
            f"{LABELS}task-definition-family": family,
            f"{LABELS}task-definition-version": revision,
        },
        "DesiredStatus": "RUNNING",
        "KnownStatus": status,
        "Limits": _container_limits(live, terms, container),
        "CreatedAt": _time(live.attempt.placed_at_ms),
        "Type": "NORMAL",
        "ContainerARN": f"{arn.replace(':task/', ':container/')}/{index}",
        "Networks": _networks(live, facts),
        **_log(settings, live, container, index),
    }
    if started_at_ms is not None:
        document["StartedAt"] = _time(started_at_ms)
    return document


def task_document(
    settings: Settings, live: LiveAttempt, terms: JobTerms, facts: list[ContainerFacts | None]
) -> dict[str, Any]:
    """The attempt as a task, with its containers; `facts` are of each of them."""
    resources = terms.resources_of(live.bearer.index)
    family, _, revision = live.job.definition.rpartition(":")
    return {
        "Cluster": live.cluster_arn,
        "TaskARN": task_arn(live.cluster_arn, live.attempt),
        "Family": family,
        "Revision": revision,
        "DesiredStatus": "RUNNING",
        "KnownStatus": RUNNING.name if live.attempt.started_at_ms is not None else "PENDING",
        "Limits": {"CPU": resources.vcpu_milli / 1000, "Memory": resources.memory_mib},
        "AvailabilityZone": f"{settings.region}a",
        "LaunchType": "EC2",
        "Containers": [container_document(settings, live, terms, each, index) for index, each in enumerate(facts)],
    }


def _containers(live: LiveAttempt) -> list[dict[str, Any]]:
    tasks = live.work.get("ecsProperties", {}).get("taskProperties", ())
    return list(tasks[0]["containers"]) if tasks else [live.work["container"]]


def container_count(live: LiveAttempt) -> int:
    return len(_containers(live))


def _container_limits(live: LiveAttempt, terms: JobTerms, container: dict[str, Any]) -> dict[str, int]:
    """In CPU units and MiB: the attempt's own where it is one container, else what the container asks for."""
    resources = terms.resources_of(live.bearer.index)
    if container_count(live) == 1:
        return {"CPU": resources.vcpu_milli * CPU_UNITS_PER_VCPU // 1000, "Memory": resources.memory_mib}
    asked = {each["type"]: float(each["value"]) for each in container.get("resourceRequirements", ())}
    return {"CPU": round(asked.get("VCPU", 0) * CPU_UNITS_PER_VCPU), "Memory": round(asked.get("MEMORY", 0))}


def _log(settings: Settings, live: LiveAttempt, container: dict[str, Any], place: int) -> dict[str, Any]:
    driver = container.get("logConfiguration", {}).get("logDriver", "awslogs")
    if driver != "awslogs":
        return {"LogDriver": driver}
    places = places_of(live.job.log_places, live.bearer.index)
    group, prefix = (
        (places[place].log_group, places[place].log_prefix) if places else (live.job.log_group, live.job.log_prefix)
    )
    options = {
        "awslogs-group": group,
        "awslogs-region": settings.region,
        "awslogs-stream": prefix + live.attempt.attempt_id,
    }
    return {"LogDriver": driver, "LogOptions": options}


def _networks(live: LiveAttempt, facts: ContainerFacts | None) -> list[dict[str, Any]]:
    if facts is not None:
        return [{"NetworkMode": name, "IPv4Addresses": list(addresses)} for name, addresses in facts.networks]
    addresses = [] if live.attempt.address is None else [live.attempt.address]
    return [{"NetworkMode": "host", "IPv4Addresses": addresses}]


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
