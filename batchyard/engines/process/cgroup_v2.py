"""Control groups of version 2: one folder per attempt.

A group that hands controllers to its children may hold no process itself (the root of the tree is exempt). So the
supervisor moves to a leaf of its own beside the attempts', and out of a scope that systemd has delegated it takes along
whoever else is in it, as the server is. Of a service's group nobody is moved: systemd's DelegateSubgroup= puts the
server into a leaf from the start, and the group around it is used. Where others stay in the group, controllers can't be
handed down: then the top of the tree is tried, which root may use; if that fails too a tree is made only to kill by.
"""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH102

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from batchyard.engines.process import cgroup_paths, cgroups
from batchyard.engines.process.cgroup_paths import Place

MIB = 1024 * 1024
WEIGHT_OF_ONE_VCPU = 100
"""The kernel's default weight, so that a job of one vCPU weighs what a process outside all groups does."""

MAX_WEIGHT = 10_000

MOVING_ROUNDS = 10


class TreeV2:
    """Folders for attempts under `parent`; OSError if they can't be made there."""

    def __init__(self, parent: Path, name: str, home: Path | None = None) -> None:
        """`home` is the group to go back to at the end, `parent` if none is given."""
        self._base = parent / name
        self._leaf = parent / f"{name}{cgroups.LEAF_SUFFIX}"
        self._home = home or parent
        self._base.mkdir(exist_ok=True)
        try:
            self._leaf.mkdir(exist_ok=True)
            cgroups.write(str(self._leaf / "cgroup.procs"), b"0")
            if cgroup_paths.is_delegated_scope(parent):
                _move_all(parent, self._leaf)
        except OSError:
            self.discard()
            raise
        self._home_fd = os.open(self._leaf / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        enabled = [name for name in cgroups.CONTROLLERS if _hand_down(parent, name) and _hand_down(self._base, name)]
        self.controllers = frozenset(enabled)
        self.limits = cgroups.limits_line(enabled, "cgroup v2")

    def create(self, attempt_id: str, *, is_brief: bool) -> GroupV2:
        folder = f"{self._base}/{attempt_id}"
        os.mkdir(folder)
        return GroupV2(self, folder, attempt_id)

    def go_home(self) -> None:
        os.write(self._home_fd, b"0")

    def close(self) -> None:
        os.close(self._home_fd)
        # The leaf can't be removed from inside; home takes this process back unless it hands down controllers.
        with contextlib.suppress(OSError):
            cgroups.write(str(self._home / "cgroup.procs"), b"0")
        self.discard()

    def discard(self) -> None:
        """Remove the folders, as far as nothing is in them."""
        cgroups.remove_dir(str(self._leaf))
        cgroups.remove_dir(str(self._base))


def best_tree(place: Place, name: str, failures: list[str]) -> TreeV2 | None:
    """A tree with controllers if one can be had, else one without, else None; adds to `failures` why."""
    fallback: TreeV2 | None = None
    for parent in cgroup_paths.parents(place):
        try:
            tree = TreeV2(parent, name, place.own)
        except OSError as error:
            failures.append(f"{parent}: {error}")
            continue
        if tree.controllers:
            if fallback is not None:
                fallback.discard()
            return tree
        failures.append(f"{parent}: it hands down no controllers")
        if fallback is None:
            fallback = tree
        else:
            fallback.go_home()
            tree.discard()
    return fallback


def _move_all(source: Path, target: Path) -> None:
    """Move the processes that are in one group itself into another, and what they start meanwhile."""
    for _ in range(MOVING_ROUNDS):
        if not (members := cgroups.read(str(source / "cgroup.procs")).split()):
            return
        for pid in members:
            # It has ended; or it is another user's, and stays.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                cgroups.write(str(target / "cgroup.procs"), pid)


def _hand_down(folder: Path, controller: str) -> bool:
    """Let the children of `folder` be limited by `controller`; False where that can't be."""
    control = folder / "cgroup.subtree_control"
    try:
        if controller not in control.read_text(encoding="ascii").split():
            cgroups.write(str(control), b"+" + controller.encode())
    except OSError:
        return False
    return True


class GroupV2:
    def __init__(self, tree: TreeV2, folder: str, name: str) -> None:
        self.name = name
        self._tree = tree
        self._folder = folder

    def enter(self) -> None:
        cgroups.write(f"{self._folder}/cgroup.procs", b"0")

    def leave(self) -> None:
        self._tree.go_home()

    def limit(self, memory_mib: int, vcpu_milli: int) -> None:
        """Here the kernel itself kills a group that is over a limit just set."""
        if "cpu" in self._tree.controllers:
            weight = min(MAX_WEIGHT, max(1, vcpu_milli * WEIGHT_OF_ONE_VCPU // 1000))
            cgroups.write(f"{self._folder}/cpu.weight", b"%d" % weight)
        if "pids" in self._tree.controllers:
            cgroups.write(f"{self._folder}/pids.max", b"%d" % cgroups.PIDS_LIMIT)
        if "memory" in self._tree.controllers:
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting
                cgroups.write(f"{self._folder}/memory.swap.max", b"0")
            cgroups.write(f"{self._folder}/memory.max", b"%d" % (memory_mib * MIB))

    def join_all(self) -> None:
        return

    def kill(self) -> bool:
        members = cgroups.read_members(self._folder).split()
        if not members:
            return True
        if b"%d" % os.getpid() not in members and Path(f"{self._folder}/cgroup.kill").exists():
            cgroups.write(f"{self._folder}/cgroup.kill", b"1")
            return False
        return cgroups.kill_members(self._folder)

    def oom_kills(self) -> int:
        return cgroups.counter(cgroups.read(f"{self._folder}/memory.events"), b"oom_kill")

    def peak_memory_bytes(self) -> int | None:
        text = cgroups.read(f"{self._folder}/memory.peak")
        return int(text) if text else None

    def remove(self) -> bool:
        return cgroups.remove_dir(self._folder)
