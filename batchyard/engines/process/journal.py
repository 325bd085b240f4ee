"""The supervisor's memory on disk: what it launched, what it spawned, what ended, what may be forgotten.

Records are appended without fsync: the journal has to survive the death of processes, and after the death of the
machine no process is left that it could tell about. A record that says "launching" is on the file before the spawn, so
an attempt that is not in the journal was never spawned. When most of the file is about forgotten attempts it is
rewritten beside the old one and renamed over it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct, field

from batchyard import crashpoints
from batchyard.core.inputs import AttemptExited, AttemptLost
from batchyard.engines.process.appendfile import AppendFile

COMPACT_ABOVE_BYTES = 1024 * 1024
COMPACT_FACTOR = 4

_LENGTH = struct.Struct("<I")


class Opened(Struct, frozen=True, array_like=True, tag="o"):
    """A supervisor began; what follows is its own, up to the next of these."""

    incarnation: str
    boot_id: str
    cgroup_dirs: tuple[str, ...]


class Launching(Struct, frozen=True, array_like=True, tag="l"):
    attempt_id: str
    group: str = ""
    """The control group that it is spawned in, as `Group.name` has it; empty where none can be made."""


class Spawned(Struct, frozen=True, array_like=True, tag="s"):
    attempt_id: str
    pid: int
    since_ticks: int
    until_ticks: int
    """It was started between these two, which tells it from a later process of the same number. To ask the kernel for
    the very tick would mean to wait until the child is through its exec."""
    at_ms: int


class Ended(Struct, frozen=True, array_like=True, tag="e"):
    report: AttemptExited | AttemptLost
    started_at_ms: int | None = None


class Forgotten(Struct, frozen=True, array_like=True, tag="f"):
    attempt_ids: list[str]


Record = Opened | Launching | Spawned | Ended | Forgotten


class Open(Struct):
    """An attempt that was launched and of which no end is known."""

    opened: Opened
    attempt_id: str
    group: str
    spawned: Spawned | None = None

    def records(self) -> Iterable[Record]:
        yield Launching(self.attempt_id, self.group)
        if self.spawned is not None:
            yield self.spawned


class Story(Struct):
    """What a journal tells, in the order in which it happened."""

    open: dict[str, Open] = field(default_factory=dict)
    ended: dict[str, Ended] = field(default_factory=dict)
    openings: list[Opened] = field(default_factory=list)
    damage: str | None = None

    def apply(self, record: Record, opened: Opened | None) -> None:
        match record:
            case Launching(attempt_id, group) if opened is not None:
                self.open.setdefault(attempt_id, Open(opened, attempt_id, group))
            case Spawned(attempt_id):
                if attempt_id in self.open:
                    self.open[attempt_id].spawned = record
            case Ended(report):
                self.open.pop(report.attempt_id, None)
                self.ended[report.attempt_id] = record
            case Forgotten(attempt_ids):
                for attempt_id in attempt_ids:
                    self.ended.pop(attempt_id, None)


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def _encoded(records: Iterable[Record]) -> bytes:
    parts: list[bytes] = []
    for record in records:
        body = _encoder.encode(record)
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


def read(path: Path) -> Story:
    """What the journal at `path` tells; a record that is torn or damaged ends the reading."""
    story = Story()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return story
    opened: Opened | None = None
    offset = 0
    while offset < len(data):
        begin = offset + _LENGTH.size
        length = _LENGTH.unpack_from(data, offset)[0] if begin <= len(data) else 0
        if length == 0 or begin + length > len(data):
            story.damage = f"a torn record at byte {offset} of {len(data)}"
            break
        try:
            record = _decoder.decode(data[begin : begin + length])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            story.damage = f"a damaged record at byte {offset} of {len(data)}: {error}"
            break
        if isinstance(record, Opened):
            opened = record
            story.openings.append(record)
        story.apply(record, opened)
        offset = begin + length
    return story


class Journal:
    """The open journal of a running supervisor. It keeps what could not be written, and tries again when asked."""

    def __init__(self, path: Path, records: Iterable[Record]) -> None:
        self._path = path
        self._waiting: list[Record] = []
        self._file = self._rewritten(records)
        self._compacted_bytes = self._file.size_bytes

    def _rewritten(self, records: Iterable[Record]) -> AppendFile:
        """A new file with these records, in the place of the old one: at every moment one of the two is whole."""
        fresh = self._path.with_suffix(".new")
        file = AppendFile(str(fresh), truncate=True)
        try:
            file.append([_encoded(records)])
            if crashpoints.ARMED:
                crashpoints.reach("supervisor.before_rename")
            fresh.replace(self._path)
        except BaseException:
            file.close()
            raise
        return file

    def add(self, record: Record) -> None:
        """To be written with the next flush."""
        self._waiting.append(record)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def flush(self) -> None:
        """Write what waits. OSError: nothing was written, and all of it goes on waiting."""
        if self._waiting:
            self._file.append([_encoded(self._waiting)])
            self._waiting.clear()

    def write(self, records: Iterable[Record]) -> None:
        """Write what waits and these. OSError: nothing was written, and these are not kept."""
        self._file.append([_encoded([*self._waiting, *records])])
        self._waiting.clear()

    @property
    def is_bloated(self) -> bool:
        return self._file.size_bytes > max(COMPACT_ABOVE_BYTES, COMPACT_FACTOR * self._compacted_bytes)

    def compact(self, records: Iterable[Record]) -> None:
        """Replace the file by these records, which say all that is still to be remembered."""
        file = self._rewritten(records)
        self._file.close()
        self._file = file
        self._compacted_bytes = file.size_bytes
        self._waiting.clear()

    def close(self) -> None:
        self._file.close()
