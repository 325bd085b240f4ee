"""What a dead supervisor left running: found, killed, and known to be gone before it is reported lost.

An attempt of an earlier supervisor has lost its pipe and its parent, so it can only be ended. Its processes are those
in its control group, its main process and that one's group (when number and start time are still the same), and all
that carry its marker in their environment. A child that was between fork and exec when the supervisor died can't be
missed: it held the supervisor's lock until its exec, and the lock was needed to come here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence

from batchyard.engines.process import cgroups, processes
from batchyard.engines.process.journal import Open, Spawned

CLEAN_SEARCHES = 2
"""Searches in a row that must find nothing: a process that forks may slip past one."""


class Strays:
    """The attempts that were open in the journal when this supervisor began."""

    def __init__(self, left: Sequence[Open], boot_id: str, log: Callable[[str], None]) -> None:
        self._log = log
        self._boot_id = boot_id
        self._left = {each.attempt_id: each for each in left}
        self._clean: dict[str, int] = dict.fromkeys(self._left, 0)
        self._reported_errors: set[str] = set()

    @property
    def attempt_ids(self) -> list[str]:
        return list(self._left)

    def open(self) -> list[Open]:
        """Those that are not known to be gone yet."""
        return list(self._left.values())

    def search(self) -> list[Open]:
        """Kill what is found, once. Returns those of which nothing is left, which are done with."""
        marked: dict[str, list[int]] = {}
        if any(each.opened.boot_id == self._boot_id for each in self._left.values()):
            for pid, marker in processes.all_marked():
                marked.setdefault(marker, []).append(pid)
        gone: list[Open] = []
        for attempt_id, each in list(self._left.items()):
            if self._kill(each, marked.get(f"{each.opened.incarnation}/{attempt_id}", [])):
                self._clean[attempt_id] += 1
            else:
                self._clean[attempt_id] = 0
            if self._clean[attempt_id] >= CLEAN_SEARCHES or each.opened.boot_id != self._boot_id:
                gone.append(each)
                del self._left[attempt_id]
        return gone

    def _kill(self, each: Open, marked_pids: Sequence[int]) -> bool:
        """True if nothing of this attempt was found."""
        if each.opened.boot_id != self._boot_id:
            return True
        nothing = True
        for pid in marked_pids:
            nothing = self._kill_pid(pid) and nothing
        if (spawned := each.spawned) is not None:
            stat = processes.stat(spawned.pid)
            if stat is not None and not stat.is_gone and _is_of(spawned, stat):
                nothing = False
                self._signal(os.killpg, spawned.pid)
        try:
            return (not each.group or cgroups.kill_left(each.opened.cgroup_dirs, each.group)) and nothing
        except OSError as error:
            self._log_once(f"the control group of {each.attempt_id}: {error}")
            return nothing

    def _kill_pid(self, pid: int) -> bool:
        """True if the process is dead already."""
        stat = processes.stat(pid)
        if stat is None or stat.is_gone:
            return True
        self._signal(os.kill, pid)
        return False

    def _signal(self, send: Callable[[int, int], None], pid: int) -> None:
        try:
            send(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        except PermissionError as error:
            self._log_once(f"process {pid} of an earlier supervisor can't be killed: {error}")

    def _log_once(self, text: str) -> None:
        if text not in self._reported_errors:
            self._reported_errors.add(text)
            self._log(text)


def _is_of(spawned: Spawned, stat: processes.Stat) -> bool:
    """Whether this process is the one that was spawned."""
    return spawned.since_ticks <= stat.start_ticks <= spawned.until_ticks
