"""A container's output: from Docker's own log of it into the job's log file, from the first byte to the last, once.

Docker writes what a container says into a file before anybody reads it, and keeps that file as long as the container.
So nothing is lost that is said before a reader is there, or while no server runs. A server begins to read at the first
byte, and skips as many bytes as the job's log file has already. Docker may end a stream that follows a log before its
last byte, so when the container has ended the rest is read once more, from the second in which the last byte came.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import NamedTuple

import structlog

from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.parse import Entry, frames_of
from batchyard.engines.process.appendfile import AppendFile
from batchyard.exceptions import DaemonRefusedError
from batchyard.logframes import HEADER, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, frame

FULL_DISK_RETRY_SECONDS = 1.0
FULL_DISK_RETRIES = 30
"""After the container's end: so long a job waits for room for the rest of its log before its end is told."""

_log = structlog.get_logger(__name__)


def stored(path: Path) -> tuple[int, int, int]:
    """Of a log file: the bytes of output in it, the time of the last frame, and where the last whole frame ends."""
    payload_bytes, last_ms, end = 0, 0, 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while end + OVERHEAD_BYTES < size:
                file.seek(end)
                length, at_ms = HEADER.unpack(file.read(HEADER.size))
                if not 0 < length <= MAX_PAYLOAD_BYTES or end + OVERHEAD_BYTES + length > size:
                    break
                payload_bytes, last_ms, end = payload_bytes + length, at_ms, end + OVERHEAD_BYTES + length
    except FileNotFoundError:
        pass
    return payload_bytes, last_ms, end


class Since(NamedTuple):
    """A second, and how many bytes of the output that is not older are stored: from there reading can go on."""

    second: int
    stored_bytes: int


class Output:
    """The log of one container."""

    def __init__(self, client: Client, name: str, path: Path) -> None:
        self._client = client
        self._name = name
        self._path = path
        self._file: AppendFile | None = None
        self._since: Since | None = None
        self._last_ms = 0

    async def copy(self, *, is_over: bool) -> None:
        """Copy what isn't stored yet, until the container's end, or, if that `is_over`, what there is.

        Raises DaemonGoneError when the daemon goes, and OSError when the disk is full: then call it again.
        """
        if self._since is None:
            to_skip = await self._open_at_the_beginning()
        else:
            to_skip = self._since.stored_bytes
        since = None if self._since is None else self._since.second
        before = self._since
        self._since = None if before is None else Since(before.second, 0)
        reading = self._client.logs(self._name, follow=not is_over, since_seconds=since)
        try:
            async with contextlib.aclosing(reading):
                async for entries in reading:
                    to_skip = self._take(entries, to_skip)
        except DaemonRefusedError as error:
            _log.warning("docker.log_unreadable", container=self._name, error=str(error))
        finally:
            if to_skip:
                # Not come so far as the last time: that is still where reading goes on.
                self._since = before
            self._close()

    async def _open_at_the_beginning(self) -> int:
        """How many bytes of the container's output are stored already."""
        self._last_ms = 0
        if not self._path.exists():
            return 0
        stored_bytes, self._last_ms, end = await asyncio.to_thread(stored, self._path)
        if end < self._path.stat().st_size:
            # A server was killed while it wrote: what comes now must begin where readers look for it.
            os.truncate(self._path, end)
        return stored_bytes

    def _take(self, entries: list[Entry], to_skip: int) -> int:
        """Store the entries without their first `to_skip` bytes; how many bytes are to be skipped after them."""
        fresh = []
        for at_ms, payload, _ in entries:
            skipped = min(to_skip, len(payload))
            to_skip -= skipped
            if skipped < len(payload):
                fresh.append((at_ms, payload[skipped:]))
        if fresh:
            self._keep(fresh)
        for at_ms, payload, begins_a_line in entries:
            second = at_ms // 1000
            if self._since is None or (second > self._since.second and begins_a_line):
                self._since = Since(second, 0)
            if second >= self._since.second:
                self._since = Since(self._since.second, self._since.stored_bytes + len(payload))
        return to_skip

    async def copy_rest(self) -> None:
        """Copy the rest of an ended container's log. With a disk that stays full it gives up, and says so."""
        for retries_left in reversed(range(FULL_DISK_RETRIES)):
            try:
                await self.copy(is_over=True)
                return
            except OSError as error:
                if not retries_left:
                    _log.error("docker.log_cut_short", container=self._name, error=str(error))
                await asyncio.sleep(FULL_DISK_RETRY_SECONDS)

    async def follow(self, link: Link) -> None:
        """Copy until the container's end, however often the daemon goes or the disk is full on the way."""
        while True:
            try:
                await link.reliably(lambda: self.copy(is_over=False))
                return
            except OSError as error:
                _log.warning("docker.log_interrupted", container=self._name, error=str(error))
            await asyncio.sleep(FULL_DISK_RETRY_SECONDS)

    def _keep(self, entries: list[tuple[int, bytes]]) -> None:
        frames = []
        for at_ms, payload in frames_of(entries, MAX_PAYLOAD_BYTES):
            # The time never runs backward in a log: readers stop at the first later event.
            self._last_ms = max(self._last_ms, at_ms)
            frames.append(frame(self._last_ms, payload))
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = AppendFile(str(self._path))
        self._file.append([b"".join(frames)])

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
