"""A file that only grows, by whole records: what could not be written in full leaves no trace."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence


class AppendFile:
    """An open file and where its next record goes. Not O_APPEND: a torn record is overwritten by the next."""

    def __init__(self, path: str, *, truncate: bool = False) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
        self._fd = os.open(path, flags, 0o600)
        self.size_bytes = 0 if truncate else os.fstat(self._fd).st_size

    def append(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write all buffers as one record, or raise OSError and leave the file as it was."""
        expected = sum(map(len, buffers))
        try:
            written = os.pwritev(self._fd, buffers, self.size_bytes)
        except OSError:
            self._cut()
            raise
        if written != expected:
            self._cut()
            raise OSError(errno.ENOSPC, "the disk took only a part")
        self.size_bytes += expected

    def _cut(self) -> None:
        # Should this fail as well, the next record still begins at the right place, and readers stop at damage.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self.size_bytes)

    def close(self) -> None:
        os.close(self._fd)
