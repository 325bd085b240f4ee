"""CloudWatch Logs, as far as reading the logs of jobs takes: streams and GetLogEvents (facts §12).

A stream is the log of one container of an attempt, and is there as soon as the attempt runs. The other operations of
the service are in `log_groups.py` and `log_search.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import Connection

from batchyard.api import log_groups, log_search, paging
from batchyard.api.context import Context, Params, Result, operation
from batchyard.api.log_groups import bad_token, check_group, delete_files, group_arn, group_of
from batchyard.settings import Settings
from batchyard.store import logs
from batchyard.store.logs import StreamRow
from batchyard.telemetry.loglines import FIRST_POSITION, LogPositionError, Position
from batchyard.telemetry.logstore import LogStore, Page
from batchyard.telemetry.multiline import Joining
from batchyard.wire import errors

MODULES = (log_groups, log_search)
"""The service's other modules: importing this one registers their operations too."""

MAX_DESCRIBED = 50
MAX_EVENTS = 10_000


@operation("logs", "DescribeLogStreams")
async def describe_log_streams(context: Context, params: Params) -> Result:
    """Streams by name, or by the time of their last event."""
    group = group_of(params)
    prefix = params.get("logStreamNamePrefix", "")
    by_time = params.get("orderBy") == "LastEventTime"
    descending = params.get("descending", False)
    if by_time and prefix:
        raise errors.invalid_parameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
    limit = params.get("limit", MAX_DESCRIBED)
    scope = f"DescribeLogStreams {group} {prefix} {by_time} {descending}"
    after = log_groups.position(params, scope) if params.get("nextToken") else None

    def read(connection: Connection) -> list[StreamRow]:
        check_group(connection, group)
        if by_time:
            end = None if after is None else (after[0], after[1], after[2])
            return logs.streams_by_end(connection, group, end, limit + 1, descending=descending)
        name = None if after is None else after[0]
        return logs.streams_by_name(connection, group, prefix, name, limit + 1, descending=descending)

    streams = await context.database.read(read)
    answer: Result = {
        "logStreams": await asyncio.to_thread(_describe_streams, context.settings, context.logs, streams[:limit])
    }
    if len(streams) > limit:
        last = streams[limit - 1]
        answer["nextToken"] = paging.encode(logs.end_position(last) if by_time else [last.name], scope)
    return answer


def _describe_streams(settings: Settings, store: LogStore, streams: list[StreamRow]) -> list[dict[str, Any]]:
    described = []
    for stream in streams:
        detail: dict[str, Any] = {
            "logStreamName": stream.name,
            "creationTime": stream.created_at_ms,
            "arn": f"{group_arn(settings, stream.log_group)}:log-stream:{stream.name}",
            "storedBytes": 0,
        }
        times = store.timestamps_ms(stream.log_id)
        if times is not None:
            detail["firstEventTimestamp"], detail["lastEventTimestamp"] = times
            detail["lastIngestionTime"] = times[1]
        described.append(detail)
    return described


@operation("logs", "GetLogEvents")
async def get_log_events(context: Context, params: Params) -> Result:
    """A page of a stream, from its head or its tail, or from a token on in the token's direction.

    At the end of the stream the token of that direction comes back unchanged: clients stop on that.
    """
    group, name = group_of(params), params["logStreamName"]
    stream = await context.database.read(lambda connection: _find_stream(connection, group, name))
    return await asyncio.to_thread(_read_events, context.logs, stream, params, context.clock.now_ms())


def _read_events(store: LogStore, stream: StreamRow, params: Params, now_ms: int) -> Result:
    complete, joining = stream.closed_at_ms is not None, log_search.joining_of(stream, now_ms)
    limit, start_ms, end_ms = params.get("limit", MAX_EVENTS), params.get("startTime", 0), params.get("endTime")
    try:
        forward, position = _direction(store, stream, params, joining)
        span: dict[str, Any] = {"limit": limit, "start_ms": start_ms, "end_ms": end_ms}
        span |= {"joining": joining, "complete": complete}
        if forward:
            page: Page = store.read_forward(stream.log_id, position, **span)
            first, last = position, page.next_position
        else:
            page = store.read_backward(stream.log_id, position, **span)
            first, last = page.next_position, position
    except LogPositionError as error:
        raise bad_token() from error
    return {
        "events": [
            {"timestamp": event.timestamp_ms, "message": event.message, "ingestionTime": event.timestamp_ms}
            for event in page.events
        ],
        "nextForwardToken": f"f/{last.token}",
        "nextBackwardToken": f"b/{first.token}",
    }


def _direction(store: LogStore, stream: StreamRow, params: Params, joining: Joining | None) -> tuple[bool, Position]:
    """Whether to read forward, and from where. A token decides by itself; startFromHead only where there is none."""
    token = params.get("nextToken")
    if token:
        direction, _, text = token.partition("/")
        if direction not in ("f", "b"):
            raise bad_token()
        return direction == "f", Position.parse(text)
    if params.get("startFromHead"):
        return True, FIRST_POSITION
    return False, store.tail_position(stream.log_id, complete=stream.closed_at_ms is not None, joining=joining)


@operation("logs", "DeleteLogStream")
async def delete_log_stream(context: Context, params: Params) -> Result:
    """Remove a stream and its events."""
    group, name = params["logGroupName"], params["logStreamName"]

    def delete(connection: Connection) -> StreamRow:
        stream = _find_stream(connection, group, name)
        logs.delete_stream(connection, group, name)
        return stream

    stream = await context.database.write(delete)
    await asyncio.to_thread(delete_files, context.logs, [stream.log_id])
    return {}


def _find_stream(connection: Connection, group: str, name: str) -> StreamRow:
    stream = logs.find_stream(connection, group, name)
    if stream is None:
        check_group(connection, group)
        raise errors.resource_not_found("The specified log stream does not exist.")
    return stream
