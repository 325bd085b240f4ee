"""What one job will run: a definition's properties, changed by SubmitJob's overrides, with parameters put in.

Settled once, at submission: later changes to the definition do not touch the job.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from batchyard import logpatterns
from batchyard.api.batch import container_properties, ecs_properties, node_properties
from batchyard.api.batch.consumable_needs import needs_of
from batchyard.api.context import Params
from batchyard.core.model import ConsumableNeed, MultiNodeTerms, Resources
from batchyard.store.definitions import DefinitionRow
from batchyard.store.documents import Document
from batchyard.store.jobs import ALL_INDICES, LogPlace, places_of
from batchyard.wire import errors

DEFAULT_LOG_GROUP = "/aws/batch/job"
STOP_GRACE_SECONDS = 30
OVERRIDES = {
    "containerProperties": "containerOverrides",
    "ecsProperties": "ecsPropertiesOverride",
    "eksProperties": "eksPropertiesOverride",
    "nodeProperties": "nodeOverrides",
}
"""The member of SubmitJob that changes each kind of definition; the others do not apply to it."""


class Work(Struct, frozen=True):
    """`detail` are the members of JobDetail that show it."""

    detail: dict[str, Any]
    parameters: dict[str, str]
    resources: Resources
    log_group: str
    log_prefix: str
    """A log stream's name without the attempt's id at its end (facts §12)."""
    log_pattern: str | None
    """What an event of several lines in it begins with."""
    overrides_length: int
    """Characters that the command, environment and resources take, as the limit on overrides counts them."""
    consumables: tuple[ConsumableNeed, ...]
    """What an attempt takes of consumable resources; of a multi-node job, all its nodes together."""
    stop_grace_seconds: int = STOP_GRACE_SECONDS
    nodes: MultiNodeTerms | None = None
    log_places: tuple[LogPlace, ...] = ()
    """Of nodes, and where an attempt has several containers, where each of them logs to."""
    containers: int = 1
    """The most that an attempt of it runs."""


def work_of(definition: DefinitionRow, document: Document, params: Params) -> Work:
    """Raises the service's error for overrides that don't fit the definition, and references without a parameter."""
    _check_overrides(document, params)
    parameters = {**document.get("parameters", {}), **params.get("parameters", {})}
    if "ecsProperties" in document:
        return _ecs_work(definition.name, document, params, parameters)
    if "nodeProperties" in document:
        return _multinode_work(definition.name, document, params, parameters)
    container = container_properties.merged_container(
        document["containerProperties"], params.get("containerOverrides", {})
    )
    container["command"] = container_properties.substitute(container.get("command", []), parameters)
    fargate = "FARGATE" in document.get("platformCapabilities", [])
    group, prefix, pattern = _log_stream(container, definition.name, ecs_properties.UNNAMED)
    return Work(
        detail={"container": container},
        parameters=parameters,
        resources=container_properties.check_resources(container, fargate=fargate),
        log_group=group,
        log_prefix=prefix,
        log_pattern=pattern,
        overrides_length=_overrides_length(container),
        consumables=needs_of(document, params),
    )


def _check_overrides(document: Document, params: Params) -> None:
    if "nodeProperties" in document and params.get("containerOverrides"):
        raise errors.executing_request("Container overrides should not be set for a node property job.")
    for kind, member in OVERRIDES.items():
        if kind not in document and params.get(member):
            raise errors.executing_request(f"{member} is not applicable for a job definition without {kind}")


def _ecs_work(definition: str, document: Document, params: Params, parameters: dict[str, str]) -> Work:
    """A task of one container runs as a container job does. JobDetail's `container` is empty for it (service model)."""

    def command(elements: list[str]) -> list[str]:
        return container_properties.substitute(elements, parameters)

    merged = ecs_properties.merged(document["ecsProperties"], params.get("ecsPropertiesOverride", {}), command)
    containers = ecs_properties.containers_of(merged)
    fargate = "FARGATE" in document.get("platformCapabilities", [])
    logs = _log_places(containers, definition, ALL_INDICES)
    return Work(
        detail={"ecsProperties": merged},
        parameters=parameters,
        resources=ecs_properties.check_resources(containers, fargate=fargate),
        log_group=logs[0].log_group,
        log_prefix=logs[0].log_prefix,
        log_pattern=logs[0].log_pattern,
        overrides_length=sum(map(_overrides_length, containers)),
        consumables=needs_of(document, params),
        stop_grace_seconds=_stop_grace_seconds(containers),
        log_places=logs if len(containers) > 1 else (),
        containers=len(containers),
    )


def _multinode_work(definition: str, document: Document, params: Params, parameters: dict[str, str]) -> Work:
    """Nodes of a range run its containers; where the main node logs to stands for the job itself.

    All nodes have the same time to end in when the job is stopped: the longest that any of them asks for.
    """
    if params.get("arrayProperties"):
        raise errors.executing_request("arrayProperties can not be used with multi-node parallel jobs")
    properties = node_properties.merged(document["nodeProperties"], params.get("nodeOverrides", {}), parameters)
    nodes = node_properties.terms_of(properties, needs_of(document, params))
    entries = [properties["nodeRangeProperties"][group.node_range] for group in nodes.groups]
    tasks = [node_properties.containers_of(entry) for entry in entries]
    logs = [
        place
        for group, containers in zip(nodes.groups, tasks, strict=True)
        for place in _log_places(containers, definition, (group.first, group.last))
    ]
    main = places_of(logs, nodes.main_node)[0]
    return Work(
        detail={"nodeProperties": properties},
        parameters=parameters,
        resources=nodes.total(),
        log_group=main.log_group,
        log_prefix=main.log_prefix,
        log_pattern=main.log_pattern,
        overrides_length=max(sum(map(_overrides_length, containers)) for containers in tasks),
        consumables=nodes.all_consumables(),
        stop_grace_seconds=max(map(_stop_grace_seconds, tasks)),
        nodes=nodes,
        log_places=tuple(logs),
        containers=max(map(len, tasks)),
    )


def _stop_grace_seconds(containers: list[dict[str, Any]]) -> int:
    """The longest that any container of a task has to end in."""
    seconds: list[int] = [container.get("stopTimeout", STOP_GRACE_SECONDS) for container in containers]
    return max(seconds)


def _log_places(containers: list[dict[str, Any]], definition: str, indices: tuple[int, int]) -> tuple[LogPlace, ...]:
    places = []
    for place, container in enumerate(containers):
        group, prefix, pattern = _log_stream(container, definition, container.get("name") or ecs_properties.UNNAMED)
        places.append(LogPlace(*indices, place, group, prefix, pattern))
    return tuple(places)


def _overrides_length(container: dict[str, Any]) -> int:
    counted = {member: container.get(member, []) for member in ("command", "environment", "resourceRequirements")}
    return len(msgspec.json.encode(counted).decode())


def _log_stream(container: dict[str, Any], definition: str, name: str) -> tuple[str, str, str | None]:
    """Log group and stream name prefix: `<prefix>/default/`, to which each attempt adds its id (facts §12); and what an
    event of several lines begins with."""
    configuration = container.get("logConfiguration", {})
    options = configuration.get("options", {})
    prefix = options.get("awslogs-stream-prefix") or definition[:200]
    pattern = logpatterns.pattern_of(options) if configuration.get("logDriver", "awslogs") == "awslogs" else None
    return options.get("awslogs-group") or DEFAULT_LOG_GROUP, f"{prefix}/{name}/", pattern
