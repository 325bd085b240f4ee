"""Lines put together to events, in logs whose owner says how an event begins.

An event begins with a line that the pattern is found in, and goes on to the next such line, as in Docker's `awslogs`
driver. It also begins after `QUIET_MS` without a line: the driver holds back an event no longer than about that, so
that somebody who follows a log sees the last one. Empty lines belong to the event that they stand in.

An event that is larger than 256 KiB, or goes on for more than `QUIET_MS`, is cut into pieces. As with long lines, it is
cut where a reader that comes from the other end would cut it as well: before each line that is the first in a new
128 KiB of the file or in a new `QUIET_MS` of the clock, and around each line of more than 64 KiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

from msgspec import Struct

from batchyard.logpatterns import SEARCHED_CHARACTERS
from batchyard.telemetry.loglines import (
    CUT_BYTES,
    MAX_EVENT_BYTES,
    Line,
    LogFile,
    Position,
    lines_backward,
    lines_forward,
)

QUIET_MS = 5000
MAX_JOINED_LINE_BYTES = 64 * 1024
MAX_SEARCHED_BYTES = 4 * SEARCHED_CHARACTERS


class _Border(IntEnum):
    """What lies between two lines that follow each other."""

    NONE = 0
    """They are of one piece."""
    MAY_CUT = 1
    """An event that has to be cut is cut here."""
    CUT = 2
    """Two pieces of a line that was cut itself."""
    BEGIN = 3
    """An event begins here."""


class Joining(Struct, frozen=True):
    """How the lines of a log are put together; `now_ms` is when it is read."""

    begins: Callable[[str], bool]
    """Whether a line is the first of an event."""
    now_ms: int

    def is_quiet(self, last: Line) -> bool:
        """Is it so long since the last line that no other belongs to its event?"""
        return self.now_ms - last.timestamp_ms > QUIET_MS

    def border(self, log: LogFile, left: Line, right: Line) -> _Border:
        if right.timestamp_ms - left.timestamp_ms > QUIET_MS:
            return _Border.BEGIN
        is_new_block = left.begin.frame // CUT_BYTES != right.begin.frame // CUT_BYTES
        if is_new_block and log.is_mid_line(right.begin):
            return _Border.CUT
        if self.begins(right.raw[:MAX_SEARCHED_BYTES].decode("utf-8", "replace")):
            return _Border.BEGIN
        is_new_time = left.timestamp_ms // QUIET_MS != right.timestamp_ms // QUIET_MS
        is_large = max(len(left.raw), len(right.raw)) > MAX_JOINED_LINE_BYTES
        return _Border.MAY_CUT if is_new_block or is_new_time or is_large else _Border.NONE


def _joined(lines: list[Line]) -> Line:
    """Lines in ascending order as one. Nothing but empty lines is as good as an empty one."""
    raw = b"\n".join(line.raw for line in lines) if any(line.raw for line in lines) else b""
    return Line(lines[0].begin, lines[-1].end, lines[0].timestamp_ms, raw)


class _Event:
    """The event that reading is in the middle of, as pieces of lines, in the order of reading."""

    def __init__(self, line: Line, *, is_cut: bool = False) -> None:
        self.last = line
        self._first = line
        self._is_cut = is_cut
        self._size = len(line.raw) + 1
        self._pieces = [[line]]

    def add(self, line: Line, border: _Border) -> None:
        """The next line that was read is of the event too."""
        if border is not _Border.NONE:
            self._pieces.append([])
        self._pieces[-1].append(line)
        self.last = line
        self._size += len(line.raw) + 1
        lasts_ms = abs(line.timestamp_ms - self._first.timestamp_ms)
        is_large = self._size > MAX_EVENT_BYTES or border is _Border.CUT
        self._is_cut = self._is_cut or is_large or lasts_ms > QUIET_MS

    def ripe(self) -> Iterator[list[Line]]:
        """Pieces that can be given before the rest of the event is known."""
        while self._is_cut and len(self._pieces) > 1:
            yield self._pieces.pop(0)

    def rest(self) -> Iterator[list[Line]]:
        """All that is left of it: one piece, unless it had to be cut."""
        yield from self.ripe()
        yield [line for piece in self._pieces for line in piece]


def events_forward(
    log: LogFile, position: Position, joining: Joining, lines: Iterable[Line], *, complete: bool
) -> Iterator[Line]:
    """The events of `lines`, which are those after `position`. The last is withheld while it may go on."""
    pieces = _pieces(
        next(lines_backward(log, position), None),
        lines,
        lambda left, right: joining.border(log, left, right),
        lambda event: complete or joining.is_quiet(event.last),
    )
    yield from map(_joined, pieces)


def events_backward(log: LogFile, position: Position, joining: Joining, *, complete: bool) -> Iterator[Line]:
    """The events before `position`, the last first. `complete`: an unfinished line after it counts as one."""
    pieces = _pieces(
        next(lines_forward(log, position, complete, 0), None),
        lines_backward(log, position),
        lambda right, left: joining.border(log, left, right),
        lambda _: True,
    )
    yield from map(_turned, pieces)


def _pieces(
    before: Line | None,
    lines: Iterable[Line],
    border_between: Callable[[Line, Line], _Border],
    is_whole: Callable[[_Event], bool],
) -> Iterator[list[Line]]:
    """The pieces of the events that `lines` make, in the order in which the lines come, which is either way along the
    log. `before` is the line next to the first; the last event is given out only if it `is_whole`."""
    event: _Event | None = None
    for line in lines:
        border = border_between(before, line) if before is not None else _Border.BEGIN
        if event is None or border is _Border.BEGIN:
            if event is not None:
                yield from event.rest()
            event = _Event(line, is_cut=_is_inside(border))
        else:
            event.add(line, border)
            yield from event.ripe()
        before = line
    if event is not None and is_whole(event):
        yield from event.rest()


def _is_inside(border: _Border) -> bool:
    """Is the place where reading starts one where the event was cut?"""
    return border in (_Border.MAY_CUT, _Border.CUT)


def _turned(lines: list[Line]) -> Line:
    return _joined(lines[::-1])
