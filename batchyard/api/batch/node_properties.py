"""nodeProperties: the nodes of a multi-node parallel job, in ranges that are alike (the multi-node pages).

All functions are pure. A range is written `n`, `a:b`, `:b` or `a:`; ranges may be nested, and then a node is what the
innermost range says that has one of `KINDS`: a container, a task (ecsProperties) or a pod (eksProperties). Instance
types are recorded: a local engine launches no instances to choose.
"""

from __future__ import annotations

import re
from itertools import combinations, groupby
from typing import Any

from msgspec import Struct

from batchyard.api.batch import container_properties, ecs_properties, eks_properties
from batchyard.api.batch.consumable_needs import check_needs, listed_needs
from batchyard.core.model import ConsumableNeed, MultiNodeTerms, NodeGroup
from batchyard.wire import errors

Properties = dict[str, Any]
"""NodeProperties, or NodeOverrides, of the service model."""

MAX_RANGES = 5
MAX_NODES = 1000
KINDS = {
    "container": "containerOverrides",
    "ecsProperties": "ecsPropertiesOverride",
    "eksProperties": "eksPropertiesOverride",
}
"""What the nodes of a range run, and the member of a node range's override that changes it."""

_RANGE = re.compile(r"([0-9]{0,4}):([0-9]{0,4})|([0-9]{1,4})")


class NodeRange(Struct, frozen=True):
    """The nodes `first` to `last`; an open range ends where the nodes do, and may hold none of them."""

    first: int
    last: int
    is_open: bool

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def parse_range(text: str, num_nodes: int) -> NodeRange:
    """targetNodes as a range of the nodes 0 to `num_nodes` - 1; raises the service's error for other text."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise errors.executing_request(f"targetNodes '{text[:64]}' is not a range of nodes such as 0:3")
    first, last, only = match.groups()
    if only is not None:
        return NodeRange(int(only), int(only), is_open=False)
    return NodeRange(int(first or 0), int(last) if last else num_nodes - 1, is_open=not last)


def check(properties: Properties) -> None:
    """Raise the service's error if no job could run from these nodeProperties."""
    num_nodes = properties["numNodes"]
    if not 1 <= num_nodes <= MAX_NODES:
        raise errors.executing_request(f"numNodes must be between 1 and {MAX_NODES}")
    if not 0 <= properties["mainNode"] < num_nodes:
        raise errors.executing_request("mainNode must be the index of a node: at least 0 and less than numNodes")
    ranges = properties["nodeRangeProperties"]
    if not 1 <= len(ranges) <= MAX_RANGES:
        raise errors.executing_request(f"nodeRangeProperties must have 1 to {MAX_RANGES} entries")
    for each in ranges:
        _check_range(each, num_nodes)
    if runs_pods(properties) and any("container" in each or "ecsProperties" in each for each in ranges):
        raise errors.executing_request("The node ranges of a job run all on EKS, or none of them does")
    types = {each["container"].get("instanceType") for each in ranges if "container" in each} - {None, ""}
    if len(types) > 1:
        raise errors.executing_request("All node groups in a multi-node parallel job must use the same instance type")
    spans = _spans(properties)
    _check_nesting(properties, spans)
    if len({(span.first, span.last) for span in spans}) < len(spans):
        raise errors.executing_request("Two entries of nodeRangeProperties have the same targetNodes")
    _check_coverage(properties)


def _check_range(entry: Properties, num_nodes: int) -> None:
    given = [kind for kind in KINDS if kind in entry]
    if len(given) > 1:
        raise errors.executing_request(f"Only one of {', '.join(given)} can be given in a node range")
    _check_instance_types(entry)
    check_needs(entry.get("consumableResourceProperties"))
    if "container" in entry:
        container_properties.check_container(entry["container"], fargate=False)
    if "ecsProperties" in entry:
        ecs_properties.check(entry["ecsProperties"], fargate=False)
    if "eksProperties" in entry:
        eks_properties.check(entry["eksProperties"])
    span = parse_range(entry["targetNodes"], num_nodes)
    is_nowhere = span.first > num_nodes if span.is_open else not span.first <= span.last < num_nodes
    if is_nowhere:
        raise errors.executing_request(f"targetNodes '{entry['targetNodes']}' is not within the {num_nodes} nodes")


