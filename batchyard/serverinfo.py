"""The note that a running server leaves in its data folder (`server.json`), so that the CLI finds it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

FILE_NAME = "server.json"


class ServerInfo(Struct, frozen=True):
    """What a running server says about itself."""

    endpoint_url: str
    pid: int
    data_dir: str
    region: str
    account_id: str
    engine: str
    """What runs the jobs, in a word or two."""
    limits: str
    """One line on which limits of jobs are really enforced."""
    version: str
    gpus: int = 0
    """How many GPUs it gives to jobs."""
    process_start: int = 0
    """When the process `pid` started, in clock ticks since boot: tells it from a later one with the same pid.
    `write` fills it in."""


def write(path: Path, info: ServerInfo) -> None:
    """Put `info` into the data folder `path`, whole or not at all, readable by its owner alone."""
    target = path / FILE_NAME
    draft = target.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
    stamped = msgspec.structs.replace(info, process_start=_process_start(info.pid) or 0)
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(stamped)) + b"\n")
    draft.replace(target)


def read(data_dir: Path) -> ServerInfo | None:
    """What the server on `data_dir` wrote; None when there is no such file or its process has gone."""
    try:
        info = msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=ServerInfo)
    except (OSError, msgspec.DecodeError):
        return None
    return info if is_alive(info) else None


def remove(data_dir: Path) -> None:
    """Take the file away; nothing happens when there is none."""
    with contextlib.suppress(FileNotFoundError):
        (data_dir / FILE_NAME).unlink()


def is_alive(info: ServerInfo) -> bool:
    """Whether the process that wrote `info` is still there: a zombie is not, nor is another process with its pid."""
    try:
        os.kill(info.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    start = _process_start(info.pid)
    if start is None:
        # No /proc to ask, or it ended just now; then the next look will find it gone.
        return not Path("/proc/self/stat").exists()
    return not info.process_start or start == info.process_start


def _process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when it isn't there, or only as a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the program's name in parentheses, may hold spaces and parentheses of its own.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])
