"""What the daemon says of an exec: which process it is, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from batchyard.core.reasons import KILLED_EXIT_CODE
from batchyard.engines.docker.blocking import Daemon
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError

ANSWER_SECONDS = 10.0
"""How long the daemon may take for an answer that somebody waits for who can't be interrupted."""
WAIT_SECONDS = 5.0
"""How long after a start or an end the daemon may take to know of it."""
_PAUSE_SECONDS = 0.02


class ExecState(NamedTuple):
    """How far a command in a container has come."""

    pid: int
    """Its process by the number that the daemon's host gives it; 0 before it has one, and if it never had."""
    exit_code: int | None
    """None until it has ended."""
    is_gone: bool = False
    """The container went, and the command with it."""

    @property
    def has_ended(self) -> bool:
        return self.exit_code is not None

    @property
    def has_process(self) -> bool:
        return bool(self.pid)


def look(daemon: Daemon, made: str) -> ExecState:
    """How far the exec `made` has come. DaemonGoneError, DaemonRefusedError."""
    try:
        found = daemon.call("GET", f"/exec/{made}/json", seconds=ANSWER_SECONDS)
    except DaemonRefusedError as error:
        if error.status == 404:
            return ExecState(0, KILLED_EXIT_CODE, is_gone=True)
        raise
    code = found.get("ExitCode")
    return ExecState(int(found.get("Pid") or 0), None if code is None or found.get("Running") else int(code))


def wait(daemon: Daemon, made: str, is_enough: Callable[[ExecState], bool], otherwise: str) -> ExecState:
    """How far the exec has come when that is enough, or when it has ended. DaemonGoneError with the text `otherwise`
    when it has come to neither in WAIT_SECONDS, or as `look`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        state = look(daemon, made)
        if state.has_ended or is_enough(state):
            return state
        if time.monotonic() > deadline:
            raise DaemonGoneError(otherwise)
        time.sleep(_PAUSE_SECONDS)
