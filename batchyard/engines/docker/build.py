"""From a launch to the body of Docker's "create a container": pure.

Every member maps to the parameter of the Docker Remote API that the user guide names for it ("Job Definition
Parameters", Container Properties). What can't be had raises CannotLaunchError with the container's reason.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from batchyard.core.reasons import cannot_start
from batchyard.engines.base import Launch
from batchyard.engines.docker import networks, pause
from batchyard.engines.docker.labels import (
    LABEL_ATTEMPT,
    LABEL_BOOT,
    LABEL_CONTAINER,
    LABEL_FOLDER,
    LABEL_SERVER,
    LABEL_TASK,
    LABEL_UNREAD,
    PAUSE,
)
from batchyard.engines.docker.order import ALONE, Part, parts_of
from batchyard.engines.docker.parse import SLICE, SYSTEMD, Daemon
from batchyard.engines.docker.volumes import binds_of, mounts_of
from batchyard.engines.gpus import NVIDIA_VISIBLE
from batchyard.engines.task import (
    Container,
    Device,
    LinuxParameters,
    LogConfiguration,
    Secret,
    Task,
    Tmpfs,
    Ulimit,
)
from batchyard.exceptions import CannotLaunchError

MIB = 1024 * 1024
SHARES_PER_VCPU = 1024
"""The user guide: "Each vCPU is equivalent to 1,024 CPU shares"."""

EXECUTION_ENVIRONMENT = {"AWS_EXECUTION_ENV": "AWS_ECS_EC2"}
KEPT_LOG_BYTES = "1t"
"""Docker's `local` driver drops the beginning of a log that gets larger: never."""
PERMISSIONS = {"READ": "r", "WRITE": "w", "MKNOD": "m"}
NO_NETWORK = "none"
HOSTS_PATH = "/etc/hosts"
ARCHITECTURES = {"x86_64": "X86_64", "amd64": "X86_64", "aarch64": "ARM64", "arm64": "ARM64"}

Body = dict[str, Any]
_parts = msgspec.json.Decoder(tuple[Part, ...])


class Options(Struct, frozen=True):
    """What a server's settings say of all its containers."""

    server_id: str
    boot_id: str
    data_dir: str = ""
    prefix: str = ""
    """Before the attempt's id in a container's name: nothing but in tests, whose attempts have poor ids."""
    network: str = "bridge"
    networks: dict[str, str] = {}
    """Subnet -> the network of containers in environments that have it; the others are on `network`."""
    cpu_quota: bool = False
    """vCPUs as a hard limit and not only as a share."""
    storage_quota: bool = False
    """ephemeralStorage as the limit of the container's layer, which needs a storage driver that has quotas."""
    cgroup_driver: str = ""
    """Each attempt has a control group of its own around its containers' groups, made by this driver of Docker's; if
    empty, it has none."""
    hosts_dir: str = ""
    """Where each container without a network has its /etc/hosts (see hosts.py); if empty, Docker sees to it."""
    efs_address: str = "{file_system_id}.efs.{region}.amazonaws.com"
    region: str = "us-east-1"
    has_gpus: bool = False
    """The server gives GPUs to jobs: who asked for none sees none, even where the daemon's runtime would show all."""


def cgroup_folder(options: Options) -> str:
    """The group around those of a server's attempts: a path, or for systemd a slice by name, in which each hyphen is
    a step down."""
    is_slice = options.cgroup_driver == SYSTEMD
    return f"batchyard-{options.server_id}{SLICE}" if is_slice else f"/batchyard/{options.server_id}"


def cgroup_parent(options: Options, attempt_id: str) -> str:
    """The group around an attempt's containers, as Docker wants it."""
    name = f"{options.prefix}{attempt_id}"
    if options.cgroup_driver == SYSTEMD:
        return f"{cgroup_folder(options).removesuffix(SLICE)}-{name.replace('-', '_')}{SLICE}"
    return f"{cgroup_folder(options)}/{name}"


