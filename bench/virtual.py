"""The real core in virtual time: jobs are told to it, and whatever it launches is at its end a millisecond later.

Nothing is stored and nothing runs, so what is measured is the scheduler alone. Its reports come back in batches, as the
engine's do when many attempts are under way.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchyard.core import inputs
from batchyard.core.effects import LaunchAttempt
from batchyard.core.model import EnvironmentState, QueueState
from batchyard.core.step import step
from batchyard.core.yard import Yard

VCPUS = 16
QUEUE = "bench"


class VirtualYard:
    """A yard with one host of 16 vCPUs, where each attempt takes a millisecond and succeeds."""

    def __init__(self) -> None:
        self.yard = Yard()
        self.jobs_run = 0
        """Attempts that have ended so far."""
        self._now_ms = 1_700_000_000_000
        self._reports: list[inputs.Input] = []
        self._step(
            inputs.HostSized("host", None, None, launches_ahead=True),
            inputs.EnvironmentChanged(EnvironmentState("bench", False, VCPUS * 1000)),
            inputs.QueueChanged(QueueState(QUEUE, 1, ("bench",), self._now_ms)),
            inputs.InstanceRegistered("i-1", "bench", "host"),
        )

    def open(self) -> None:
        """Let jobs run; before this they only queue."""
        self._step(inputs.EnvironmentChanged(EnvironmentState("bench", True, VCPUS * 1000)))

    def submit(self, jobs: Iterable[inputs.JobSubmitted]) -> None:
        self._step(*jobs)

    def run(self, count: int) -> int:
        """Go on until so many more attempts have ended, or nothing is left to do; how many have."""
        before = self.jobs_run
        while self._reports and self.jobs_run - before < count:
            self._now_ms += 1
            self.jobs_run += len(self._reports) // 2
            self._step(*self._reports)
        return self.jobs_run - before

    def _step(self, *events: inputs.Input) -> None:
        outcome = step(self.yard, events, self._now_ms)
        self._reports = []
        for effect in outcome.effects:
            if isinstance(effect, LaunchAttempt):
                self._reports.append(inputs.AttemptStarted(effect.attempt_id, self._now_ms))
                self._reports.append(inputs.AttemptExited(effect.attempt_id, self._now_ms + 1, 0))
