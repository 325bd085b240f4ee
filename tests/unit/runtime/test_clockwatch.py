"""A clock that is set is noticed, one that merely goes isn't."""

from __future__ import annotations

from batchyard.clock import FrozenClock
from batchyard.runtime.clockwatch import ClockWatch


class Machine:
    """Two clocks, of which one may be set."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.steady_seconds = 5.0
        self.watch = ClockWatch(self.clock, lambda: self.steady_seconds)

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1000))
        self.steady_seconds += seconds


def test_a_jump_is_told_once_whichever_way_it_goes() -> None:
    machine = Machine()
    machine.wait(3600)
    assert machine.watch.jump_ms() == 0
    machine.clock.advance(7_200_000)
    machine.wait(1)
    assert (machine.watch.jump_ms(), machine.watch.jump_ms()) == (7_200_000, 0)
    machine.clock.advance(-60_000)
    assert (machine.watch.jump_ms(), machine.watch.jump_ms()) == (-60_000, 0)


def test_a_clock_that_is_hurried_a_little_has_not_jumped() -> None:
    machine = Machine()
    for _ in range(100):
        machine.wait(10)
        machine.clock.advance(5)
        assert machine.watch.jump_ms() == 0
