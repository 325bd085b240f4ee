"""Members that several kinds of containers and tasks share: linuxParameters, logConfiguration, secrets, volumes.

The rules are those that the service model writes beside each member. What is about files, devices or roles on a host
that isn't known here (does the path exist?) is left to the engine that runs the job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from batchyard import logpatterns
from batchyard.exceptions import ApiError
from batchyard.wire import errors

Members = dict[str, Any]

NOT_FOR_FARGATE_LINUX = ("devices", "sharedMemorySize", "tmpfs", "maxSwap", "swappiness")
NOT_FOR_WINDOWS = ("linuxParameters", "privileged", "user", "ulimits", "readonlyRootFilesystem")
FARGATE_LOG_DRIVERS = ("awslogs", "splunk")
OPERATING_SYSTEMS = (
    "LINUX",
    "WINDOWS_SERVER_2019_CORE",
    "WINDOWS_SERVER_2019_FULL",
    "WINDOWS_SERVER_2022_CORE",
    "WINDOWS_SERVER_2022_FULL",
)
CPU_ARCHITECTURES = ("X86_64", "ARM64")
MIN_EPHEMERAL_GIB, MAX_EPHEMERAL_GIB = 21, 200
MAX_PORT = 65535
MOUNT_OPTION = re.compile(
    r"defaults|ro|rw|suid|nosuid|dev|nodev|exec|noexec|sync|async|dirsync|remount"
    r"|mand|nomand|atime|noatime|diratime|nodiratime|bind|rbind|unbindable|runbindable"
    r"|private|rprivate|shared|rshared|slave|rslave|relatime|norelatime|strictatime|"
    r"nostrictatime|mode|uid|gid|nr_inodes|nr_blocks|mpol"
)
RESERVED_ENVIRONMENT_PREFIX = "AWS_BATCH"

_USER = re.compile(r"[a-z0-9_][a-z0-9_-]{0,30}")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")


def check_container_members(container: Members, *, fargate: bool) -> None:
    """linuxParameters, logConfiguration, secrets and tmpfs of one container; raises the service's error."""
    _check_linux(container.get("linuxParameters", {}), fargate)
    _check_log_configuration(container.get("logConfiguration", {}), fargate)
    for secret in container.get("secrets", []):
        check_variable_name(secret["name"])
        if not secret["valueFrom"]:
            raise errors.executing_request(f"Secret {secret['name']} has no valueFrom")


def check_task_members(task: Members, containers: Iterable[Members], *, fargate: bool) -> None:
    """volumes, ephemeralStorage and runtimePlatform, which all containers of a task share."""
    check_volumes(task.get("volumes", []), fargate=fargate)
    storage = task.get("ephemeralStorage")
    if storage is not None and not MIN_EPHEMERAL_GIB <= storage["sizeInGiB"] <= MAX_EPHEMERAL_GIB:
        raise errors.executing_request(
            f"ephemeralStorage sizeInGiB must be between {MIN_EPHEMERAL_GIB} and {MAX_EPHEMERAL_GIB}"
        )
    _check_runtime_platform(task.get("runtimePlatform", {}), containers)


def check_user(user: str | None, *, groups: bool) -> None:
    """A name or a number; where there may be `groups`, those of a task's containers, `:` and a second one may follow
    (service model, TaskContainerProperties)."""
    parts = user.split(":") if user and groups else [user or ""]
    if user and (len(parts) > 2 or not all(_USER.fullmatch(part) for part in parts)):
        raise errors.executing_request(f"User '{user}' does not match regex")


def check_environment(environment: list[dict[str, str]]) -> None:
    """Every variable has a name, and none of those that the service sets itself."""
    for variable in environment:
        name = variable.get("name", "")
        if "\0" in variable.get("value", ""):
            raise _bad_name(name)
        check_variable_name(name)


def check_variable_name(name: str) -> None:
    """For variables and for secrets, which become variables."""
    if not name or "=" in name or "\0" in name:
        raise _bad_name(name)
    if name.startswith(RESERVED_ENVIRONMENT_PREFIX):
        raise errors.executing_request(
            f"Environment variable {name} is not valid: names cannot start with {RESERVED_ENVIRONMENT_PREFIX}"
        )


def _bad_name(name: str) -> ApiError:
    return errors.executing_request(f"Environment variable name '{name}' is not valid")


def check_applicable(members: Members, names: Iterable[str], platform: str) -> None:
    """Members that have no meaning on the platform are refused, unless they ask for nothing."""
    refused = [name for name in names if members.get(name) not in (None, False, "", [], {})]
    if refused:
        raise errors.executing_request(",".join(f"{name} not applicable for {platform}." for name in refused))


