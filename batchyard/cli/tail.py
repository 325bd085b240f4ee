"""Reading the log of a job, or of an array's children, a piece at a time: what is new since the last look."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from batchyard.cli import output
from batchyard.cli.client import Api, describe_all
from batchyard.cli.container import attempt_container, container_of
from batchyard.cli.jobs import child_index, children

LOG_GROUP = "/aws/batch/job"
HAVE_LOGS = ("RUNNING", *output.ENDED)

Job = dict[str, Any]
Event = dict[str, Any]


class LineFormat(Struct, frozen=True):
    """How a line of a log is printed."""

    timestamps: bool = False
    as_json: bool = False

    def text(self, job_id: str, event: Event, prefix: str = "") -> str:
        if self.as_json:
            return json.dumps({"jobId": job_id, **event}, ensure_ascii=False)
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
    """The log of one job: of its last attempt and those that come after it, or of the chosen attempt alone."""

    def __init__(
        self,
        api: Api,
        line_format: LineFormat,
        *,
        attempt: int | None = None,
        tail: int | None = None,
        prefix: str = "",
    ) -> None:
        self._api = api
        self._format = line_format
        self._attempt = attempt
        self._tail = tail
        self._prefix = prefix
        self._readers: dict[str, StreamReader] = {}

    @property
    def has_stream(self) -> bool:
        """Whether the job has got a log at all."""
        return bool(self._readers)

    def update(self, job: Job) -> bool:
        streams = log_streams(job)
        if self._attempt is not None:
            wanted = streams[self._attempt - 1 : self._attempt]
        elif self._readers:
            wanted = [stream for stream in streams if stream in self._readers or stream == streams[-1]]
        else:
            wanted = streams[-1:]
        printed = [self._print_new(job, stream) for stream in wanted]
        return any(printed)

    def _print_new(self, job: Job, stream: str) -> bool:
        if stream not in self._readers:
            tail = None if self._readers else self._tail
            self._readers[stream] = StreamReader(self._api.logs, log_group(job), stream, tail)
        printed = False
        for event in self._readers[stream].read():
            write_line(self._format.text(job["jobId"], event, self._prefix))
            printed = True
        flush()
        return printed


class ArrayTail:
    """The logs of an array's children, or of a job's nodes, each line with the index in front. They are followed as
    they start; one that has ended is read to its end and then not asked for again."""

    def __init__(
        self, api: Api, line_format: LineFormat, size: int, *, tail: int | None = None, member: str = "arrayJobId"
    ) -> None:
        """`member` is ListJobs' own for the job: `arrayJobId` or `multiNodeJobId`."""
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
            self._tails[child_id] = JobTail(self._api, self._format, tail=self._tail, prefix=prefix)
        printed = self._tails[child_id].update(child)
        if child["status"] in output.ENDED:
            self._finished.add(child_id)
            del self._tails[child_id]
        return printed


def log_group(job: Job) -> str:
    options = container_of(job).get("logConfiguration", {}).get("options", {})
    return str(options.get("awslogs-group", LOG_GROUP))


def log_streams(job: Job) -> list[str]:
    """The log streams of the job's attempts, oldest first; the running attempt's is the last."""
    attempts = [attempt_container(attempt).get("logStreamName") for attempt in job.get("attempts", [])]
    current = container_of(job).get("logStreamName")
    return list(dict.fromkeys(stream for stream in (*attempts, current) if stream))


def last_lines(api: Api, job: Job, count: int) -> list[str]:
    """The end of the log of the job's last attempt."""
    streams = log_streams(job)
    if not streams:
        return []
    events = StreamReader(api.logs, log_group(job), streams[-1], tail=count).read()
    return [event["message"].removesuffix("\n") for event in deque(events, maxlen=count)]


def write_line(text: str) -> None:
    """A job's own line, byte for byte: no markup, no folding, nothing stripped."""
    sys.stdout.write(text + "\n")


def flush() -> None:
    sys.stdout.flush()
