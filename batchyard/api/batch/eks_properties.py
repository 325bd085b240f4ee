"""eksProperties: a pod (facts §6): what is allowed, what is shown. All functions are pure.

Pods need a Kubernetes engine; until there is one, definitions are kept and described, and no queue takes their jobs.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from batchyard.api.batch.container_members import check_environment
from batchyard.wire import errors

EksProperties = dict[str, Any]
Container = dict[str, Any]

MAX_CONTAINERS = 10
DEFAULT_NAME = "Default"
"""The name of a container that is given none."""
DNS_POLICIES = ("Default", "ClusterFirst", "ClusterFirstWithHostNet", "None")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
VOLUME_SOURCES = ("hostPath", "emptyDir", "secret", "persistentVolumeClaim")
MIN_MEMORY_MIB = 4
CPU_STEP = Decimal("0.25")
CONTAINER_LISTS = ("args", "command", "env", "volumeMounts")

_MEMORY = re.compile(r"([0-9]{1,9})Mi")
_CPU = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_GPU = re.compile(r"[0-9]{1,6}")
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def check(eks: EksProperties) -> None:
    """Raise the service's error if no pod could be made of these properties."""
    pod = eks.get("podProperties", {})
    containers = pod.get("containers", [])
    if not containers:
        raise errors.client_exception("eksProperties.podProperties must contain at least one container")
    for member in ("containers", "initContainers"):
        if len(pod.get(member, [])) > MAX_CONTAINERS:
            raise errors.executing_request(f"podProperties can have at most {MAX_CONTAINERS} {member}")
    together = [*containers, *pod.get("initContainers", [])]
    _check_names(together)
    if pod.get("dnsPolicy") and pod["dnsPolicy"] not in DNS_POLICIES:
        raise errors.executing_request(f"dnsPolicy {pod['dnsPolicy']} must be one of {' | '.join(DNS_POLICIES)}")
    _check_namespace(pod.get("metadata", {}).get("namespace"))
    volumes = _checked_volumes(pod.get("volumes", []))
    for container in together:
        _check_container(container, volumes)


def _check_names(containers: list[Container]) -> None:
    names = [container.get("name") or DEFAULT_NAME for container in containers]
    for name in names:
        if names.count(name) > 1:
            raise errors.executing_request(f"Container name '{name}' is used more than once")


def _check_namespace(namespace: str | None) -> None:
    if namespace is None:
        return
    if not _NAMESPACE.fullmatch(namespace) or namespace == "default" or namespace.startswith("kube"):
        raise errors.executing_request(f"namespace '{namespace[:64]}' is not valid")


def _checked_volumes(volumes: list[dict[str, Any]]) -> set[str]:
    """The names of the volumes, each of which has one source."""
    names = [volume["name"] for volume in volumes]
    for volume in volumes:
        name = volume["name"]
        if not _VOLUME_NAME.fullmatch(name):
            raise errors.executing_request(f"Volume name '{name[:300]}' is not valid")
        if names.count(name) > 1:
            raise errors.executing_request(f"Volume name '{name}' is used more than once")
        if sum(source in volume for source in VOLUME_SOURCES) > 1:
            raise errors.executing_request(f"Volume '{name}' can have one of {', '.join(VOLUME_SOURCES)}")
        medium = volume.get("emptyDir", {}).get("medium", "")
        if medium not in ("", "Memory"):
            raise errors.executing_request(f"emptyDir medium '{medium}' must be \"\" or Memory")
    return set(names)


def _check_container(container: Container, volumes: set[str]) -> None:
    if not container["image"]:
        raise errors.client_exception("eksProperties containers must contain image")
    policy = container.get("imagePullPolicy")
    if policy and policy not in PULL_POLICIES:
        raise errors.executing_request(f"imagePullPolicy {policy} must be one of {' | '.join(PULL_POLICIES)}")
    check_environment(container.get("env", []))
    for mount in container.get("volumeMounts", []):
        if mount.get("name") not in volumes:
            raise errors.executing_request(f"volumeMounts names '{mount.get('name')}', which is no volume of the pod")
    _check_resources(container.get("resources", {}))


def _check_resources(resources: dict[str, dict[str, str]]) -> None:
    """Quantities are written as the service model says; no more cpu is requested than the limit allows."""
    for quantities in resources.values():
        for kind, quantity in quantities.items():
            _check_quantity(kind, quantity)
    limit, request = (resources.get(each, {}).get("cpu") for each in ("limits", "requests"))
    if limit is not None and request is not None and Decimal(limit) < Decimal(request):
        raise errors.executing_request("The cpu of limits must be at least as large as that of requests")


def _check_quantity(kind: str, quantity: str) -> None:
    if kind == "memory":
        number = _MEMORY.fullmatch(quantity)
        valid = number is not None and int(number[1]) >= MIN_MEMORY_MIB
    elif kind == "cpu":
        number = _CPU.fullmatch(quantity)
        valid = number is not None and Decimal(quantity) > 0 and Decimal(quantity) % CPU_STEP == 0
    elif kind == "nvidia.com/gpu":
        valid = _GPU.fullmatch(quantity) is not None
    else:
        raise errors.executing_request(f"Resource {kind} must be one of memory | cpu | nvidia.com/gpu")
    if not valid:
        raise errors.executing_request(f"Resource {kind} '{quantity[:64]}' is not valid")


def described(eks: EksProperties) -> EksProperties:
    """As registered, with the lists that are empty; a dnsPolicy, name or pull policy not given is not shown."""
    pod = {"imagePullSecrets": [], "volumes": [], **eks["podProperties"]}
    pod["containers"] = [_described_container(container) for container in pod["containers"]]
    pod["initContainers"] = [_described_container(container) for container in pod.get("initContainers", [])]
    return {"podProperties": pod}


def _described_container(container: Container) -> Container:
    return {**{member: [] for member in CONTAINER_LISTS}, **container}
