"""The server's way to its supervisor: connect to the one that is there, or start one."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import batchyard
from batchyard import crashpoints
from batchyard.engines.process.address import LOG_NAME, short_address
from batchyard.engines.process.messages import (
    PROTOCOL_VERSION,
    Decoder,
    Hello,
    ToServer,
    ToSupervisor,
    Welcome,
    encode,
)
from batchyard.engines.process.supervisor import LOCK_HELD_EXIT_CODE
from batchyard.exceptions import EngineError

START_TIMEOUT_SECONDS = 20.0
HELLO_TIMEOUT_SECONDS = 10.0
FIRST_DELAY_SECONDS = 0.005
MAX_DELAY_SECONDS = 0.1
READ_BYTES = 256 * 1024
MAX_LOG_BYTES = 1024 * 1024
TAIL_BYTES = 2000


class SupervisorProcess:
    """A supervisor started by this process, which has to be waited for when it ends."""

    def __init__(self, engine_dir: Path, logs_dir: Path, options: tuple[str, ...]) -> None:
        self._log_path = engine_dir / LOG_NAME
        if self._log_path.exists() and self._log_path.stat().st_size > MAX_LOG_BYTES:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        self._log_start = self._log_path.stat().st_size if self._log_path.exists() else 0
        module = "batchyard.engines.process.supervisor"
        folders = ("--dir", str(engine_dir), "--logs", str(logs_dir))
        log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._pid = os.posix_spawn(
            sys.executable,
            # Neither the current folder nor `site` has a say in what it imports: the path is this process's own.
            (sys.executable, "-P", "-S", "-X", "utf8", "-m", module, *folders, *options),
            {
                "PYTHONPATH": _python_path(),
                "PATH": os.environ.get("PATH", os.defpath),
                **crashpoints.environment(),
            },
            file_actions=(
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log_path), log_flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ),
            setsid=True,
            setsigmask=(),
        )
        self._exit_code: int | None = None
        self.answered = False
        """Whether it came up: then its later death is no reason not to start another."""

    def exit_code(self) -> int | None:
        """None while it runs. One that somebody else has waited for counts as well ended."""
        if self._exit_code is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                self._exit_code = 0
                return 0
            if pid:
                self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code

    def said(self) -> str:
        """The end of what it wrote into its log."""
        try:
            with self._log_path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace").strip()
        except OSError as error:
            return f"{self._log_path} can't be read: {error}"
        return f"{self._log_path} says:\n{text}" if text else f"{self._log_path} says nothing"


def _python_path() -> str:
    package_root = str(Path(batchyard.__file__).parent.parent)
    return os.pathsep.join([package_root, *(str(Path(entry).absolute()) for entry in sys.path if entry)])


class Link:
    """An open connection on which both sides have said hello."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder: Decoder[ToServer] = Decoder(ToServer)
        self.welcome = Welcome(0, "", "")

    async def greet(self, environment: Mapping[str, str]) -> list[ToServer]:
        """Say hello and wait for the welcome; returns what else was said by then."""
        self.send([Hello(PROTOCOL_VERSION, dict(environment))])
        async with asyncio.timeout(HELLO_TIMEOUT_SECONDS):
            messages = await self.receive()
        if not messages:
            raise ConnectionResetError("the supervisor hung up")
        welcome, *others = messages
        if not isinstance(welcome, Welcome) or welcome.version != PROTOCOL_VERSION:
            raise EngineError(
                "the supervisor that is running was started by another version of Batchyard; "
                "stop it (SIGTERM ends its jobs first), or go back to that version"
            )
        self.welcome = welcome
        return others

    def send(self, messages: list[ToSupervisor]) -> None:
        """Send without waiting, each message in a frame of its own."""
        self._writer.write(b"".join([encode([message]) for message in messages]))

    async def receive(self) -> list[ToServer]:
        """The next messages; none at the end. OSError or EngineError when the connection is no good any more."""
        while True:
            data = await self._reader.read(READ_BYTES)
            if not data:
                return []
            if messages := self._decoder.feed(data):
                return messages

    async def close(self) -> None:
        """Send what is still to be sent, and hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the other side was faster


class Linker:
    """Makes links; remembers the supervisor it started last, to see whether it lives."""

    def __init__(self, engine_dir: Path, logs_dir: Path, options: tuple[str, ...] = ()) -> None:
        self._engine_dir = engine_dir
        self._logs_dir = logs_dir
        self._options = options
        self._process: SupervisorProcess | None = None

    async def open(self, environment: Mapping[str, str]) -> tuple[Link, list[ToServer]]:
        """A link to the folder's supervisor, started if need be, and what it has said already. EngineError if none
        comes up."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        delay = FIRST_DELAY_SECONDS
        while True:
            opened = await self._try(environment)
            if opened is not None:
                if self._process is not None:
                    self._process.answered = True
                return opened
            self._start_if_gone()
            if time.monotonic() > deadline:
                said = self._process.said() if self._process else ""
                raise EngineError(f"the supervisor did not answer within {START_TIMEOUT_SECONDS:.0f} s; {said}")
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_DELAY_SECONDS)

    async def _try(self, environment: Mapping[str, str]) -> tuple[Link, list[ToServer]] | None:
        try:
            with short_address(self._engine_dir) as address:
                reader, writer = await asyncio.open_unix_connection(address)
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
            return None
        link = Link(reader, writer)
        try:
            return link, await link.greet(environment)
        except (OSError, TimeoutError):
            await link.close()
            return None
        except EngineError:
            await link.close()
            raise

    def _start_if_gone(self) -> None:
        """Start a supervisor unless the last one still runs. One that was killed before it could answer says nothing
        about the next; one that gave up by itself would only do so again, and that is an EngineError."""
        process = self._process
        code = process.exit_code() if process is not None else 0
        if code is None:
            return
        self._process = None
        if process is not None and not process.answered and code > 0 and code != LOCK_HELD_EXIT_CODE:
            raise EngineError(f"the supervisor could not start (exit code {code}); {process.said()}")
        self._process = SupervisorProcess(self._engine_dir, self._logs_dir, self._options)
