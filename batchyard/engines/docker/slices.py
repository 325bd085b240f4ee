"""Stopping the slices that systemd has made around containers: it keeps them, empty, until it is told to.

It takes a program that costs more than the rest of what is done after a container, so one is run at a time, for all
slices that have come together while the last one ran.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import structlog

PROGRAM = "systemctl"
MOST_AT_ONCE = 200
ANSWER_SECONDS = 30.0
"""How long systemd may take to hear of the stops, which it is not waited for to make."""

_log = structlog.get_logger(__name__)


def can_be_stopped() -> bool:
    """Whether this process may tell this machine's systemd so. (In a container there is none to be seen.)"""
    return os.geteuid() == 0 and Path("/run/systemd/system").is_dir() and shutil.which(PROGRAM) is not None


class Slices:
    """The slices that wait for their stop."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], bool]] = {}
        """Whether it is needed after all, by the slice's name."""
        self._turn = asyncio.Lock()

    async def stop(self, name: str, is_needed: Callable[[], bool] = lambda: False) -> None:
        """Stop a slice, with whatever still runs in it, unless it is needed when its turn has come."""
        self._waiting[name] = is_needed
        async with self._turn:
            if name in self._waiting:
                taken = {each: self._waiting.pop(each) for each in list(self._waiting)[:MOST_AT_ONCE]}
                if names := [each for each, is_needed in taken.items() if not is_needed()]:
                    await _stop(names)


async def _stop(names: list[str]) -> None:
    command = [PROGRAM, "stop", "--no-block", "--", *names]
    try:
        # In a thread, where it goes on to its end if the server's own comes first.
        told = await asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, timeout=ANSWER_SECONDS, check=False)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("docker.slices_stay", slices=len(names), error=str(error))
        return
    if told.returncode:
        _log.warning("docker.slices_stay", slices=len(names), error=told.stderr.decode(errors="replace").strip())
