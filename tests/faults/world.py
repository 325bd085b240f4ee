"""The world outside the server under a plan of faults, and the server's side of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from batchyard.core.inputs import AttemptRecalled, Report
from batchyard.engines.base import HostCapacity, Launch
from batchyard.engines.simulated import Entry, Fate, SimulatedEngine, World
from tests.faults.plan import Plan
from tests.faults.story import Story
from tests.faults.virtual import Calendar


def fates(seed: int) -> Callable[[Launch], Fate]:
    """What attempts do follows from the seed and their ids."""

    def fate_of(launch: Launch) -> Fate:
        dice = random.Random(f"{seed}/{launch.attempt_id}")
        return Fate(
            starts=dice.random() > 0.04,
            start_seconds=dice.choice((0.0, 0.002, 0.5)) * dice.random(),
            run_seconds=(2000.0 if dice.random() < 0.04 else dice.choice((0.0, 0.05, 5.0, 40.0))) * dice.random(),
            exit_code=dice.choice((0, 0, 0, 0, 1, 3, 137)),
            stop_seconds=dice.choice((0.0, 0.5, 20.0, None)),
            stop_exit_code=dice.choice((143, 143, 0)),
        )

    return fate_of


class FaultyWorld(World):
    """Reports come late, in another order across attempts, and twice, as the plan has it."""

    def __init__(
        self,
        seed: int,
        calendar: Calendar,
        wall_ms: Callable[[], int],
        capacity: HostCapacity,
        plan: Plan,
        story: Story,
    ) -> None:
        super().__init__(calendar, wall_ms, fates(seed), capacity)
        self._plan = plan
        self._story = story
        self._dice = random.Random(f"{seed}/reports")
        self._last_seconds: dict[str, float] = {}
        """When the last report of each attempt arrives: those of one attempt stay in their order."""

    def tell(self, reports: list[Report]) -> None:
        for report in reports:
            self._deliver(report, self._plan.report_seconds())
            # Of all reports this one comes only once, whatever happens (engines/base.py).
            if not isinstance(report, AttemptRecalled) and self._plan.doubles_report():
                self._deliver(report, self._plan.report_seconds() + self._dice.choice((0.0, 1.0, 100.0)))

    def _deliver(self, report: Report, delay_seconds: float) -> None:
        engine = self.engine
        now_seconds = self.timeline.now_seconds()
        at_seconds = max(now_seconds + delay_seconds, self._last_seconds.get(report.attempt_id, 0.0))
        self._last_seconds[report.attempt_id] = at_seconds

        def arrive() -> None:
            # A broken connection loses what is under way on it; the report comes again with the next.
            if engine is not None and engine is self.engine:
                engine.hear([report])

        self.timeline.after(at_seconds - now_seconds, arrive)

    def _write(self, kind: str, attempt: Any, code: int | None = None) -> None:
        super()._write(kind, attempt, code)
        entry = self.diary[-1]
        detail = "" if code is None else f" with {code}"
        self._story.tell(f"    {unit_of(entry)} attempt {number_of(entry)} {kind}{detail}")


def unit_of(entry: Entry) -> str:
    """The job, child or node, as the job itself was told."""
    return entry.launch.environment["AWS_BATCH_JOB_ID"]


def number_of(entry: Entry) -> int:
    return int(entry.launch.environment["AWS_BATCH_JOB_ATTEMPT"])


class MortalEngine(SimulatedEngine):
    """The server may die before and after each thing that it asks of its engine."""

    def __init__(self, world: World, plan: Plan) -> None:
        super().__init__(world)
        self._plan = plan

    def reconnect_seconds(self) -> float:
        return self._plan.reconnect_seconds()

    def launch(self, launches: Sequence[Launch]) -> None:
        for launch in launches:
            self._plan.reach("before launch")
            super().launch([launch])
            self._plan.reach("after launch")

    def stop(self, attempt_id: str, grace_seconds: int) -> None:
        self._plan.reach("before stop")
        super().stop(attempt_id, grace_seconds)
        self._plan.reach("after stop")

    def forget(self, attempt_ids: Sequence[str]) -> None:
        for attempt_id in attempt_ids:
            self._plan.reach("before forget")
            super().forget([attempt_id])
            self._plan.reach("after forget")