def attempt_of_group(options: Options, name: str) -> str:
    """Whose group this is, by what it is called in `cgroup_folder`."""
    if options.cgroup_driver == SYSTEMD:
        name = name.removeprefix(f"{cgroup_folder(options).removesuffix(SLICE)}-").removesuffix(SLICE).replace("_", "-")
    return name.removeprefix(options.prefix)


def network_of(options: Options, subnets: Iterable[str]) -> str:
    """The network of the first of the environment's subnets that has one."""
    return next((options.networks[each] for each in subnets if each in options.networks), options.network)


def container_names(prefix: str, attempt_id: str, parts: Sequence[Part]) -> list[str]:
    """What the containers of an attempt are called in Docker: as the attempt if there is but one."""
    if len(parts) == 1:
        return [prefix + attempt_id]
    return [f"{prefix}{attempt_id}.{part.name}" for part in parts]


def pause_name(prefix: str, attempt_id: str) -> str:
    return f"{prefix}{attempt_id}-{PAUSE}"


def create_body(options: Options, daemon: Daemon, launch: Launch, task: Task, index: int = 0) -> Body:
    """The body for one container of a launch."""
    container = task.containers[index]
    alone = len(task.containers) == 1
    _check_platform(task, daemon)
    command = launch.command if alone else container.command
    if any("\0" in word for word in command):
        raise CannotLaunchError(cannot_start("a command can't contain NUL"))
    shared = _shared(options, launch, task)
    network = _network(options, launch) if "NetworkMode" not in shared else {}
    holder = f"container:{pause_name(options.prefix, launch.attempt_id)}"
    body: Body = {
        "Image": container.image,
        "Env": [f"{name}={value}" for name, value in _environment(options, launch, task, index).items()],
        "Labels": {
            **labels(options, launch.attempt_id, str(index), task),
            **({} if is_collected(container) else {LABEL_UNREAD: "true"}),
        },
        "AttachStdout": True,
        "AttachStderr": True,
        **network,
        "HostConfig": {
            **_host_config(options, daemon, launch, task, container),
            **network.get("HostConfig", {}),
            **dict.fromkeys(shared, holder),
        },
    }
    if (hosts := _hosts_file(options, launch, task)) is not None:
        body["NetworkDisabled"] = True
        mount = {"Type": "bind", "Source": hosts, "Target": HOSTS_PATH, "ReadOnly": container.readonly_root_filesystem}
        body["HostConfig"]["Mounts"] = [*body["HostConfig"]["Mounts"], mount]
    gpus = gpus_of(launch, task, index)
    if gpus:
        body["HostConfig"]["DeviceRequests"] = [
            {"Driver": "nvidia", "DeviceIDs": list(gpus), "Capabilities": [["gpu"]]},
        ]
    if command:
        body["Cmd"] = list(command)
    if container.user:
        body["User"] = container.user
    return body


def has_own_hosts_file(body: Body) -> bool:
    """Whether a container has an /etc/hosts in `hosts_dir`, which must be there before the container is."""
    return bool(body.get("NetworkDisabled"))


def _hosts_file(options: Options, launch: Launch, task: Task) -> str | None:
    """The /etc/hosts of the container, where it has no network and shares none; None if Docker or the task itself sees
    to it."""
    network = network_of(options, launch.subnets)
    if not options.hosts_dir or len(task.containers) > 1 or launch.address is not None or network != NO_NETWORK:
        return None
    container = task.containers[0]
    targets = {each.container_path or "" for each in container.mount_points}
    targets |= {each.container_path for each in container.linux_parameters.tmpfs}
    if HOSTS_PATH in {posixpath.normpath(f"/{target.lstrip('/')}") for target in targets}:
        return None
    (name,) = container_names(options.prefix, launch.attempt_id, ALONE)
    return f"{options.hosts_dir}/{name}"


def pause_body(options: Options, launch: Launch, task: Task) -> Body | None:
    """The body for the container that holds what the others share; None where they share nothing."""
    shared = _shared(options, launch, task)
    if not shared:
        return None
    network = _network(options, launch) if "NetworkMode" in shared else {"HostConfig": {"NetworkMode": NO_NETWORK}}
    config: Body = network["HostConfig"]
    if "IpcMode" in shared:
        sizes = [each.linux_parameters.shared_memory_size or 0 for each in task.containers]
        config = {**config, "IpcMode": "shareable", **({"ShmSize": max(sizes) * MIB} if any(sizes) else {})}
    if options.cgroup_driver:
        config = {**config, "CgroupParent": cgroup_parent(options, launch.attempt_id)}
    return {**network, **pause.body(labels(options, launch.attempt_id, PAUSE, task), config)}


