"""ecsProperties: one task of up to ten containers (facts §6): what is allowed, what overrides change, what is shown.

All functions are pure. A task of one container runs as a container job does; a task of several needs an engine that
runs containers, and starts them in the order of their dependsOn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from batchyard.api.batch import container_properties
from batchyard.api.batch.container_members import (
    check_applicable,
    check_container_members,
    check_environment,
    check_task_members,
    check_user,
    described_environment,
    described_members,
)
from batchyard.core.model import Resources
from batchyard.exceptions import ApiError
from batchyard.wire import errors

EcsProperties = dict[str, Any]
Container = dict[str, Any]

MAX_CONTAINERS = 10
MIN_TIMEOUT_SECONDS = 2
MAX_FARGATE_TIMEOUT_SECONDS = 120
NOT_FOR_EC2 = ("networkConfiguration", "ephemeralStorage", "runtimePlatform", "networkMode")
NOT_FOR_FARGATE = ("ipcMode", "networkMode")
CONTAINER_NOT_FOR_FARGATE = ("privileged", "ulimits")
CONTAINER_LISTS = ("command", "dependsOn", "environment", "mountPoints", "secrets", "ulimits")
CONDITIONS = ("START", "HEALTHY", "COMPLETE", "SUCCESS")
"""The service's, and HEALTHY, which ECS has too; what it means is up to the image (ADR 16)."""
FOR_ESSENTIAL = ("START", "HEALTHY")
"""Of an essential container nobody can wait for the end: with it the task ends."""
MODES = {"ipcMode": ("host", "task", "none"), "pidMode": ("host", "task")}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
UNNAMED = "default"
"""What Batch calls the container of a job that names none: it is the middle of its log stream's name."""


def check(ecs: EcsProperties, *, fargate: bool) -> None:
    """Raise the service's error if no job could run from these properties."""
    tasks = ecs["taskProperties"]
    if len(tasks) != 1:
        raise errors.executing_request("ecsProperties.taskProperties must contain exactly one element")
    task = tasks[0]
    containers = task["containers"]
    if not 1 <= len(containers) <= MAX_CONTAINERS:
        raise errors.executing_request(f"ecsProperties must contain 1 to {MAX_CONTAINERS} containers")
    _check_task(task, fargate)
    _check_names(containers)
    for container in containers:
        _check_container(container, containers, fargate)
    if not any(container.get("essential", True) for container in containers):
        raise errors.executing_request("ecsProperties must contain at least one essential container")
    _check_order(containers)
    if fargate:
        container_properties.check_fargate_size(total_of(containers))


def _check_task(task: dict[str, Any], fargate: bool) -> None:
    check_applicable(task, NOT_FOR_FARGATE if fargate else NOT_FOR_EC2, "Fargate" if fargate else "EC2")
    check_task_members(task, task["containers"], fargate=fargate)
    for member, modes in MODES.items():
        if task.get(member) and task[member] not in modes:
            raise errors.executing_request(f"{member} {task[member]} must be one of {' | '.join(modes)}")


def _check_names(containers: list[Container]) -> None:
    names = [container["name"] for container in containers if container.get("name")]
    for name in names:
        if not _NAME.fullmatch(name):
            raise errors.executing_request(
                f"Container name '{name[:300]}' must be up to 255 letters, numbers, hyphens and underscores"
            )
        if names.count(name) > 1:
            raise errors.executing_request(f"Container name '{name}' is used more than once")
    if len(containers) > 1 and len(names) < len(containers):
        raise errors.executing_request("Every container of a task with several containers must have a name")


def _check_container(container: Container, containers: list[Container], fargate: bool) -> None:
    if not container["image"]:
        raise errors.client_exception("ecsProperties containers must contain image")
    if "firelensConfiguration" in container:
        raise errors.not_built("firelensConfiguration")
    if fargate:
        check_applicable(container, CONTAINER_NOT_FOR_FARGATE, "Fargate")
        if "GPU" in container_properties.requirements(container):
            raise errors.executing_request("GPU not applicable for Fargate.")
    resources = container_properties.resources_of(container)
    if not fargate:
        container_properties.check_whole_vcpus(resources)
    check_environment(container.get("environment", []))
    check_user(container.get("user"), groups=True)
    check_container_members(container, fargate=fargate)
    for member in ("startTimeout", "stopTimeout"):
        _check_timeout(member, container.get(member), fargate)
    for dependency in container.get("dependsOn", []):
        _check_dependency(dependency, container, containers)


def _check_timeout(member: str, seconds: int | None, fargate: bool) -> None:
    if seconds is None:
        return
    if seconds < MIN_TIMEOUT_SECONDS:
        raise errors.executing_request(f"{member} must be at least {MIN_TIMEOUT_SECONDS} seconds")
    if fargate and seconds > MAX_FARGATE_TIMEOUT_SECONDS:
        raise errors.executing_request(f"{member} must be at most {MAX_FARGATE_TIMEOUT_SECONDS} seconds for Fargate")


