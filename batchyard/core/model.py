"""What the scheduler knows: terms of a job as submitted, and the queues and environments it may run in.

These structs are immutable facts; the moving parts stand in `job.py`, `arrays.py` and `capacity.py`.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class DependencyType(StrEnum):
    """How a job waits for another (user guide, "Job Dependencies")."""

    PLAIN = "PLAIN"
    N_TO_N = "N_TO_N"
    SEQUENTIAL = "SEQUENTIAL"


class Dependency(Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry of dependsOn. SEQUENTIAL has no `job_id`: each child waits for its earlier sibling."""

    job_id: str = ""
    type: DependencyType = DependencyType.PLAIN


class Resources(Struct, frozen=True, gc=False, omit_defaults=True):
    """What one attempt occupies while it is placed."""

    vcpu_milli: int
    memory_mib: int
    gpus: int = 0


class RoomLimit(Struct, frozen=True, array_like=True):
    """A room by its name (an environment's or a host's), and how much all that runs in it may have; None: no bound."""

    name: str
    vcpu_milli: int | None
    memory_mib: int | None


class ConsumableNeed(Struct, frozen=True, gc=False, array_like=True):
    """An entry of consumableResourceList; `name` is the resource's, however it was named."""

    name: str
    quantity: int


class NodeGroup(Struct, frozen=True, gc=False):
    """Nodes in a row, `first` to `last`, that are all alike: each needs `resources`."""

    first: int
    last: int
    resources: Resources
    node_range: int = 0
    """Which entry of the job's nodeRangeProperties they run."""
    consumables: tuple[ConsumableNeed, ...] = ()
    """What one of them takes of consumable resources."""


class MultiNodeTerms(Struct, frozen=True, gc=False):
    """The nodes of a multi-node parallel job. `groups` are disjoint, in order, and cover all nodes."""

    main_node: int
    groups: tuple[NodeGroup, ...]
    consumables: tuple[ConsumableNeed, ...] = ()
    """What the job takes of consumable resources beside its nodes."""

    @property
    def num_nodes(self) -> int:
        return self.groups[-1].last + 1

    def group_of(self, index: int) -> NodeGroup:
        return next(group for group in self.groups if group.first <= index <= group.last)

    def total(self) -> Resources:
        """What all nodes need together: they are placed together or not at all."""
        counted = [(group.last - group.first + 1, group.resources) for group in self.groups]
        return Resources(
            sum(count * need.vcpu_milli for count, need in counted),
            sum(count * need.memory_mib for count, need in counted),
            sum(count * need.gpus for count, need in counted),
        )

    def all_consumables(self) -> tuple[ConsumableNeed, ...]:
        """What the job and all nodes take together, each resource once."""
        together: dict[str, int] = {}
        counted = [(1, self.consumables), *((each.last - each.first + 1, each.consumables) for each in self.groups)]
        for count, needs in counted:
            for need in needs:
                together[need.name] = together.get(need.name, 0) + count * need.quantity
        return tuple(ConsumableNeed(name, quantity) for name, quantity in together.items())


class ConsumableState(Struct, frozen=True):
    """A consumable resource: how much of it there is, and whether what was taken comes back."""

    name: str
    total: int
    is_replenishable: bool