def check_volumes(volumes: list[Members], *, fargate: bool) -> None:
    """Names are unique; what an EFS or S3 Files volume says of itself makes sense."""
    names = [volume["name"] for volume in volumes if volume.get("name")]
    for name in names:
        if not _VOLUME_NAME.fullmatch(name):
            raise errors.executing_request(f"Volume name '{name[:300]}' is not valid")
        if names.count(name) > 1:
            raise errors.executing_request(f"Volume name '{name}' is used more than once")
    for volume in volumes:
        if fargate:
            check_applicable(volume.get("host", {}), ["sourcePath"], "Fargate")
        if "efsVolumeConfiguration" in volume:
            _check_efs(volume["efsVolumeConfiguration"])
        _check_port(volume.get("s3filesVolumeConfiguration", {}))


def _check_efs(efs: Members) -> None:
    _check_port(efs)
    authorization = efs.get("authorizationConfig", {})
    encrypted = efs.get("transitEncryption") == "ENABLED"
    if authorization.get("accessPointId"):
        if not encrypted:
            raise errors.executing_request("transitEncryption must be ENABLED for an EFS volume with an accessPointId")
        if efs.get("rootDirectory", "/") not in ("", "/"):
            raise errors.executing_request("rootDirectory must be / for an EFS volume with an accessPointId")
    if authorization.get("iam") == "ENABLED" and not encrypted:
        raise errors.executing_request("transitEncryption must be ENABLED for an EFS volume with iam authorization")


def _check_port(volume: Members) -> None:
    if not 0 <= volume.get("transitEncryptionPort", 0) <= MAX_PORT:
        raise errors.executing_request(f"transitEncryptionPort must be between 0 and {MAX_PORT}")


def _check_linux(linux: Members, fargate: bool) -> None:
    if fargate:
        check_applicable(linux, NOT_FOR_FARGATE_LINUX, "Fargate")
    if not 0 <= linux.get("swappiness", 0) <= 100:
        raise errors.executing_request("swappiness must be between 0 and 100")
    for member in ("maxSwap", "sharedMemorySize"):
        if linux.get(member, 0) < 0:
            raise errors.executing_request(f"{member} must not be negative")
    for mount in linux.get("tmpfs", []):
        if mount["size"] <= 0:
            raise errors.executing_request("tmpfs size must be greater than 0")
        for option in mount.get("mountOptions", []):
            if not MOUNT_OPTION.fullmatch(option.partition("=")[0]):
                raise errors.executing_request(f"tmpfs mount option '{option}' is not valid")


def _check_log_configuration(configuration: Members, fargate: bool) -> None:
    driver = configuration.get("logDriver", "awslogs")
    if driver == "awsfirelens":
        # It hands the log to a container with a firelensConfiguration.
        raise errors.not_built("logDriver awsfirelens")
    if fargate and driver not in FARGATE_LOG_DRIVERS:
        raise errors.executing_request(f"logDriver {driver} not applicable for Fargate.")
    options = configuration.get("options", {})
    pattern = logpatterns.pattern_of(options) if driver == "awslogs" else None
    if pattern is not None:
        try:
            logpatterns.compiled(pattern)
        except ValueError as error:
            raise errors.executing_request(
                f"logConfiguration option {logpatterns.option_of(options)} is not a regular expression: {error}"
            ) from error


def _check_runtime_platform(runtime: Members, containers: Iterable[Members]) -> None:
    system = runtime.get("operatingSystemFamily", "LINUX")
    architecture = runtime.get("cpuArchitecture", "X86_64")
    if system not in OPERATING_SYSTEMS:
        raise errors.executing_request(f"operatingSystemFamily {system} must be one of {' | '.join(OPERATING_SYSTEMS)}")
    if architecture not in CPU_ARCHITECTURES:
        raise errors.executing_request(f"cpuArchitecture {architecture} must be one of {' | '.join(CPU_ARCHITECTURES)}")
    if system != "LINUX":
        if architecture != "X86_64":
            raise errors.executing_request("cpuArchitecture must be X86_64 for Windows containers")
        for container in containers:
            check_applicable(container, NOT_FOR_WINDOWS, "Windows")


def described_members(container: Members) -> Members:
    """The container with the service's defaults inside linuxParameters and logConfiguration (facts §6)."""
    shown = dict(container)
    if "logConfiguration" in shown:
        shown["logConfiguration"] = {"options": {}, "secretOptions": [], **shown["logConfiguration"]}
    if "linuxParameters" in shown:
        linux = {"devices": [], "tmpfs": [], **shown["linuxParameters"]}
        linux["devices"] = [{"permissions": [], **device} for device in linux["devices"]]
        linux["tmpfs"] = [{"mountOptions": [], **mount} for mount in linux["tmpfs"]]
        shown["linuxParameters"] = linux
    return shown


def described_environment(environment: list[dict[str, str]]) -> list[dict[str, str]]:
    """Variables without a value are dropped."""
    return [variable for variable in environment if variable.get("value")]
