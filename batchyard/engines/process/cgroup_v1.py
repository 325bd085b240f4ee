"""Control groups of version 1: every controller has a tree of its own.

To make a memory group and remove it costs more than to spawn a short job. So the groups of an attempt that left them
empty are kept, with a few of their files open, for the next: the counters set back, the limits lifted. Groups in which
a job has changed a setting, or made groups of its own, as root may, are removed all the same.

An attempt that is expected to be brief is born outside its cpu group, on which no limit depends. With each way into and
out of such a group the kernel lets somebody else go first on that CPU, which takes the supervisor longer than to spawn.
"""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH103

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Collection
from pathlib import Path

from batchyard.engines.process import cgroups

MIB = 1024 * 1024
MAX_SPARE_SLOTS = 64
KEEPERS_SHARE = 128
"""Of so many files that may be open at once, one slot may keep its own open, which are less than twenty: what jobs run
with needs files too."""
MAX_LEFT_BYTES = MIB
"""What may still be charged to a memory group that is used again: no more than the kernel keeps for each CPU."""
DEFAULT_SHARES = 1024
GONE = (errno.ENODEV, errno.ENOENT)
"""What a file of a group that was removed answers, opened before or not."""
UNLIMITED = b"-1"
FOLDER = "."
READ_ONLY = ("memory.usage_in_bytes", "pids.current", FOLDER)
UNTOUCHED = (
    ("memory", "memory.swappiness"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.idle"),
)
"""What is never set here, and would hold for the next attempt if a job had set it."""


class Slot:
    """One group of each controller, and what is set in them."""

    def __init__(self, bases: dict[str, str], name: str, *, has_swap_limit: bool) -> None:
        self.name = name
        self._has_swap_limit = has_swap_limit
        self._folders = {controller: f"{base}/{name}" for controller, base in bases.items()}
        self._fds: dict[tuple[str, str], int] = {}
        self.keeps_files = False
        """Whether it leaves open what it has opened, which is many files."""
        self._shares = DEFAULT_SHARES
        self._pids_max: int | None = None
        self._oom_kills_before = 0
        self._make()

    def _make(self) -> None:
        try:
            for folder in self._folders.values():
                os.makedirs(folder, exist_ok=True)
        except OSError:
            self.remove()
            raise
        # Not every one of them need be new.
        self._shares = int(self._read("cpu", "cpu.shares") or DEFAULT_SHARES) if "cpu" in self._folders else 0
        self._pids_max = None
        self._oom_kills_before = 0
        self._oom_kills_before = self.oom_kills()
        self._as_made = self._settings()

    def _settings(self) -> list[bytes]:
        """What of its settings only a job can have changed."""
        found = [self._read(controller, name) for controller, name in UNTOUCHED if controller in self._folders]
        if "memory" in self._folders:
            # An attempt that may not be killed for want of memory stands still for ever.
            disabled = cgroups.counter(self._read("memory", "memory.oom_control"), b"oom_kill_disable")
            found.append(b"%d" % disabled)
        return found

    def enter(self, controllers: Collection[str]) -> None:
        try:
            self._enter(controllers)
        except OSError as error:
            if error.errno not in GONE:
                raise
            # Somebody has tidied up.
            self._close_files()
            self._make()
            self._enter(controllers)

    def _enter(self, controllers: Collection[str]) -> None:
        for controller in controllers:
            self._write(controller, "tasks", b"0")

    def join_all(self, entered: Collection[str]) -> None:
        """Move what runs in the groups that were `entered` into the others too."""
        source = next(self._folders[controller] for controller in entered)
        for controller, folder in self._folders.items():
            if controller not in entered:
                cgroups.move_members(source, folder)

    def set_shares(self, shares: int) -> None:
        if "cpu" in self._folders and shares != self._shares:
            self._write("cpu", "cpu.shares", b"%d" % shares)
            self._shares = shares

    def set_pids_max(self, limit: int) -> None:
        if "pids" in self._folders and limit != self._pids_max:
            self._write("pids", "pids.max", b"%d" % limit)
            self._pids_max = limit

    def set_memory(self, limit_bytes: int) -> None:
        """OSError with EBUSY: more is in use already."""
        if "memory" in self._folders:
            limit = b"%d" % limit_bytes
            self._write("memory", "memory.limit_in_bytes", limit)
            if self._has_swap_limit:
                self._write("memory", "memory.memsw.limit_in_bytes", limit)

    def reset(self) -> bool:
        """Lift the limits and set the counters back; False when too much of the last attempt is still in it."""
        # A kill leaves this limit at 0, under which the next attempt could not be spawned.
        self.set_pids_max(cgroups.PIDS_LIMIT)
        if not self._is_as_left():
            return False
        if "memory" not in self._folders:
            return True
        left = self._read("memory", "memory.usage_in_bytes")
        if not left or int(left) > MAX_LEFT_BYTES:
            return False
        if self._has_swap_limit:
            self._write("memory", "memory.memsw.limit_in_bytes", UNLIMITED)
        self._write("memory", "memory.limit_in_bytes", UNLIMITED)
        self._write("memory", "memory.max_usage_in_bytes", b"0")
        self._oom_kills_before += self.oom_kills()
        return True

    def _is_as_left(self) -> bool:
        """Whether it is empty, and set as it was left here."""
        if "pids" in self._folders and not (
            self._looks_empty() and self._read("pids", "pids.max").strip() == b"%d" % cgroups.PIDS_LIMIT
        ):
            return False
        if "cpu" in self._folders and self._read("cpu", "cpu.shares").strip() != b"%d" % self._shares:
            return False
        return self._settings() == self._as_made and not any(map(self._has_groups, self._folders))

    def _has_groups(self, controller: str) -> bool:
        if not self.keeps_files:
            return bool(cgroups.groups_in(self._folders[controller]))
        return os.fstat(self._file(controller, FOLDER)).st_nlink > cgroups.LINKS_OF_A_FOLDER

    def kill(self) -> bool:
        """SIGKILL everything in it; True once it is empty."""
        # A job may have moved what it runs, for one controller and not for another.
        if self._looks_empty() or not any(map(cgroups.read_members, self._folders.values())):
            return True
        # Nothing can be forked from here on, so one or two rounds reach all.
        self.set_pids_max(0)
        killed_in = [folder for folder in self._folders.values() if not cgroups.kill_members(folder)]
        return not killed_in

    def _looks_empty(self) -> bool:
        """A cheap look that may say no when it is so; never yes when it isn't."""
        return "pids" in self._folders and self._read("pids", "pids.current").strip() == b"0"

    def oom_kills(self) -> int:
        if "memory" not in self._folders:
            return 0
        return cgroups.counter(self._read("memory", "memory.oom_control"), b"oom_kill") - self._oom_kills_before

    def peak_memory_bytes(self) -> int | None:
        text = self._read("memory", "memory.max_usage_in_bytes") if "memory" in self._folders else b""
        return int(text) if text else None

    def remove(self) -> bool:
        """False while the kernel still needs it."""
        self._close_files()
        self.keeps_files = False
        removed = [cgroups.remove_dir(folder) for folder in self._folders.values()]
        return all(removed)

    def _close_files(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _write(self, controller: str, name: str, data: bytes) -> None:
        if self.keeps_files:
            os.pwrite(self._file(controller, name), data, 0)
        else:
            cgroups.write(f"{self._folders[controller]}/{name}", data)

    def _read(self, controller: str, name: str) -> bytes:
        """Empty when somebody has removed the group."""
        if not self.keeps_files:
            return cgroups.read(f"{self._folders[controller]}/{name}")
        try:
            return os.pread(self._file(controller, name), 4096, 0)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return b""

    def _file(self, controller: str, name: str) -> int:
        fd = self._fds.get((controller, name))
        if fd is None:
            mode = os.O_RDONLY if name in READ_ONLY else os.O_WRONLY if name == "tasks" else os.O_RDWR
            fd = os.open(f"{self._folders[controller]}/{name}", mode | os.O_CLOEXEC)
            self._fds[controller, name] = fd
        return fd


class TreeV1:
    """Folders for attempts under this process's own groups."""

    def __init__(self, bases: dict[str, Path], homes: dict[str, Path]) -> None:
        self._bases = {controller: str(base) for controller, base in bases.items()}
        self._home_fds = {name: os.open(homes[name] / "tasks", os.O_WRONLY | os.O_CLOEXEC) for name in self._bases}
        self._spare: list[Slot] = []
        self._slots_made = 0
        self._keepers = 0
        self._most_keepers = most_keepers(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        self._has_swap_limit = "memory" in bases and (homes["memory"] / "memory.memsw.limit_in_bytes").exists()
        self.limits = cgroups.limits_line(self._bases, "cgroup v1")

    def create(self, _attempt_id: str, *, is_brief: bool) -> GroupV1:
        entered = born_in(self._bases, is_brief=is_brief)
        if self._spare:
            return GroupV1(self, self._spare.pop(), entered)
        self._slots_made += 1
        slot = Slot(self._bases, f"slot-{self._slots_made}", has_swap_limit=self._has_swap_limit)
        return GroupV1(self, slot, entered)

    def put_back(self, slot: Slot) -> bool:
        """Keep an empty slot for the next attempt, or remove it; False while the kernel still needs it."""
        if len(self._spare) >= MAX_SPARE_SLOTS or not _made_as_new(slot):
            return self._discard(slot)
        if not slot.keeps_files and self._keepers < self._most_keepers:
            self._keepers += 1
            slot.keeps_files = True
        self._spare.append(slot)
        return True

    def _discard(self, slot: Slot) -> bool:
        self._keepers -= slot.keeps_files
        return slot.remove()

    def go_home(self, controllers: Collection[str]) -> None:
        """Put this thread, the only one, back into the groups it came from. Writing "0" to `tasks` moves a single
        thread without the kernel's lock over all forks, which `cgroup.procs` would take."""
        for controller in controllers:
            os.write(self._home_fds[controller], b"0")

    def close(self) -> None:
        for fd in self._home_fds.values():
            os.close(fd)
        for slot in self._spare:
            slot.remove()
        cgroups.remove_left(list(self._bases.values()))


class GroupV1:
    """The groups of one attempt, until they are put back."""

    def __init__(self, tree: TreeV1, slot: Slot, entered: Collection[str]) -> None:
        self.name = slot.name
        self._tree = tree
        self._slot = slot
        self._entered = entered

    def enter(self) -> None:
        self._slot.enter(self._entered)

    def leave(self) -> None:
        self._tree.go_home(self._entered)

    def limit(self, memory_mib: int, vcpu_milli: int) -> None:
        self._slot.set_shares(max(2, vcpu_milli * DEFAULT_SHARES // 1000))
        self._slot.set_pids_max(cgroups.PIDS_LIMIT)
        try:
            self._slot.set_memory(memory_mib * MIB)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise cgroups.MemoryOverrun(error.errno, f"more than {memory_mib} MiB from the start") from error
            raise

    def join_all(self) -> None:
        self._slot.join_all(self._entered)

    def kill(self) -> bool:
        return self._slot.kill()

    def oom_kills(self) -> int:
        return self._slot.oom_kills()

    def peak_memory_bytes(self) -> int | None:
        return self._slot.peak_memory_bytes()

    def remove(self) -> bool:
        return self._tree.put_back(self._slot)


def born_in(controllers: Collection[str], *, is_brief: bool) -> tuple[str, ...]:
    """Which controllers' groups an attempt is born in, of those that there are."""
    must = tuple(controller for controller in controllers if controller != "cpu")
    return must if is_brief and must else tuple(controllers)


def most_keepers(most_files: int) -> int:
    """How many slots may keep their files open, by how many files this process may open."""
    return (
        MAX_SPARE_SLOTS if most_files == resource.RLIM_INFINITY else min(MAX_SPARE_SLOTS, most_files // KEEPERS_SHARE)
    )


def _made_as_new(slot: Slot) -> bool:
    """Whether the next attempt can have it."""
    try:
        return slot.reset()
    except OSError:
        # Somebody has tidied up, or the job has changed it: it is removed, and that says what is wrong, if anything.
        return False
