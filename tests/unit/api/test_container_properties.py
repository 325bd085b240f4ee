from __future__ import annotations

from typing import Any

import pytest

from batchyard.api.batch import container_properties
from batchyard.api.batch.container_properties import (
    check_container,
    check_resources,
    described,
    merged_container,
    resources_of,
    substitute,
)
from batchyard.core.model import Resources
from batchyard.exceptions import ApiError

ENVELOPE = "Error executing request, Exception : "


def requirements(**values: str) -> list[dict[str, str]]:
    return [{"type": kind, "value": value} for kind, value in values.items()]


def container(**members: Any) -> dict[str, Any]:
    return {"image": "busybox", "resourceRequirements": requirements(VCPU="1", MEMORY="2048"), **members}


def text_of(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ApiError) as caught:
        function(*arguments, **options)
    assert caught.value.code == "ClientException"
    return caught.value.message


@pytest.mark.parametrize(
    ("members", "resources"),
    [
        ({"vcpus": 2, "memory": 1024}, Resources(2000, 1024)),
        ({"resourceRequirements": requirements(VCPU="4", MEMORY="8", GPU="2")}, Resources(4000, 8, 2)),
        ({"resourceRequirements": requirements(VCPU="0.25", MEMORY="512")}, Resources(250, 512)),
        ({"vcpus": 1, "memory": 4, "resourceRequirements": requirements(MEMORY="16")}, Resources(1000, 16)),
    ],
)
def test_resource_requirements_count_before_the_legacy_members(members: dict[str, Any], resources: Resources) -> None:
    assert resources_of(members) == resources


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"memory": 4}, "containerProperties must contain vcpus"),
        ({"vcpus": 1}, "containerProperties must contain memory"),
        ({"vcpus": -1, "memory": 4}, "container vcpus limit must be greater than 0"),
        ({"vcpus": 1, "memory": 3}, "container memory limit must be greater than 4"),
        ({"memory": 4, "resourceRequirements": requirements(VCPU="one")}, "container vcpus limit"),
        ({"memory": 4, "resourceRequirements": requirements(VCPU="1e3")}, "container vcpus limit"),
        ({"memory": 4, "resourceRequirements": requirements(VCPU="٣")}, "container vcpus limit"),
        ({"memory": 4, "resourceRequirements": requirements(VCPU="0.0")}, "container vcpus limit"),
        ({"vcpus": 1, "resourceRequirements": requirements(MEMORY="4.5")}, "container memory limit"),
        ({"vcpus": 1, "resourceRequirements": requirements(MEMORY="9" * 30)}, "container memory limit"),
        (
            {"vcpus": 1, "memory": 4, "resourceRequirements": requirements(GPU="-1")},
            f"{ENVELOPE}resourceRequirements GPU '-1' is not a whole number",
        ),
        (
            {"vcpus": 1, "resourceRequirements": requirements(MEMORY="4") * 2},
            f"{ENVELOPE}resourceRequirements contains MEMORY more than once",
        ),
    ],
)
def test_bad_resources_are_refused(members: dict[str, Any], text: str) -> None:
    assert text_of(resources_of, members).startswith(text)


@pytest.mark.parametrize(
    "pair",
    [("0.25", "512"), ("0.5", "4096"), ("1", "2048"), ("2", "16384"), ("4", "30720"), ("8", "61440"), ("16", "122880")],
)
def test_fargate_has_these_pairs_of_sizes(pair: tuple[str, str]) -> None:
    check_resources({"resourceRequirements": requirements(VCPU=pair[0], MEMORY=pair[1])}, fargate=True)


@pytest.mark.parametrize("pair", [("0.25", "513"), ("0.75", "2048"), ("1", "1024"), ("8", "17408"), ("64", "2048")])
def test_fargate_refuses_other_pairs(pair: tuple[str, str]) -> None:
    members = {"resourceRequirements": requirements(VCPU=pair[0], MEMORY=pair[1])}
    assert text_of(check_resources, members, fargate=True).startswith(f"{ENVELOPE}Fargate resource requirements")


def test_ec2_has_whole_vcpus_alone() -> None:
    members = {"resourceRequirements": requirements(VCPU="0.5", MEMORY="512")}
    assert text_of(check_resources, members, fargate=False).startswith(f"{ENVELOPE}VCPU must be a whole number")


