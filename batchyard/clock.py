"""Where time and ids come from, so that tests can hold them still.

The core never sees these: it takes `now_ms` and ids as arguments.
"""

from __future__ import annotations

import time
import uuid
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""


class Ids(Protocol):
    def new(self) -> str:
        """A fresh UUID4 in its usual text form."""


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class RandomIds:
    def new(self) -> str:
        return str(uuid.uuid4())


class FrozenClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        self._now_ms += milliseconds


class CountingIds:
    """Ids in a fixed order: …0001, …0002, …"""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> str:
        self._last += 1
        return str(uuid.UUID(int=self._last, version=4))
