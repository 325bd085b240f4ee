"""A task's volumes as Docker's mounts: pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchyard.core.reasons import cannot_start
from batchyard.engines.docker.labels import LABEL_SERVER, LABEL_VOLUME_OF
from batchyard.engines.task import Container, Efs, MountPoint, Task, Volume
from batchyard.exceptions import CannotLaunchError

if TYPE_CHECKING:
    from batchyard.engines.docker.build import Options

NFS_OPTIONS = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"
"""What the EFS guide recommends for mounting without its own helper."""

Mount = dict[str, Any]


def binds_of(task: Task, container: Container) -> list[str]:
    """The container's mount points on host paths, in Docker's old form: in it, a path that does not exist is made, as
    the user guide says."""
    found = [(point, _volume_of(task, point)) for point in container.mount_points]
    return [_bind(point, volume.host.source_path) for point, volume in found if volume.host.source_path]


def mounts_of(options: Options, attempt_id: str, task: Task, container: Container) -> list[Mount]:
    """The container's mount points on volumes that Docker makes."""
    found = [(point, _volume_of(task, point)) for point in container.mount_points]
    return [_mount(options, attempt_id, volume, point) for point, volume in found if not volume.host.source_path]


def volume_name(options: Options, attempt_id: str, volume: Volume) -> str:
    """A volume without a host path is the attempt's own, shared by its containers and removed with them."""
    return f"batchyard-{options.prefix}{attempt_id}-{volume.name}"


def own_volumes(task: Task) -> list[Volume]:
    """The volumes that Docker makes for an attempt."""
    used = {each.source_volume for container in task.containers for each in container.mount_points}
    return [volume for volume in task.volumes if volume.name in used and not volume.host.source_path]


def file_systems(task: Task) -> frozenset[str]:
    """The file systems on the network that are mounted for an attempt."""
    return frozenset(volume.efs.file_system_id for volume in own_volumes(task) if volume.efs is not None)


def _volume_of(task: Task, point: MountPoint) -> Volume:
    volume = next((each for each in task.volumes if each.name == point.source_volume), None)
    if volume is None:
        raise CannotLaunchError(cannot_start(f"mountPoints names volume '{point.source_volume}', which is not there"))
    if not point.container_path:
        raise CannotLaunchError(cannot_start(f"the mount point of volume '{volume.name}' has no containerPath"))
    if volume.s3files is not None:
        raise CannotLaunchError(cannot_start("s3filesVolumeConfiguration is not built in Batchyard"))
    return volume


def _bind(point: MountPoint, source: str) -> str:
    assert point.container_path is not None
    for path in (source, point.container_path):
        if ":" in path:
            raise CannotLaunchError(cannot_start(f"a path that is mounted can't contain a colon: {path}"))
    return f"{source}:{point.container_path}{':ro' if point.read_only else ''}"


def _mount(options: Options, attempt_id: str, volume: Volume, point: MountPoint) -> Mount:
    made: Mount = {"Labels": {LABEL_SERVER: options.server_id, LABEL_VOLUME_OF: options.prefix + attempt_id}}
    if volume.efs is not None:
        made["DriverConfig"] = {"Name": "local", "Options": _efs_options(options, volume.efs)}
    return {
        "Target": point.container_path,
        "ReadOnly": point.read_only,
        "Type": "volume",
        "Source": volume_name(options, attempt_id, volume),
        "VolumeOptions": made,
    }


def _efs_options(options: Options, efs: Efs) -> dict[str, str]:
    """EFS is NFS version 4.1. Encryption in transit and access points need the mount helper of AWS."""
    for asked, member in (
        (efs.transit_encryption == "ENABLED", "transitEncryption"),
        (efs.authorization_config.access_point_id, "authorizationConfig accessPointId"),
        (efs.authorization_config.iam == "ENABLED", "authorizationConfig iam"),
    ):
        if asked:
            raise CannotLaunchError(
                cannot_start(f"efsVolumeConfiguration {member} needs the EFS mount helper: not built in Batchyard")
            )
    address = options.efs_address.format(file_system_id=efs.file_system_id, region=options.region)
    root = "/" + (efs.root_directory or "").lstrip("/")
    # Of "nfs4" Docker would not look up the address, and the kernel takes none but numbers.
    return {"type": "nfs", "o": f"addr={address},{NFS_OPTIONS}", "device": f":{root}"}
