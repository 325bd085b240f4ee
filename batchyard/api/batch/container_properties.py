"""containerProperties: what is allowed in them, how overrides and parameters change them, what they ask for.

All functions are pure. The rules are those of the service model and the user guide's "Job Definition Parameters".
Members that an engine cannot honour (volumes, privileged, ulimits, linuxParameters, secrets and so on) are accepted
and described here; what an engine leaves undone it says for each job.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import Any

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

Container = dict[str, Any]

MIN_MEMORY_MIB = 4
FARGATE_MEMORY_MIB: dict[int, frozenset[int]] = {
    250: frozenset({512, 1024, 2048}),
    500: frozenset(range(1024, 4096 + 1, 1024)),
    1000: frozenset(range(2048, 8192 + 1, 1024)),
    2000: frozenset(range(4096, 16384 + 1, 1024)),
    4000: frozenset(range(8192, 30720 + 1, 1024)),
    8000: frozenset(range(16384, 61440 + 1, 4096)),
    16000: frozenset(range(32768, 122880 + 1, 8192)),
    32000: frozenset({61440, 122880, 249856}),
}
"""Memory sizes that Fargate has for a number of vCPUs, in thousandths (service model, ResourceRequirement)."""

NOT_FOR_EC2 = ("networkConfiguration", "fargatePlatformConfiguration", "ephemeralStorage", "runtimePlatform")
NOT_FOR_FARGATE = ("vcpus", "memory", "privileged", "ulimits", "instanceType")
LIST_DEFAULTS = (
    "command",
    "environment",
    "mountPoints",
    "resourceRequirements",
    "secrets",
    "ulimits",
    "volumes",
)

_WHOLE = re.compile(r"[0-9]{1,9}")
_VCPUS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_REFERENCE = re.compile(r"Ref::((?:(?!Ref::)[A-Za-z0-9_.-]){1,255})")
_PLATFORM_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(\.[0-9]{1,4})?")


def check_container(container: Container, *, fargate: bool) -> None:
    """Raise the service's error if no job could run from these properties."""
    if not container.get("image"):
        raise errors.client_exception("containerProperties must contain image")
    _check_platform(container, fargate)
    check_resources(container, fargate=fargate)
    check_environment(container.get("environment", []))
    check_user(container.get("user"), groups=False)
    check_container_members(container, fargate=fargate)
    check_task_members(container, [container], fargate=fargate)


def check_resources(container: Container, *, fargate: bool) -> Resources:
    """The resources, when the platform has them: whole vCPUs on EC2, certain pairs of sizes on Fargate."""
    resources = resources_of(container)
    if fargate:
        _check_fargate_resources(container, resources)
    else:
        check_whole_vcpus(resources)
    return resources


def check_whole_vcpus(resources: Resources) -> None:
    if resources.vcpu_milli % 1000:
        raise errors.executing_request("VCPU must be a whole number for jobs that run on EC2 resources")


def resources_of(container: Container) -> Resources:
    """What a job with these properties occupies: resourceRequirements, else the legacy vcpus and memory."""
    wanted = requirements(container)
    vcpu_milli = _vcpu_milli(wanted.get("VCPU", _text(container.get("vcpus"))))
    memory_mib = _memory_mib(wanted.get("MEMORY", _text(container.get("memory"))))
    gpus = wanted.get("GPU", "0")
    if not _WHOLE.fullmatch(gpus):
        raise errors.executing_request(f"resourceRequirements GPU '{gpus}' is not a whole number")
    return Resources(vcpu_milli=vcpu_milli, memory_mib=memory_mib, gpus=int(gpus))


def merged_container(container: Container, overrides: Container) -> Container:
    """A job's container: the definition's, changed by SubmitJob's containerOverrides.

    The command is replaced. Variables are merged by name, those of the overrides win, and empty ones are dropped.
    Resource requirements are replaced one type at a time; the legacy vcpus and memory override the legacy ones
    alone. The result shows resources in both forms, whichever was used (facts §7).
    """
    check_environment(overrides.get("environment", []))
    merged = dict(container)
    for member in ("vcpus", "memory", "instanceType"):
        if member in overrides:
            merged[member] = overrides[member]
    if overrides.get("command"):
        merged["command"] = list(overrides["command"])
    merged["environment"] = _merged_environment(container.get("environment", []), overrides.get("environment", []))
    wanted = {**requirements(container), **requirements(overrides)}
    merged["resourceRequirements"] = [{"type": kind, "value": value} for kind, value in wanted.items()]
    resources = resources_of(merged)
    shown = {"VCPU": _plain(resources.vcpu_milli), "MEMORY": str(resources.memory_mib)}
    for kind in shown.keys() - wanted.keys():
        wanted[kind] = shown[kind]
    merged["resourceRequirements"] = [{"type": kind, "value": value} for kind, value in sorted(wanted.items())]
    merged["memory"] = resources.memory_mib
    merged.pop("vcpus", None)
    if resources.vcpu_milli % 1000 == 0:
        merged["vcpus"] = resources.vcpu_milli // 1000
    return merged


