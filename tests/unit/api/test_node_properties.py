"""The multi-node pages, NodeProperties and NodeOverrides of the service model; facts §6, §7, §10."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.api.batch import node_properties
from batchyard.core.model import ConsumableNeed
from batchyard.exceptions import ApiError


def node_range(target: str, image: str | None = "busybox", **members: Any) -> dict[str, Any]:
    """An entry of nodeRangeProperties whose container can be told by its image."""
    entry: dict[str, Any] = {"targetNodes": target, **members}
    if image is not None:
        entry["container"] = {"image": image, "vcpus": 1, "memory": 64, "command": ["true"]}
    return entry


def task(*containers: dict[str, Any]) -> dict[str, Any]:
    """ecsProperties; without a container named, of one."""
    return {"taskProperties": [{"containers": list(containers) or [ecs_container("one")]}]}


def ecs_container(name: str, **members: Any) -> dict[str, Any]:
    sizes = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "128"}]
    return {"name": name, "image": "busybox", "command": ["true"], "resourceRequirements": sizes, **members}


def pod() -> dict[str, Any]:
    return {"podProperties": {"containers": [{"image": "busybox"}]}}


def needs(*entries: tuple[str, int]) -> dict[str, Any]:
    return {"consumableResourceList": [{"consumableResource": name, "quantity": number} for name, number in entries]}


def nodes(*ranges: dict[str, Any] | str, count: int = 4, main: int = 0) -> dict[str, Any]:
    entries = [node_range(each, each) if isinstance(each, str) else each for each in ranges]
    return {"numNodes": count, "mainNode": main, "nodeRangeProperties": entries}


def overridden(properties: dict[str, Any], *overrides: dict[str, Any], **members: Any) -> dict[str, Any]:
    return node_properties.merged(properties, {"nodePropertyOverrides": list(overrides), **members}, {})


def groups(properties: dict[str, Any]) -> list[tuple[int, int, str]]:
    """First node, last node and image of each group."""
    ranges = properties["nodeRangeProperties"]
    return [
        (group.first, group.last, ranges[group.node_range]["container"]["image"])
        for group in node_properties.terms_of(properties).groups
    ]


def refusal(properties: dict[str, Any]) -> str:
    with pytest.raises(ApiError) as caught:
        node_properties.check(properties)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "first", "last", "is_open"),
    [
        ("3", 3, 3, False),
        ("1:3", 1, 3, False),
        (":3", 0, 3, False),
        ("3:", 3, 9, True),
        (":", 0, 9, True),
        ("0:0", 0, 0, False),
    ],
)
def test_how_a_range_is_written(text: str, first: int, last: int, is_open: bool) -> None:
    assert node_properties.parse_range(text, 10) == node_properties.NodeRange(first, last, is_open)


@pytest.mark.parametrize("text", ["", "x", "1-2", "1:2:3", "-1", "1:-2", " 1", "1 ", "12345", "0x1", "\uff11"])
def test_other_text_is_no_range(text: str) -> None:
    with pytest.raises(ApiError, match="is not a range of nodes"):
        node_properties.parse_range(text, 10)


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        (nodes("0:3"), [(0, 3, "0:3")]),
        (nodes("0", "1:"), [(0, 0, "0"), (1, 3, "1:")]),
        (nodes("2:", ":1"), [(0, 1, ":1"), (2, 3, "2:")]),
        (nodes("0:10", "4:5", count=11), [(0, 3, "0:10"), (4, 5, "4:5"), (6, 10, "0:10")]),
        (nodes("4", "3:6", "0:9", count=10), [(0, 2, "0:9"), (3, 3, "3:6"), (4, 4, "4"), (5, 6, "3:6"), (7, 9, "0:9")]),
        (nodes("0", count=1), [(0, 0, "0")]),
        (nodes("0", "1:", count=1), [(0, 0, "0")]),
        (nodes(node_range("1", None, instanceTypes=["c5.large"]), "0:3"), [(0, 3, "0:3")]),
    ],
)
def test_a_node_is_what_its_innermost_range_says(properties: dict[str, Any], found: list[Any]) -> None:
    node_properties.check(properties)
    assert groups(properties) == found
    for first, last, image in found:
        for index in (first, last):
            assert node_properties.range_of(properties, index)["container"]["image"] == image


def test_what_all_nodes_need_together() -> None:
    large = node_range("0")
    large["container"] |= {"vcpus": 4, "memory": 1000}
    terms = node_properties.terms_of(nodes(large, "1:", main=2))
    assert (terms.num_nodes, terms.main_node) == (4, 2)
    assert (terms.total().vcpu_milli, terms.total().memory_mib) == (7000, 1192)


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (nodes("0:", count=0), "numNodes must be between 1 and 1000"),
        (nodes("0:", count=1001), "numNodes must be between 1 and 1000"),
        (nodes("0:", main=4), "mainNode must be the index of a node"),
        (nodes("0:", main=-1), "mainNode must be the index of a node"),
        (nodes(), "must have 1 to 5 entries"),
        (nodes("0", "1", "2", "3", "4", "5", count=6), "must have 1 to 5 entries"),
        (nodes("0:4"), "targetNodes '0:4' is not within the 4 nodes"),
        (nodes("4"), "targetNodes '4' is not within the 4 nodes"),
        (nodes("3:1"), "targetNodes '3:1' is not within the 4 nodes"),
        (nodes("0:", "9:"), "targetNodes '9:' is not within the 4 nodes"),
        (nodes("0:2", "1:3"), "'0:2' and '1:3' overlap"),
        (nodes("0:3", ":"), "have the same targetNodes"),
        (nodes("0:1", "3"), "must account for all nodes: node 2 has no container"),
        (nodes(node_range("0:", None)), "must account for all nodes: node 0 has no container"),
        (nodes(node_range("0:", instanceTypes=["a", "b"])), "at most 1 element"),
        (nodes(node_range("0:", "")), "must contain image"),
        (nodes(node_range("0:", ecsProperties=task())), "Only one of container, ecsProperties can be given"),
        (nodes(node_range("0:", None, ecsProperties={"taskProperties": []})), "must contain exactly one element"),
        (nodes(node_range("0:", None, ecsProperties=task({"image": "busybox"}))), "must contain vcpus"),
        (nodes(node_range("0:", None, eksProperties={})), "must contain at least one container"),
        (nodes("0", node_range("1:", None, eksProperties=pod())), "run all on EKS, or none of them does"),
        (nodes(node_range("0:", consumableResourceProperties=needs(("x", -1)))), "quantity must be provided"),
        (nodes(node_range("0:", consumableResourceProperties=needs(("x", 1), ("x", 2)))), "more than once"),
    ],
)
def test_nodes_that_cannot_be(properties: dict[str, Any], text: str) -> None:
    assert text in refusal(properties)


def test_all_containers_have_the_same_instance_type() -> None:
    one, other = node_range("0"), node_range("1:")
    one["container"]["instanceType"] = "c5.large"
    other["container"]["instanceType"] = "c5.xlarge"
    assert "must use the same instance type" in refusal(nodes(one, other))


def test_a_definition_is_described_as_registered_with_the_containers_defaults() -> None:
    properties = nodes(node_range(":3", instanceTypes=["c5.large"]))
    shown = node_properties.described(properties)
    (entry,) = shown["nodeRangeProperties"]
    assert (shown["numNodes"], entry["targetNodes"], entry["instanceTypes"]) == (4, ":3", ["c5.large"])
    assert entry["container"]["ulimits"] == [] and entry["container"]["vcpus"] == 1


def test_an_override_changes_its_range_alone() -> None:
    changed = {"command": ["echo", "hi"], "environment": [{"name": "A", "value": "1"}]}
    job = overridden(nodes("0", "1:"), {"targetNodes": "1:", "containerOverrides": changed, "instanceTypes": ["x"]})
    first, second = job["nodeRangeProperties"]
    assert first["container"]["command"] == ["true"] and "instanceTypes" not in first
    assert second["container"]["command"] == ["echo", "hi"] and second["instanceTypes"] == ["x"]
    assert second["container"]["environment"] == changed["environment"]


def test_overridden_resources_are_checked_too() -> None:
    half = {"resourceRequirements": [{"type": "VCPU", "value": "0.5"}]}
    with pytest.raises(ApiError, match="VCPU must be a whole number"):
        overridden(nodes("0:"), {"targetNodes": "0:", "containerOverrides": half})


def test_an_override_may_write_its_range_in_another_way() -> None:
    job = overridden(nodes(":3"), {"targetNodes": "0:3", "containerOverrides": {"command": ["x"]}})
    assert job["nodeRangeProperties"][0]["container"]["command"] == ["x"]


@pytest.mark.parametrize("target", ["0:2", "1", "0:9"])
def test_an_override_names_a_range_of_the_definition(target: str) -> None:
    with pytest.raises(ApiError, match="is not a node range of the job definition"):
        overridden(nodes("0", "1:"), {"targetNodes": target})


def test_parameters_reach_the_command_of_every_range() -> None:
    properties = nodes("0", "1:")
    for entry in properties["nodeRangeProperties"]:
        entry["container"]["command"] = ["echo", "Ref::word"]
    job = node_properties.merged(properties, {}, {"word": "hi"})
    assert [each["container"]["command"] for each in job["nodeRangeProperties"]] == [["echo", "hi"]] * 2
    with pytest.raises(ApiError, match="No parameter found for reference word"):
        node_properties.merged(properties, {}, {})


@pytest.mark.parametrize(("count", "last"), [(2, 1), (4, 3), (1000, 999)])
def test_an_open_range_takes_up_another_number_of_nodes(count: int, last: int) -> None:
    job = overridden(nodes("0", "1:"), numNodes=count)
    assert job["numNodes"] == count
    assert groups(job) == [(0, 0, "0"), (1, last, "1:")]


@pytest.mark.parametrize(
    ("properties", "count", "text"),
    [
        (nodes("0:3"), 5, "has an open upper boundary"),
        (nodes("0:1", "2:"), 2, "The lower boundary of every node range must be less than numNodes"),
        (nodes("0:", main=2), 2, "mainNode of the job definition must be less than numNodes"),
        (nodes("0:"), 1001, "numNodes must be between 1 and 1000"),
        (nodes("0:"), 0, "numNodes must be between 1 and 1000"),
        (nodes("0:2", "1:", count=3), 5, "overlap"),
    ],
)
def test_numbers_of_nodes_that_cannot_be(properties: dict[str, Any], count: int, text: str) -> None:
    with pytest.raises(ApiError, match=text):
        overridden(properties, numNodes=count)


def test_the_definitions_own_number_of_nodes_can_be_said_again() -> None:
    assert overridden(nodes("0:3"), numNodes=4)["numNodes"] == 4


def test_a_range_with_an_end_shrinks_with_the_nodes_and_still_overrides_the_open_one() -> None:
    job = overridden(nodes("0:", "0:5", count=8), numNodes=3)
    assert groups(job) == [(0, 2, "0:5")]


def test_overriding_changes_nothing_of_the_definition() -> None:
    properties = nodes("0", "1:")
    before = str(properties)
    overridden(properties, {"targetNodes": "0", "containerOverrides": {"command": ["x"]}}, numNodes=9)
    assert str(properties) == before


def test_a_range_may_run_a_task_of_one_container() -> None:
    sidecar = ecs_container("one", command=["echo", "Ref::word"], stopTimeout=5)
    properties = nodes("0", node_range("1:", None, ecsProperties=task(sidecar)))
    node_properties.check(properties)
    job = node_properties.merged(properties, {}, {"word": "hi"})
    container = job["nodeRangeProperties"][1]["ecsProperties"]["taskProperties"][0]["containers"][0]
    assert container["command"] == ["echo", "hi"]
    assert [group.resources.vcpu_milli for group in node_properties.terms_of(job).groups] == [1000, 2000]


def test_a_node_needs_what_all_containers_of_its_task_need_together() -> None:
    properties = nodes(node_range("0:", None, ecsProperties=task(ecs_container("one"), ecs_container("two"))))
    node_properties.check(properties)
    shown = node_properties.described(properties)["nodeRangeProperties"][0]["ecsProperties"]["taskProperties"][0]
    assert [each["name"] for each in shown["containers"]] == ["one", "two"]
    assert shown["containers"][0]["essential"] is True and shown["volumes"] == []
    job = node_properties.merged(properties, {}, {})
    (group,) = node_properties.terms_of(job).groups
    assert (group.resources.vcpu_milli, group.resources.memory_mib) == (4000, 256)


def test_pods_are_described() -> None:
    properties = nodes(node_range("0:", None, eksProperties=pod()))
    node_properties.check(properties)
    assert node_properties.runs_pods(properties) and not node_properties.runs_pods(nodes("0:"))
    shown = node_properties.described(properties)["nodeRangeProperties"][0]["eksProperties"]["podProperties"]
    assert shown["containers"] == [{"args": [], "command": [], "env": [], "volumeMounts": [], "image": "busybox"}]


def test_the_container_of_a_task_is_overridden_by_its_name_or_place() -> None:
    properties = nodes("0", node_range("1:", None, ecsProperties=task()))
    for name in ({"name": "one"}, {}):
        changed = {"taskProperties": [{"containers": [{**name, "command": ["x"]}]}]}
        job = overridden(properties, {"targetNodes": "1:", "ecsPropertiesOverride": changed})
        container = job["nodeRangeProperties"][1]["ecsProperties"]["taskProperties"][0]["containers"][0]
        assert container["command"] == ["x"]


@pytest.mark.parametrize(
    ("member", "override"),
    [
        ("ecsProperties", {"ecsPropertiesOverride": task()}),
        ("eksProperties", {"eksPropertiesOverride": pod()}),
        ("container", {"targetNodes": "1:", "containerOverrides": {"command": ["x"]}}),
    ],
)
def test_an_override_is_of_the_kind_of_its_range(member: str, override: dict[str, Any]) -> None:
    properties = nodes("0", node_range("1:", None, ecsProperties=task()))
    with pytest.raises(ApiError, match=f"has no {member} to override"):
        overridden(properties, {"targetNodes": "0", **override})


def test_every_node_takes_what_its_range_consumes_and_the_main_node_what_the_job_does() -> None:
    properties = nodes(
        node_range("0", consumableResourceProperties=needs(("licence", 5))),
        node_range("1:", consumableResourceProperties=needs(("licence", 2), ("token", 1))),
        main=1,
    )
    terms = node_properties.terms_of(properties, (ConsumableNeed("seat", 1),))
    assert [group.consumables for group in terms.groups] == [
        (ConsumableNeed("licence", 5),),
        (ConsumableNeed("licence", 2), ConsumableNeed("token", 1)),
    ]
    assert terms.all_consumables() == (
        ConsumableNeed("seat", 1),
        ConsumableNeed("licence", 11),
        ConsumableNeed("token", 3),
    )


def test_an_override_replaces_what_a_range_consumes() -> None:
    properties = nodes(node_range("0:", consumableResourceProperties=needs(("licence", 5))))
    wanted = needs(("token", 1))
    job = overridden(properties, {"targetNodes": "0:", "consumableResourcePropertiesOverride": wanted})
    assert job["nodeRangeProperties"][0]["consumableResourceProperties"] == wanted
    with pytest.raises(ApiError, match="consumableResource must be provided"):
        bad = {"consumableResourceList": [{"quantity": 1}]}
        overridden(properties, {"targetNodes": "0:", "consumableResourcePropertiesOverride": bad})
