"""Going where an attempt of the process engine is: its folder, its environment, its control groups.

All of it is read from the kernel, about the attempt's main process, which leads a session and carries the attempt's
mark in its environment. So it works for whoever may look at that process: its user, and root.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from batchyard.engines.process import cgroup_paths, processes


class Surroundings(Struct, frozen=True):
    """Where an attempt's main process is."""

    pid: int
    environment: dict[str, str]

    def enter(self) -> list[str]:
        """Move this process into the folder and the control groups; the groups that it could not enter. OSError if the
        folder can't be entered: the process has gone, or belongs to somebody else."""
        os.chdir(f"/proc/{self.pid}/cwd")
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        theirs = cgroup_paths.parse(mounts, Path(f"/proc/{self.pid}/cgroup").read_text(encoding="utf-8"))
        mine = cgroup_paths.places()
        closed = []
        for name, place in theirs.items():
            if name in mine and mine[name] != place:
                try:
                    (place.own / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
                except OSError:
                    closed.append(name or "the unified one")
        return closed


def find(attempt_id: str) -> Surroundings | None:
    """Where the attempt is; None if nothing of it that this user may look at runs on this machine."""
    for pid, marker in processes.all_marked():
        if marker.partition("/")[2] != attempt_id:
            continue
        try:
            if os.getsid(pid) != pid:
                continue
            content = Path(f"/proc/{pid}/environ").read_bytes()
        except (ProcessLookupError, PermissionError, FileNotFoundError):
            continue
        pairs = (os.fsdecode(entry).partition("=") for entry in content.split(b"\0") if entry)
        return Surroundings(pid, {name: value for name, _, value in pairs})
    return None
