"""One soak: find out what the machine can do, then ask for a part of that for a long time, and kill what runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from batchyard.testing import LOG_GROUP, Server
from tests.acceptance.crash_cases import supervisor_pid
from tests.soak import stories
from tests.soak.client import Api
from tests.soak.ledger import Ledger
from tests.soak.records import Records
from tests.soak.samples import SAMPLE_SECONDS, Latencies, Process, Sample, folder_mib

SETTLE_SECONDS = 1.0
READ_SECONDS = 0.25
DRAIN_SECONDS = 180.0
BURST_STORIES = 400
"""Under way at once while the capacity is measured."""
BURST_TELLERS = 64
"""Stories told at once meanwhile: some wait between their calls."""
MOST_OPEN_SECONDS = 60.0
"""The load waits while more jobs are open than are asked for in so long: then the machine has become slower."""


class Plan(Struct, frozen=True):
    minutes: float
    share: float
    """Of the capacity."""
    burst_seconds: float
    server_kill_seconds: float
    """About so long between two kills of the server, as long as there are any."""
    calm_share: float
    """The last part of the time, in which the server is left alive: whether it grows shows only in a long life."""
    supervisor_kill_seconds: float
    seed: int


class Soak:
    """`say` is told in a few words how far it is."""

    def __init__(self, yard: Server, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._yard, self._plan, self._say = yard, plan, say
        where = urlsplit(yard.endpoint_url)
        self._latencies = Latencies()
        self.api = Api(str(where.hostname), int(where.port or 0), self._latencies.note)
        self.records = Records(folder / "records")
        self.ledger = Ledger(self.api, self.records)
        self.samples: list[Sample] = []
        self.server_kills: list[float] = []
        """In minutes since the beginning."""
        self.supervisor_kills: list[float] = []
        self.capacity = 0.0
        """Attempts a second that the machine could do when asked for as many as it can."""
        self.held_seconds = 0.0
        """How long the load was held back, as too many jobs were open."""
        self.failures: list[str] = []
        """What went wrong with the soak itself: requests that were refused, or never answered."""
        self._lot = random.Random(plan.seed)
        self._stories: set[asyncio.Task[None]] = set()
        self._told = 0
        self._began = time.monotonic()
        self._supervisor = Process(None)
        self.is_over = asyncio.Event()
        """Set when the time is up, or by who interrupts it."""

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._began) / 60

    async def run(self) -> None:
        """All of it; what it found is in the attributes."""
        definition = await self.api.batch("RegisterJobDefinition", **stories.definition_of(self.records.path))
        self._author = stories.Author(self.api, self.ledger, self._lot, definition["jobDefinitionArn"])
        # Jobs that sleep hold their places and no CPU: of those there must be more than the machine can fill.
        await self._make_queue(stories.QUEUE, 64)
        await self._make_queue(stories.SLOW_QUEUE, 128)
        settling = self._forever(self._settle)
        self.capacity = await self._burst()
        self._began = time.monotonic()
        watchers = [self._forever(each) for each in (self._sample, self._read)]
        watchers += [asyncio.create_task(self._kill_servers()), asyncio.create_task(self._kill_supervisors())]
        await self._load(self._plan.share * self.capacity / stories.ATTEMPTS_PER_STORY)
        for each in watchers[1:]:
            each.cancel()
        await asyncio.gather(*watchers[1:], return_exceptions=True)
        await self._drain()
        for each in (settling, watchers[0]):
            each.cancel()
        await asyncio.gather(settling, watchers[0], return_exceptions=True)
        self.ledger.close()
        self.api.close()

    # ---- load

    async def _burst(self) -> float:
        """Tell stories as fast as they end; how many attempts a second began in the second half."""
        self._say("measuring the capacity")
        await self._tell_as_they_end(self._plan.burst_seconds / 2)
        self.records.read()
        begun, half = self.records.begun, time.monotonic()
        await self._tell_as_they_end(self._plan.burst_seconds / 2)
        self.records.read()
        return (self.records.begun - begun) / max(time.monotonic() - half, 1e-3)

    async def _tell_as_they_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_over.is_set():
            most_open = BURST_STORIES * stories.ATTEMPTS_PER_STORY
            if len(self._stories) < BURST_TELLERS and len(self.ledger.open) < most_open:
                self._start(stories.some_story(self._lot))
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.01)

    async def _load(self, stories_per_second: float) -> None:
        """Stories at random moments, so many a second on average, until the time is up."""
        most_open = MOST_OPEN_SECONDS * stories_per_second * stories.ATTEMPTS_PER_STORY
        end = self._began + self._plan.minutes * 60
        due = time.monotonic()
        while (now := time.monotonic()) < end and not self.is_over.is_set():
            if len(self.ledger.open) > most_open:
                self.held_seconds += SETTLE_SECONDS
                await asyncio.sleep(SETTLE_SECONDS)
                due = time.monotonic()
                continue
            if due > now:
                await asyncio.sleep(due - now)
            self._start(stories.some_story(self._lot))
            due = max(due, now - 5.0) + self._lot.expovariate(stories_per_second)

    def _start(self, story: stories.Story) -> None:
        task = asyncio.create_task(self._tell(story))
        self._stories.add(task)
        task.add_done_callback(self._stories.discard)

    async def _tell(self, story: stories.Story) -> None:
        self._told += 1
        await self._noted(story.tell(self._author))

    async def _drain(self) -> None:
        """Let all that was asked for come to its end."""
        self._say("waiting for the last jobs")
        deadline = time.monotonic() + DRAIN_SECONDS
        while (self._stories or self.ledger.open) and time.monotonic() < deadline:  # noqa: ASYNC110 - of two sources
            await asyncio.sleep(0.2)

    # ---- what goes on beside it

    def _forever(self, act: Callable[[], Coroutine[Any, Any, float]]) -> asyncio.Task[None]:
        """`act` returns how long to wait before it is called again."""

        async def go_on() -> None:
            while True:
                pause = await self._noted(act())
                await asyncio.sleep(SETTLE_SECONDS if pause is None else pause)

        return asyncio.create_task(go_on())

    async def _noted(self, work: Any) -> Any:
        """Wait for it; what it raises is a finding."""
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - told at the end, and the soak fails
            self.failures.append(f"at minute {self.minutes:.1f}: {error!r}"[:500])
            return None

    async def _settle(self) -> float:
        await self.ledger.settle()
        return SETTLE_SECONDS

    async def _read(self) -> float:
        """What people with a console do: look at lists of jobs, and at logs."""
        status = self._lot.choice(["RUNNABLE", "RUNNING", "SUCCEEDED", "FAILED"])
        await self.api.batch("ListJobs", jobQueue=stories.QUEUE, jobStatus=status, maxResults=100)
        found = self.ledger.some_stream(self._lot)
        if found is not None:
            job_id, stream = found
            page = await self.api.logs("GetLogEvents", logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
            lines = [event["message"] for event in page["events"]]
            attempt = stream_attempt(lines)
            if lines != [f"{job_id} {attempt} says hello"]:
                self.ledger.complaints.append(f"the log of {job_id} ({stream}) is {lines[:5]}")
        return READ_SECONDS

    async def _sample(self) -> float:
        if not self._supervisor.mib:
            self._supervisor = Process(await asyncio.to_thread(supervisor_pid, self._yard))
        server = Process(self._yard.pid)
        data = self._yard.data_dir
        database, logs = await asyncio.to_thread(
            lambda: (folder_mib(data, "batchyard.db*"), folder_mib(data / "logs", "*"))
        )
        ended = sum(self.ledger.ended.values())
        self.samples.append(
            Sample(
                round(self.minutes, 3),
                ended + len(self.ledger.open),
                ended,
                len(self.ledger.open),
                self.api.retries,
                server.mib,
                self._supervisor.mib,
                server.files,
                self._supervisor.files,
                database,
                logs,
                *self._latencies.summary(),
            )
        )
        wrong = len(self.ledger.complaints) + len(self.failures)
        newest = f", the last: {[*self.failures, *self.ledger.complaints][-1][:200]}" if wrong else ""
        self._say(
            f"{self.minutes:.1f} of {self._plan.minutes:g} min: {ended} jobs ended, {len(self.ledger.open)} open,"
            f" {len(self.server_kills)}+{len(self.supervisor_kills)} kills, server {server.mib} MiB,"
            f" {wrong} complaints{newest}"
        )
        return SAMPLE_SECONDS

    # ---- kills

    async def _kill_servers(self) -> None:
        last = self._plan.minutes * (1 - self._plan.calm_share)
        while True:
            await asyncio.sleep(self._plan.server_kill_seconds * self._lot.uniform(0.7, 1.3))
            if self.minutes > last:
                return
            # To its end even if the soak is over meanwhile: the server has to be there for the last checks.
            await asyncio.shield(asyncio.to_thread(self._kill_server))

    def _kill_server(self) -> None:
        self.server_kills.append(self.minutes)
        self._yard.kill()
        self._yard.start()

    async def _kill_supervisors(self) -> None:
        while True:
            await asyncio.sleep(self._plan.supervisor_kill_seconds * self._lot.uniform(0.7, 1.3))
            pid = await asyncio.to_thread(supervisor_pid, self._yard)
            if pid is not None:
                self.supervisor_kills.append(self.minutes)
                self.ledger.kills.at.append(time.time())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # ---- before it begins

    async def _make_queue(self, name: str, vcpus: int) -> None:
        resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": vcpus, "instanceTypes": ["optimal"]}
        resources |= {"instanceRole": "ecsInstanceRole", "subnets": ["subnet-1"]}
        await self.api.batch(
            "CreateComputeEnvironment", computeEnvironmentName=name, type="MANAGED", computeResources=resources
        )
        await self._until_valid("ComputeEnvironments", name)
        order = [{"order": 1, "computeEnvironment": name}]
        await self.api.batch("CreateJobQueue", jobQueueName=name, priority=1, computeEnvironmentOrder=order)
        await self._until_valid("JobQueues", name)

    async def _until_valid(self, nouns: str, name: str) -> None:
        member = nouns[0].lower() + nouns[1:]
        found = (await self.api.batch(f"Describe{nouns}", **{member: [name]}))[member]
        while found[0]["status"] != "VALID":
            await asyncio.sleep(0.05)
            found = (await self.api.batch(f"Describe{nouns}", **{member: [name]}))[member]


def stream_attempt(lines: list[str]) -> str:
    """The number of the attempt that wrote a log."""
    words = lines[0].split(" ") if lines else []
    return words[1] if len(words) > 1 else "?"
