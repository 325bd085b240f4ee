"""Control groups: one per attempt, where this process may make them, to limit it and to kill all of it.

The supervisor enters an attempt's group before it spawns and leaves it after, so that the attempt is born inside and
nothing it forks can be anywhere else. The limits are set only after the supervisor has left: a group of a few MiB with
the supervisor in it, if it ran out of memory, could have the supervisor chosen as the victim.

Version 1 and version 2 of the kernel's interface differ in names and in how a group is entered and killed; a `Tree`
hides that. Nothing here needs both: a machine that has both uses version 1 when the memory or pids controller is there.
"""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH106, PTH112, PTH116, PTH208

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from batchyard.engines.process import cgroup_paths
from batchyard.engines.process.cgroup_paths import UNIFIED, Place

PIDS_LIMIT = 32_768
"""Enough for any honest job, and less than what stops a machine."""

LEAF_SUFFIX = "-supervisor"
"""Version 2: what the supervisor's own group is called, after the folder of the attempts'."""

CONTROLLERS = ("memory", "cpu", "pids")

MOST_ROUNDS = 100
"""Of moving processes that fork."""

LINKS_OF_A_FOLDER = 2
"""Each folder in it is one more."""


class MemoryOverrun(OSError):
    """An attempt used more than its limit already when the limit was set."""


class Group(Protocol):
    """The control group of one attempt."""

    name: str
    """What its folders are called; no other attempt's are, as long as this one goes on."""

    def enter(self) -> None:
        """Put this process into the group."""

    def leave(self) -> None:
        """Put this process back to where it came from."""

    def limit(self, memory_mib: int, vcpu_milli: int) -> None:
        """Set the limits. MemoryOverrun: too late, it must be killed. OSError: some limit is not in force."""

    def join_all(self) -> None:
        """Put what runs in it where it would have been born if it had not been expected to be brief. OSError: some of
        it isn't there."""

    def kill(self) -> bool:
        """SIGKILL everything in the group; True once it is empty."""

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for want of memory."""

    def peak_memory_bytes(self) -> int | None: ...

    def remove(self) -> bool:
        """Remove the group; False while the kernel still needs it."""


class Tree(Protocol):
    """Makes groups. `limits` is a line that says which limits are enforced."""

    limits: str

    def create(self, attempt_id: str, *, is_brief: bool) -> Group:
        """An empty group, made for this attempt or used before. What is brief may be spared what takes long, for
        which `Group.join_all` makes up."""

    def close(self) -> None:
        """Remove what the tree itself made, as far as it is empty."""


class NoTree:
    """Where no group can be made: nothing is limited, and only the process group of an attempt is killed."""

    limits = "not enforced: no writable cgroup (run as root or in a delegated scope)"

    def create(self, _attempt_id: str, *, is_brief: bool) -> None:
        return

    def close(self) -> None:
        return


def limits_line(enforced: Collection[str], how: str) -> str:
    """What `Tree.limits` says."""
    titles = {"memory": "memory limits", "cpu": "CPU shares", "pids": "process limits"}
    said = (f"{title}: {'' if name in enforced else 'not '}enforced" for name, title in titles.items())
    return f"{', '.join(said)} ({how})"


def write(path: str, data: bytes) -> None:
    """One write to a file of the kernel's."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def read(path: str) -> bytes:
    """A small file of the kernel's; empty when it isn't there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def counter(text: bytes, name: bytes) -> int:
    """The number after `name` in a file of names and numbers; 0 when it isn't there."""
    for line in text.splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    return 0


def kill_members(folder: str) -> bool:
    """SIGKILL every process of a group, and of those in it, but this one; True when there was none."""
    own_pid, found = os.getpid(), False
    for text in read_members(folder).split():
        if int(text) != own_pid:
            found = True
            # One that may not be killed (setuid) still counts as there.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(text), signal.SIGKILL)
    return not found


def read_members(folder: str) -> bytes:
    """The pids in a group and in the groups that a job has made in it, as text; empty when the group is gone."""
    try:
        members = read(f"{folder}/cgroup.procs")
    except OSError as error:
        # EOPNOTSUPP: a threaded group of version 2, whose processes stand in the one above it.
        if error.errno not in (errno.ENODEV, errno.EOPNOTSUPP):
            raise
        return b""
    return members + b"".join(map(read_members, groups_in(folder)))


def move_members(source: str, target: str) -> None:
    """Move every process of a group, and of those in it, into another, with what they fork meanwhile. The kernel first
    waits until no CPU is within a fork: ten milliseconds or so, unless something was moved just before. OSError if one
    can't be moved, or if they fork and end too fast."""
    for _ in range(MOST_ROUNDS):
        # What one that has moved forks is there already.
        missing = set(read_members(source).split()).difference(read_members(target).split())
        if not missing:
            return
        for pid in missing:
            with contextlib.suppress(ProcessLookupError):
                write(f"{target}/cgroup.procs", pid)
    raise OSError(errno.EAGAIN, "each of its processes ends before it can be moved, but for a child")


def groups_in(folder: str) -> list[str]:
    """The folders of the groups that somebody has made in a group."""
    try:
        if os.stat(folder).st_nlink <= LINKS_OF_A_FOLDER:
            return []
        return [f"{folder}/{name}" for name in os.listdir(folder) if os.path.isdir(f"{folder}/{name}")]
    except FileNotFoundError:
        return []


def remove_dir(folder: str) -> bool:
    """Remove a group, with the groups in it; False while the kernel still needs the folder."""
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        inner = groups_in(folder)
        staying = [each for each in inner if not remove_dir(each)]
        return bool(inner) and not staying and remove_dir(folder)
    return True


def kill_left(dirs: Sequence[str], name: str) -> bool:
    """Kill and remove an attempt's group under folders that a dead supervisor made; True once it is gone."""
    gone = True
    for base in dirs:
        folder = f"{base}/{name}"
        gone = kill_members(folder) and remove_dir(folder) and gone
    return gone


def remove_left(dirs: Sequence[str]) -> None:
    """Remove the folders that a dead supervisor made, and the empty groups in them."""
    for base in dirs:
        remove_dir(base)
        remove_dir(f"{base}{LEAF_SUFFIX}")


def planned_dirs(places: dict[str, Place], name: str) -> tuple[str, ...]:
    """Every folder that `make_tree` may make, known before it makes any: so that they are never forgotten."""
    parents = [places[controller].own for controller in CONTROLLERS if controller in places]
    if (place := places.get(UNIFIED)) is not None:
        parents += cgroup_paths.parents(place)
    return tuple(str(parent / name) for parent in parents)


def make_tree(places: dict[str, Place], name: str) -> tuple[Tree | NoTree, list[str]]:
    """The best tree that can be made here, its base folders called `name`, and why better ones could not be."""
    from batchyard.engines.process.cgroup_v1 import TreeV1
    from batchyard.engines.process.cgroup_v2 import best_tree

    failures: list[str] = []
    tree: Tree | None = None
    if "memory" in places or "pids" in places:
        bases: dict[str, Path] = {}
        for controller in CONTROLLERS:
            if (place := places.get(controller)) is None:
                failures.append(f"{controller}: no such controller is mounted")
                continue
            try:
                (place.own / name).mkdir(exist_ok=True)
                bases[controller] = place.own / name
            except OSError as error:
                failures.append(f"{controller}: {error}")
        if bases:
            tree = TreeV1(bases, {controller: places[controller].own for controller in bases})
    elif (place := places.get(UNIFIED)) is not None:
        tree = best_tree(place, name, failures)
    else:
        failures.append("no cgroup file system is mounted")
    return tree or NoTree(), failures
