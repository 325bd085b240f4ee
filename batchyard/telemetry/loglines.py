"""A log file as lines, from either end.

A line stands without its newline and without a carriage return before it, at the time of the frame in which it begins.
While its writer is at work, a last line without a newline is withheld.

A line longer than 256 KiB is cut, and cut where a reader that comes from the other end, or starts in the middle of it,
would cut it as well, without having seen all of the line: at the beginning of every frame that is the first to start
in a new 128 KiB of the file, after any bytes that continue a UTF-8 character begun before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from batchyard.logframes import HEADER, MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, TRAILER, Frame, split

MAX_EVENT_BYTES = 256 * 1024
CUT_BYTES = 128 * 1024

_BUFFER_BYTES = 256 * 1024
_NEWLINE = 0x0A
_POSITION = re.compile(r"(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,4})")


class LogPositionError(ValueError):
    """A position is malformed, or no event of this log begins or ends there."""


class Position(NamedTuple):
    """A place between two events: the file offset of a frame, and how many bytes of its payload lie before.

    The end of a frame is written as the beginning of the next, so every place has one spelling, which stays valid
    while the log grows.
    """

    frame: int
    offset: int

    @property
    def token(self) -> str:
        return f"{self.frame}.{self.offset}"

    @classmethod
    def parse(cls, token: str) -> Position:
        """The position that `token` spells; LogPositionError for anything that `token` never gave."""
        match = _POSITION.fullmatch(token)
        if match is None:
            raise LogPositionError(f"not a position in a log: {token[:40]!r}")
        position = cls(int(match[1]), int(match[2]))
        if position.offset >= MAX_PAYLOAD_BYTES:
            raise LogPositionError(f"not a position in a log: {token[:40]!r}")
        return position


FIRST_POSITION = Position(0, 0)


class LogFile:
    """One log file, open for reading frames; a missing one has none."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = None

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def size(self) -> int:
        return 0 if self._fd is None else os.fstat(self._fd).st_size

    def _read(self, start: int, length: int) -> bytes:
        return b"" if self._fd is None else os.pread(self._fd, length, start)

    def frames_forward(self, start: int) -> Iterator[Frame]:
        """The whole frames from the one at `start` on."""
        while True:
            last = None
            for last in split(self._read(start, _BUFFER_BYTES), start):
                yield last
            if last is None:
                return
            start = last.end

    def frames_backward(self, end: int) -> Iterator[Frame]:
        """The frames before `end`, which is the end of one, from the last to the first; stops at damage."""
        while end > 0:
            low = max(0, end - _BUFFER_BYTES)
            data = self._read(low, end - low)
            offset = len(data)
            while (frame := _frame_before(data, offset, low)) is not None:
                yield frame
                offset = frame.start - low
            if offset == len(data):
                return
            end = low + offset

    def frame_at(self, start: int) -> Frame | None:
        return next(split(self._read(start, MAX_PAYLOAD_BYTES + OVERHEAD_BYTES), start), None)

    def valid_end(self) -> int:
        """Where the last whole frame ends.

        Nearly always that is the end of the file. Otherwise the last frame is being written just now, or was torn
        for good: then only the way from the beginning is sure to tell frames from payload.
        """
        size = self.size()
        if size == 0 or next(self.frames_backward(size), None) is not None:
            return size
        end = 0
        for frame in self.frames_forward(0):
            end = frame.end
        return end

    def check(self, position: Position) -> None:
        """LogPositionError unless there is a frame boundary, or a byte of a frame, at `position`."""
        if position.offset:
            frame = self.frame_at(position.frame)
            sound = frame is not None and position.offset < len(frame.payload)
        elif position.frame:
            sound = position.frame <= self.size() and next(self.frames_backward(position.frame), None) is not None
        else:
            sound = True
        if not sound:
            raise LogPositionError(f"not a position in this log: {position.token}")

    def is_mid_line(self, position: Position) -> bool:
        """Whether the byte before `position` belongs to the same line as the one after."""
        if position.offset:
            before = self._read(position.frame + HEADER.size + position.offset - 1, 1)
        elif position.frame:
            before = self._read(position.frame - TRAILER.size - 1, 1)
        else:
            return False
        return before != b"\n"


