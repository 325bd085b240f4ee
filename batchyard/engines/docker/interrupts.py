"""Ctrl-C for a command in a container, and the other signals that would end who runs it.

Docker sends no signal to an exec, and lets the command go on when whoever started it goes. So the signal is sent from
here: the daemon tells the command's process, which leads a process group of its own. Its number is the host's; whether
this is that host, and the number means the same here, the process's control group shows, which is called by the
container's id. Where this user may not send it a signal, `kill` in the container, run as the command is, may.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from batchyard.core.reasons import KILLED_EXIT_CODE
from batchyard.engines.docker.blocking import Daemon
from batchyard.exceptions import CommandLeftError, DaemonGoneError, DaemonRefusedError

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTS_BEFORE_KILL = 2
"""The next Ctrl-C is SIGKILL: a command may take the first ones for a request to clean up, or for nothing."""
WAIT_SECONDS = 5.0
_PAUSE_SECONDS = 0.02

Members = dict[str, Any]


class CannotSendError(Exception):
    """The signal can't be sent, for the reason that the text says."""


@contextlib.contextmanager
def passed_on(daemon: Daemon, container: str, made: str) -> Iterator[None]:
    """While the with-block lasts, what would end this process is for the command of the exec `made`, and all that is in
    its process group. CommandLeftError where that can't be done. What this process ignores it goes on to ignore."""
    interrupts = 0

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        wanted = signal.SIGKILL if interrupts > INTERRUPTS_BEFORE_KILL else signal.Signals(number)
        try:
            send(daemon, container, made, wanted)
        except (CannotSendError, DaemonGoneError, DaemonRefusedError) as error:
            text = f"the command goes on in the container until it or the job ends: {error}"
            raise CommandLeftError(text, 128 + number) from error

    before = {each: found for each in PASSED_ON if (found := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, pass_on)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def send(daemon: Daemon, container: str, made: str, wanted: signal.Signals) -> None:
    """Send the command of an exec a signal, unless it has ended."""
    pid = _process_of(daemon, made)
    if pid is None:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError as error:
        if _process_of(daemon, made) is None:
            return
        raise CannotSendError("its daemon is not on this machine") from error
    try:
        # While this is open the number can't become another process's.
        if container not in _control_groups(pid):
            raise CannotSendError("its daemon is not on this machine")
        _send_here(descriptor, pid, wanted)
    except PermissionError:
        _send_within(daemon, container, pid, wanted)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def _process_of(daemon: Daemon, made: str) -> int | None:
    """The process of an exec; None if it has ended. It has been started, but may not have come as far."""
    found = _when(daemon, made, lambda found: bool(found.get("Pid")), "the daemon does not say which process it is")
    return None if _has_ended(found) else int(found["Pid"])


def _when(daemon: Daemon, made: str, is_enough: Callable[[Members], bool], otherwise: str) -> Members:
    """What the daemon says of an exec when that is enough, or when it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            found: Members = daemon.call("GET", f"/exec/{made}/json")
        except DaemonRefusedError as error:
            if error.status == 404:
                # The container went, and the command with it.
                return {"Running": False, "ExitCode": KILLED_EXIT_CODE}
            raise
        if _has_ended(found) or is_enough(found):
            return found
        if time.monotonic() > deadline:
            raise CannotSendError(otherwise)
        time.sleep(_PAUSE_SECONDS)


def _has_ended(found: Members) -> bool:
    return found.get("ExitCode") is not None and not found.get("Running")


def _control_groups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    except OSError:
        return ""


def _send_here(descriptor: int, pid: int, wanted: signal.Signals) -> None:
    if os.getpgid(pid) == pid:
        os.killpg(pid, wanted)
    else:
        signal.pidfd_send_signal(descriptor, wanted)


def _send_within(daemon: Daemon, container: str, pid: int, wanted: signal.Signals) -> None:
    """By a shell in the container, where the process has a number of its own."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    number = next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:"))
    command = ["/bin/sh", "-c", f"kill -{wanted.name.removeprefix('SIG')} -{number}"]
    try:
        made = str(daemon.call("POST", f"/containers/{container}/exec", body={"Cmd": command})["Id"])
        daemon.call("POST", f"/exec/{made}/start", body={"Detach": True})
    except DaemonRefusedError as error:
        text = f"this user may not send it a signal, and the container has no /bin/sh ({error})"
        raise CannotSendError(text) from error
    ended = _when(daemon, made, _has_ended, "`kill` in the container does not end")
    if code := ended["ExitCode"]:
        raise CannotSendError(f"this user may not send it a signal, and `kill` in the container ended with {code}")
