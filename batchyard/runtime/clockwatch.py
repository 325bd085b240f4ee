"""Noticing that the machine's clock was set, or that the machine slept.

Times are stored as the clock gave them, and deadlines follow from those. A running server also has a clock that nobody
can set (the event loop's): when the two disagree about how much time has passed, deadlines move by the difference.
Otherwise a laptop that wakes up would time out all its jobs, and a clock set back would let them run on for as long.
"""

from __future__ import annotations

from collections.abc import Callable

from batchyard.clock import Clock

SMALLEST_JUMP_MS = 1000
"""Less is a clock that is being slowed or hurried a little, or an unlucky moment between the two readings."""


class ClockWatch:
    """Compares the machine's clock with a steady one (seconds from anywhere), from one look to the next."""

    def __init__(self, clock: Clock, steady_seconds: Callable[[], float]) -> None:
        self._clock = clock
        self._steady_seconds = steady_seconds
        self._last_ms = clock.now_ms()
        self._last_steady_seconds = steady_seconds()

    def jump_ms(self) -> int:
        """By how much the clock was set forward (or, below 0, back) since the last look; 0 if it wasn't."""
        now_ms, steady_seconds = self._clock.now_ms(), self._steady_seconds()
        passed_ms = round((steady_seconds - self._last_steady_seconds) * 1000)
        jump_ms = now_ms - self._last_ms - passed_ms
        self._last_ms, self._last_steady_seconds = now_ms, steady_seconds
        return jump_ms if abs(jump_ms) >= SMALLEST_JUMP_MS else 0