ACCEPTED = {
    "privileged": True,
    "readonlyRootFilesystem": True,
    "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 1}],
    "volumes": [{"name": "v", "host": {"sourcePath": "/nowhere"}}],
    "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}],
    "linuxParameters": {"devices": [], "swappiness": 60, "maxSwap": 0},
    "secrets": [{"name": "S", "valueFrom": "arn"}],
    "logConfiguration": {"logDriver": "syslog"},
    "instanceType": "m5.large",
    "user": "nobody",
    "environment": [{"name": "EMPTY"}, {"name": "LONG", "value": "x\n" * 5000}],
}


@pytest.mark.parametrize("member", ACCEPTED)
def test_members_that_an_engine_may_not_honour_are_accepted(member: str) -> None:
    check_container(container(**{member: ACCEPTED[member]}), fargate=False)


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"image": ""}, "containerProperties must contain image"),
        ({"user": "1000:1000"}, f"{ENVELOPE}User '1000:1000' does not match regex, RequestId: "),
        ({"user": "-root"}, f"{ENVELOPE}User '-root' does not match regex"),
        ({"environment": [{"name": "AWS_BATCH_X", "value": "1"}]}, f"{ENVELOPE}Environment variable AWS_BATCH_X"),
        ({"environment": [{"value": "1"}]}, f"{ENVELOPE}Environment variable name '' is not valid"),
        ({"environment": [{"name": "A=B", "value": "1"}]}, f"{ENVELOPE}Environment variable name 'A=B' is not valid"),
        ({"runtimePlatform": {"cpuArchitecture": "ARM64"}}, f"{ENVELOPE}runtimePlatform not applicable for EC2."),
        (
            {"networkConfiguration": {"assignPublicIp": "ENABLED"}},
            f"{ENVELOPE}networkConfiguration not applicable for EC2., RequestId: ",
        ),
        ({"linuxParameters": {"swappiness": 101}}, f"{ENVELOPE}swappiness must be between 0 and 100"),
        ({"linuxParameters": {"maxSwap": -1}}, f"{ENVELOPE}maxSwap must not be negative"),
    ],
)
def test_bad_properties_are_refused_on_ec2(members: dict[str, Any], text: str) -> None:
    assert text_of(check_container, container(**members), fargate=False).startswith(text)


EFS = {"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"vcpus": 1, "memory": 4}, f"{ENVELOPE}vcpus not applicable for Fargate.,memory not applicable for Fargate."),
        ({"privileged": True}, f"{ENVELOPE}privileged not applicable for Fargate."),
        ({"ulimits": ACCEPTED["ulimits"]}, f"{ENVELOPE}ulimits not applicable for Fargate."),
        ({"ephemeralStorage": {"sizeInGiB": 20}}, f"{ENVELOPE}ephemeralStorage sizeInGiB must be between 21 and 200"),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="2048", GPU="1")},
            f"{ENVELOPE}GPU not applicable for Fargate.",
        ),
        (
            {"volumes": [EFS], "fargatePlatformConfiguration": {"platformVersion": "1.3.0"}},
            f"{ENVELOPE}EFS is supported for Fargate platform version 1.4.0",
        ),
    ],
)
def test_bad_properties_are_refused_on_fargate(members: dict[str, Any], text: str) -> None:
    assert text_of(check_container, container(**members), fargate=True).startswith(text)


def test_fargate_members_are_accepted_on_fargate() -> None:
    members = {
        "networkConfiguration": {"assignPublicIp": "ENABLED"},
        "fargatePlatformConfiguration": {"platformVersion": "1.4.0"},
        "ephemeralStorage": {"sizeInGiB": 21},
        "runtimePlatform": {"cpuArchitecture": "X86_64"},
        "privileged": False,
        "volumes": [EFS],
    }
    check_container(container(**members), fargate=True)


def test_a_description_has_defaults_inside_its_members() -> None:
    shown = described(
        container(
            environment=[{"name": "A", "value": ""}, {"name": "B", "value": "1"}],
            logConfiguration={"logDriver": "awslogs"},
            linuxParameters={"devices": [{"hostPath": "/dev/x"}], "tmpfs": [{"containerPath": "/t", "size": 1}]},
        ),
        fargate=True,
    )
    assert shown["environment"] == [{"name": "B", "value": "1"}]
    assert shown["logConfiguration"] == {"logDriver": "awslogs", "options": {}, "secretOptions": []}
    assert shown["linuxParameters"] == {
        "devices": [{"hostPath": "/dev/x", "permissions": []}],
        "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": []}],
    }
    assert shown["fargatePlatformConfiguration"] == {"platformVersion": "LATEST"}


