"""What a plain process on this host can have and can't have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from batchyard.engines.base import HostCapacity
from batchyard.engines.process.cgroup_paths import memory_limit_bytes
from batchyard.logpatterns import DATETIME_FORMAT, MULTILINE_PATTERN

MIB = 1024 * 1024

_UNUSED_MEMBERS = (
    "image",
    "executionRoleArn",
    "volumes",
    "mountPoints",
    "readonlyRootFilesystem",
    "ulimits",
    "privileged",
    "user",
    "instanceType",
    "linuxParameters",
    "networkConfiguration",
    "fargatePlatformConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
    "repositoryCredentials",
    "ipcMode",
    "pidMode",
)

_KEPT_LOG_OPTIONS = {
    "awslogs-group",
    "awslogs-stream-prefix",
    "awslogs-region",
    "awslogs-create-group",
    DATETIME_FORMAT,
    MULTILINE_PATTERN,
}
"""There is one region, and a group is there as soon as something is logged to it."""


def capacity(gpus: tuple[str, ...] = ()) -> HostCapacity:
    """The CPUs and the memory that this process may use, beside the GPUs."""
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    total_kib = next(int(line.split()[1]) for line in meminfo.splitlines() if line.startswith("MemTotal:"))
    memory_bytes = min(total_kib * 1024, memory_limit_bytes() or total_kib * 1024)
    return HostCapacity(vcpu_milli=len(os.sched_getaffinity(0)) * 1000, memory_mib=memory_bytes // MIB, gpus=gpus)


def unsupported(container: Mapping[str, object]) -> list[str]:
    """The members of containerProperties that ask for something which a plain process does not get."""
    names = [name for name in (*_UNUSED_MEMBERS, "startTimeout") if _asks(container.get(name))]
    log_configuration = container.get("logConfiguration")
    if isinstance(log_configuration, Mapping) and not _keeps_log_as_asked(log_configuration):
        names.append("logConfiguration")
    return names


def _keeps_log_as_asked(configuration: Mapping[str, object]) -> bool:
    """Another driver's log is kept here all the same, and whatever further options ask for is not done."""
    options = configuration.get("options")
    return (
        configuration.get("logDriver", "awslogs") == "awslogs"
        and not configuration.get("secretOptions")
        and not (isinstance(options, Mapping) and options.keys() - _KEPT_LOG_OPTIONS)
    )


def _asks(value: object) -> bool:
    """Whether a member says anything: empty lists, false, and objects of nothing else do not."""
    if isinstance(value, Mapping):
        return any(_asks(inner) for inner in value.values())
    return bool(value)