def substitute(command: list[str], parameters: dict[str, str]) -> list[str]:
    """The command with every `Ref::name` replaced; everything else passes through untouched.

    A name may hold dots and hyphens, which may also just follow one: of `Ref::in.txt` the longest name that is a
    parameter counts, `in.txt` before `in`. What a value contains is not replaced again.
    """

    def value(match: re.Match[str]) -> str:
        text = match[1]
        ends = [len(text), *(at.start() for at in reversed(list(re.finditer(r"[.-]", text))))]
        for end in ends:
            if text[:end] in parameters:
                return parameters[text[:end]] + text[end:]
        raise errors.client_exception(f"Unable to substitute value. No parameter found for reference {text}")

    return [_REFERENCE.sub(value, element) for element in command]


def described(container: Container, *, fargate: bool) -> Container:
    """The properties as DescribeJobDefinitions gives them: as registered, and the service's defaults (facts §6)."""
    shown: Container = {**{member: [] for member in LIST_DEFAULTS}, **container}
    shown["environment"] = described_environment(shown["environment"])
    shown = described_members(shown)
    if fargate:
        platform = shown.get("fargatePlatformConfiguration", {})
        shown["fargatePlatformConfiguration"] = {"platformVersion": "LATEST", **platform}
    return shown


def _check_platform(container: Container, fargate: bool) -> None:
    """Members that have no meaning on the platform are refused, as the service does."""
    check_applicable(container, NOT_FOR_FARGATE if fargate else NOT_FOR_EC2, "Fargate" if fargate else "EC2")
    version = _PLATFORM_VERSION.fullmatch(container.get("fargatePlatformConfiguration", {}).get("platformVersion", ""))
    has_efs = any("efsVolumeConfiguration" in volume for volume in container.get("volumes", []))
    if has_efs and version is not None and (int(version[1]), int(version[2])) < (1, 4):
        raise errors.executing_request("EFS is supported for Fargate platform version 1.4.0 and later")


def _check_fargate_resources(container: Container, resources: Resources) -> None:
    if "GPU" in requirements(container):
        raise errors.executing_request("GPU not applicable for Fargate.")
    check_fargate_size(resources)


def check_fargate_size(resources: Resources) -> None:
    """Fargate has certain sizes of memory for each number of vCPUs."""
    sizes = FARGATE_MEMORY_MIB.get(resources.vcpu_milli)
    if sizes is None:
        raise errors.executing_request(
            f"Fargate resource requirements for VCPU {_plain(resources.vcpu_milli)} not valid."
        )
    if resources.memory_mib not in sizes:
        raise errors.executing_request(
            f"Fargate resource requirements (VCPU {_plain(resources.vcpu_milli)}, MEMORY {resources.memory_mib})"
            " not valid."
        )


def requirements(container: Container) -> dict[str, str]:
    """resourceRequirements by type."""
    found: dict[str, str] = {}
    for requirement in container.get("resourceRequirements", []):
        kind = requirement["type"]
        if kind in found:
            raise errors.executing_request(f"resourceRequirements contains {kind} more than once")
        found[kind] = requirement["value"]
    return found


def _merged_environment(base: list[dict[str, str]], overrides: list[dict[str, str]]) -> list[dict[str, str]]:
    values = {variable["name"]: variable.get("value", "") for variable in (*base, *overrides)}
    return [{"name": name, "value": value} for name, value in values.items() if value]


@functools.lru_cache
def _vcpu_milli(text: str | None) -> int:
    if text is None:
        raise errors.client_exception("containerProperties must contain vcpus")
    if not _VCPUS.fullmatch(text):
        raise _not_positive("vcpus", text, 0)
    milli = int(Decimal(text) * 1000)
    if milli <= 0:
        raise _not_positive("vcpus", text, 0)
    return milli


@functools.lru_cache
def _memory_mib(text: str | None) -> int:
    if text is None:
        raise errors.client_exception("containerProperties must contain memory")
    if text.isascii() and text.isdecimal() and not _WHOLE.fullmatch(text):
        raise errors.client_exception(f"container memory limit '{text[:64]}' is too large")
    if not _WHOLE.fullmatch(text) or int(text) < MIN_MEMORY_MIB:
        raise _not_positive("memory", text, MIN_MEMORY_MIB)
    return int(text)


def _not_positive(what: str, text: str, least: int) -> ApiError:
    return errors.client_exception(f"container {what} limit must be greater than {least}, it is '{text[:64]}'")


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


@functools.lru_cache
def _plain(vcpu_milli: int) -> str:
    """`250` as `0.25`, `2000` as `2`."""
    return f"{Decimal(vcpu_milli) / 1000:f}"
