"""The engine that the simulation of faults runs on keeps the contract that real engines keep.

The suite's scripts are few. Instead of running them, this world reads out of each what it would do.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchyard.engines.base import HostCapacity, Launch
from batchyard.engines.simulated import Fate, SimulatedEngine, World
from tests.engine.bench import Bench, BenchMaker
from tests.engine.conformance import AttemptConformance, LaunchAheadConformance

FOR_EVER_SECONDS = 1e6
LOOK_SECONDS = 0.005


class RealTime:
    """The event loop's own time."""

    def now_seconds(self) -> float:
        return asyncio.get_running_loop().time()

    def after(self, delay_seconds: float, function: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_seconds, function)


class ScriptedWorld(World):
    """Attempts do what their scripts say."""

    def __init__(self) -> None:
        super().__init__(RealTime(), lambda: time.time_ns() // 1_000_000, self._read, HostCapacity(4000, 4096))

    def _read(self, launch: Launch) -> Fate:
        script = " ".join(launch.command)
        code = int(found[1]) if (found := re.search(r"exit (\d+)$", script)) else 0
        if found := re.search(r"\[ ! -e (\S+) \]", script):
            self._end_when_there_is(Path(found[1]), launch, code)
        elif "sleep" not in script:
            return Fate(run_seconds=0.0, exit_code=code)
        return Fate(run_seconds=FOR_EVER_SECONDS, stop_seconds=None if "trap ''" in script else 0.0)

    def _end_when_there_is(self, gate: Path, launch: Launch, code: int) -> None:
        starts = sum(entry.kind == "start" and entry.attempt_id == launch.attempt_id for entry in self.diary)
        if not starts or not gate.exists():
            self.timeline.after(LOOK_SECONDS, lambda: self._end_when_there_is(gate, launch, code))
            return
        if found := re.search(r"echo x >> (\S+);", launch.command[-1]):
            Path(found[1]).write_text("x\n" * starts, encoding="ascii")
        self.end(launch.attempt_id, code)


class SimulatedBench(Bench):
    async def has_written(self, attempt_id: str, line: str) -> None:
        """What runs here is ready at once."""
        assert line == "ready"
        await self.started(attempt_id)


@pytest.fixture
def make_bench(tmp_path: Path) -> BenchMaker:
    world = ScriptedWorld()
    return lambda: SimulatedBench(SimulatedEngine(world), tmp_path)


class TestSimulatedEngine(AttemptConformance, LaunchAheadConformance):
    """The contract, without programs."""

    test_launches_wait_for_room_and_start_in_their_order = None
    """Its script counts what runs beside it."""