def _check_dependency(dependency: dict[str, str], container: Container, containers: list[Container]) -> None:
    """It names another container of the task; one that is waited for to its end must not be essential."""
    name = dependency.get("containerName")
    condition = dependency.get("condition")
    others = [each for each in containers if each is not container and each.get("name") == name and name]
    if not others:
        raise errors.executing_request(f"dependsOn names container '{name}', which is not another one of the task")
    if condition not in CONDITIONS:
        raise errors.executing_request(f"dependsOn condition {condition} must be one of {' | '.join(CONDITIONS)}")
    if condition not in FOR_ESSENTIAL and others[0].get("essential", True):
        raise errors.executing_request(f"dependsOn condition {condition} cannot be set on an essential container")


def _check_order(containers: list[Container]) -> None:
    """No container waits for itself, by however long a way."""
    waits_for = {
        container.get("name"): {each.get("containerName") for each in container.get("dependsOn", [])}
        for container in containers
    }
    while waits_for:
        free = [name for name, others in waits_for.items() if not others & waits_for.keys()]
        if not free:
            raise errors.executing_request("dependsOn of the containers forms a cycle")
        for name in free:
            del waits_for[name]


def check_resources(containers: list[Container], *, fargate: bool) -> Resources:
    """What all containers of a task need together, when the platform has it: vCPUs that are whole for each container
    on EC2, sizes that fit each other for all of them on Fargate."""
    if len(containers) == 1:
        return container_properties.check_resources(containers[0], fargate=fargate)
    total = total_of(containers)
    if fargate:
        container_properties.check_fargate_size(total)
    else:
        for container in containers:
            container_properties.check_whole_vcpus(container_properties.resources_of(container))
    return total


def total_of(containers: list[Container]) -> Resources:
    """What all containers of a task need together."""
    needs = [container_properties.resources_of(container) for container in containers]
    return Resources(
        sum(need.vcpu_milli for need in needs),
        sum(need.memory_mib for need in needs),
        sum(need.gpus for need in needs),
    )


def described(ecs: EcsProperties) -> EcsProperties:
    """The properties as DescribeJobDefinitions gives them: as registered, and the service's defaults (facts §6)."""
    return {"taskProperties": [_described_task(task) for task in ecs["taskProperties"]]}


def _described_task(task: dict[str, Any]) -> dict[str, Any]:
    containers = [_described_container(container) for container in task["containers"]]
    return {"volumes": [], "platformVersion": "LATEST", **task, "containers": containers}


def _described_container(container: Container) -> Container:
    shown: Container = {**{member: [] for member in CONTAINER_LISTS}, "essential": True, **container}
    shown["environment"] = described_environment(shown["environment"])
    return described_members(shown)


def merged(ecs: EcsProperties, override: EcsProperties, command: Callable[[list[str]], list[str]]) -> EcsProperties:
    """A job's ecsProperties: the definition's, changed by SubmitJob's; `command` puts parameters into commands.

    An override without a name is for the container in its own place.
    """
    overrides = override.get("taskProperties", [])
    if len(overrides) > len(ecs["taskProperties"]):
        raise errors.executing_request("ecsPropertiesOverride has more tasks than the job definition")
    tasks = []
    for place, task in enumerate(ecs["taskProperties"]):
        given = overrides[place].get("containers", []) if place < len(overrides) else []
        changes = _by_place(task["containers"], given)
        containers = [
            _merged_container(container, changes.get(index, {}), command)
            for index, container in enumerate(task["containers"])
        ]
        tasks.append({**task, "containers": containers})
    return {"taskProperties": tasks}


def _by_place(containers: list[Container], overrides: list[Container]) -> dict[int, Container]:
    places = {container["name"]: index for index, container in enumerate(containers) if container.get("name")}
    found: dict[int, Container] = {}
    for place, override in enumerate(overrides):
        name = override.get("name")
        index = places.get(name) if name else place
        if index is None or index >= len(containers):
            raise _no_such_container(name or f"number {place + 1}")
        if index in found:
            raise errors.executing_request(f"ecsPropertiesOverride overrides container number {index + 1} twice")
        found[index] = override
    return found


def _no_such_container(which: str) -> ApiError:
    return errors.executing_request(f"ecsPropertiesOverride: the job definition has no container {which}")


def _merged_container(
    container: Container, override: Container, command: Callable[[list[str]], list[str]]
) -> Container:
    changes = {member: value for member, value in override.items() if member != "name"}
    changed = container_properties.merged_container(container, changes)
    changed["command"] = command(changed.get("command", []))
    for legacy in ("vcpus", "memory"):
        changed.pop(legacy, None)
    return changed


def containers_of(ecs: EcsProperties) -> list[Container]:
    """The containers of the task."""
    containers: list[Container] = ecs["taskProperties"][0]["containers"]
    return containers
