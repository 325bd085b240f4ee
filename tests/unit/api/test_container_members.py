from __future__ import annotations

from typing import Any

import pytest

from batchyard.api.batch.container_members import check_container_members, check_task_members
from batchyard.exceptions import ApiError

ENVELOPE = "Error executing request, Exception : "


def efs(**members: Any) -> dict[str, Any]:
    return {"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", **members}}


def check(members: dict[str, Any], *, fargate: bool = False) -> None:
    check_container_members(members, fargate=fargate)
    check_task_members(members, [members], fargate=fargate)


GOOD: dict[str, dict[str, Any]] = {
    "devices": {"linuxParameters": {"devices": [{"hostPath": "/dev/x", "permissions": ["READ"]}]}},
    "tmpfs": {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 64, "mountOptions": ["rw", "uid=5"]}]}},
    "swap": {"linuxParameters": {"maxSwap": 0, "swappiness": 0, "sharedMemorySize": 64, "initProcessEnabled": True}},
    "log driver": {"logConfiguration": {"logDriver": "gelf", "secretOptions": [{"name": "a", "valueFrom": "arn"}]}},
    "secret": {"secrets": [{"name": "DB", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/db"}]},
    "access point": {
        "volumes": [
            efs(
                rootDirectory="/",
                transitEncryption="ENABLED",
                transitEncryptionPort=65535,
                authorizationConfig={"accessPointId": "fsap-1", "iam": "ENABLED"},
            )
        ]
    },
    "S3 files": {"volumes": [{"name": "v", "s3filesVolumeConfiguration": {"fileSystemArn": "arn"}}]},
    "Windows": {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE", "cpuArchitecture": "X86_64"}},
    "ARM": {"runtimePlatform": {"cpuArchitecture": "ARM64"}},
}


@pytest.mark.parametrize("case", GOOD)
def test_members_within_the_rules_are_accepted(case: str) -> None:
    check(GOOD[case])


WINDOWS = {"operatingSystemFamily": "WINDOWS_SERVER_2019_FULL"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "shared memory": ({"linuxParameters": {"sharedMemorySize": -1}}, "sharedMemorySize must not be negative"),
    "empty tmpfs": (
        {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}},
        "tmpfs size must be greater than 0",
    ),
    "mount option": (
        {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["fast"]}]}},
        "tmpfs mount option 'fast' is not valid",
    ),
    "secret's name": (
        {"secrets": [{"name": "AWS_BATCH_X", "valueFrom": "arn"}]},
        "Environment variable AWS_BATCH_X is not valid",
    ),
    "secret from nowhere": ({"secrets": [{"name": "S", "valueFrom": ""}]}, "Secret S has no valueFrom"),
    "volume's name": ({"volumes": [{"name": "a b"}]}, "Volume name 'a b' is not valid"),
    "volume twice": ({"volumes": [{"name": "v"}, {"name": "v"}]}, "Volume name 'v' is used more than once"),
    "port": ({"volumes": [efs(transitEncryptionPort=65536)]}, "transitEncryptionPort must be between 0 and 65535"),
    "access point in the clear": (
        {"volumes": [efs(authorizationConfig={"accessPointId": "fsap-1"})]},
        "transitEncryption must be ENABLED for an EFS volume with an accessPointId",
    ),
    "access point elsewhere": (
        {
            "volumes": [
                efs(
                    rootDirectory="/x",
                    transitEncryption="ENABLED",
                    authorizationConfig={"accessPointId": "fsap-1"},
                )
            ]
        },
        "rootDirectory must be / for an EFS volume with an accessPointId",
    ),
    "iam in the clear": (
        {"volumes": [efs(authorizationConfig={"iam": "ENABLED"})]},
        "transitEncryption must be ENABLED for an EFS volume with iam authorization",
    ),
    "system": ({"runtimePlatform": {"operatingSystemFamily": "BEOS"}}, "operatingSystemFamily BEOS must be one of"),
    "architecture": ({"runtimePlatform": {"cpuArchitecture": "VAX"}}, "cpuArchitecture VAX must be one of"),
    "Windows on ARM": (
        {"runtimePlatform": {**WINDOWS, "cpuArchitecture": "ARM64"}},
        "cpuArchitecture must be X86_64 for Windows containers",
    ),
    "privileged Windows": (
        {"runtimePlatform": WINDOWS, "privileged": True},
        "privileged not applicable for Windows.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_members_beyond_the_rules_are_refused(case: str) -> None:
    members, text = BAD[case]
    with pytest.raises(ApiError) as caught:
        check(members)
    assert caught.value.message.startswith(f"{ENVELOPE}{text}")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"linuxParameters": {"maxSwap": 1, "swappiness": 5}}, "maxSwap not applicable for Fargate.,swappiness not"),
        ({"logConfiguration": {"logDriver": "syslog"}}, "logDriver syslog not applicable for Fargate."),
        ({"volumes": [{"name": "v", "host": {"sourcePath": "/x"}}]}, "sourcePath not applicable for Fargate."),
    ],
)
def test_fargate_has_no_host_to_do_these_with(members: dict[str, Any], text: str) -> None:
    with pytest.raises(ApiError) as caught:
        check(members, fargate=True)
    assert caught.value.message.startswith(f"{ENVELOPE}{text}")
