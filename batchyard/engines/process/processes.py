"""What /proc tells about processes: who they are, whether they are still there, which attempt they belong to."""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

MARKER = "BATCHYARD_ATTEMPT"
"""Set to `<incarnation>/<attempt_id>` in every job, so that what is left of it can be found."""


class Stat(NamedTuple):
    """The parts of /proc/<pid>/stat that identify a process."""

    state: str
    start_ticks: int

    @property
    def is_gone(self) -> bool:
        """Dead, and only waiting for its parent to notice."""
        return self.state in "ZX"


def boot_id() -> str:
    """Differs after every start of the machine: no process of an earlier one is left."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        data = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    # The name in parentheses may hold anything, parentheses and spaces too.
    fields = data[data.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[19]))


def start_ticks(pid: int) -> int:
    """When a child was started, to tell it from a later process of the same number; 0 if that can't be read.

    Recovery takes 0 as no match, and finds such a child by its marker.
    """
    try:
        found = stat(pid)
    except OSError:
        return 0
    return found.start_ticks if found is not None else 0


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            yield int(name)


def marked(pid: int) -> str | None:
    """The marker in the environment that the process was started with; None if it has none or is not ours to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = b"\0" + file.read()
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    key = f"\0{MARKER}=".encode()
    begin = data.find(key)
    if begin < 0:
        return None
    begin += len(key)
    end = data.find(b"\0", begin)
    return data[begin : end if end >= 0 else len(data)].decode("utf-8", "replace")


def all_marked() -> Iterator[tuple[int, str]]:
    """Every process that carries a marker, except this one."""
    own_pid = os.getpid()
    for pid in pids():
        if pid != own_pid and (marker := marked(pid)) is not None:
            yield pid, marker
