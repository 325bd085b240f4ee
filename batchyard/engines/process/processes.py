"""What /proc tells about processes: who they are, whether they are still there, which attempt they belong to."""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

MARKER = "BATCHYARD_ATTEMPT"
"""Set to `<incarnation>/<attempt_id>` in every job, so that what is left of it can be found."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


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


def ticks_now() -> int:
    """The time in the unit and on the clock of `Stat.start_ticks`."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * _TICKS_PER_SECOND // 1_000_000_000


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
