"""One attempt that is running, from its spawn until nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NamedTuple

from batchyard.core.model import Usage
from batchyard.core.reasons import KILLED_EXIT_CODE, OUT_OF_MEMORY
from batchyard.engines.base import Launch
from batchyard.engines.process.cgroups import Group
from batchyard.engines.process.journal import Spawned
from batchyard.engines.process.output import Output
from batchyard.engines.process.rooms import Place


class MainExit(NamedTuple):
    """What the kernel says of the command itself."""

    code: int
    killed_by: int
    cpu_seconds: float
    max_rss_bytes: int


class Attempt:
    """A spawned attempt. Its main process leads a session and a process group of the same number."""

    __slots__ = (
        "_overran",
        "attempt_id",
        "exit",
        "folder",
        "grace_seconds",
        "group",
        "kill_at",
        "killed",
        "output",
        "place",
        "spawned",
    )

    def __init__(self, spawned: Spawned, output: Output, group: Group | None, folder: str, launch: Launch) -> None:
        self.attempt_id = spawned.attempt_id
        self.spawned = spawned
        self.output = output
        self.group = group
        self.folder = folder
        self.grace_seconds = launch.stop_grace_seconds
        self.place = Place(launch.rooms, launch.vcpu_milli, launch.memory_mib)
        self.exit: MainExit | None = None
        self.kill_at: float | None = None
        """When a stop turns into a kill, by the monotonic clock; None while nobody asked for a stop."""
        self.killed = False
        self._overran = False

    def terminate(self) -> None:
        """SIGTERM to the process group: the whole of a pipeline, and a shell's foreground command with the shell."""
        self._signal_group(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL everything that can be reached."""
        self.killed = True
        self._signal_group(signal.SIGKILL)
        if self.group is not None:
            self.group.kill()

    def overran(self) -> None:
        """It used more memory than it may before the limit stood: end it as the kernel would have."""
        self._overran = True
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        # Only while the main process isn't reaped is its number sure to be its own.
        if self.exit is None:
            # Refused when all of the group has become another user (setuid): a control group may still reach it.
            with contextlib.suppress(PermissionError):
                os.killpg(self.spawned.pid, number)

    def reap(self) -> None:
        """The main process has ended: kill its group while its number still stands for it, then let it go."""
        self._signal_group(signal.SIGKILL)
        _, status, usage = os.wait4(self.spawned.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.exit = MainExit(
            code=code if code >= 0 else 128 - code,
            killed_by=max(0, -code),
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 6),
            max_rss_bytes=usage.ru_maxrss * 1024,
        )

    def is_gone(self) -> bool:
        """Whether nothing of it runs any more; what does is killed once more."""
        if self.group is not None:
            return self.group.kill()
        try:
            os.killpg(self.spawned.pid, 0)
        except (ProcessLookupError, PermissionError):
            # PermissionError: the number has gone to somebody else's group already.
            return True
        return False

    def result(self, group: Group | None) -> tuple[int, str | None, Usage]:
        """The exit code, the reason if there is one, and what was used: by `group`, its own, or without. Only after
        `reap`. OSError if the group can't be read.

        The exit code is the main process's own. The reason is that of ECS, which goes by what happened to the
        container: the kernel killed any of its processes for want of memory, and the job failed.
        """
        assert self.exit is not None
        code, reason = self.exit.code, None
        oom = self._overran
        if code and not self.killed and group is not None:
            oom = oom or group.oom_kills() > 0
        if oom and code:
            reason = OUT_OF_MEMORY
            code = KILLED_EXIT_CODE if self.exit.killed_by else code
        peak = group.peak_memory_bytes() if group is not None else None
        return code, reason, Usage(peak if peak is not None else self.exit.max_rss_bytes, self.exit.cpu_seconds)