def _frame_before(data: bytes, end: int, low: int) -> Frame | None:
    """The frame that ends at `end` in `data`, which begins at offset `low` of the file, if all of it is there."""
    if end <= OVERHEAD_BYTES:
        return None
    length = TRAILER.unpack_from(data, end - TRAILER.size)[0]
    start = end - OVERHEAD_BYTES - length
    if start < 0 or not 0 < length <= MAX_PAYLOAD_BYTES:
        return None
    head_length, timestamp_ms = HEADER.unpack_from(data, start)
    if head_length != length:
        return None
    body = start + HEADER.size
    return Frame(low + start, timestamp_ms, data[body : body + length])


class Line(NamedTuple):
    """A line or a piece of a long one, empty ones too; `end` lies after its newline."""

    begin: Position
    end: Position
    timestamp_ms: int
    raw: bytes


class _Piece(NamedTuple):
    """What lies between two places where a line would be cut if it turns out to be long."""

    begin: Position
    timestamp_ms: int
    parts: list[bytes]


def _place(frame: Frame, offset: int) -> Position:
    return Position(frame.start, offset) if offset < len(frame.payload) else Position(frame.end, 0)


def _cut_offset(frame: Frame, left_start: int) -> int | None:
    """How far into `frame` a long line is cut, None for not at all; `left_start` is where the frame before begins."""
    if frame.start // CUT_BYTES == left_start // CUT_BYTES:
        return None
    payload, offset = frame.payload, 0
    while offset < min(3, len(payload)) and payload[offset] & 0xC0 == 0x80:
        offset += 1
    return offset if offset < len(payload) else 0


def _without_return(raw: bytes) -> bytes:
    return raw[:-1] if raw.endswith(b"\r") else raw


class _ForwardLine:
    """The line that forward reading is in the middle of."""

    def __init__(self, is_long: bool) -> None:
        self.is_long = is_long
        self._pieces: list[_Piece] = []
        self._size = 0

    def add(self, frame: Frame, low: int, high: int, left_start: int) -> None:
        """Append payload[low:high] of `frame`."""
        if not self._pieces:
            self._pieces.append(_Piece(_place(frame, low), frame.timestamp_ms, []))
        elif low == 0 and (cut := _cut_offset(frame, left_start)) is not None:
            self._pieces[-1].parts.append(frame.payload[:cut])
            self._pieces.append(_Piece(Position(frame.start, cut), frame.timestamp_ms, []))
            self._size += cut
            low = cut
        self._pieces[-1].parts.append(frame.payload[low:high])
        self._size += high - low
        self.is_long = self.is_long or self._size > MAX_EVENT_BYTES

    def ripe(self) -> Iterator[Line]:
        """Pieces that can be given before the line has ended."""
        while self.is_long and len(self._pieces) > 1:
            piece = self._pieces.pop(0)
            yield Line(piece.begin, self._pieces[0].begin, piece.timestamp_ms, b"".join(piece.parts))

    def finish(self, end: Position) -> Iterator[Line]:
        """The whole line, or what is left of a long one."""
        yield from self.ripe()
        if self._pieces:
            first = self._pieces[0]
            raw = b"".join(part for piece in self._pieces for part in piece.parts)
            yield Line(first.begin, end, first.timestamp_ms, _without_return(raw))
        self._pieces, self._size, self.is_long = [], 0, False


def lines_forward(log: LogFile, position: Position, complete: bool, start_ms: int) -> Iterator[Line]:
    """The lines after `position`. Those of frames older than `start_ms` come as one empty line."""
    line = _ForwardLine(log.is_mid_line(position))
    offset, left_start, end = position.offset, position.frame, position
    for frame in log.frames_forward(position.frame):
        payload = frame.payload
        if frame.timestamp_ms < start_ms and (last := payload.rfind(b"\n", offset)) >= 0:
            line = _ForwardLine(False)
            yield Line(position, _place(frame, last + 1), frame.timestamp_ms, b"")
            offset = last + 1
        while (newline := payload.find(b"\n", offset)) >= 0:
            line.add(frame, offset, newline, left_start)
            yield from line.finish(_place(frame, newline + 1))
            offset = newline + 1
        if offset < len(payload):
            line.add(frame, offset, len(payload), left_start)
            yield from line.ripe()
        offset, left_start, end = 0, frame.start, Position(frame.end, 0)
    if complete:
        yield from line.finish(end)


