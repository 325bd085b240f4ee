"""Moves what runs from one control group into another, in a thread of its own.

A process moves itself at little cost. To move another the kernel first waits until no CPU is within a fork, for ten
milliseconds or more when nothing was moved just before: too long for whoever spawns and reaps.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from batchyard.engines.process import cgroups

RETRY_SECONDS = 0.01
MOST_ROUNDS = 100


class Move(NamedTuple):
    """All that is in `source`, and in the groups in it, is to be in `target` too, of another controller."""

    source: str
    target: str


class Mover:
    """Does one move after another. Its thread begins with the first and ends with the process."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._moves: SimpleQueue[Move] = SimpleQueue()
        self._has_begun = False

    def ask(self, move: Move) -> None:
        """Do `move` soon."""
        self._moves.put(move)
        if not self._has_begun:
            self._has_begun = True
            threading.Thread(target=self._run, name="mover", daemon=True).start()

    def _run(self) -> None:
        while True:
            move = self._moves.get()
            for is_last in (False, False, True):
                try:
                    move_all(move)
                    break
                except OSError as error:
                    # EMFILE: while something is spawned this process may open as few files as a job.
                    if is_last or error.errno != errno.EMFILE:
                        self._log(f"a job runs without its share of the CPUs, outside {move.target}: {error}")
                        break
                    time.sleep(RETRY_SECONDS)


def move_all(move: Move) -> None:
    """Move every process that there is, and what those fork meanwhile. OSError if one of them can't be moved."""
    for _ in range(MOST_ROUNDS):
        # What one that has moved forks is there already.
        missing = set(cgroups.read_members(move.source).split()).difference(cgroups.read_members(move.target).split())
        if not missing:
            return
        for pid in missing:
            try:
                cgroups.write(f"{move.target}/cgroup.procs", pid)
            except ProcessLookupError:
                continue
            except FileNotFoundError:
                # Tidied up, by whoever has also ended what was in it.
                return
    raise OSError(errno.EAGAIN, "each of its processes ends before it can be moved, but for a child")
