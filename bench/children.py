"""Processes that a measurement starts: each is ended when its with-block is left, however that comes about."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

STOP_SECONDS = 10.0

Stream = int | IO[bytes] | None


@contextlib.contextmanager
def running(
    *command: str,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a with-block; at its end it gets SIGTERM, and SIGKILL if it doesn't heed that.

    It has a session of its own: a Ctrl-C at the terminal is for the measurement, which ends its processes in order.
    """
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
    )
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(process: subprocess.Popen[bytes], line: str) -> str:
    """Send one line, and wait for the one that answers it. Raises RuntimeError if the process ended instead."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()
    answer = process.stdout.readline().decode()
    if not answer:
        raise RuntimeError(f"{process.args!r} ended with exit code {process.wait()} instead of an answer to {line!r}")
    return answer.rstrip("\n")
