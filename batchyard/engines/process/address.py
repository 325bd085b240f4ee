"""The name under which the supervisor's socket is bound and reached.

A unix socket's path may have 107 bytes, and data folders have longer ones. Both sides go through an open descriptor of
the folder instead: /proc/self/fd/<n>/<name> is short wherever the folder is, and names the very same socket file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

SOCKET_NAME = "supervisor.sock"
LOCK_NAME = "supervisor.lock"
LOG_NAME = "supervisor.log"


@contextlib.contextmanager
def short_address(engine_dir: Path) -> Iterator[str]:
    """An address to bind or to connect to, good inside the with-block."""
    fd = os.open(engine_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)
