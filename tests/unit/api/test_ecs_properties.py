from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from batchyard.api.batch import ecs_properties
from batchyard.exceptions import ApiError
from tests.unit.api.harness import World

ENVELOPE = "Error executing request, Exception : "


def sizes(vcpus: str = "1", memory: str = "512") -> list[dict[str, str]]:
    return [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": memory}]


def container(**members: Any) -> dict[str, Any]:
    return {"image": "busybox", "resourceRequirements": sizes(), **members}


def ecs(*containers: dict[str, Any], **task: Any) -> dict[str, Any]:
    return {"taskProperties": [{"containers": list(containers), **task}]}


def waiting(*names: str, condition: str = "START") -> list[dict[str, str]]:
    return [{"containerName": name, "condition": condition} for name in names]


def text_of(function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        function(*arguments, **options)
    assert caught.value.code == "ClientException"
    return caught.value.message.removeprefix(ENVELOPE)


def test_a_described_task_has_the_services_defaults(world: World) -> None:
    given = ecs(container(name="a", environment=[{"name": "E", "value": ""}, {"name": "F", "value": "1"}]))
    world.call("RegisterJobDefinition", jobDefinitionName="d", type="container", ecsProperties=given)
    shown = world.call("DescribeJobDefinitions")["jobDefinitions"][0]
    assert "containerProperties" not in shown
    assert (shown["containerOrchestrationType"], shown["type"]) == ("ECS", "container")
    assert shown["ecsProperties"] == {
        "taskProperties": [
            {
                "volumes": [],
                "platformVersion": "LATEST",
                "containers": [
                    {
                        "name": "a",
                        "image": "busybox",
                        "essential": True,
                        "command": [],
                        "dependsOn": [],
                        "environment": [{"name": "F", "value": "1"}],
                        "mountPoints": [],
                        "secrets": [],
                        "ulimits": [],
                        "resourceRequirements": sizes(),
                    }
                ],
            }
        ]
    }


def test_what_is_described_can_be_registered_again(world: World) -> None:
    given = ecs(
        container(name="a", dependsOn=waiting("b", condition="COMPLETE"), stopTimeout=60, essential=True),
        container(name="b", essential=False, linuxParameters={"initProcessEnabled": True}),
        volumes=[{"name": "v", "host": {"sourcePath": "/data"}}],
        taskRoleArn="role",
        ipcMode="task",
        pidMode="host",
    )
    world.call("RegisterJobDefinition", jobDefinitionName="d", type="container", ecsProperties=given)
    first = world.call("DescribeJobDefinitions")["jobDefinitions"][0]["ecsProperties"]
    world.call("RegisterJobDefinition", jobDefinitionName="d", type="container", ecsProperties=first)
    assert world.call("DescribeJobDefinitions")["jobDefinitions"][1]["ecsProperties"] == first


@pytest.mark.parametrize("user", ["guest", "1000", "guest:users", "1000:1000", "guest:1000", ""])
def test_a_user_may_have_a_group(user: str) -> None:
    ecs_properties.check(ecs(container(user=user)), fargate=False)


EFS = {"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs", "authorizationConfig": {"accessPointId": "ap"}}}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no task": ({"taskProperties": []}, "ecsProperties.taskProperties must contain exactly one element"),
    "two tasks": (
        {"taskProperties": ecs(container())["taskProperties"] * 2},
        "ecsProperties.taskProperties must contain exactly one element",
    ),
    "a bad user": (ecs(container(user="-root")), "User '-root' does not match regex"),
    "a bad group": (ecs(container(user="me:-root")), "User 'me:-root' does not match regex"),
    "no group": (ecs(container(user="me:")), "User 'me:' does not match regex"),
    "more than a group": (ecs(container(user="me:us:them")), "User 'me:us:them' does not match regex"),
    "no container": (ecs(), "ecsProperties must contain 1 to 10 containers"),
    "eleven containers": (
        ecs(*(container(name=str(number)) for number in range(11))),
        "ecsProperties must contain 1 to 10 containers",
    ),
    "no image": (ecs(container(image="")), "ecsProperties containers must contain image"),
    "same name": (ecs(container(name="a"), container(name="a")), "Container name 'a' is used more than once"),
    "a name like a path": (ecs(container(name="../a")), "Container name '../a' must be up to 255 letters, numbers"),
    "nameless beside another": (ecs(container(name="a"), container()), "Every container of a task with several"),
    "nothing essential": (ecs(container(essential=False)), "ecsProperties must contain at least one essential"),
    "no size": (ecs(container(resourceRequirements=[])), "containerProperties must contain vcpus"),
    "half a vCPU": (ecs(container(resourceRequirements=sizes("0.5"))), "VCPU must be a whole number"),
    "waits for nobody": (
        ecs(container(name="a", dependsOn=waiting("b"))),
        "dependsOn names container 'b', which is not another one of the task",
    ),
    "waits for itself": (ecs(container(name="a", dependsOn=waiting("a"))), "dependsOn names container 'a'"),
    "unknown condition": (
        ecs(container(name="a", dependsOn=waiting("b", condition="READY")), container(name="b")),
        "dependsOn condition READY must be one of START | HEALTHY | COMPLETE | SUCCESS",
    ),
    "waits for an essential end": (
        ecs(container(name="a", dependsOn=waiting("b", condition="SUCCESS")), container(name="b")),
        "dependsOn condition SUCCESS cannot be set on an essential container",
    ),
    "a circle": (
        ecs(
            container(name="a", dependsOn=waiting("c")),
            container(name="b", dependsOn=waiting("a")),
            container(name="c", dependsOn=waiting("b")),
        ),
        "dependsOn of the containers forms a cycle",
    ),
    "short stop": (ecs(container(stopTimeout=1)), "stopTimeout must be at least 2 seconds"),
    "short start": (ecs(container(startTimeout=0)), "startTimeout must be at least 2 seconds"),
    "ipc mode": (ecs(container(), ipcMode="all"), "ipcMode all must be one of host | task | none"),
    "pid mode": (ecs(container(), pidMode="none"), "pidMode none must be one of host | task"),
    "network on EC2": (
        ecs(container(), networkConfiguration={"assignPublicIp": "ENABLED"}),
        "networkConfiguration not applicable for EC2.",
    ),
    "reserved variable": (ecs(container(environment=[{"name": "AWS_BATCH_X"}])), "Environment variable AWS_BATCH_X"),
    "swappiness": (ecs(container(linuxParameters={"swappiness": 101})), "swappiness must be between 0 and 100"),
    "volume": (ecs(container(), volumes=[EFS]), "transitEncryption must be ENABLED for an EFS volume with an"),
}


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ({"firelensConfiguration": {"type": "fluentbit"}}, "firelensConfiguration is not built in Batchyard yet"),
        ({"logConfiguration": {"logDriver": "awsfirelens"}}, "logDriver awsfirelens is not built in Batchyard yet"),
    ],
)
@pytest.mark.parametrize("fargate", [False, True])
def test_firelens_is_refused_when_a_definition_is_registered(member: Any, text: str, fargate: bool) -> None:
    with pytest.raises(ApiError) as caught:
        ecs_properties.check(ecs(container(name="a"), container(name="b", **member)), fargate=fargate)
    assert (caught.value.code, caught.value.message) == ("ClientException", text)


