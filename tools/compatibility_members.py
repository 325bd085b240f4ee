"""What becomes of the members of the structures inside the requests of AWS Batch, on the process engine.

Every structure that a built operation's request can hold stands in one of these tables; a test compares them with the
model. Of a structure that a newer model has, everything is ignored.
"""

from __future__ import annotations

from typing import Any

from batchyard.engines.process import host
from tools.markdown import code, table

HONOURED, RECORDED, IGNORED = "honoured", "recorded", "ignored"

ALL_HONOURED = (
    "ArrayProperties",
    "ComputeEnvironmentOrder",
    "ConsumableResourceProperties",
    "ConsumableResourceRequirement",
    "EcsPropertiesOverride",
    "EvaluateOnExit",
    "FairsharePolicy",
    "JobDependency",
    "JobStateTimeLimitAction",
    "JobTimeout",
    "KeyValuePair",
    "KeyValuesPair",
    "RetryStrategy",
    "ShareAttributes",
    "TaskContainerOverrides",
    "TaskPropertiesOverride",
)
ALL_RECORDED = (
    "ComputeScalingPolicy",
    "Device",
    "EFSAuthorizationConfig",
    "EFSVolumeConfiguration",
    "Ec2Configuration",
    "EcsSettings",
    "EphemeralStorage",
    "FargatePlatformConfiguration",
    "Host",
    "LaunchTemplateSpecification",
    "LaunchTemplateSpecificationOverride",
    "LinuxParameters",
    "MountPoint",
    "NetworkConfiguration",
    "RepositoryCredentials",
    "RuntimePlatform",
    "S3FilesVolumeConfiguration",
    "Tmpfs",
    "Ulimit",
    "UpdatePolicy",
    "Volume",
)
RECORDED_AND_NOT_RUN = (
    "EksContainer",
    "EksContainerEnvironmentVariable",
    "EksContainerLinuxCapabilities",
    "EksContainerResourceRequirements",
    "EksContainerSecurityContext",
    "EksContainerVolumeMount",
    "EksEmptyDir",
    "EksHostPath",
    "EksMetadata",
    "EksPersistentVolumeClaim",
    "EksPodProperties",
    "EksPodSecurityContext",
    "EksProperties",
    "EksSeccompProfile",
    "EksSecret",
    "EksVolume",
    "ImagePullSecret",
)
"""Of pods: kept and described; SubmitJob refuses their definitions."""
NO_PODS = "Job Queue is attached to Compute Environment that can not run Jobs with capability EKS."
REFUSED_WITH = {
    "CapacityReservationRequest": "managedInstancesProvider",
    "EksAccessEntry": "eksConfiguration",
    "EksConfiguration": "eksConfiguration",
    "EksConfigurationUpdate": "eksConfiguration",
    "FirelensConfiguration": "firelensConfiguration",
    "InfrastructureOptimization": "managedInstancesProvider",
    "InstanceLaunchTemplate": "managedInstancesProvider",
    "InstanceLaunchTemplateUpdate": "managedInstancesProvider",
    "InstanceRequirementsRequest": "managedInstancesProvider",
    "ManagedInstancesLocalStorageConfiguration": "managedInstancesProvider",
    "ManagedInstancesNetworkConfiguration": "managedInstancesProvider",
    "ManagedInstancesProvider": "managedInstancesProvider",
    "ManagedInstancesStorageConfiguration": "managedInstancesProvider",
    "QuotaSharePolicy": "quotaSharePolicy",
    "ServiceEnvironmentOrder": "serviceEnvironmentOrder",
    "UpdateManagedInstancesProviderConfiguration": "managedInstancesProvider",
}
"""Structures whose outermost member is refused whole."""
REFUSED_WITH_THE_JOB = ("EksContainerOverride", "EksPodPropertiesOverride", "EksPropertiesOverride")
"""They belong to definitions that SubmitJob refuses."""

EXECUTE = "recorded; commands can be run in every job (`batchyard exec`)"

DOCKER = "honoured by the Docker engine, which alone runs tasks of several containers"
SEVERAL = "SubmitJob refuses more than one container on the process engine"

