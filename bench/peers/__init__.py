"""What Batchyard is measured beside: other batch systems, and what starts processes and does nothing else.

A peer that runs commands is a context manager that starts it and gives a function: run `true` so many times, two at a
time, and say how many seconds that took. It is started for its turn and ended after it, so that it takes nothing from
the others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

RunTrue = Callable[[int], float]
Peer = Callable[[], AbstractContextManager[RunTrue]]

AT_ONCE = 2


class PeerMissing(Exception):
    """The peer can't be run on this machine; the text says what it would take."""
