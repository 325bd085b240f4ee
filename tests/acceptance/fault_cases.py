"""What the tests of real faults do to a machine: disks that fill or fail, clocks that jump, processes that stand still.

Each fault says what it requires of the machine; where that is missing, the tests that need it are skipped by its name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from batchyard.testing import Server
from tests.acceptance.job_cases import until
from tests.requirements import faketime_library, require

FAIL_FSYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int broken(void) {
    const char *path = getenv("FAIL_FSYNC_WHILE");
    return path != NULL && access(path, F_OK) == 0;
}

int fsync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd) {
    if (broken()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


class Disk:
    """A small file system of its own, which can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\0" * size):
                        pass

    def free(self) -> None:
        self._ballast.unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, mib: int) -> Iterator[Disk]:
    """A tmpfs of so many MiB at `path`. Requires the privilege to mount."""
    require("mount")
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(path)], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def failing_fsync_library(folder: Path) -> Path:
    """A library, to be preloaded, whose fsync fails while the file $FAIL_FSYNC_WHILE is there."""
    require("cc")
    source, library = folder / "fail_fsync.c", folder / "fail_fsync.so"
    source.write_text(FAIL_FSYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment variables for the processes that are started here."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """The process is stopped (SIGSTOP) in here."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def impatient(yard: Server) -> Any:
    """A client that asks once, and soon gives up."""
    return boto3.client(
        "batch",
        endpoint_url=yard.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
    )


@contextmanager
def jumping_clock(folder: Path) -> Iterator[Path]:
    """Processes that are started here have a clock that is off by what is written into the file ("+2h")."""
    require("faketime")
    now = folder / "now"
    now.write_text("+0")
    with variables(
        LD_PRELOAD=faketime_library() or "",
        FAKETIME_TIMESTAMP_FILE=str(now),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    ):
        yield now