def _shared(options: Options, launch: Launch, task: Task) -> list[str]:
    """The namespaces that the containers of a task share among themselves, as members of HostConfig.

    They always share a network, so that each finds the others at localhost (ADR 16); on the host's they do so anyhow.
    """
    if len(task.containers) == 1:
        return []
    wanted = {
        "NetworkMode": launch.address is not None or network_of(options, launch.subnets) != "host",
        "PidMode": task.pid_mode == "task",
        "IpcMode": task.ipc_mode == "task",
    }
    return [member for member, is_shared in wanted.items() if is_shared]


def _network(options: Options, launch: Launch) -> Body:
    """The members of a body that say which network its container is on: that of nodes, or as the settings have it."""
    if launch.address is None:
        return {"HostConfig": {"NetworkMode": network_of(options, launch.subnets)}}
    network = networks.name_of(options.server_id)
    return {
        "HostConfig": {"NetworkMode": network},
        "NetworkingConfig": {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": launch.address}}}},
        "Hostname": launch.host_name,
    }


def labels(options: Options, attempt_id: str, container: str, task: Task) -> dict[str, str]:
    """What a container is found again by. Of the job itself there is only the order of its containers: everybody on
    the host may read them."""
    found = {
        LABEL_SERVER: options.server_id,
        LABEL_ATTEMPT: attempt_id,
        LABEL_CONTAINER: container,
        LABEL_BOOT: options.boot_id,
        LABEL_FOLDER: options.data_dir,
    }
    if len(task.containers) > 1:
        found[LABEL_TASK] = msgspec.json.encode(parts_of(task.containers)).decode()
    return found


def parts_in(labels: Mapping[str, str]) -> tuple[Part, ...]:
    """The order of the containers of an attempt, from the labels of one of them."""
    return _parts.decode(labels[LABEL_TASK]) if LABEL_TASK in labels else ALONE


def _check_platform(task: Task, daemon: Daemon) -> None:
    platform = task.runtime_platform
    if platform.operating_system_family != "LINUX":
        raise CannotLaunchError(
            cannot_start(f"runtimePlatform {platform.operating_system_family}, but this host runs LINUX containers")
        )
    host = ARCHITECTURES.get(daemon.architecture, daemon.architecture)
    if platform.cpu_architecture not in (None, host):
        raise CannotLaunchError(cannot_start(f"runtimePlatform {platform.cpu_architecture}, but this host is {host}"))


def gpus_of(launch: Launch, task: Task, index: int) -> tuple[str, ...]:
    """Which of the attempt's GPUs are the container's: the first container that wants some has the first of them."""
    if len(task.containers) == 1:
        return launch.gpus
    wanted = [int(each.requirement("GPU") or 0) for each in task.containers]
    first = sum(wanted[:index])
    return launch.gpus[first : first + wanted[index]]


def _environment(options: Options, launch: Launch, task: Task, index: int) -> dict[str, str]:
    """The container's own variables, which win over secrets of their names; those of the launch, which the service
    sets, win over both, and its GPUs over all."""
    container = task.containers[index]
    own = {pair.name: pair.value for pair in container.environment}
    secret = _resolved(container.secrets, launch.secrets)
    gpus = gpus_of(launch, task, index)
    hidden = {NVIDIA_VISIBLE: "void"} if options.has_gpus else {}
    shown = {NVIDIA_VISIBLE: ",".join(gpus)} if gpus else {}
    told = launch.told[index] if launch.told else {}
    return {**EXECUTION_ENVIRONMENT, **hidden, **secret, **own, **launch.environment, **told, **shown}


def _host_config(options: Options, daemon: Daemon, launch: Launch, task: Task, container: Container) -> Body:
    alone = len(task.containers) == 1
    vcpu_milli = launch.vcpu_milli if alone else _milli(container.requirement("VCPU"))
    memory_mib = launch.memory_mib if alone else int(container.requirement("MEMORY") or 0)
    config: Body = {
        "CpuShares": max(2, vcpu_milli * SHARES_PER_VCPU // 1000),
        "Memory": memory_mib * MIB,
        "LogConfig": _log_config(container.log_configuration, daemon, launch.secrets),
        "Privileged": container.privileged,
        "ReadonlyRootfs": container.readonly_root_filesystem,
        "Binds": binds_of(task, container),
        "Mounts": mounts_of(options, launch.attempt_id, task, container),
        "Ulimits": [_ulimit(each) for each in container.ulimits],
    }
    if options.cpu_quota:
        config["NanoCpus"] = vcpu_milli * 1_000_000
    if options.cgroup_driver:
        config["CgroupParent"] = cgroup_parent(options, launch.attempt_id)
    if task.ephemeral_storage_gib is not None and options.storage_quota:
        config["StorageOpt"] = {"size": f"{task.ephemeral_storage_gib}G"}
    if task.pid_mode == "host":
        config["PidMode"] = "host"
    if task.ipc_mode in ("host", "none"):
        config["IpcMode"] = task.ipc_mode
    return {**config, **_linux(container.linux_parameters, memory_mib)}


def vcpu_milli_of(cpu_shares: int) -> int:
    """What a container asked for that has these shares: the least, as they were rounded down."""
    return -(-cpu_shares * 1000 // SHARES_PER_VCPU)


def _ulimit(ulimit: Ulimit) -> Body:
    return {"Name": ulimit.name, "Soft": ulimit.soft_limit, "Hard": ulimit.hard_limit}


def _milli(vcpus: str | None) -> int:
    return round(float(vcpus or 1) * 1000)


def _linux(linux: LinuxParameters, memory_mib: int) -> Body:
    config: Body = {}
    if linux.devices:
        config["Devices"] = [_device(each) for each in linux.devices]
    if linux.init_process_enabled:
        config["Init"] = True
    if linux.shared_memory_size:
        config["ShmSize"] = linux.shared_memory_size * MIB
    if linux.tmpfs:
        config["Tmpfs"] = {each.container_path: _tmpfs_options(each) for each in linux.tmpfs}
    if linux.max_swap is not None:
        # Docker counts memory and swap together (user guide: "--memory-swap … the sum of the container memory plus
        # the maxSwap value").
        config["MemorySwap"] = (memory_mib + linux.max_swap) * MIB
        if linux.swappiness is not None:
            config["MemorySwappiness"] = linux.swappiness
    return config


def _device(device: Device) -> Body:
    permissions = "".join(PERMISSIONS[each] for each in device.permissions if each in PERMISSIONS)
    return {
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path or device.host_path,
        "CgroupPermissions": permissions or "rwm",
    }


def _tmpfs_options(tmpfs: Tmpfs) -> str:
    return ",".join([*tmpfs.mount_options, f"size={tmpfs.size}m"])


def _log_config(log: LogConfiguration, daemon: Daemon, secrets: Mapping[str, str]) -> Body:
    """`awslogs` is Batchyard's own job: Docker only has to hold every byte until it is read. Others get their way."""
    if log.log_driver == "awslogs":
        if "local" in daemon.log_drivers:
            return {"Type": "local", "Config": {"max-size": KEPT_LOG_BYTES, "max-file": "1", "compress": "false"}}
        return {"Type": "json-file", "Config": {}}
    return {"Type": log.log_driver, "Config": {**log.options, **_resolved(log.secret_options, secrets)}}


def _resolved(wanted: Iterable[Secret], secrets: Mapping[str, str]) -> dict[str, str]:
    """Secrets by the name under which the container gets them. A launch has all that it was owed."""
    return {each.name: secrets[each.value_from] for each in wanted if each.value_from in secrets}


def is_collected(container: Container) -> bool:
    """Whether the container's output becomes events of its log stream: with another driver it goes elsewhere."""
    return container.log_configuration.log_driver == "awslogs"
