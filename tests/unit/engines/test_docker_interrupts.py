"""Signals for a command in a container: what keeps them from it is said, and never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.engines.docker import interrupts
from batchyard.engines.docker.blocking import Daemon, Query
from batchyard.engines.docker.interrupts import CannotSendError
from batchyard.exceptions import CommandLeftError, DaemonGoneError


class OneExec(Daemon):
    """A daemon that knows of one exec, whose process is `pid`."""

    def __init__(self, pid: int) -> None:
        super().__init__("unix:///nowhere")
        self.pid = pid
        self.has_ended = False

    def call(
        self, method: str, path: str, query: Query | None = None, body: object = None, seconds: float | None = None
    ) -> Any:
        assert seconds is not None, "a handler of signals may not wait for ever"
        return {"Pid": self.pid, "Running": not self.has_ended, "ExitCode": 0 if self.has_ended else None}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """It leads a process group, and passes for one in a container."""
    monkeypatch.setattr(interrupts, "_control_groups", lambda pid: "/docker/container")
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as going:
        try:
            yield going
        finally:
            going.kill()


def send(daemon: Daemon) -> None:
    interrupts.send(daemon, "container", "made", signal.SIGTERM)


def refuse(error: OSError) -> Callable[..., Any]:
    def refused(*_: object, **__: object) -> Any:
        raise error

    return refused


def test_it_reaches_the_command(command: subprocess.Popen[bytes]) -> None:
    send(OneExec(command.pid))
    assert command.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_a_system_that_gives_no_descriptor_of_a_process_is_told(
    command: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "pidfd_open", refuse(OSError(code, os.strerror(code))))
    with pytest.raises(CannotSendError, match=os.strerror(code)):
        send(OneExec(command.pid))


def test_a_command_that_has_ended_gets_none(command: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = OneExec(command.pid)
    monkeypatch.setattr(os, "killpg", lambda *_: pytest.fail("the number may be another process's"))
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse(ProcessLookupError()))
    send(daemon)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse(PermissionError()))
    monkeypatch.setattr(Path, "read_text", refuse(FileNotFoundError()))
    send(daemon)
    daemon.has_ended = True
    send(daemon)


def test_a_process_that_is_not_here_is_told_unless_it_has_ended(
    command: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = OneExec(command.pid)
    monkeypatch.setattr(interrupts, "_control_groups", lambda pid: "/")
    with pytest.raises(CannotSendError, match="not on this machine"):
        send(daemon)
    command.kill()
    command.wait()
    with pytest.raises(CannotSendError, match="not on this machine"):
        send(daemon)


def test_a_kernel_that_does_not_say_the_number_in_the_container_is_told(
    command: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "killpg", refuse(PermissionError()))
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "Name:\tsleep\nPid:\t7\n")
    with pytest.raises(CannotSendError, match="number in the container"):
        send(OneExec(command.pid))


def test_who_waits_after_the_kill_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command has ended, but something that it started holds on to its output."""
    sent: list[signal.Signals] = []
    monkeypatch.setattr(interrupts, "send", lambda *given: sent.append(given[-1]))
    with interrupts.passed_on(OneExec(1), "container", "made"):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        with pytest.raises(CommandLeftError, match="has not ended after SIGKILL") as caught:
            signal.raise_signal(signal.SIGTERM)
    assert sent == [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_a_daemon_that_takes_a_request_and_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(DaemonGoneError, match="timed out"):
            Daemon(f"unix://{tmp_path}/s").call("GET", "/info", seconds=0.05)
