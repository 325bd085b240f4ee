"""What starts processes and keeps nothing: xargs, and a bare loop of posix_spawn."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator

from bench.peers import AT_ONCE, RunTrue


@contextlib.contextmanager
def xargs() -> Iterator[RunTrue]:
    yield _xargs


@contextlib.contextmanager
def posix_spawn() -> Iterator[RunTrue]:
    yield _posix_spawn


def _xargs(count: int) -> float:
    numbers = "\n".join(map(str, range(count))).encode()
    began = time.perf_counter()
    subprocess.run(["xargs", "-n1", f"-P{AT_ONCE}", "true"], input=numbers, check=True)
    return time.perf_counter() - began


def _posix_spawn(count: int) -> float:
    began = time.perf_counter()
    running = started = 0
    while running or started < count:
        while running < AT_ONCE and started < count:
            os.posix_spawn("/bin/true", ["true"], os.environ)
            running, started = running + 1, started + 1
        _, status = os.wait()
        assert status == 0
        running -= 1
    return time.perf_counter() - began
