"""What jobs did according to themselves: the diary of the simulated world, by attempt and by unit."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from batchyard.engines.simulated import Entry
from tests.faults.world import number_of, unit_of


class Run(Struct):
    """One start of an attempt, and what became of it. `is_killed`: it ended with its machine."""

    unit_id: str
    number: int
    attempt_id: str
    environment: str
    vcpu_milli: int
    gpus: tuple[str, ...]
    started_seconds: float
    ended_seconds: float = float("inf")
    exit_code: int | None = None
    is_killed: bool = False

    @property
    def job_id(self) -> str:
        return self.unit_id.partition("#")[0].partition(":")[0]

    def __str__(self) -> str:
        how = "killed" if self.is_killed else f"exit {self.exit_code}"
        return f"{self.unit_id} attempt {self.number} ({self.started_seconds:.3f}-{self.ended_seconds:.3f}, {how})"


def runs_of(diary: Iterable[Entry]) -> list[Run]:
    """In the order in which they started."""
    runs: list[Run] = []
    under_way: dict[str, list[Run]] = {}
    for entry in diary:
        if entry.kind == "start":
            run = Run(
                unit_of(entry),
                number_of(entry),
                entry.attempt_id,
                entry.launch.environment["AWS_BATCH_CE_NAME"],
                entry.launch.vcpu_milli,
                entry.launch.gpus,
                entry.at_seconds,
            )
            runs.append(run)
            under_way.setdefault(entry.attempt_id, []).append(run)
            continue
        run = under_way[entry.attempt_id].pop(0)
        run.ended_seconds = entry.at_seconds
        run.exit_code = entry.exit_code
        run.is_killed = entry.kind == "killed"
    return runs
