"""Deletes the folders of forgotten attempts a little at a time, however much is in them."""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH101, PTH106, PTH108

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator

SLICE_SECONDS = 0.002


class Sweeper:
    """A queue of folders to delete. Links are removed, never followed."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._queue: deque[str] = deque()
        self._work: Iterator[None] | None = None

    def add(self, folder: str) -> None:
        """Delete `folder`: at once when it is empty, as most are."""
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                self._queue.append(folder)
            else:
                self._log(f"the folder {folder} stays: {error}")

    @property
    def is_busy(self) -> bool:
        return self._work is not None or bool(self._queue)

    def step(self) -> None:
        """Go on deleting for a moment."""
        until = time.monotonic() + SLICE_SECONDS
        while self.is_busy and time.monotonic() < until:
            if self._work is None:
                self._work = self._delete(self._queue.popleft())
            if next(self._work, self) is self:
                self._work = None

    def _delete(self, folder: str) -> Iterator[None]:
        """Delete everything in `folder` and itself, pausing after each thing."""
        stack = [folder]
        try:
            while stack:
                os.chmod(stack[-1], 0o700)
                inner = None
                with os.scandir(stack[-1]) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            inner = entry.path
                            break
                        os.unlink(entry.path)
                        yield
                if inner is not None:
                    stack.append(inner)
                else:
                    os.rmdir(stack.pop())
                    yield
        except OSError as error:
            self._log(f"the folder {folder} stays: {error}")
