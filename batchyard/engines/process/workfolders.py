"""The empty folders that attempts start in. One that was left empty is given to the next: making and deleting folders
is a good part of what starting a short job costs.
"""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH102, PTH116, PTH208

from __future__ import annotations

import itertools
import os
import stat

from batchyard.engines.process.sweeper import Sweeper

MAX_SPARE = 1024
MODE = 0o700


class WorkFolders:
    """Folders of one supervisor, under one of its own: what is beside it is of supervisors before."""

    def __init__(self, work_dir: str, incarnation: str, sweeper: Sweeper) -> None:
        self._work_dir = work_dir
        self._name = incarnation[:12]
        self._base = f"{work_dir}/{self._name}"
        self._sweeper = sweeper
        self._numbers = itertools.count(1)
        self._spare: list[str] = []
        os.mkdir(self._base, MODE)

    def take(self) -> str:
        """An empty folder. OSError if none can be made."""
        if self._spare:
            return self._spare.pop()
        folder = f"{self._base}/{next(self._numbers)}"
        try:
            os.mkdir(folder, MODE)
        except FileNotFoundError:  # somebody has tidied up
            os.makedirs(folder, MODE)  # noqa: PTH103
        return folder

    def give_back(self, folder: str, *, is_deserted: bool) -> None:
        """An attempt has ended. `is_deserted`: it is certain that nothing of it runs any more, not even elsewhere."""
        if is_deserted and len(self._spare) < MAX_SPARE and self._is_as_new(folder):
            self._spare.append(folder)
        else:
            self._sweeper.add(folder)

    def _is_as_new(self, folder: str) -> bool:
        try:
            found = os.stat(folder, follow_symlinks=False)
            return (
                stat.S_ISDIR(found.st_mode)
                and stat.S_IMODE(found.st_mode) == MODE
                and found.st_uid == os.geteuid()
                and not os.listdir(folder)
            )
        except OSError:
            return False

    def sweep_others(self) -> None:
        """Delete the folders of supervisors before this one. To be called when none of their attempts runs any more."""
        for name in os.listdir(self._work_dir):
            if name != self._name:
                self._sweeper.add(f"{self._work_dir}/{name}")
