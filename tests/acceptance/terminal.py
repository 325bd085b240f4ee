"""Somebody at a terminal: a command on a pseudo terminal, with keys to press and a screen to read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

DEADLINE_SECONDS = 60.0


class Terminal:
    """A command that believes to be on a terminal of this size."""

    def __init__(self, command: list[str], environment: dict[str, str], rows: int, columns: int) -> None:
        self._screen, theirs = pty.openpty()
        self.drawn = ""
        self._read = 0
        self.resize(rows, columns)
        self._process = subprocess.Popen(
            command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: _lead(theirs)
        )
        os.close(theirs)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def read_until(self, text: str) -> None:
        """Wait until this is drawn, after what earlier calls have waited for."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := self.drawn.find(text, self._read)) < 0:
            assert select.select([self._screen], [], [], max(0, deadline - time.monotonic()))[0], self.drawn
            try:
                self.drawn += os.read(self._screen, 65536).decode(errors="replace")
            except OSError as error:
                # Linux says so when the other side of a pseudo terminal is closed.
                raise AssertionError(f"it ended without {text!r}: {self.drawn}") from error
        self._read = found + len(text)

    def end(self) -> int:
        """The exit code, once the command has ended."""
        code = self._process.wait(DEADLINE_SECONDS)
        os.close(self._screen)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.end()


def _lead(terminal: int) -> None:
    """As a login shell does: a session of its own, with the terminal for its signals."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