def test_overrides_replace_the_command_unless_it_is_empty() -> None:
    base = container(command=["a"])
    assert merged_container(base, {"command": ["b", "c"]})["command"] == ["b", "c"]
    assert merged_container(base, {"command": []})["command"] == ["a"]
    assert merged_container(base, {})["command"] == ["a"]


def test_overrides_merge_variables_by_name_and_empty_ones_are_dropped() -> None:
    base = container(
        environment=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    )
    overrides = {
        "environment": [{"name": "B", "value": "9"}, {"name": "D", "value": "4"}, {"name": "C", "value": ""}],
    }
    merged = {variable["name"]: variable["value"] for variable in merged_container(base, overrides)["environment"]}
    assert merged == {"A": "1", "B": "9", "D": "4"}


def test_overrides_replace_requirements_one_type_at_a_time() -> None:
    base = container(resourceRequirements=requirements(VCPU="1", MEMORY="2048", GPU="1"))
    merged = merged_container(base, {"resourceRequirements": requirements(MEMORY="4096")})
    assert resources_of(merged) == Resources(1000, 4096, 1)


def test_legacy_overrides_change_legacy_values_alone() -> None:
    legacy = {"image": "busybox", "vcpus": 1, "memory": 128}
    assert resources_of(merged_container(legacy, {"vcpus": 2, "memory": 1024})) == Resources(2000, 1024)
    assert resources_of(merged_container(container(), {"vcpus": 2, "memory": 1024})) == Resources(1000, 2048)


def test_a_merged_container_shows_resources_in_both_forms() -> None:
    merged = merged_container({"image": "busybox", "vcpus": 1, "memory": 128}, {"vcpus": 2})
    assert (merged["vcpus"], merged["memory"]) == (2, 128)
    assert merged["resourceRequirements"] == requirements(MEMORY="128", VCPU="2")
    merged = merged_container(container(resourceRequirements=requirements(VCPU="0.5", MEMORY="1024")), {})
    assert merged["memory"] == 1024
    assert "vcpus" not in merged


def test_merging_leaves_the_definition_as_it_was() -> None:
    base = container(environment=[{"name": "A", "value": "1"}], command=["a"])
    before = repr(base)
    merged_container(base, {"command": ["b"], "environment": [{"name": "A", "value": "2"}], "vcpus": 3})
    assert repr(base) == before


def test_overrides_may_not_set_the_services_own_variables() -> None:
    overrides = {"environment": [{"name": "AWS_BATCH_JOB_ID", "value": "x"}]}
    assert "AWS_BATCH_JOB_ID" in text_of(merged_container, container(), overrides)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ("Ref::in", "/data/x"),
        ("--in=Ref::in --out=Ref::out", "--in=/data/x --out=Ref::in"),
        ("Ref::in.put-1", "dotted"),
        ("Ref::in.txt", "/data/x.txt"),
        ("Ref::in-Ref::out", "/data/x-Ref::in"),
        ("$(date) $((1 + 1)) 'Ref:in' ${X}", "$(date) $((1 + 1)) 'Ref:in' ${X}"),
        ("Ref::", "Ref::"),
        ("", ""),
    ],
)
def test_only_references_are_substituted_and_only_once(element: str, expected: str) -> None:
    parameters = {"in": "/data/x", "in.put-1": "dotted", "out": "Ref::in", "unused.key": "x"}
    assert substitute([element], parameters) == [expected]


@pytest.mark.parametrize("element", ["Ref::gone", "echo Ref::gone", "Ref::gone.x"])
def test_a_reference_without_a_parameter_is_refused(element: str) -> None:
    name = "gone.x" if element.endswith(".x") else "gone"
    text = text_of(substitute, [element], {"x": "1"})
    assert text == f"Unable to substitute value. No parameter found for reference {name}"


def test_the_fargate_table_has_the_sizes_of_the_service_model() -> None:
    sizes = {
        vcpus: (min(each), max(each), len(each)) for vcpus, each in container_properties.FARGATE_MEMORY_MIB.items()
    }
    assert sizes == {
        250: (512, 2048, 3),
        500: (1024, 4096, 4),
        1000: (2048, 8192, 7),
        2000: (4096, 16384, 13),
        4000: (8192, 30720, 23),
        8000: (16384, 61440, 12),
        16000: (32768, 122880, 12),
        32000: (61440, 249856, 3),
    }
