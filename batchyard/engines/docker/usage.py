"""What an attempt used and lacked, from the control group around its containers, which also has its share of the CPUs.

Such a group can be had where the daemon runs on this host with the cgroup driver `cgroupfs`, and, for a server that is
root, with `systemd`, as is usual with control groups of version 2. Elsewhere nothing of it is known.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from batchyard.core.model import Usage
from batchyard.engines.docker import slices
from batchyard.engines.docker.parse import SLICE, SYSTEMD, Daemon
from batchyard.engines.docker.slices import Slices
from batchyard.engines.process import cgroup_paths
from batchyard.engines.process.cgroup_paths import UNIFIED
from batchyard.engines.process.cgroup_v2 import MAX_WEIGHT, WEIGHT_OF_ONE_VCPU

_SHARES = (("cpu", "cpu.shares", 1024, 262_144), (UNIFIED, "cpu.weight", WEIGHT_OF_ONE_VCPU, MAX_WEIGHT))
"""By version: the controller, its file, what one vCPU is, and the most there is."""


class Groups:
    """The control groups of attempts, by what `build.cgroup_parent` calls them."""

    def __init__(self, mounts: Mapping[str, Path] | None = None) -> None:
        """`mounts` by controller; those of this process if there are none."""
        if mounts is None:
            mounts = {name: place.mount for name, place in cgroup_paths.places().items()}
        self._mounts = mounts
        self._slices = Slices()

    def driver(self, daemon: Daemon, *, is_local: bool) -> str:
        """Which driver of Docker's makes attempts' groups; empty if they can't have any. The daemon makes them, this
        process reads and removes them."""
        if not is_local or not self._mounts or not all(os.access(mount, os.W_OK) for mount in self._mounts.values()):
            return ""
        is_unified = UNIFIED in self._mounts and "memory" not in self._mounts
        has_slices = is_unified and not daemon.is_podman and slices.can_be_stopped()
        known = {"cgroupfs": True, SYSTEMD: has_slices}
        return daemon.cgroup_driver if known.get(daemon.cgroup_driver) else ""

    def share(self, path: str, vcpu_milli: int) -> None:
        """Give the group around the containers, which now is there, the attempt's share of the CPUs: those of the
        containers count only among themselves."""
        relative = below_mounts(path)
        for controller, name, one_vcpu, most in _SHARES:
            if (mount := self._mounts.get(controller)) is not None:
                share = min(most, max(2, vcpu_milli * one_vcpu // 1000))
                with contextlib.suppress(OSError):  # the kernel has no such controller, or not here
                    (mount / relative / name).write_text(str(share), encoding="ascii")

    def usage(self, path: str) -> Usage | None:
        """The processor time and peak of memory of all that ran below the group."""
        relative = below_mounts(path)
        nanoseconds = _number(self._mounts.get("cpuacct"), relative, "cpuacct.usage")
        peak = _number(self._mounts.get("memory"), relative, "memory.max_usage_in_bytes")
        if nanoseconds is None and (unified := self._mounts.get(UNIFIED)) is not None:
            microseconds = _field(unified / relative / "cpu.stat", "usage_usec")
            nanoseconds = None if microseconds is None else microseconds * 1000
        if peak is None:
            peak = _number(self._mounts.get(UNIFIED), relative, "memory.peak")
        if nanoseconds is None and peak is None:
            return None
        return Usage(peak, None if nanoseconds is None else round(nanoseconds / 1e9, 6))

    def memory_kills(self) -> int | None:
        """How often the host has killed something for want of memory so far, where `lacked_memory` has to know that: of
        control groups of version 1."""
        return memory_kills() if "memory" in self._mounts else None

    def lacked_memory(self, path: str, limit_bytes: int | None, kills_before: int | None) -> bool:
        """Whether the kernel killed something below the group for want of memory, or must have: version 1 doesn't count
        that here. But it shows that what ran below has come up to its limit, if there is one `limit_bytes` for it all,
        be it only with what it read of files; and the host has killed something since it had done so `kills_before`
        times."""
        relative = below_mounts(path)
        unified, memory = self._mounts.get(UNIFIED), self._mounts.get("memory")
        if memory is None:
            return unified is not None and bool(_field(unified / relative / "memory.events", "oom_kill"))
        peak, kills = _number(memory, relative, "memory.max_usage_in_bytes"), memory_kills()
        has_killed = kills is not None and kills_before is not None and kills > kills_before
        return has_killed and limit_bytes is not None and peak is not None and peak >= limit_bytes

    def names(self, path: str) -> set[str]:
        """The groups that are in one, in any tree."""
        folders = [mount / below_mounts(path) for mount in set(self._mounts.values())]
        return {each.name for folder in folders if folder.is_dir() for each in folder.iterdir() if each.is_dir()}

    async def remove(self, path: str, is_needed: Callable[[], bool] = lambda: False) -> None:
        """Remove the group in every tree, unless it is needed again when it comes to that. Of a path, it stays where
        something is still in it; a slice's end ends that."""
        if path.endswith(SLICE):
            await self._slices.stop(path, is_needed)
            return
        for mount in set(self._mounts.values()):
            with contextlib.suppress(OSError):
                (mount / path.lstrip("/")).rmdir()


def below_mounts(path: str) -> str:
    """Where a group is below the mounts. A slice is in those that its name begins with."""
    if not path.endswith(SLICE):
        return path.lstrip("/")
    parts = path.removesuffix(SLICE).split("-")
    return "/".join("-".join(parts[: count + 1]) + SLICE for count in range(len(parts)))


def memory_kills() -> int | None:
    """How often the kernel has killed something on this host for want of memory (Linux 4.13 and later)."""
    return _field(Path("/proc/vmstat"), "oom_kill")


def _number(mount: Path | None, path: str, name: str) -> int | None:
    if mount is None:
        return None
    try:
        return int((mount / path / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
