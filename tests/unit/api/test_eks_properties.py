from __future__ import annotations

from typing import Any

import pytest

from batchyard.api.batch import eks_properties
from batchyard.exceptions import ApiError
from tests.unit.api.harness import World, refusal

ENVELOPE = "Error executing request, Exception : "


def pod(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"podProperties": {"containers": list(containers), **members}}


def container(**members: Any) -> dict[str, Any]:
    return {"image": "python:3.11", **members}


def register(world: World, **params: Any) -> dict[str, Any]:
    world.call("RegisterJobDefinition", jobDefinitionName="pod", type="container", **params)
    shown: dict[str, Any] = world.call("DescribeJobDefinitions")["jobDefinitions"][-1]
    return shown


def test_a_described_pod_has_empty_lists_and_what_was_registered(world: World) -> None:
    shown = register(world, eksProperties=pod(container(), hostNetwork=False))
    assert "containerProperties" not in shown
    assert shown["containerOrchestrationType"] == "EKS"
    assert shown["eksProperties"]["podProperties"] == {
        "hostNetwork": False,
        "imagePullSecrets": [],
        "volumes": [],
        "initContainers": [],
        "containers": [{"image": "python:3.11", "args": [], "command": [], "env": [], "volumeMounts": []}],
    }


def test_a_whole_pod_is_kept_as_it_is(world: World) -> None:
    given = pod(
        container(
            name="main",
            imagePullPolicy="IfNotPresent",
            resources={
                "limits": {"cpu": "2", "memory": "2048Mi", "nvidia.com/gpu": "1"},
                "requests": {"cpu": "0.25", "memory": "1024Mi"},
            },
            volumeMounts=[{"name": "scratch", "mountPath": "/scratch", "readOnly": False}],
            securityContext={"runAsUser": 1000, "runAsNonRoot": True},
        ),
        initContainers=[container(name="init", args=["x"])],
        volumes=[{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
        metadata={"labels": {"team": "a"}, "namespace": "batch-jobs"},
        dnsPolicy="ClusterFirst",
        serviceAccountName="account",
    )
    shown = register(world, eksProperties=given)["eksProperties"]
    assert shown["podProperties"]["containers"][0].items() >= given["podProperties"]["containers"][0].items()
    for member in ("volumes", "metadata", "dnsPolicy", "serviceAccountName"):
        assert shown["podProperties"][member] == given["podProperties"][member]
    assert register(world, eksProperties=shown)["eksProperties"] == shown


def sized(**resources: dict[str, str]) -> dict[str, Any]:
    return pod(container(resources=resources))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no pod": ({}, "eksProperties.podProperties must contain at least one container"),
    "no container": (pod(), "eksProperties.podProperties must contain at least one container"),
    "no image": (pod(container(image="")), "eksProperties containers must contain image"),
    "eleven": (
        pod(*(container(name=str(number)) for number in range(11))),
        f"{ENVELOPE}podProperties can have at most 10 containers",
    ),
    "eleven before": (
        pod(container(), initContainers=[container(name=str(number)) for number in range(11)]),
        f"{ENVELOPE}podProperties can have at most 10 initContainers",
    ),
    "nameless twice": (pod(container(), container()), f"{ENVELOPE}Container name 'Default' is used more than once"),
    "dns": (pod(container(), dnsPolicy="Mine"), f"{ENVELOPE}dnsPolicy Mine must be one of"),
    "pull": (pod(container(imagePullPolicy="Once")), f"{ENVELOPE}imagePullPolicy Once must be one of"),
    "default namespace": (pod(container(), metadata={"namespace": "default"}), f"{ENVELOPE}namespace 'default'"),
    "kube namespace": (pod(container(), metadata={"namespace": "kube-x"}), f"{ENVELOPE}namespace 'kube-x'"),
    "variable": (pod(container(env=[{"name": "AWS_BATCH_X"}])), f"{ENVELOPE}Environment variable AWS_BATCH_X"),
    "no volume": (
        pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}])),
        f"{ENVELOPE}volumeMounts names 'v', which is no volume of the pod",
    ),
    "volume name": (pod(container(), volumes=[{"name": "V"}]), f"{ENVELOPE}Volume name 'V' is not valid"),
    "volume twice": (pod(container(), volumes=[{"name": "v"}] * 2), f"{ENVELOPE}Volume name 'v' is used more"),
    "two sources": (
        pod(container(), volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        f"{ENVELOPE}Volume 'v' can have one of",
    ),
    "medium": (pod(container(), volumes=[{"name": "v", "emptyDir": {"medium": "Disk"}}]), f"{ENVELOPE}emptyDir medium"),
    "memory unit": (sized(limits={"memory": "1G"}), f"{ENVELOPE}Resource memory '1G' is not valid"),
    "little memory": (sized(limits={"memory": "3Mi"}), f"{ENVELOPE}Resource memory '3Mi' is not valid"),
    "odd cpu": (sized(requests={"cpu": "0.3"}), f"{ENVELOPE}Resource cpu '0.3' is not valid"),
    "no cpu": (sized(requests={"cpu": "0"}), f"{ENVELOPE}Resource cpu '0' is not valid"),
    "half a GPU": (sized(limits={"nvidia.com/gpu": "0.5"}), f"{ENVELOPE}Resource nvidia.com/gpu '0.5' is not valid"),
    "other resource": (sized(limits={"disk": "1"}), f"{ENVELOPE}Resource disk must be one of"),
    "cpu above its limit": (
        sized(limits={"cpu": "1"}, requests={"cpu": "2"}),
        f"{ENVELOPE}The cpu of limits must be at least as large",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_pod_is_refused(case: str) -> None:
    given, text = BAD[case]
    with pytest.raises(ApiError) as caught:
        eks_properties.check(given)
    assert caught.value.code == "ClientException"
    assert caught.value.message.startswith(text)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"platformCapabilities": ["EC2"]}, "platformCapabilities not applicable for EKS."),
        ({"propagateTags": True}, "propagateTags not applicable for EKS."),
        ({"ecsProperties": {"taskProperties": []}}, "Only one of ecsProperties, eksProperties can be given"),
    ],
)
def test_some_members_do_not_go_with_pods(world: World, params: dict[str, Any], text: str) -> None:
    given = {"jobDefinitionName": "pod", "type": "container", "eksProperties": pod(container()), **params}
    assert refusal(world, "RegisterJobDefinition", **given).message.startswith(f"{ENVELOPE}{text}")