def _check_instance_types(entry: Properties) -> None:
    if len(entry.get("instanceTypes", ())) > 1:
        raise errors.executing_request("instanceTypes of a node range can have at most 1 element")


def _spans(properties: Properties) -> list[NodeRange]:
    """The ranges of the entries, as far as there are nodes."""
    num_nodes = properties["numNodes"]
    found = [parse_range(each["targetNodes"], num_nodes) for each in properties["nodeRangeProperties"]]
    return [NodeRange(span.first, min(span.last, num_nodes - 1), span.is_open) for span in found]


def runs_pods(properties: Properties) -> bool:
    """Are the nodes pods (eksProperties)?"""
    return any("eksProperties" in each for each in properties["nodeRangeProperties"])


def _check_nesting(properties: Properties, spans: list[NodeRange]) -> None:
    """Two ranges share no node, or one holds all of the other's."""
    named = zip(spans, (each["targetNodes"] for each in properties["nodeRangeProperties"]), strict=True)
    for (one, name), (other, other_name) in combinations(named, 2):
        first, last = max(one.first, other.first), min(one.last, other.last)
        if first <= last and (first, last) not in ((one.first, one.last), (other.first, other.last)):
            raise errors.executing_request(
                f"targetNodes '{name}' and '{other_name}' overlap: ranges can be nested or apart"
            )


def _check_coverage(properties: Properties) -> None:
    for index, owner in enumerate(_owners(properties)):
        if owner is None:
            raise errors.executing_request(
                f"nodeRangeProperties must account for all nodes: node {index} has no container"
            )


def _owners(properties: Properties) -> list[int | None]:
    """For each node, which entry of nodeRangeProperties it runs: the innermost that has something to run."""
    spans = _spans(properties)
    owners: list[int | None] = [None] * properties["numNodes"]
    outermost_first = sorted(range(len(spans)), key=lambda at: (-spans[at].size, not spans[at].is_open, at))
    for at in outermost_first:
        if not KINDS.keys().isdisjoint(properties["nodeRangeProperties"][at]):
            for index in range(spans[at].first, spans[at].last + 1):
                owners[index] = at
    return owners


def range_of(properties: Properties, index: int) -> Properties:
    """The entry of nodeRangeProperties that a node runs."""
    owner = _owners(properties)[index]
    assert owner is not None
    entry: Properties = properties["nodeRangeProperties"][owner]
    return entry


def containers_of(entry: Properties) -> list[Properties]:
    """What the nodes of a range of `merged` run: its container, or those of its task."""
    return [entry["container"]] if "container" in entry else ecs_properties.containers_of(entry["ecsProperties"])


def terms_of(properties: Properties, consumables: tuple[ConsumableNeed, ...] = ()) -> MultiNodeTerms:
    """What the scheduler has to know: disjoint groups of nodes, each with what one of its nodes needs.

    `consumables` are those that the job takes beside its nodes.
    """
    groups = []
    for owner, nodes in groupby(enumerate(_owners(properties)), key=lambda entry: entry[1]):
        indices = [index for index, _ in nodes]
        assert owner is not None
        entry = properties["nodeRangeProperties"][owner]
        resources = ecs_properties.total_of(containers_of(entry))
        needs = listed_needs(entry.get("consumableResourceProperties"))
        groups.append(NodeGroup(indices[0], indices[-1], resources, owner, needs))
    return MultiNodeTerms(properties["mainNode"], tuple(groups), consumables)


def described(properties: Properties) -> Properties:
    """The properties as DescribeJobDefinitions gives them: as registered, and the containers' defaults (facts §6)."""
    ranges = []
    for each in properties["nodeRangeProperties"]:
        entry = dict(each)
        if "container" in each:
            entry["container"] = container_properties.described(each["container"], fargate=False)
        if "ecsProperties" in each:
            entry["ecsProperties"] = ecs_properties.described(each["ecsProperties"])
        if "eksProperties" in each:
            entry["eksProperties"] = eks_properties.described(each["eksProperties"])
        ranges.append(entry)
    return {**properties, "nodeRangeProperties": ranges}