_RESOURCES = {
    "type": "honoured; ECS_MANAGED_INSTANCES is refused",
    "maxvCpus": HONOURED,
    "managedInstancesProvider": "refused",
    "capacityTags": "refused",
}
MIXED: dict[str, dict[str, str]] = {
    "ComputeResource": _RESOURCES,
    "ComputeResourceUpdate": _RESOURCES,
    "ContainerOverrides": {
        "vcpus": HONOURED,
        "memory": HONOURED,
        "command": HONOURED,
        "environment": HONOURED,
        "resourceRequirements": HONOURED,
    },
    "EcsProperties": {"taskProperties": HONOURED},
    "EcsTaskProperties": {
        "containers": f"honoured; {SEVERAL}",
        "networkMode": "refused on EC2",
        "taskRoleArn": HONOURED,
        "enableExecuteCommand": EXECUTE,
    },
    "LogConfiguration": {
        "logDriver": "honoured: awslogs; awsfirelens is refused; others are recorded, and the log is kept here",
        "options": "honoured: awslogs-group, awslogs-stream-prefix, awslogs-datetime-format, awslogs-multiline-pattern;"
        " others are recorded",
    },
    "NodeOverrides": {"numNodes": HONOURED, "nodePropertyOverrides": HONOURED},
    "NodeProperties": {"numNodes": HONOURED, "mainNode": HONOURED, "nodeRangeProperties": HONOURED},
    "NodePropertyOverride": {
        "targetNodes": HONOURED,
        "containerOverrides": HONOURED,
        "ecsPropertiesOverride": HONOURED,
        "consumableResourcePropertiesOverride": HONOURED,
        "eksPropertiesOverride": "refused with the job",
    },
    "NodeRangeProperty": {
        "targetNodes": HONOURED,
        "container": HONOURED,
        "ecsProperties": f"honoured; {SEVERAL}",
        "consumableResourceProperties": HONOURED,
        "eksProperties": "recorded; SubmitJob refuses the job",
    },
    "ResourceRequirement": {
        "type": HONOURED,
        "value": HONOURED,
    },
    "TaskContainerDependency": {"containerName": DOCKER, "condition": DOCKER},
    "Secret": {
        "name": HONOURED,
        "valueFrom": "honoured; looked up in the file and at the endpoint that settings name",
    },
}
"""What is not said here of their members is recorded."""
CONTAINERS = ("ContainerProperties", "TaskContainerProperties")
"""Their members are honoured, but for those of which the engine says that it does not."""
OF_CONTAINERS = {
    "jobRoleArn": HONOURED,
    "logConfiguration": HONOURED,
    "resourceRequirements": HONOURED,
    "secrets": HONOURED,
    "enableExecuteCommand": EXECUTE,
    "startTimeout": DOCKER,
    "firelensConfiguration": "refused",
    "dependsOn": DOCKER,
    "essential": DOCKER,
}


KNOWN = frozenset(
    {*ALL_HONOURED, *ALL_RECORDED, *RECORDED_AND_NOT_RUN, *REFUSED_WITH, *REFUSED_WITH_THE_JOB, *MIXED, *CONTAINERS}
)


def render(shapes: dict[str, Any], sources: str) -> str:
    """The table of all structures, `shapes` by name."""
    rows = []
    for name in sorted(shapes):
        words: dict[str, list[str]] = {}
        for member in shapes[name].members:
            words.setdefault(_word(name, member, sources), []).append(code(member))
        rows.append((code(name), "; ".join(f"**{word}**: {', '.join(members)}" for word, members in words.items())))
    return table(("Structure", ""), rows)


def _word(name: str, member: str, sources: str) -> str:
    if name in REFUSED_WITH:
        return f"refused with `{REFUSED_WITH[name]}`"
    if name in REFUSED_WITH_THE_JOB:
        return "refused with the job"
    if name in RECORDED_AND_NOT_RUN:
        return "recorded; SubmitJob refuses the job"
    if name in ALL_RECORDED:
        return RECORDED
    if name in MIXED:
        return MIXED[name].get(member, RECORDED)
    if name in CONTAINERS:
        if member in OF_CONTAINERS:
            return OF_CONTAINERS[member]
        return RECORDED if member in host.unsupported({member: True}) else _honoured(member, sources)
    return _honoured(member, sources) if name in KNOWN else IGNORED


def _honoured(member: str, sources: str) -> str:
    """Honoured, if the API's source names it at all."""
    return HONOURED if f'"{member}"' in sources else IGNORED


def structures(shape: Any, found: dict[str, Any]) -> None:
    """Collect all structures that a value of the shape can hold."""
    if shape.type_name == "structure":
        if shape.name in found:
            return
        found[shape.name] = shape
        for member in shape.members.values():
            structures(member, found)
    elif shape.type_name == "list":
        structures(shape.member, found)
    elif shape.type_name == "map":
        structures(shape.value, found)
