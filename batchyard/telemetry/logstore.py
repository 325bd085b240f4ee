"""Reads the logs of jobs as CloudWatch Logs would give them: as events, in pages, from either end.

An event is a line (`loglines.py`), or several of them where the log's owner says so (`multiline.py`). Empty lines are
no events: CloudWatch Logs refuses empty messages, and the `awslogs` driver leaves them out. Bytes that are not UTF-8
become U+FFFD.

Whatever the size of the file, a call holds one buffer of it and the page it answers with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from batchyard.logframes import log_path
from batchyard.telemetry.loglines import FIRST_POSITION, Line, LogFile, Position, lines_backward, lines_forward
from batchyard.telemetry.multiline import Joining, events_backward, events_forward

MAX_PAGE_EVENTS = 10_000
MAX_PAGE_BYTES = 1024 * 1024
EVENT_OVERHEAD_BYTES = 26
"""What CloudWatch Logs counts for an event besides its message."""
JOINED_BEFORE_MS = 60_000
"""How long before the time that is asked for lines are looked at, where they may go on with an event."""


class LogEvent(Struct, frozen=True, gc=False):
    """A line or several; `position` is where it begins, and tells events of one log apart."""

    timestamp_ms: int
    message: str
    position: Position


class Page(Struct, frozen=True):
    """Events in ascending order, and where the next read in the same direction goes on."""

    events: list[LogEvent]
    next_position: Position


class LogStore:
    """The logs under one folder, by their ids. A log that does not exist reads as an empty one."""

    def __init__(self, logs_dir: Path) -> None:
        self._logs_dir = logs_dir

    def read_forward(
        self,
        log_id: str,
        position: Position = FIRST_POSITION,
        *,
        limit: int = MAX_PAGE_EVENTS,
        start_ms: int = 0,
        end_ms: int | None = None,
        complete: bool,
        max_bytes: int = MAX_PAGE_BYTES,
        joining: Joining | None = None,
    ) -> Page:
        """The first events after `position` that lie in start_ms <= time < end_ms.

        `complete` says that the writer is done, so that a last line without a newline counts. At the end of the log
        `next_position` is `position` itself. Every line is an event, unless `joining` says otherwise.
        """
        page = _PageBuilder(limit, max_bytes)
        with self._open(log_id) as log:
            log.check(position)
            for line in _forward(log, position, joining, start_ms, complete=complete):
                if end_ms is not None and line.timestamp_ms >= end_ms:
                    break
                if line.raw and line.timestamp_ms >= start_ms and not page.add(line):
                    break
                position = line.end
        return Page(page.events, position)

    def read_backward(
        self,
        log_id: str,
        position: Position,
        *,
        limit: int = MAX_PAGE_EVENTS,
        start_ms: int = 0,
        end_ms: int | None = None,
        max_bytes: int = MAX_PAGE_BYTES,
        joining: Joining | None = None,
        complete: bool = True,
    ) -> Page:
        """The last events before `position`, in ascending order. The end of a log is its `tail_position`.

        Where lines are put together, `complete` tells whether a line without a newline after `position` counts.
        """
        page = _PageBuilder(limit, max_bytes)
        with self._open(log_id) as log:
            log.check(position)
            for line in _backward(log, position, joining, complete=complete):
                if line.timestamp_ms < start_ms:
                    break
                if line.raw and (end_ms is None or line.timestamp_ms < end_ms) and not page.add(line):
                    break
                position = line.begin
        page.events.reverse()
        return Page(page.events, position)

    def tail_position(self, log_id: str, *, complete: bool, joining: Joining | None = None) -> Position:
        """Where forward reading would arrive: the end, or the beginning of a last event that is still withheld."""
        with self._open(log_id) as log:
            end = Position(log.valid_end(), 0)
            if complete:
                return end
            if log.is_mid_line(end):
                end = next(lines_backward(log, end)).begin
            last = next(lines_backward(log, end), None) if joining is not None else None
            if joining is None or last is None or joining.is_quiet(last):
                return end
            return next(_backward(log, end, joining, complete=False)).begin

    def size_bytes(self, log_id: str) -> int:
        """The size of the file; 0 when there is none."""
        with self._open(log_id) as log:
            return log.size()

    def timestamps_ms(self, log_id: str) -> tuple[int, int] | None:
        """When the first and the last output was read; None for an empty log."""
        with self._open(log_id) as log:
            first = next(log.frames_forward(0), None)
            last = next(log.frames_backward(log.valid_end()), None)
        return (first.timestamp_ms, last.timestamp_ms) if first and last else None

    def delete(self, log_id: str) -> None:
        """Remove the log, if there is one."""
        log_path(self._logs_dir, log_id).unlink(missing_ok=True)

    def _open(self, log_id: str) -> LogFile:
        return LogFile(log_path(self._logs_dir, log_id))


def _forward(
    log: LogFile, position: Position, joining: Joining | None, start_ms: int, *, complete: bool
) -> Iterator[Line]:
    """The events after `position`; those before `start_ms` need not be told apart."""
    if joining is None:
        return lines_forward(log, position, complete, start_ms)
    lines = lines_forward(log, position, complete, max(0, start_ms - JOINED_BEFORE_MS))
    return events_forward(log, position, joining, lines, complete=complete)


def _backward(log: LogFile, position: Position, joining: Joining | None, *, complete: bool) -> Iterator[Line]:
    """The events before `position`, the last first."""
    if joining is None:
        return lines_backward(log, position)
    return events_backward(log, position, joining, complete=complete)


class _PageBuilder:
    """Events up to a number and a size; the first one always fits."""

    def __init__(self, limit: int, max_bytes: int) -> None:
        self.events: list[LogEvent] = []
        self._limit = limit
        self._bytes_left = max_bytes

    def add(self, line: Line) -> bool:
        """False, and nothing added, when the page is full."""
        size = len(line.raw) + EVENT_OVERHEAD_BYTES
        if len(self.events) >= self._limit or (self.events and size > self._bytes_left):
            return False
        self._bytes_left -= size
        self.events.append(LogEvent(line.timestamp_ms, line.raw.decode("utf-8", "replace"), line.begin))
        return True