@pytest.mark.parametrize("condition", ["START", "HEALTHY"])
def test_an_essential_container_may_be_waited_for_while_it_runs(condition: str) -> None:
    ecs_properties.check(
        ecs(container(name="a", dependsOn=waiting("b", condition=condition)), container(name="b")), fargate=False
    )


@pytest.mark.parametrize("case", BAD)
def test_a_bad_task_is_refused(case: str) -> None:
    given, text = BAD[case]
    assert text_of(ecs_properties.check, given, fargate=False).startswith(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (ecs(container(privileged=True)), "privileged not applicable for Fargate."),
        (ecs(container(), ipcMode="task"), "ipcMode not applicable for Fargate."),
        (ecs(container(stopTimeout=121)), "stopTimeout must be at most 120 seconds for Fargate"),
        (ecs(container(name="a"), container(name="b")), "Fargate resource requirements (VCPU 2, MEMORY 1024)"),
        (
            ecs(container(resourceRequirements=[*sizes(), {"type": "GPU", "value": "1"}])),
            "GPU not applicable for Fargate.",
        ),
    ],
)
def test_fargate_has_rules_of_its_own(given: dict[str, Any], text: str) -> None:
    assert text_of(ecs_properties.check, given, fargate=True).startswith(text)


def test_fargate_counts_what_all_containers_need_together() -> None:
    halves = [container(name=name, resourceRequirements=sizes("0.5", "1024")) for name in ("a", "b")]
    ecs_properties.check(ecs(*halves, platformVersion="1.4.0"), fargate=True)


def merged(given: dict[str, Any], *overrides: dict[str, Any]) -> list[dict[str, Any]]:
    override = {"taskProperties": [{"containers": list(overrides)}]}
    changed = ecs_properties.merged(given, override, lambda command: command)
    containers: list[dict[str, Any]] = changed["taskProperties"][0]["containers"]
    return containers


TWO = ecs(container(name="a", command=["a"]), container(name="b", command=["b"]))


def test_an_override_finds_its_container_by_name() -> None:
    assert [each["command"] for each in merged(TWO, {"name": "b", "command": ["new"]})] == [["a"], ["new"]]


def test_an_override_without_a_name_is_for_the_container_in_its_place() -> None:
    assert [each["command"] for each in merged(TWO, {}, {"command": ["new"]})] == [["a"], ["new"]]


def test_an_override_merges_variables_and_replaces_sizes_by_type() -> None:
    given = ecs(container(environment=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    override = {
        "environment": [{"name": "B", "value": "3"}],
        "resourceRequirements": [{"type": "MEMORY", "value": "64"}],
    }
    changed = merged(given, override)[0]
    assert changed["environment"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]
    assert changed["resourceRequirements"] == [{"type": "MEMORY", "value": "64"}, {"type": "VCPU", "value": "1"}]
    assert "memory" not in changed


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ([{"name": "c"}], "ecsPropertiesOverride: the job definition has no container c"),
        ([{}, {}, {}], "ecsPropertiesOverride: the job definition has no container number 3"),
        ([{}, {"name": "a"}], "ecsPropertiesOverride overrides container number 1 twice"),
    ],
)
def test_an_override_without_a_container_is_refused(overrides: list[dict[str, Any]], text: str) -> None:
    assert text_of(merged, TWO, *overrides).startswith(text)
