"""FilterLogEvents: events of many streams, in the order of time.

A call takes on at most 100 streams, the oldest that are left, merges their events by time and reads a bounded amount;
the token says how far each of them has been read. Only when these are done do the next 100 have their turn, so with
more than 100 streams the order of time holds within each hundred.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from typing import Any

import msgspec
from msgspec import Struct, field
from sqlalchemy import Connection

from batchyard import logpatterns
from batchyard.api import log_patterns, paging
from batchyard.api.context import Context, Params, Result, operation
from batchyard.api.log_groups import bad_token, check_group, group_of
from batchyard.api.log_patterns import Pattern
from batchyard.store import logs
from batchyard.store.logs import FIRST_STREAM, StreamPosition, StreamRow
from batchyard.telemetry.loglines import FIRST_POSITION, LogPositionError, Position
from batchyard.telemetry.logstore import EVENT_OVERHEAD_BYTES, MAX_PAGE_BYTES, LogEvent, LogStore
from batchyard.telemetry.multiline import Joining
from batchyard.wire import errors

MAX_STREAMS = 100
MAX_EVENTS = 10_000
MAX_SCANNED_BYTES = 16 * MAX_PAGE_BYTES
"""How much of all logs together one call looks through for events that match."""
READ_BYTES = 64 * 1024
"""How much of one log is read at a time."""


class _Place(Struct, array_like=True):
    """How far a search has come: `streams` are those in turn, by key; one that is missing has not been begun."""

    after: StreamPosition = FIRST_STREAM
    last: StreamPosition | None = None
    read: dict[str, str] = field(default_factory=dict)


class _Search(Struct, frozen=True):
    """What is asked for."""

    group: str
    names: list[str]
    prefix: str
    pattern: Pattern
    start_ms: int
    end_ms: int | None
    limit: int
    now_ms: int


def joining_of(stream: StreamRow, now_ms: int) -> Joining | None:
    """How the lines of a stream are put together to events, for a reader of this moment; None where they are not."""
    return None if stream.pattern is None else Joining(logpatterns.compiled(stream.pattern), now_ms)


@operation("logs", "FilterLogEvents")
async def filter_log_events(context: Context, params: Params) -> Result:
    """Events that match, in ascending order. A page may be empty and not be the last."""
    if params.get("startFromHead") is False:
        raise errors.invalid_parameter("startFromHead false is not built in Batchyard yet for FilterLogEvents")
    names, prefix = params.get("logStreamNames", []), params.get("logStreamNamePrefix", "")
    if names and prefix:
        raise errors.invalid_parameter("logStreamNames and logStreamNamePrefix cannot both be given")
    search = _Search(
        group=group_of(params),
        names=names,
        prefix=prefix,
        pattern=log_patterns.parse(params.get("filterPattern", "")),
        start_ms=params.get("startTime", 0),
        # The time given is still part of the range here, which GetLogEvents leaves out.
        end_ms=params["endTime"] + 1 if "endTime" in params else None,
        limit=params.get("limit", MAX_EVENTS),
        now_ms=context.clock.now_ms(),
    )
    pattern_text = params.get("filterPattern", "")
    scope = f"FilterLogEvents {search.group} {names} {prefix} {pattern_text} {search.start_ms} {search.end_ms}"
    place = _decode(params["nextToken"], scope) if params.get("nextToken") else _Place()
    streams, more = await context.database.read(lambda connection: _streams(connection, search, place))
    try:
        events, unread = await asyncio.to_thread(_merge, context.logs, search, streams, place)
    except LogPositionError as error:
        raise bad_token() from error
    answer: Result = {"events": events, "searchedLogStreams": []}
    last = place.last or (_position_of(streams[-1]) if streams else place.after)
    if unread is not None:
        answer["nextToken"] = _encode(_Place(place.after, last, unread), scope)
    elif more:
        answer["nextToken"] = _encode(_Place(last), scope)
    return answer


def _streams(connection: Connection, search: _Search, place: _Place) -> tuple[list[StreamRow], bool]:
    """The streams whose turn it is, and whether there are more after them."""
    check_group(connection, search.group)
    if search.names:
        found = logs.find_streams(connection, search.group, search.names)
        if len(found) < len(set(search.names)):
            raise errors.resource_not_found("The specified log stream does not exist.")
        return found, False
    if place.last is not None:
        turn = logs.streams_by_age(connection, search.group, search.prefix, place.after, place.last, MAX_STREAMS)
        following = logs.streams_by_age(connection, search.group, search.prefix, place.last, None, 1)
        return turn, bool(following)
    found = logs.streams_by_age(connection, search.group, search.prefix, place.after, None, MAX_STREAMS + 1)
    return found[:MAX_STREAMS], len(found) > MAX_STREAMS


class _Reader:
    """One stream on its way through a search: a bit of it in memory, and where the next bit begins."""

    def __init__(self, store: LogStore, search: _Search, stream: StreamRow, position: Position) -> None:
        self.stream = stream
        self._store = store
        self._search = search
        self._events: list[LogEvent] = []
        self._index = 0
        self._position = position
        self._joining = joining_of(stream, search.now_ms)

    def peek(self) -> LogEvent | None:
        """The next event, read from the log if need be; None at the end."""
        if self._index == len(self._events):
            page = self._store.read_forward(
                self.stream.log_id,
                self._position,
                start_ms=self._search.start_ms,
                end_ms=self._search.end_ms,
                complete=self.stream.closed_at_ms is not None,
                max_bytes=READ_BYTES,
                joining=self._joining,
            )
            self._events, self._index, self._position = page.events, 0, page.next_position
        return self._events[self._index] if self._events else None

    def advance(self) -> None:
        self._index += 1

    @property
    def position(self) -> Position:
        """Where to go on: before the next event."""
        return self._position if self._index == len(self._events) else self._events[self._index].position


def _merge(
    store: LogStore, search: _Search, streams: list[StreamRow], place: _Place
) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
    """Events that match, and how far the streams were read, or None when they all were to their ends."""
    readers = [
        _Reader(store, search, stream, Position.parse(place.read[key]) if key in place.read else FIRST_POSITION)
        for stream in streams
        for key in [_key(stream)]
    ]
    heads = [(event.timestamp_ms, index) for index, reader in enumerate(readers) if (event := reader.peek())]
    heapq.heapify(heads)
    events: list[dict[str, Any]] = []
    found_bytes = scanned_bytes = 0
    while heads and len(events) < search.limit and scanned_bytes < MAX_SCANNED_BYTES:
        reader = readers[heads[0][1]]
        event = reader.peek()
        assert event is not None
        size = len(event.message) + EVENT_OVERHEAD_BYTES
        if search.pattern.matches(event.message):
            if events and found_bytes + size > MAX_PAGE_BYTES:
                break
            found_bytes += size
            events.append(_describe(reader.stream, event))
        scanned_bytes += size
        reader.advance()
        following = reader.peek()
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following.timestamp_ms, heads[0][1]))
    if not heads:
        return events, None
    return events, {_key(reader.stream): reader.position.token for reader in readers}


def _describe(stream: StreamRow, event: LogEvent) -> dict[str, Any]:
    return {
        "logStreamName": stream.name,
        "timestamp": event.timestamp_ms,
        "message": event.message,
        "ingestionTime": event.timestamp_ms,
        "eventId": f"{stream.log_id}:{event.position.token}",
    }


def _position_of(stream: StreamRow) -> StreamPosition:
    return StreamPosition(stream.created_at_ms, stream.name)


def _key(stream: StreamRow) -> str:
    """A short stand-in for the stream's name, to keep tokens small."""
    return hashlib.blake2b(stream.name.encode(), digest_size=5).hexdigest()


def _encode(place: _Place, scope: str) -> str:
    return paging.encode(msgspec.to_builtins(place), scope)


def _decode(token: str, scope: str) -> _Place:
    return msgspec.convert(paging.decode(token, scope, lambda _: bad_token()), _Place)
