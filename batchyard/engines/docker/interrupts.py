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
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from batchyard.engines.docker import execs
from batchyard.engines.docker.blocking import Daemon
from batchyard.exceptions import CommandLeftError, DaemonGoneError, DaemonRefusedError

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS_BEFORE_KILL = 2
"""The next one of any kind is SIGKILL: a command may take the first ones for a request to clean up, or for nothing."""
ELSEWHERE = "its daemon is not on this machine"


class CannotSendError(Exception):
    """The signal can't be sent, for the reason that the text says."""


@contextlib.contextmanager
def passed_on(daemon: Daemon, container: str, made: str) -> Iterator[None]:
    """While the with-block lasts, what would end this process is for the command of the exec `made`, and all that is in
    its process group. CommandLeftError where that can't be done, and after a SIGKILL that was of no use. What this
    process ignores it goes on to ignore."""
    signals = 0

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        wanted = signal.SIGKILL if signals > SIGNALS_BEFORE_KILL else signal.Signals(number)
        try:
            if signals > SIGNALS_BEFORE_KILL + 1:
                raise CannotSendError("it, or what it has started, has not ended after SIGKILL")
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
    """Send the command of an exec a signal, unless it has ended. CannotSendError, DaemonGoneError or DaemonRefusedError
    where that can't be done."""
    pid = _process_of(daemon, made)
    if pid is None:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        _has_ended_or_is_elsewhere(daemon, made)
        return
    except OSError as error:
        raise CannotSendError(f"its process can't be had hold of: {error.strerror}") from error
    try:
        if container not in _control_groups(pid):
            _has_ended_or_is_elsewhere(daemon, made)
            return
        number = None if _send_here(descriptor, pid, wanted) else _number_within(pid)
    except (ProcessLookupError, FileNotFoundError):
        return  # It has ended.
    except OSError as error:
        raise CannotSendError(f"its process can't be sent a signal: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if number is not None:
        _send_within(daemon, container, number, wanted)


def _process_of(daemon: Daemon, made: str) -> int | None:
    """The process of an exec; None if it has ended. It has been started, but may not have come as far."""
    otherwise = "the daemon does not say which process it is"
    state = execs.wait(daemon, made, lambda state: state.has_process, otherwise)
    return None if state.has_ended else state.pid


def _has_ended_or_is_elsewhere(daemon: Daemon, made: str) -> None:
    """No process of this machine is the exec's: CannotSendError unless that is because it has ended."""
    if _process_of(daemon, made) is not None:
        raise CannotSendError(ELSEWHERE)


def _control_groups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii")
    except OSError:
        return ""


def _send_here(descriptor: int, pid: int, wanted: signal.Signals) -> bool:
    """Whether this user may, and so has."""
    try:
        if os.getpgid(pid) == pid:
            # A descriptor doesn't keep the number from becoming another process's, but shows that it hasn't yet. (There
            # is no call for a group by descriptor before Linux 6.9.)
            signal.pidfd_send_signal(descriptor, 0)
            os.killpg(pid, wanted)
        else:
            signal.pidfd_send_signal(descriptor, wanted)
    except PermissionError:
        return False
    return True


def _number_within(pid: int) -> str:
    """The number that a process has in its container."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return line.split()[-1]
    raise CannotSendError("this user may not send it a signal, and the kernel does not say its number in the container")


def _send_within(daemon: Daemon, container: str, number: str, wanted: signal.Signals) -> None:
    """By a shell in the container, where the process has the number."""
    command = ["/bin/sh", "-c", f"kill -{wanted.name.removeprefix('SIG')} -{number}"]
    seconds = execs.ANSWER_SECONDS
    try:
        made = str(daemon.call("POST", f"/containers/{container}/exec", body={"Cmd": command}, seconds=seconds)["Id"])
        daemon.call("POST", f"/exec/{made}/start", body={"Detach": True}, seconds=seconds)
    except DaemonRefusedError as error:
        text = f"this user may not send it a signal, and the container has no /bin/sh ({error})"
        raise CannotSendError(text) from error
    ended = execs.wait(daemon, made, lambda state: state.has_ended, "`kill` in the container does not end")
    if ended.exit_code and not ended.is_gone:
        text = f"this user may not send it a signal, and `kill` in the container ended with {ended.exit_code}"
        raise CannotSendError(text)
