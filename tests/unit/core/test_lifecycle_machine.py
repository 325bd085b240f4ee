"""Random histories over singles, arrays and gangs, with restarts between; what must hold is checked at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchyard.core import inputs, invariants, reasons
from batchyard.core.capacity import Pace
from batchyard.core.inputs import DependencyOutcome
from batchyard.core.job import split_unit_id
from batchyard.core.model import (
    ConsumableNeed,
    ConsumableState,
    Dependency,
    EnvironmentState,
    FairSharePolicy,
    JobTerms,
    MultiNodeTerms,
    NodeGroup,
    QueueState,
    Resources,
    ShareWeight,
    TimeLimit,
)
from batchyard.core.outcome import ConsumableUsed, Outcome
from batchyard.core.restore import StoredJob, restore_job, restore_share
from batchyard.core.schedule.fairshare import usage_by_share
from batchyard.core.states import FAILED, SUCCEEDED, JobStatus
from batchyard.core.step import step
from batchyard.core.yard import Yard
from tests.profiles import examples
from tests.unit.core.builders import N_TO_N, SEQUENTIAL, Scene, after, gpu_names

NEEDS = ((), (), (ConsumableNeed("licence", 3),), (ConsumableNeed("licence", 6), ConsumableNeed("token", 1)))
NODE_NEEDS = ((), (), (ConsumableNeed("licence", 1),), (ConsumableNeed("licence", 2), ConsumableNeed("token", 1)))
GPUS = 2
LICENCES = 12
"""What the hungriest job needs, and less than three hungry ones do."""
TIME_LIMITS = (TimeLimit(reasons.ENVIRONMENT_TOO_SMALL, 100),)


class Lifecycle(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(vcpus=3, gpus=GPUS)
        self.scene.queue("q", time_limits=TIME_LIMITS)
        self.policy = FairSharePolicy("fair", "first", (ShareWeight("c*", 2.0),), reservation_percent=30)
        self.scene.tell(inputs.PolicyChanged(self.policy))
        self.scene.queue("fair", policy="fair")
        self.stock = {"licence": [LICENCES, True], "token": [10_000, False]}
        self.scene.tell(*self.stock_events())
        self.held: set[str] = set()
        self.ended: dict[str, JobStatus] = {}
        self.terms: dict[str, Any] = {}
        self.ever_live: set[str] = set()
        self.launches_ahead = False

    @initialize(launches_ahead=st.booleans())
    def choose_engine(self, launches_ahead: bool) -> None:
        self.launches_ahead = launches_ahead
        self.told(self.scene.tell(self.host()))
        self.hurry()

    def host(self) -> inputs.HostSized:
        return inputs.HostSized("host", 3000, 8192, launches_ahead=self.launches_ahead, gpus=gpu_names(GPUS))

    def hurry(self) -> None:
        """As if many short attempts had ended before."""
        self.scene.yard.environments["ce"].pace = Pace(16, 1.0)

    def stock_events(self) -> list[inputs.ConsumableChanged]:
        """The consumable resources as the store has them."""
        return [
            inputs.ConsumableChanged(ConsumableState(name, total, is_replenishable), 1)
            for name, (total, is_replenishable) in self.stock.items()
        ]

    @rule(name=st.sampled_from(["licence", "token"]), total=st.integers(1, 15))
    def stock_up(self, name: str, total: int) -> None:
        self.stock[name][0] = max(self.stock[name][0], total) if name == "licence" else self.stock[name][0] + total
        self.told(self.scene.tell(*self.stock_events()))

    def told(self, outcome: Outcome) -> None:
        for change in outcome.changes:
            if isinstance(change, ConsumableUsed):
                self.stock[change.name][0] = max(0, self.stock[change.name][0] - change.spent)
        for move in outcome.transitions:
            unit_id = move.job_id if move.index is None else self.child(move.job_id, move.index)
            if move.children:
                continue
            assert unit_id not in self.ended, f"{unit_id} moved after its end"
            if move.target.is_terminal:
                self.ended[unit_id] = move.target
        for effect in self.scene.launched:
            unit = self.scene.yard.units_by_attempt.get(effect.attempt_id)
            assert unit is None or effect.gpus == self.scene.record(unit.unit_id).attempts[-1].gpus
            self.held.add(effect.attempt_id)
        for attempt_id in self.scene.forgotten:
            self.held.discard(attempt_id)
        self.scene.launched.clear()
        self.scene.forgotten.clear()

    @rule(
        share=st.sampled_from([None, None, "a", "b", "c1", "c2"]),
        priority=st.integers(0, 2),
        array=st.one_of(st.none(), st.integers(2, 5)),
        attempts=st.integers(1, 3),
        timeout=st.one_of(st.none(), st.just(60)),
        vcpus=st.sampled_from([0.5, 1, 2, 5]),
        gpus=st.sampled_from([0, 0, 1, 2]),
        needs=st.sampled_from(NEEDS),
        data=st.data(),
    )
    def submit(
        self,
        share: str | None,
        priority: int,
        array: int | None,
        attempts: int,
        timeout: int | None,
        vcpus: float,
        gpus: int,
        needs: tuple[ConsumableNeed, ...],
        data: st.DataObject,
    ) -> None:
        job_id = f"job{len(self.terms)}"
        depends_on: list[Dependency] = []
        for other in data.draw(st.lists(st.sampled_from(sorted(self.terms)), max_size=2)) if self.terms else []:
            size = self.terms[other].array_size
            if size is not None and data.draw(st.booleans()):
                depends_on.append(after(f"{other}:{data.draw(st.integers(0, size - 1))}"))
            elif size is not None and size == array:
                depends_on.append(after(other, N_TO_N))
            else:
                depends_on.append(after(other))
        if array is not None and data.draw(st.booleans()):
            depends_on.append(after("", SEQUENTIAL))
        ended = self.outcomes(depends_on)
        outcome = self.scene.submit(
            job_id,
            *depends_on,
            array=array,
            vcpus=vcpus,
            gpus=gpus,
            ended=ended,
            max_attempts=attempts,
            timeout_seconds=timeout,
            **self.place(share, priority),
            consumables=needs,
        )
        job = self.scene.yard.jobs.get(job_id)
        self.terms[job_id] = job.terms if job else self.scene_terms(array, depends_on)
        self.told(outcome)

    def place(self, share: str | None, priority: int = 0) -> dict[str, Any]:
        """Without a share the job goes to the queue that is first in, first out."""
        if share is None:
            return {}
        return {"queue": "fair", "share_identifier": share, "scheduling_priority": priority}

    def scene_terms(self, array: int | None, depends_on: list[Dependency]) -> Any:
        return JobTerms("q", Resources(1000, 100), depends_on=tuple(depends_on), array_size=array)

    @rule(array=st.one_of(st.none(), st.integers(2, 5)), data=st.data())
    def submit_what_can_never_be_placed(self, array: int | None, data: st.DataObject) -> None:
        job_id = f"job{len(self.terms)}"
        others = data.draw(st.lists(st.sampled_from(sorted(self.terms)), max_size=1)) if self.terms else []
        depends_on = [after(other) for other in others]
        ended = self.outcomes(depends_on)
        self.terms[job_id] = self.scene_terms(array, depends_on)
        self.told(self.scene.submit(job_id, *depends_on, array=array, ended=ended, fault="too large"))
        assert (self.scene.status(job_id), self.scene.reason(job_id)) == ("FAILED", "too large")

    def child(self, job_id: str, index: int) -> str:
        return f"{job_id}{'#' if job_id.startswith('gang') else ':'}{index}"

    @rule(
        share=st.sampled_from([None, "a", "c1"]),
        nodes=st.integers(1, 3),
        main=st.integers(0, 2),
        attempts=st.integers(1, 3),
        needs=st.sampled_from(NEEDS),
        by_node=st.sampled_from(NODE_NEEDS),
        has_gpus=st.booleans(),
        data=st.data(),
    )
    def submit_gang(
        self,
        share: str | None,
        nodes: int,
        main: int,
        attempts: int,
        needs: tuple[ConsumableNeed, ...],
        by_node: tuple[ConsumableNeed, ...],
        has_gpus: bool,
        data: st.DataObject,
    ) -> None:
        job_id = f"gang{len(self.terms)}"
        others = data.draw(st.lists(st.sampled_from(sorted(self.terms)), max_size=1)) if self.terms else []
        depends_on = [after(other) for other in others]
        ended = self.outcomes(depends_on)
        gpus = int(has_gpus and nodes <= GPUS)
        group = NodeGroup(0, nodes - 1, Resources(1000, 100, gpus), consumables=by_node)
        gang = MultiNodeTerms(min(main, nodes - 1), (group,), needs)
        self.terms[job_id] = JobTerms(
            "q" if share is None else "fair",
            gang.total(),
            depends_on=tuple(depends_on),
            nodes=gang,
            max_attempts=attempts,
            timeout_seconds=60,
            consumables=gang.all_consumables(),
            share_identifier=share,
        )
        outcome = self.scene.submit_gang(
            job_id,
            nodes,
            *depends_on,
            gpus=gpus,
            main=gang.main_node,
            ended=ended,
            max_attempts=attempts,
            timeout_seconds=60,
            consumables=needs,
            by_node=by_node,
            **self.place(share),
        )
        self.told(outcome)

    def outcomes(self, depends_on: Sequence[Dependency]) -> list[DependencyOutcome]:
        """What the store would say of dependencies that the yard doesn't hold any more."""
        found = []
        for dependency in depends_on:
            job_id, _ = split_unit_id(dependency.job_id)
            if not job_id or self.is_unfinished(job_id):
                continue
            failed: tuple[int, ...] = ()
            if dependency.type is N_TO_N:
                indices = range(self.terms[job_id].array_size)
                failed = tuple(index for index in indices if self.scene.status(f"{job_id}:{index}") == "FAILED")
            found.append(DependencyOutcome(dependency.job_id, JobStatus[self.scene.status(dependency.job_id)], failed))
        return found

    def is_unfinished(self, job_id: str) -> bool:
        return not self.scene.stored[job_id].record.status.is_terminal

    def live(self) -> list[str]:
        """The units whose attempts the engine holds: those it could report on."""
        units = self.scene.yard.units_by_attempt.items()
        return sorted(unit.unit_id for attempt_id, unit in units if attempt_id in self.held)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        attempt_id = self.scene.attempt(data.draw(st.sampled_from(self.live())))
        self.told(self.scene.tell(inputs.AttemptStarted(attempt_id, self.scene.now_ms)))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), code=st.sampled_from([0, 0, 0, 1, 137]), started=st.booleans())
    def exit(self, data: st.DataObject, code: int, started: bool) -> None:
        unit_id = data.draw(st.sampled_from(self.live()))
        unit = self.scene.yard.find(*split_unit_id(unit_id))
        assert unit is not None
        ran = started or unit.status is JobStatus.RUNNING
        self.told(self.scene.exit(unit_id, code if ran else None, None, started=ran))

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def lose_instance(self, data: st.DataObject) -> None:
        self.told(self.scene.lose(data.draw(st.sampled_from(self.live()))))

    def ahead(self) -> list[str]:
        waiting = self.scene.yard.environments["ce"].ahead.keys() & self.held
        return sorted(self.scene.yard.units_by_attempt[attempt_id].unit_id for attempt_id in waiting)

    @precondition(lambda self: self.ahead())
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        unit_id = data.draw(st.sampled_from(self.ahead()))
        self.held.discard(self.scene.attempt(unit_id))
        self.told(self.scene.recalled(unit_id))

    @precondition(lambda self: self.terms)
    @rule(data=st.data(), terminate=st.booleans())
    def stop(self, data: st.DataObject, terminate: bool) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.terms)))
        size = self.terms[job_id].children
        if size is not None and data.draw(st.booleans()):
            job_id = self.child(job_id, data.draw(st.integers(0, size - 1)))
        self.told(self.scene.terminate(job_id) if terminate else self.scene.cancel(job_id))

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def wait(self, seconds: int) -> None:
        self.told(self.scene.wait(seconds))

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """A new yard from the stored rows alone; the engine may have lost some attempts meanwhile."""
        old = self.scene.yard
        usage = self.usage()
        before = {unit_id: self.scene.status(unit_id) for unit_id in self.terms}
        yard = Yard()
        step(
            yard,
            [
                self.host(),
                inputs.EnvironmentChanged(EnvironmentState("ce", True, 3000)),
                inputs.InstanceRegistered("i-2", "ce", "host"),
                inputs.PolicyChanged(self.policy),
                inputs.QueueChanged(QueueState("fair", 1, ("ce",), 0, policy="fair")),
                inputs.QueueChanged(QueueState("q", 1, ("ce",), 0, time_limits=TIME_LIMITS)),
                *self.stock_events(),
            ],
            self.scene.now_ms,
        )
        self.scene.yard = yard
        self.hurry()
        for share in self.scene.stored_shares.values():
            restore_share(yard, share)
        for job_id, terms in self.terms.items():
            if not self.is_unfinished(job_id):
                continue
            stored = self.scene.stored[job_id]
            children = tuple(
                (index, change.record)
                for (parent, index), change in self.scene.stored_children.items()
                if parent == job_id
            )
            ended = tuple(self.outcomes(terms.depends_on))
            restore_job(
                yard,
                StoredJob(stored.seq, job_id, terms, stored.record, stored.rest, children, ended),
            )
        invariants.check(yard)
        assert yard.jobs.keys() == old.jobs.keys()
        assert self.usage() == usage
        assert yard.units_by_attempt.keys() == old.units_by_attempt.keys()
        assert yard.stock.by_name == old.stock.by_name
        assert yard.hosts["host"].gpus_in_use == old.hosts["host"].gpus_in_use
        assert yard.queues["q"].blocked.keys() == old.queues["q"].blocked.keys()
        assert before == {unit_id: self.scene.status(unit_id) for unit_id in self.terms}
        lost = set(data.draw(st.lists(st.sampled_from(sorted(self.held)), unique=True))) if self.held else set()
        self.held -= lost
        self.told(self.scene.tell(inputs.EngineSurveyed("host", frozenset(self.held))))

    @invariant()
    def what_is_stored_is_what_happened(self) -> None:
        for unit_id, status in self.ended.items():
            assert self.scene.status(unit_id) == status.name

    @invariant()
    def nothing_runnable_waits_while_it_would_fit(self) -> None:
        """Checked where it is simple to say: an idle yard has no RUNNABLE unit that fits into it."""
        if not self.scene.yard.units_by_attempt:
            for job in self.scene.yard.jobs.values():
                assert job.terms.resources.vcpu_milli > 3000 or not self._runnable(job) or self._blocked_by_giant(job)

    def _runnable(self, job: Any) -> bool:
        return job.status is JobStatus.RUNNABLE or (job.array is not None and job.array.counts[JobStatus.RUNNABLE] > 0)

    def _blocked_by_giant(self, job: Any) -> bool:
        return any(
            self._stands_before(other, job) and other.terms.resources.vcpu_milli > 3000 and self._runnable(other)
            for other in self.scene.yard.jobs.values()
        )

    def _stands_before(self, other: Any, job: Any) -> bool:
        """In the same queue and, if that has shares, the same share."""
        places = [(-each.terms.scheduling_priority, each.seq) for each in (other, job)]
        of_one_kind = (other.terms.queue, other.terms.share_identifier) == (job.terms.queue, job.terms.share_identifier)
        return of_one_kind and places[0] < places[1]

    @rule(window=st.sampled_from([20, 600]), weight=st.sampled_from([0.5, 2.0]))
    def change_policy(self, window: int, weight: float) -> None:
        self.policy = FairSharePolicy("fair", f"{window}/{weight}", (ShareWeight("c*", weight),), window, 30)
        self.told(self.scene.tell(inputs.PolicyChanged(self.policy)))

    def usage(self) -> dict[str, tuple[int, float]]:
        found = usage_by_share(self.scene.yard.queues["fair"], self.scene.now_ms)
        return {use.share_identifier: (use.vcpu_milli, round(use.used_vcpu_seconds, 6)) for use in found}

    def teardown(self) -> None:
        """Left alone, with every attempt succeeding, all that can run ends."""
        for _ in range(500):
            live = self.live()
            if not live:
                break
            self.told(self.scene.exit(live[0]))
        for job in self.scene.yard.jobs.values():
            assert self._runnable(job) or job.waiting_for or (job.array is not None and job.array.unmet is not None)
            assert not job.is_multinode or job.terms.resources.vcpu_milli <= 3000 or self._runnable(job)
        assert set(self.ended.values()) <= {SUCCEEDED, FAILED}


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=examples(120), stateful_step_count=40, deadline=None)
