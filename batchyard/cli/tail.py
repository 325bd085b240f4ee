"""Reading the log of a job, or of an array's children, a piece at a time: what is new since the last look."""

from __future__ import annotations

import heapq
import json
import sys
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from batchyard.cli import output
from batchyard.cli.client import Api, describe_all
from batchyard.cli.container import attempt_containers, containers_of, outcome_of, place_of
from batchyard.cli.jobs import child_index, children

LOG_GROUP = "/aws/batch/job"
HAVE_LOGS = ("RUNNING", *output.ENDED)

Job = dict[str, Any]
Event = dict[str, Any]


class LineFormat(Struct, frozen=True):
    """How a line of a log is printed."""

    timestamps: bool = False
    as_json: bool = False

    def text(self, job_id: str, event: Event, prefix: str = "", container: str | None = None) -> str:
        """`container` is the name of the one that wrote it, where there are several."""
        if self.as_json:
            named = {} if container is None else {"containerName": container}
            return json.dumps({"jobId": job_id, **named, **event}, ensure_ascii=False)
        if self.timestamps:
            at = datetime.fromtimestamp(event["timestamp"] / 1000).astimezone()
            prefix += at.isoformat(timespec="milliseconds") + " "
        return prefix + str(event["message"]).removesuffix("\n")


class Tail(Protocol):
    """Prints what is new in a job's log each time it is shown the job."""

    def update(self, job: Job) -> bool:
        """Print the new lines; whether there were any."""


class StreamReader:
    """One log stream from its beginning, or from its last `tail` lines, to wherever it has come to."""

    def __init__(self, logs: Any, group: str, stream: str, tail: int | None = None) -> None:
        self._logs = logs
        self._where = {"logGroupName": group, "logStreamName": stream}
        self._token: str | None = None
        self._tail = tail

    def read(self) -> Iterator[Event]:
        """Everything since the last call, a page in memory at a time. A stream that doesn't exist (yet) is empty."""
        while True:
            page = self._page()
            if page is None:
                return
            yield from page["events"]
            is_end, self._token = page["nextForwardToken"] == self._token, page["nextForwardToken"]
            if is_end:
                return

    def _page(self) -> Any:
        if self._token is not None:
            start: dict[str, Any] = {"nextToken": self._token, "startFromHead": True}
        elif self._tail is not None:
            start = {"startFromHead": False, "limit": self._tail}
        else:
            start = {"startFromHead": True}
        try:
            return self._logs.get_log_events(**self._where, **start)
        except self._logs.exceptions.ResourceNotFoundException:
            return None


class JobTail:
    """The log of one job: of its last attempt and those that come after it, or of the chosen attempt alone.

    The containers of a task of several are told apart by their names, before each line, and put in the order of time
    as far as their lines are there at the same time."""

    def __init__(
        self,
        api: Api,
        line_format: LineFormat,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        container: str | None = None,
        prefix: str = "",
    ) -> None:
        """`container` names the only one of a task's that is wanted."""
        self._api = api
        self._format = line_format
        self._attempt = attempt
        self._tail = tail
        self._container = container
        self._prefix = prefix
        self._readers: dict[int, dict[str, StreamReader]] = {}
        """By the container's place in its task, and by stream."""

    @property
    def has_stream(self) -> bool:
        """Whether the job has got a log at all."""
        return any(self._readers.values())

    def update(self, job: Job) -> bool:
        places = range(len(containers_of(job))) if self._container is None else [place_of(job, self._container)]
        names = [each.get("name", "") for each in containers_of(job)]
        width = max(map(len, names), default=0)
        is_named = self._container is None and len(names) > 1
        sources = (self._new_events(job, place) for place in places)
        printed = False
        for event, place in heapq.merge(*sources, key=lambda found: found[0]["timestamp"]):
            prefix = f"{self._prefix}{names[place]:<{width}} | " if is_named else self._prefix
            write_line(self._format.text(job["jobId"], event, prefix, names[place] if is_named else None))
            printed = True
        flush()
        return printed

    def _new_events(self, job: Job, place: int) -> Iterator[tuple[Event, int]]:
        readers = self._readers.setdefault(place, {})
        streams = log_streams(job, place)
        if self._attempt is not None:
            wanted = streams[self._attempt - 1 : self._attempt]
        elif readers:
            wanted = [stream for stream in streams if stream in readers or stream == streams[-1]]
        else:
            wanted = streams[-1:]
        for stream in wanted:
            if stream not in readers:
                tail = None if readers else self._tail
                readers[stream] = StreamReader(self._api.logs, log_group(job, place), stream, tail)
            for event in readers[stream].read():
                yield event, place


class ArrayTail:
    """The logs of an array's children, or of a job's nodes, each line with the index in front. They are followed as
    they start; one that has ended is read to its end and then not asked for again."""

    def __init__(
        self,
        api: Api,
        line_format: LineFormat,
        size: int,
        *,
        tail: int | None = None,
        container: str | None = None,
        member: str = "arrayJobId",
    ) -> None:
        """`member` is ListJobs' own for the job: `arrayJobId` or `multiNodeJobId`."""
        self._container = container
        self._api = api
        self._format = line_format
        self._tail = tail
        self._member = member
        self._width = len(str(size - 1))
        self._tails: dict[str, JobTail] = {}
        self._finished: set[str] = set()

    @property
    def has_stream(self) -> bool:
        return bool(self._tails or self._finished)

    def update(self, job: Job) -> bool:
        started = children(self._api.batch, job["jobId"], HAVE_LOGS, member=self._member)
        pending = [child["jobId"] for child in started if child["jobId"] not in self._finished]
        printed = [self._update_child(child) for child in describe_all(self._api.batch, pending)]
        return any(printed)

    def _update_child(self, child: Job) -> bool:
        child_id = child["jobId"]
        if child_id not in self._tails:
            prefix = f"{child_index(child):>{self._width}} | "
            self._tails[child_id] = JobTail(
                self._api, self._format, tail=self._tail, container=self._container, prefix=prefix
            )
        printed = self._tails[child_id].update(child)
        if child["status"] in output.ENDED:
            self._finished.add(child_id)
            del self._tails[child_id]
        return printed


def log_group(job: Job, place: int = 0) -> str:
    """Where a container of the job's task logs to."""
    containers = containers_of(job)
    options = containers[place].get("logConfiguration", {}).get("options", {}) if place < len(containers) else {}
    return str(options.get("awslogs-group", LOG_GROUP))


def log_streams(job: Job, place: int = 0) -> list[str]:
    """The log streams of a container of the job, one for each attempt, oldest first; the running attempt's is last."""
    tasks = [*map(attempt_containers, job.get("attempts", [])), containers_of(job)]
    streams = [task[place].get("logStreamName") for task in tasks if place < len(task)]
    return list(dict.fromkeys(stream for stream in streams if stream))


def last_lines(api: Api, job: Job, count: int) -> list[str]:
    """The end of the log of the job's last attempt; of several containers, of the one that says how the job ended."""
    place = next((at for at, each in enumerate(containers_of(job)) if each is outcome_of(job)), 0)
    streams = log_streams(job, place)
    if not streams:
        return []
    events = StreamReader(api.logs, log_group(job, place), streams[-1], tail=count).read()
    return [event["message"].removesuffix("\n") for event in deque(events, maxlen=count)]


def write_line(text: str) -> None:
    """A job's own line, byte for byte: no markup, no folding, nothing stripped."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    sys.stdout.flush()
