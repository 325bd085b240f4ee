"""The format of a job's log file, shared by the engines that write it and the store that reads it.

A file is a sequence of frames, one per read from the job's pipe:

    u32 length | u64 timestamp_ms | the bytes as read | u32 length

all little-endian. The length stands at both ends so that a reader can walk backward from the end of a large file.
Writers never look for lines: their cost is per read, not per line, and any bytes pass through unchanged. A last frame
that is torn, because the writer died or the disk was full in the middle of it, does not count.

Pure functions over bytes: no file is opened here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_PAYLOAD_BYTES = 64 * 1024
"""What one frame may hold; readers take a larger length as damage."""

HEADER = struct.Struct("<IQ")
TRAILER = struct.Struct("<I")
OVERHEAD_BYTES = HEADER.size + TRAILER.size

_ATTEMPT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


class Frame(NamedTuple):
    """One frame and where in its file it stands."""

    start: int
    timestamp_ms: int
    payload: bytes

    @property
    def end(self) -> int:
        return self.start + OVERHEAD_BYTES + len(self.payload)


def checked_attempt_id(attempt_id: str) -> str:
    """The same id, once it is known to be safe as a file name; ValueError otherwise."""
    if _ATTEMPT_ID.fullmatch(attempt_id) is None:
        raise ValueError(f"not an attempt id: {attempt_id[:80]!r}")
    return attempt_id


def log_id(attempt_id: str, container: int) -> str:
    """What the log of one of an attempt's containers is called; the first one's has the attempt's own name."""
    return f"{attempt_id}.{container}" if container else attempt_id


def log_path(logs_dir: Path, log_id: str) -> Path:
    """Where a log is kept. Two characters of its name spread the files over folders."""
    return logs_dir / checked_attempt_id(log_id)[:2] / f"{log_id}.log"


def header(length: int, timestamp_ms: int) -> bytes:
    """What goes before `length` bytes of payload."""
    if not 0 < length <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame holds 1 to {MAX_PAYLOAD_BYTES} bytes, not {length}")
    return HEADER.pack(length, timestamp_ms)


def trailer(length: int) -> bytes:
    """What goes after `length` bytes of payload."""
    return TRAILER.pack(length)


def frame(timestamp_ms: int, payload: bytes) -> bytes:
    """One whole frame."""
    return b"".join((header(len(payload), timestamp_ms), payload, trailer(len(payload))))


def split(data: bytes, start: int = 0) -> Iterator[Frame]:
    """The whole frames at the beginning of `data`, which begins at offset `start` of its file; stops at the first
    that is torn or damaged."""
    offset, size = 0, len(data)
    while offset + OVERHEAD_BYTES < size:
        length, timestamp_ms = HEADER.unpack_from(data, offset)
        body = offset + HEADER.size
        end = body + length
        if not 0 < length <= MAX_PAYLOAD_BYTES or end + TRAILER.size > size:
            return
        if TRAILER.unpack_from(data, end)[0] != length:
            return
        yield Frame(start + offset, timestamp_ms, data[body:end])
        offset = end + TRAILER.size
