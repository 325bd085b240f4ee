"""Stopping the slices that systemd has made around containers: it keeps them, empty, until it is told to.

It takes a program that costs more than the rest of what is done after a container, so one is run at a time, for all
slices that have come together while the last one ran.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import structlog

PROGRAM = "systemctl"
MOST_AT_ONCE = 200

_log = structlog.get_logger(__name__)


def can_be_stopped() -> bool:
    """Whether this process may tell this machine's systemd so. (In a container there is none to be seen.)"""
    return os.geteuid() == 0 and Path("/run/systemd/system").is_dir() and shutil.which(PROGRAM) is not None


class Slices:
    """The slices that wait for their stop."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._turn = asyncio.Lock()

    async def stop(self, name: str) -> None:
        """Stop a slice, with whatever still runs in it."""
        self._names.append(name)
        async with self._turn:
            if name in self._names:
                names, self._names = self._names[:MOST_AT_ONCE], self._names[MOST_AT_ONCE:]
                await _stop(names)


async def _stop(names: list[str]) -> None:
    command = [PROGRAM, "stop", "--no-block", "--", *names]
    try:
        # In a thread, where it goes on to its end if the server's own comes first.
        told = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    except OSError as error:
        _log.warning("docker.slices_stay", slices=len(names), error=str(error))
        return
    if told.returncode:
        _log.warning("docker.slices_stay", slices=len(names), error=told.stderr.decode(errors="replace").strip())
