"""A small yard to play scenes in: events in, statuses out, invariants checked after every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from batchyard.core import inputs, invariants
from batchyard.core.effects import ForgetAttempt, LaunchAttempt, RecallAttempt, StopAttempt
from batchyard.core.job import split_unit_id
from batchyard.core.model import (
    ConsumableNeed,
    Dependency,
    DependencyType,
    EnvironmentState,
    FairSharePolicy,
    JobTerms,
    MultiNodeTerms,
    NodeGroup,
    QueueState,
    Resources,
    ShareWeight,
)
from batchyard.core.outcome import ChildChanged, JobChanged, Outcome, QueueSettled, ShareChanged
from batchyard.core.states import JobStatus
from batchyard.core.step import step
from batchyard.core.yard import Yard

N_TO_N, SEQUENTIAL = DependencyType.N_TO_N, DependencyType.SEQUENTIAL


def after(job_id: str, kind: DependencyType = DependencyType.PLAIN) -> Dependency:
    return Dependency(job_id, kind)


def gpu_names(count: int) -> tuple[str, ...]:
    return tuple(f"g{number}" for number in range(count))


class Scene:
    """A yard with one host, the environment `ce` and the queue `q`; remembers what every step stored and asked for."""

    def __init__(self, vcpus: int = 2, memory_mib: int = 8192, *, launches_ahead: bool = False, gpus: int = 0) -> None:
        self.yard = Yard()
        self.now_ms = 1_000_000
        self.stored: dict[str, JobChanged] = {}
        self.stored_children: dict[tuple[str, int], ChildChanged] = {}
        self.launched: list[LaunchAttempt] = []
        self.stops: list[StopAttempt] = []
        self.recalls: list[str] = []
        self.forgotten: list[str] = []
        self.removed_queues: list[str] = []
        self.stored_shares: dict[tuple[str, str], ShareChanged] = {}
        self._seq = 0
        self._revisions = 0
        self.tell(
            inputs.HostSized("host", vcpus * 1000, memory_mib, launches_ahead=launches_ahead, gpus=gpu_names(gpus)),
            inputs.EnvironmentChanged(EnvironmentState("ce", True, vcpus * 1000)),
            inputs.InstanceRegistered("i-1", "ce", "host"),
        )
        self.queue("q")

    def queue(self, name: str, priority: int = 1, environments: tuple[str, ...] = ("ce",), **changes: Any) -> None:
        self.tell(inputs.QueueChanged(QueueState(name, priority, environments, self.now_ms, **changes)))

    def policy(self, name: str, weights: dict[str, float] | None = None, **terms: Any) -> None:
        self._revisions += 1
        entries = tuple(ShareWeight(pattern, factor) for pattern, factor in (weights or {}).items())
        self.tell(inputs.PolicyChanged(FairSharePolicy(name, str(self._revisions), entries, **terms)))

    def fair_queue(self, name: str, weights: dict[str, float] | None = None, **terms: Any) -> None:
        """A queue with a policy of its own, which has the queue's name."""
        self.policy(name, weights, **terms)
        self.queue(name, policy=name)

    def environment(self, name: str, vcpus: int, host: str = "host", **changes: Any) -> None:
        self.tell(
            inputs.EnvironmentChanged(EnvironmentState(name, changes.pop("enabled", True), vcpus * 1000, **changes)),
            inputs.InstanceRegistered(f"i-{name}", name, host),
        )

    def tell(self, *events: inputs.Input) -> Outcome:
        outcome = step(self.yard, events, self.now_ms)
        invariants.check(self.yard)
        for change in outcome.changes:
            if isinstance(change, JobChanged):
                self.stored[change.job_id] = change
            elif isinstance(change, ChildChanged):
                self.stored_children[(change.job_id, change.index)] = change
            elif isinstance(change, ShareChanged):
                self._keep_share(change)
            elif isinstance(change, QueueSettled) and change.removed:
                self.removed_queues.append(change.name)
        for effect in outcome.effects:
            if isinstance(effect, LaunchAttempt):
                self.launched.append(effect)
            elif isinstance(effect, StopAttempt):
                self.stops.append(effect)
            elif isinstance(effect, RecallAttempt):
                self.recalls.append(effect.attempt_id)
            elif isinstance(effect, ForgetAttempt):
                self.forgotten.append(effect.attempt_id)
        return outcome

    def _keep_share(self, change: ShareChanged) -> None:
        key = (change.queue, change.share_identifier)
        if change.removed:
            self.stored_shares.pop(key, None)
        else:
            self.stored_shares[key] = change

    def submit(
        self,
        job_id: str,
        *depends_on: Dependency,
        array: int | None = None,
        vcpus: float = 1,
        memory_mib: int = 100,
        queue: str = "q",
        gpus: int = 0,
        ended: Iterable[inputs.DependencyOutcome] = (),
        **terms: Any,
    ) -> Outcome:
        self._seq += 1
        wanted = JobTerms(
            queue,
            Resources(int(vcpus * 1000), memory_mib, gpus),
            depends_on=tuple(depends_on),
            array_size=array,
            **terms,
        )
        return self.tell(inputs.JobSubmitted(self._seq, job_id, wanted, tuple(ended)))

    def attempt(self, unit_id: str) -> str:
        """The id of a unit's live attempt."""
        unit = self.yard.find(*split_unit_id(unit_id))
        assert unit is not None and unit.live_attempt is not None, f"{unit_id} has no live attempt"
        return unit.live_attempt.attempt_id

    def submit_gang(
        self,
        job_id: str,
        nodes: int,
        *depends_on: Dependency,
        main: int = 0,
        vcpus: float = 1,
        gpus: int = 0,
        consumables: tuple[ConsumableNeed, ...] = (),
        by_node: tuple[ConsumableNeed, ...] = (),
        **terms: Any,
    ) -> Outcome:
        """A multi-node job whose nodes are all alike; it takes `consumables` itself, and each node takes `by_node`."""
        group = NodeGroup(0, nodes - 1, Resources(int(vcpus * 1000), 100, gpus), consumables=by_node)
        gang = MultiNodeTerms(main, (group,), consumables)
        total = gang.total()
        return self.submit(
            job_id,
            *depends_on,
            vcpus=total.vcpu_milli / 1000,
            memory_mib=total.memory_mib,
            gpus=total.gpus,
            nodes=gang,
            consumables=gang.all_consumables(),
            **terms,
        )

    def start(self, *unit_ids: str) -> None:
        self.tell(*(inputs.AttemptStarted(self.attempt(unit_id), self.now_ms) for unit_id in unit_ids))

    def exit(self, unit_id: str, code: int | None = 0, reason: str | None = None, **changes: Any) -> Outcome:
        return self.tell(inputs.AttemptExited(self.attempt(unit_id), self.now_ms, code, reason, **changes))

    def exit_at(self, attempt_id: str, at_ms: int) -> Outcome:
        """An end that happened before it is reported."""
        return self.tell(inputs.AttemptExited(attempt_id, at_ms, 0))

    def lose(self, unit_id: str) -> Outcome:
        return self.tell(inputs.AttemptLost(self.attempt(unit_id), self.now_ms))

    def recalled(self, unit_id: str) -> Outcome:
        return self.tell(inputs.AttemptRecalled(self.attempt(unit_id), self.now_ms))

    def cancel(self, unit_id: str, reason: str = "not needed") -> Outcome:
        return self.tell(inputs.CancelRequested(unit_id, reason))

    def terminate(self, unit_id: str, reason: str = "enough") -> Outcome:
        return self.tell(inputs.TerminateRequested(unit_id, reason))

    def wait(self, seconds: float) -> Outcome:
        self.now_ms += int(seconds * 1000)
        return self.tell()

    def record(self, unit_id: str) -> Any:
        """A unit's row as a reader of the store would find it."""
        job_id, index = split_unit_id(unit_id)
        if index is None:
            return self.stored[job_id].record
        child = self.stored_children.get((job_id, index))
        return child.record if child else self.stored[job_id].rest

    def status(self, unit_id: str) -> str:
        return JobStatus(self.record(unit_id).status).name

    def statuses(self, *unit_ids: str) -> list[str]:
        return [self.status(unit_id) for unit_id in unit_ids]

    def reason(self, unit_id: str) -> str | None:
        reason: str | None = self.record(unit_id).status_reason
        return reason

    def counts(self, job_id: str) -> dict[str, int]:
        counts = self.stored[job_id].counts
        assert counts is not None
        return {status.name: counts[status] for status in JobStatus if counts[status]}