class RetryRule(Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry of evaluateOnExit: all given patterns must match; None stands for a pattern not given."""

    action: str
    on_status_reason: str | None = None
    on_reason: str | None = None
    on_exit_code: str | None = None


class JobTerms(Struct, frozen=True, gc=False, omit_defaults=True):
    """All that scheduling one job depends on, fixed at submission."""

    queue: str
    resources: Resources
    """What one attempt needs; of a multi-node job, what all its nodes need together."""
    max_attempts: int = 1
    retry_rules: tuple[RetryRule, ...] = ()
    timeout_seconds: int | None = None
    depends_on: tuple[Dependency, ...] = ()
    array_size: int | None = None
    nodes: MultiNodeTerms | None = None
    stop_grace_seconds: int = 30
    containers: int = 1
    """How many an attempt runs, each with a log stream of its own. Nodes always have theirs listed: 1."""
    consumables: tuple[ConsumableNeed, ...] = ()
    """What an attempt takes of consumable resources; of a multi-node job, all its nodes together."""
    fault: str | None = None
    """What keeps the job from ever being placed, though it was accepted: it fails with this statusReason at once."""
    share_identifier: str | None = None
    """Whose share the job counts against; None in first-in-first-out queues."""
    scheduling_priority: int = 0
    """Higher goes first, within a share alone."""

    @property
    def children(self) -> int | None:
        """How many children the job has: those of an array, or nodes; None for a single job."""
        return self.nodes.num_nodes if self.nodes else self.array_size

    def resources_of(self, index: int | None) -> Resources:
        """What an attempt of the job itself, or of a child, occupies."""
        return self.nodes.group_of(index).resources if self.nodes and index is not None else self.resources

    def consumables_of(self, index: int | None) -> tuple[ConsumableNeed, ...]:
        """What an attempt takes of consumable resources. The main node's takes what the job needs beside its nodes."""
        if self.nodes is None or index is None:
            return self.consumables
        own = self.nodes.group_of(index).consumables
        return (*self.nodes.consumables, *own) if index == self.nodes.main_node else own


class Usage(Struct, frozen=True, omit_defaults=True):
    """What an attempt used, as far as its engine can tell."""

    peak_memory_bytes: int | None = None
    cpu_seconds: float | None = None


class ContainerEnd(Struct, frozen=True, omit_defaults=True):
    """How one of the containers of an attempt ended. One that was never started has no exit code."""

    exit_code: int | None = None
    reason: str | None = None


class Attempt(Struct, omit_defaults=True):
    """One placement of a job (or array child) on an instance; `number` counts from 1."""

    attempt_id: str
    number: int
    environment: str
    instance_id: str
    placed_at_ms: int
    started_at_ms: int | None = None
    stopped_at_ms: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    status_reason: str | None = None
    usage: Usage | None = None
    address: str | None = None
    """The IPv4 address of a multi-node job's node; no other live node has it."""
    gpus: tuple[str, ...] = ()
    """The ids of the GPUs that it was given; no other live attempt has them."""
    containers: tuple[ContainerEnd, ...] = ()
    """How each container of a task of several ended, in the task's order."""


class EnvironmentState(Struct, frozen=True):
    """A compute environment as its owner last set it. `max_vcpu_milli` is None for UNMANAGED ones: the host decides."""

    name: str
    enabled: bool
    max_vcpu_milli: int | None
    deleting: bool = False
    unmanaged_vcpu_milli: int | None = None
    """What computeReservation is a part of in an UNMANAGED environment; None reserves nothing there."""
    instance_types: tuple[str, ...] = ()
    """What its instances would be on AWS; named where there is no capacity."""
    subnets: tuple[str, ...] = ()
    """The ids of the subnets that its instances would be in: an engine may have networks for them."""


class TimeLimit(Struct, frozen=True):
    """An entry of jobStateTimeLimitActions: cancel a head that has been blocked for this reason for this long."""

    reason: str
    max_seconds: int


class ShareWeight(Struct, frozen=True, array_like=True):
    """An entry of shareDistribution. `pattern` is a share identifier, or a prefix and `*`; a lower factor gets more."""

    pattern: str
    factor: float


class FairSharePolicy(Struct, frozen=True):
    """A scheduling policy as its owner last set it. `revision` tells one setting of it from the next."""

    name: str
    revision: str
    weights: tuple[ShareWeight, ...] = ()
    window_seconds: int = 600
    """How far back usage counts: shareDecaySeconds, or what 0 stands for."""
    reservation_percent: int = 0
    """computeReservation."""


class QueueState(Struct, frozen=True):
    """A job queue as its owner last set it; `environments` are names in the order of preference."""

    name: str
    priority: int
    environments: tuple[str, ...]
    created_at_ms: int
    enabled: bool = True
    deleting: bool = False
    time_limits: tuple[TimeLimit, ...] = ()
    policy: str | None = None
    """The name of its fair-share policy. A queue that has none is first in, first out for ever."""
