"""What an attempt runs in: its containers and volumes, as the job's settled properties describe them.

The members are those of containerProperties and ecsProperties that concern an engine which runs containers, under the
service model's own names, so that a stored job decodes straight into these. A job with containerProperties is a task
of one container. The structs are immutable and shared by all attempts of a job.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field


class Pair(Struct, frozen=True):
    """A variable: `name` and its value."""

    name: str = ""
    value: str = ""


class Secret(Struct, frozen=True, rename="camel"):
    """A variable or option whose value a secret store has, under `value_from`: an ARN or a parameter's name."""

    name: str
    value_from: str


class Requirement(Struct, frozen=True):
    """An entry of resourceRequirements: VCPU, MEMORY (MiB) or GPU."""

    type: str
    value: str


class HostPath(Struct, frozen=True, rename="camel"):
    source_path: str | None = None


class EfsAuthorization(Struct, frozen=True, rename="camel"):
    access_point_id: str | None = None
    iam: str | None = None


class Efs(Struct, frozen=True, rename="camel"):
    """An Amazon EFS file system, which is mounted by NFS."""

    file_system_id: str
    root_directory: str | None = None
    transit_encryption: str | None = None
    authorization_config: EfsAuthorization = EfsAuthorization()


class Volume(Struct, frozen=True, rename="camel"):
    """A volume of the task; without a host path and a file system it is one that Docker makes."""

    name: str = ""
    host: HostPath = HostPath()
    efs: Efs | None = field(name="efsVolumeConfiguration", default=None)
    s3files: dict[str, object] | None = field(name="s3filesVolumeConfiguration", default=None)


class MountPoint(Struct, frozen=True, rename="camel"):
    container_path: str | None = None
    read_only: bool = False
    source_volume: str | None = None


class Ulimit(Struct, frozen=True, rename="camel"):
    name: str
    soft_limit: int
    hard_limit: int


class Device(Struct, frozen=True, rename="camel"):
    host_path: str
    container_path: str | None = None
    permissions: tuple[str, ...] = ()


class Tmpfs(Struct, frozen=True, rename="camel"):
    """`size` is in MiB."""

    container_path: str
    size: int
    mount_options: tuple[str, ...] = ()


class LinuxParameters(Struct, frozen=True, rename="camel"):
    """`shared_memory_size` and `max_swap` are in MiB."""

    devices: tuple[Device, ...] = ()
    init_process_enabled: bool = False
    shared_memory_size: int | None = None
    tmpfs: tuple[Tmpfs, ...] = ()
    max_swap: int | None = None
    swappiness: int | None = None


class LogConfiguration(Struct, frozen=True, rename="camel"):
    log_driver: str = "awslogs"
    options: dict[str, str] = {}
    secret_options: tuple[Secret, ...] = ()


class RepositoryCredentials(Struct, frozen=True, rename="camel"):
    credentials_parameter: str


class EphemeralStorage(Struct, frozen=True):
    size_gib: int = field(name="sizeInGiB")


class RuntimePlatform(Struct, frozen=True, rename="camel"):
    operating_system_family: str = "LINUX"
    cpu_architecture: str | None = None


class ContainerDependency(Struct, frozen=True, rename="camel"):
    """What a container waits for: that another of its task has come as far as `condition`, which is START, HEALTHY,
    COMPLETE (it has ended) or SUCCESS (with 0)."""

    container_name: str
    condition: str


class Container(Struct, frozen=True, rename="camel"):
    """One container: what it runs and what it may use. Its timeouts are in seconds."""

    image: str = ""
    name: str | None = None
    command: tuple[str, ...] = ()
    environment: tuple[Pair, ...] = ()
    secrets: tuple[Secret, ...] = ()
    resource_requirements: tuple[Requirement, ...] = ()
    mount_points: tuple[MountPoint, ...] = ()
    readonly_root_filesystem: bool = False
    privileged: bool = False
    ulimits: tuple[Ulimit, ...] = ()
    user: str | None = None
    linux_parameters: LinuxParameters = LinuxParameters()
    log_configuration: LogConfiguration = LogConfiguration()
    repository_credentials: RepositoryCredentials | None = None
    essential: bool = True
    depends_on: tuple[ContainerDependency, ...] = ()
    start_timeout: int | None = None
    stop_timeout: int | None = None

    def requirement(self, kind: str) -> str | None:
        """The value of a resource requirement, None where there is none."""
        return next((each.value for each in self.resource_requirements if each.type == kind), None)

    @property
    def variable_names(self) -> frozenset[str]:
        """The variables that it sets itself."""
        return frozenset([*(each.name for each in self.environment), *(each.name for each in self.secrets)])

    @property
    def secret_sources(self) -> tuple[str, ...]:
        """Everything that has to be asked of a secret store before the container can be made."""
        sources = [secret.value_from for secret in (*self.secrets, *self.log_configuration.secret_options)]
        if self.repository_credentials is not None:
            sources.append(self.repository_credentials.credentials_parameter)
        return tuple(dict.fromkeys(sources))


class Task(Struct, frozen=True):
    """All containers of an attempt, and what they share."""

    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] = ()
    ephemeral_storage_gib: int | None = None
    runtime_platform: RuntimePlatform = RuntimePlatform()
    ipc_mode: str | None = None
    pid_mode: str | None = None


class _ContainerTask(Container, frozen=True, rename="camel"):
    """containerProperties: a container, and beside its members those of its task."""

    volumes: tuple[Volume, ...] = ()
    ephemeral_storage: EphemeralStorage | None = None
    runtime_platform: RuntimePlatform = RuntimePlatform()


class _EcsTask(Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...]
    volumes: tuple[Volume, ...] = ()
    ephemeral_storage: EphemeralStorage | None = None
    runtime_platform: RuntimePlatform = RuntimePlatform()
    ipc_mode: str | None = None
    pid_mode: str | None = None


class _Ecs(Struct, frozen=True, rename="camel"):
    task_properties: tuple[_EcsTask, ...]


class _NodeRange(Struct, frozen=True, rename="camel"):
    """What the nodes of a range run, whichever way it is described."""

    container: _ContainerTask | None = None
    ecs_properties: _Ecs | None = None

    @property
    def task(self) -> Task:
        if self.ecs_properties is not None:
            return _of_ecs(self.ecs_properties.task_properties[0])
        return _single(self.container or _ContainerTask())


class _Nodes(Struct, frozen=True, rename="camel"):
    node_range_properties: tuple[_NodeRange, ...]


class _Detail(_NodeRange, frozen=True, rename="camel"):
    """The members of JobDetail that say what a job runs."""

    node_properties: _Nodes | None = None


_detail = msgspec.json.Decoder(_Detail)


def tasks_of(stored: bytes) -> tuple[Task, ...]:
    """The task of a stored job; of a multi-node job, the task of each of its node ranges."""
    detail = _detail.decode(stored)
    ranges = (detail,) if detail.node_properties is None else detail.node_properties.node_range_properties
    return tuple(each.task for each in ranges)


def _single(container: _ContainerTask) -> Task:
    storage = container.ephemeral_storage
    return Task(
        containers=(container,),
        volumes=container.volumes,
        ephemeral_storage_gib=storage.size_gib if storage else None,
        runtime_platform=container.runtime_platform,
    )


def _of_ecs(task: _EcsTask) -> Task:
    storage = task.ephemeral_storage
    return Task(
        containers=task.containers,
        volumes=task.volumes,
        ephemeral_storage_gib=storage.size_gib if storage else None,
        runtime_platform=task.runtime_platform,
        ipc_mode=task.ipc_mode,
        pid_mode=task.pid_mode,
    )