def merged(properties: Properties, overrides: Properties, parameters: dict[str, str]) -> Properties:
    """A job's nodes: the definition's, changed by SubmitJob's nodeOverrides, with the parameters put in.

    An override names one of the definition's ranges. numNodes can change if an open range takes up the difference
    (service model, NodeOverrides).
    """
    num_nodes = _overridden_count(properties, overrides)
    ranges = [dict(each) for each in properties["nodeRangeProperties"]]
    for override in overrides.get("nodePropertyOverrides", ()):
        _override(_target(ranges, override["targetNodes"], num_nodes), override)
    for entry in ranges:
        _settle(entry, parameters)
    job = {"numNodes": num_nodes, "mainNode": properties["mainNode"], "nodeRangeProperties": ranges}
    _check_nesting(job, _spans(job))
    _check_coverage(job)
    return job


def _override(entry: Properties, override: Properties) -> None:
    """Change a range of the job. What it consumes is replaced whole, as SubmitJob does it for the job."""
    _check_instance_types(override)
    check_needs(override.get("consumableResourcePropertiesOverride"))
    for kind, member in KINDS.items():
        if override.get(member) and kind not in entry:
            raise errors.executing_request(f"The node range '{entry['targetNodes']}' has no {kind} to override")
    if override.get("containerOverrides"):
        entry["container"] = container_properties.merged_container(entry["container"], override["containerOverrides"])
    if override.get("ecsPropertiesOverride"):
        entry["ecsProperties"] = ecs_properties.merged(
            entry["ecsProperties"], override["ecsPropertiesOverride"], lambda command: command
        )
    if override.get("instanceTypes"):
        entry["instanceTypes"] = list(override["instanceTypes"])
    if override.get("consumableResourcePropertiesOverride"):
        entry["consumableResourceProperties"] = dict(override["consumableResourcePropertiesOverride"])


def _settle(entry: Properties, parameters: dict[str, str]) -> None:
    """Put the parameters into what a range runs, and check what it needs."""

    def command(elements: list[str]) -> list[str]:
        return container_properties.substitute(elements, parameters)

    if "container" in entry:
        container = container_properties.merged_container(entry["container"], {})
        container_properties.check_resources(container, fargate=False)
        container["command"] = command(container.get("command", []))
        entry["container"] = container
    if "ecsProperties" in entry:
        entry["ecsProperties"] = ecs_properties.merged(entry["ecsProperties"], {}, command)
        ecs_properties.check_resources(containers_of(entry), fargate=False)


def _overridden_count(properties: Properties, overrides: Properties) -> int:
    current: int = properties["numNodes"]
    wanted: int = overrides.get("numNodes", current)
    if wanted == current:
        return current
    if not 1 <= wanted <= MAX_NODES:
        raise errors.executing_request(f"numNodes must be between 1 and {MAX_NODES}")
    spans = _spans({**properties, "numNodes": wanted})
    if not any(span.is_open for span in spans):
        raise errors.executing_request(
            "numNodes can only be overridden if a node range of the job definition has an open upper boundary"
        )
    if any(span.first >= wanted for span in spans):
        raise errors.executing_request("The lower boundary of every node range must be less than numNodes")
    if properties["mainNode"] >= wanted:
        raise errors.executing_request("mainNode of the job definition must be less than numNodes")
    return wanted


def _target(ranges: list[Properties], text: str, num_nodes: int) -> Properties:
    """The range that an override names, however it writes it."""
    wanted = parse_range(text, num_nodes)
    for entry in ranges:
        span = parse_range(entry["targetNodes"], num_nodes)
        if entry["targetNodes"] == text or (span.first, span.last) == (wanted.first, wanted.last):
            return entry
    raise errors.executing_request(f"targetNodes '{text}' of nodeOverrides is not a node range of the job definition")
