"""Control groups of version 1: every controller has a tree of its own.

An attempt's memory group is made for it and removed after it, which keeps the counters and what is charged to the group
apart from any other attempt's. Its CPU and process groups carry over nothing from one attempt to the next, so they are
kept for reuse: making and removing them anew would cost a tenth of all that a short job costs the supervisor.
"""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH102, PTH103

from __future__ import annotations

import errno
import os
from pathlib import Path

from batchyard.engines.process import cgroups

MIB = 1024 * 1024
MAX_SPARE_SLOTS = 64
DEFAULT_SHARES = 1024


class Slot:
    """A CPU group and a process group, as far as there are such controllers, and what is set in them."""

    def __init__(self, folders: dict[str, str], *, stays_open: bool) -> None:
        """`stays_open`: keep two files open, so that entering is cheap."""
        self.cpu = folders.get("cpu")
        self.pids = folders.get("pids")
        self.folders = [folder for folder in (self.cpu, self.pids) if folder is not None]
        self._shares = DEFAULT_SHARES
        self._pids_max: int | None = None
        for folder in self.folders:
            _make(folder)
        self._task_fds = [
            os.open(f"{folder}/tasks", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders * stays_open
        ]

    def enter(self) -> None:
        if self._task_fds:
            for fd in self._task_fds:
                os.write(fd, b"0")
            return
        for folder in self.folders:
            cgroups.write(f"{folder}/tasks", b"0")

    def close(self) -> None:
        for fd in self._task_fds:
            os.close(fd)
        self._task_fds = []

    def set_shares(self, shares: int) -> None:
        if self.cpu is not None and shares != self._shares:
            cgroups.write(f"{self.cpu}/cpu.shares", b"%d" % shares)
            self._shares = shares

    def set_pids_max(self, limit: int) -> None:
        if self.pids is not None and limit != self._pids_max:
            cgroups.write(f"{self.pids}/pids.max", b"%d" % limit)
            self._pids_max = limit

    def is_empty(self) -> bool:
        """A cheap look that may say no when it is so; never yes when it isn't."""
        return self.pids is not None and cgroups.read(f"{self.pids}/pids.current").strip() == b"0"


class TreeV1:
    """Folders for attempts under this process's own groups."""

    def __init__(self, bases: dict[str, Path], homes: dict[str, Path]) -> None:
        self._bases = {controller: str(base) for controller, base in bases.items()}
        self._home_fds = [os.open(homes[name] / "tasks", os.O_WRONLY | os.O_CLOEXEC) for name in self._bases]
        self._spare: list[Slot] = []
        self._slots_made = 0
        self.has_swap_limit = "memory" in bases and (homes["memory"] / "memory.memsw.limit_in_bytes").exists()
        self.limits = cgroups.limits_line(self._bases, "cgroup v1")

    def create(self, attempt_id: str) -> GroupV1:
        if (base := self._bases.get("memory")) is None:
            # Then what is left to kill by has to bear the attempt's name.
            return GroupV1(
                self, None, Slot({name: f"{base}/{attempt_id}" for name, base in self._bases.items()}, stays_open=False)
            )
        folder = f"{base}/{attempt_id}"
        _make(folder)
        try:
            return GroupV1(self, folder, self._take_slot())
        except OSError:
            cgroups.remove_dir(folder)
            raise

    def _take_slot(self) -> Slot:
        if self._spare:
            return self._spare.pop()
        self._slots_made += 1
        name = f"slot-{self._slots_made}"
        folders = {controller: f"{base}/{name}" for controller, base in self._bases.items()}
        return Slot(folders, stays_open=self._slots_made <= MAX_SPARE_SLOTS)

    def put_back(self, slot: Slot) -> bool:
        """Keep an empty slot for the next attempt, or remove it; False while the kernel still needs it."""
        if "memory" in self._bases and len(self._spare) < MAX_SPARE_SLOTS:
            # A kill leaves the limit at 0, under which the next attempt could not be spawned.
            slot.set_pids_max(cgroups.PIDS_LIMIT)
            self._spare.append(slot)
            return True
        slot.close()
        removed = [cgroups.remove_dir(folder) for folder in slot.folders]
        return all(removed)

    def go_home(self) -> None:
        """Put this thread, the only one, back into the groups it came from. Writing "0" to `tasks` moves a single
        thread without the kernel's lock over all forks, which `cgroup.procs` would take."""
        for fd in self._home_fds:
            os.write(fd, b"0")

    def close(self) -> None:
        for fd in self._home_fds:
            os.close(fd)
        for slot in self._spare:
            slot.close()
        cgroups.remove_left(list(self._bases.values()))


class GroupV1:
    """The groups of one attempt; `_memory` is None where that controller can't be had."""

    def __init__(self, tree: TreeV1, memory: str | None, slot: Slot) -> None:
        self._tree = tree
        self._memory = memory
        self._slot: Slot | None = slot
        self._folders = [*([memory] if memory is not None else []), *slot.folders]

    def enter(self) -> None:
        if self._memory is not None:
            cgroups.write(f"{self._memory}/tasks", b"0")
        if self._slot is not None:
            self._slot.enter()

    def leave(self) -> None:
        self._tree.go_home()

    def limit(self, memory_mib: int, vcpu_milli: int) -> None:
        if self._slot is not None:
            self._slot.set_shares(max(2, vcpu_milli * DEFAULT_SHARES // 1000))
            self._slot.set_pids_max(cgroups.PIDS_LIMIT)
        if self._memory is not None:
            limit = b"%d" % (memory_mib * MIB)
            try:
                cgroups.write(f"{self._memory}/memory.limit_in_bytes", limit)
                if self._tree.has_swap_limit:
                    cgroups.write(f"{self._memory}/memory.memsw.limit_in_bytes", limit)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise cgroups.MemoryOverrun(error.errno, f"more than {memory_mib} MiB from the start") from error
                raise

    def kill(self) -> bool:
        if self._slot is None or self._slot.is_empty() or not cgroups.read_members(self._folders[0]):
            return True
        # Nothing can be forked from here on, so one or two rounds reach all.
        self._slot.set_pids_max(0)
        return cgroups.kill_members(self._folders[0])

    def oom_kills(self) -> int:
        return cgroups.counter(f"{self._memory}/memory.oom_control", b"oom_kill") if self._memory else 0

    def peak_memory_bytes(self) -> int | None:
        text = cgroups.read(f"{self._memory}/memory.max_usage_in_bytes") if self._memory else b""
        return int(text) if text else None

    def remove(self) -> bool:
        if self._memory is not None and not cgroups.remove_dir(self._memory):
            return False
        if self._slot is not None and not self._tree.put_back(self._slot):
            return False
        self._slot = None
        return True


def _make(folder: str) -> None:
    try:
        os.mkdir(folder)
    except FileNotFoundError:  # somebody has tidied up
        os.makedirs(folder)