class _BackwardLine:
    """The line that backward reading is in the middle of; it grows to the left."""

    def __init__(self, end: Position, is_long: bool, ends_line: bool) -> None:
        self._end = end
        self._is_long = is_long
        self._ends_line = ends_line
        self._cuts: list[tuple[Position, int, bytes]] = []
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Put `part` before what there is."""
        self._parts.append(part)
        self._size += len(part)
        self._is_long = self._is_long or self._size > MAX_EVENT_BYTES

    def _joined(self) -> bytes:
        self._parts.reverse()
        raw = b"".join(self._parts)
        self._parts = []
        return raw

    def cut(self, begin: Position, timestamp_ms: int) -> None:
        """The line would be cut at `begin`, where what there is begins."""
        self._cuts.append((begin, timestamp_ms, self._joined()))

    def ripe(self) -> Iterator[Line]:
        """Pieces that can be given before the beginning of the line is known."""
        if not self._is_long:
            return
        for begin, timestamp_ms, raw in self._cuts:
            yield self._line(begin, timestamp_ms, raw)
        self._cuts = []

    def finish(self, begin: Position, timestamp_ms: int) -> Iterator[Line]:
        """The whole line, or what is left of a long one."""
        yield from self.ripe()
        raw = self._joined() + b"".join(raw for _, _, raw in reversed(self._cuts))
        yield self._line(begin, timestamp_ms, raw)

    def _line(self, begin: Position, timestamp_ms: int, raw: bytes) -> Line:
        line = Line(begin, self._end, timestamp_ms, _without_return(raw) if self._ends_line else raw)
        self._end, self._ends_line = begin, False
        return line


def _frames_with_left(log: LogFile, end: int) -> Iterator[tuple[Frame, int | None]]:
    """Frames backward from `end`, each with the offset at which the one to its left begins."""
    right = None
    for frame in log.frames_backward(end):
        if right is not None:
            yield right, frame.start
        right = frame
    if right is not None:
        yield right, None


def lines_backward(log: LogFile, position: Position) -> Iterator[Line]:
    """The lines before `position`, the last first."""
    holder = log.frame_at(position.frame) if position.offset else None
    is_piece = log.is_mid_line(position) and position.frame != log.valid_end()
    line = _BackwardLine(position, is_long=True, ends_line=False) if is_piece else None
    right_timestamp_ms = 0
    for frame, left_start in _frames_with_left(log, holder.end if holder else position.frame):
        payload = frame.payload
        high = position.offset if holder is not None and frame.start == holder.start else len(payload)
        while True:
            if line is None:
                if high == 0:
                    break
                line = _BackwardLine(_place(frame, high), is_long=False, ends_line=True)
                high -= payload[high - 1] == _NEWLINE
            newline = payload.rfind(b"\n", 0, high)
            if newline < 0:
                break
            line.add(payload[newline + 1 : high])
            starts_here = newline + 1 < len(payload)
            yield from line.finish(
                _place(frame, newline + 1), frame.timestamp_ms if starts_here else right_timestamp_ms
            )
            line, high = None, newline + 1
        if line is not None:
            cut = _cut_offset(frame, left_start) if left_start is not None else None
            if cut is not None and log.is_mid_line(Position(frame.start, 0)):
                line.add(payload[cut:high])
                line.cut(Position(frame.start, cut), frame.timestamp_ms)
                high = min(cut, high)
            line.add(payload[:high])
            yield from line.ripe()
            if left_start is None:
                yield from line.finish(Position(frame.start, 0), frame.timestamp_ms)
        right_timestamp_ms = frame.timestamp_ms
