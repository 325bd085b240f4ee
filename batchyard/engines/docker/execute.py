"""A command in a container that runs, its streams joined to this process's own.

With a terminal the daemon gives the command one of its own, and every key goes there, Ctrl-C too; without one, standard
output and standard error come apart over one connection, and the end of standard input is passed on. Signals
that would end this process are passed on either way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Any

from batchyard.engines.docker import execs, interrupts
from batchyard.engines.docker.blocking import Daemon, filters
from batchyard.engines.docker.labels import LABEL_ATTEMPT, LABEL_CONTAINER
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError

SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi")
"""The image's own bash, or what it has for sh."""
NO_DETACHING = "ctrl-],ctrl-],ctrl-]"
"""Docker's own keys for letting go, Ctrl-P Ctrl-Q, would swallow the first Ctrl-P of everybody who edits a line."""
RESIZE_SECONDS = 5.0
REFUSAL = b"OCI runtime exec failed"

_STREAM_HEADER = struct.Struct(">BxxxL")
_CHUNK_BYTES = 65_536


def running_containers(daemon: Daemon, attempt_id: str) -> dict[int, str]:
    """The ids of an attempt's containers that run, by their place in the task. (The one that only holds what they
    share has none.)"""
    wanted = filters(label=[f"{LABEL_ATTEMPT}={attempt_id}"], status=["running"])
    found = daemon.call("GET", "/containers/json", {"filters": wanted})
    places = [(each["Labels"].get(LABEL_CONTAINER, ""), str(each["Id"])) for each in found]
    return {int(place): container_id for place, container_id in places if place.isdecimal()}


def execute(daemon: Daemon, container: str, command: Sequence[str]) -> int:
    """Run the command to its end; its exit code. DaemonRefusedError with the daemon's text if it can't be run.

    It gets a terminal if this process's standard input and output are one.
    """
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    body: dict[str, Any] = {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": has_terminal,
        "Cmd": list(command),
        "DetachKeys": NO_DETACHING,
    }
    if has_terminal:
        body["Env"] = [f"TERM={os.environ.get('TERM', 'xterm')}"]
    made = str(daemon.call("POST", f"/containers/{container}/exec", body=body)["Id"])
    how: dict[str, Any] = {"Detach": False, "Tty": has_terminal}
    if has_terminal:
        how["ConsoleSize"] = list(_size())
    connection, first = daemon.hijack(f"/exec/{made}/start", how)
    with connection, interrupts.passed_on(daemon, container, made):
        threading.Thread(target=_send_input, args=(connection,), daemon=True).start()
        screen = _Screen()
        if has_terminal:
            with _resized(daemon, made), _raw_terminal():
                _copy_terminal(connection, first, screen)
        else:
            _copy_streams(connection, first, screen)
    code, has_run = _end(daemon, made)
    if not has_run and screen.held:
        raise DaemonRefusedError(400, screen.held.decode("utf-8", "replace").strip())
    screen.release()
    return code


class _Screen:
    """Standard output and error. Docker says there as well why it could not start a command: that is held back until
    it is certain that the command itself did not write it."""

    def __init__(self) -> None:
        self.held = b""
        self._is_first = True

    def show(self, data: bytes, descriptor: int = 1) -> None:
        if self._is_first and data.startswith(REFUSAL):
            self.held = data
        else:
            self.release()
            _write_all(descriptor, data)
        self._is_first = False

    def release(self) -> None:
        _write_all(1, self.held)
        self.held = b""


def _send_input(connection: socket.socket) -> None:
    """Standard input, to its end. Who reads nothing of it any more is let be: the command may have ended."""
    with contextlib.suppress(OSError):
        while data := os.read(0, _CHUNK_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _copy_terminal(connection: socket.socket, first: bytes, screen: _Screen) -> None:
    data = first
    while data or (data := _received(connection)):
        screen.show(data)
        data = b""


def _received(connection: socket.socket) -> bytes:
    """Empty at the end, which may be the daemon's own: `_end` finds that out."""
    try:
        return connection.recv(_CHUNK_BYTES)
    except ConnectionError:
        return b""


def _copy_streams(connection: socket.socket, first: bytes, screen: _Screen) -> None:
    buffer = bytearray(first)
    while True:
        while len(buffer) >= _STREAM_HEADER.size:
            stream, length = _STREAM_HEADER.unpack_from(buffer)
            if len(buffer) < _STREAM_HEADER.size + length:
                break
            end = _STREAM_HEADER.size + length
            screen.show(bytes(buffer[_STREAM_HEADER.size : end]), 2 if stream == 2 else 1)
            del buffer[:end]
        data = _received(connection)
        if not data:
            return
        buffer += data


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the command, and what comes back is drawn as it is."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resized(daemon: Daemon, made: str) -> Iterator[None]:
    """Give the command's terminal the size of this one, now and whenever it changes."""

    def resize(*_: object) -> bool:
        height, width = _size()
        try:
            size = {"h": str(height), "w": str(width)}
            daemon.call("POST", f"/exec/{made}/resize", size, seconds=execs.ANSWER_SECONDS)
        except (DaemonGoneError, DaemonRefusedError):
            # Too early or too late: no reason to end anything.
            return False
        return True

    def resize_at_first() -> None:
        # Docker takes no size before the command runs, and forgets the one that came with the start now and then.
        deadline = time.monotonic() + RESIZE_SECONDS
        while not resize() and time.monotonic() < deadline:
            time.sleep(0.05)

    before = signal.signal(signal.SIGWINCH, resize)
    try:
        threading.Thread(target=resize_at_first, daemon=True).start()
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def _size() -> tuple[int, int]:
    """Rows and columns of the terminal."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
    return rows or 24, columns or 80


def _end(daemon: Daemon, made: str) -> tuple[int, bool]:
    """The exit code, and whether the command ever ran. Its streams have ended: so has it, in a moment."""
    state = execs.wait(daemon, made, lambda state: state.has_ended, "the daemon does not say how the command ended")
    assert state.exit_code is not None
    return state.exit_code, state.has_process or state.is_gone
