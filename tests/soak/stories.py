"""What the load is made of: short stories of one or several jobs, told at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.soak.client import Api
from tests.soak.ledger import Judge, Ledger
from tests.soak.records import SCRIPT, TIMED_OUT

QUEUE, SLOW_QUEUE = "soak", "soak-slow"
ARRAY_SIZE = 10
PAIR_SIZE = 5
CHAIN_SIZE = 4
FAILURE = 3
STOPPED = "no longer wanted"


class Story(NamedTuple):
    """`attempts` is about how many it starts; `weight`, how often it is told."""

    tell: Callable[[Author], Awaitable[None]]
    attempts: float
    weight: int


class Author:
    """Submits jobs and enters them into the ledger."""

    def __init__(self, api: Api, ledger: Ledger, lot: random.Random, definition: str) -> None:
        self.api, self.ledger, self.lot = api, ledger, lot
        self._definition = definition

    async def submit(
        self,
        kind: str,
        work: str,
        judge: Judge,
        *,
        size: int | None = None,
        after: tuple[str, ...] = (),
        queue: str = QUEUE,
        **more: Any,
    ) -> str:
        """A job that does `work` in a shell; `more` are parameters of SubmitJob. Returns its id."""
        if size is not None:
            more["arrayProperties"] = {"size": size}
        more.setdefault("dependsOn", [{"jobId": each} for each in after])
        answer = await self.api.batch(
            "SubmitJob",
            jobName=kind.replace(" ", "-"),
            jobQueue=queue,
            jobDefinition=self._definition,
            parameters={"work": work},
            **more,
        )
        job_id = str(answer["jobId"])
        # A child of a SEQUENTIAL array waits for the one before it in its own array.
        parents = tuple(each.get("jobId", job_id) for each in more["dependsOn"])
        self.ledger.enter(kind, job_id, judge, parents=parents, size=size)
        return job_id


def succeeded(job: dict[str, Any]) -> str | None:
    return None if job["status"] == "SUCCEEDED" else "should have succeeded"


def succeeded_at_second(job: dict[str, Any]) -> str | None:
    return succeeded(job) or (None if len(job["attempts"]) == 2 else "should have had two attempts")


def failed(job: dict[str, Any]) -> str | None:
    right = job["status"] == "FAILED" and job["container"].get("exitCode") == FAILURE
    return None if right else f"should have failed with exit code {FAILURE}"


def timed_out(job: dict[str, Any]) -> str | None:
    right = job["status"] == "FAILED" and job.get("statusReason") == TIMED_OUT
    return None if right else "should have timed out"


def stopped(job: dict[str, Any]) -> str | None:
    right = job["status"] == "FAILED" and job.get("statusReason") == STOPPED
    return None if right else "should have been stopped"


def stopped_or_succeeded(job: dict[str, Any]) -> str | None:
    """A cancel that comes when the job runs changes nothing."""
    return None if job["status"] == "SUCCEEDED" else stopped(job)


async def single(author: Author) -> None:
    await author.submit("single", "true", succeeded)


async def sleeper(author: Author) -> None:
    await author.submit("sleeper", f"sleep {author.lot.uniform(0.05, 0.8):.2f}", succeeded)


async def failing(author: Author) -> None:
    await author.submit("failing", f"(exit {FAILURE})", failed)


async def retried(author: Author) -> None:
    work = f"[ $AWS_BATCH_JOB_ATTEMPT -ge 2 ] || (exit {FAILURE})"
    await author.submit("retried", work, succeeded_at_second, retryStrategy={"attempts": 3})


async def array(author: Author) -> None:
    await author.submit("array", "sleep 0.0$AWS_BATCH_JOB_ARRAY_INDEX", succeeded, size=ARRAY_SIZE)


async def dependent(author: Author) -> None:
    first = await author.submit("first", "sleep 0.1", succeeded)
    second = await author.submit("second", "true", succeeded, after=(first,))
    await author.submit("third", "true", succeeded, after=(first, second))


async def pair(author: Author) -> None:
    first = await author.submit("pair", "sleep 0.1", succeeded, size=PAIR_SIZE)
    depends = [{"jobId": first, "type": "N_TO_N"}]
    await author.submit("N_TO_N", "true", succeeded, size=PAIR_SIZE, dependsOn=depends)


async def chain(author: Author) -> None:
    await author.submit("SEQUENTIAL", "true", succeeded, size=CHAIN_SIZE, dependsOn=[{"type": "SEQUENTIAL"}])


async def timing_out(author: Author) -> None:
    timeout = {"attemptDurationSeconds": 1}
    await author.submit("timing out", "sleep 100", timed_out, queue=SLOW_QUEUE, timeout=timeout)


async def terminated(author: Author) -> None:
    job_id = await author.submit("terminated", "sleep 100", stopped, queue=SLOW_QUEUE)
    await asyncio.sleep(author.lot.uniform(0, 2))
    await author.api.batch("TerminateJob", jobId=job_id, reason=STOPPED)


async def cancelled(author: Author) -> None:
    first = await author.submit("waited for", "sleep 1", succeeded, queue=SLOW_QUEUE)
    job_id = await author.submit("cancelled", "true", stopped_or_succeeded, after=(first,))
    await asyncio.sleep(author.lot.uniform(0, 0.5))
    await author.api.batch("CancelJob", jobId=job_id, reason=STOPPED)


STORIES = (
    Story(single, 1, 40),
    Story(sleeper, 1, 16),
    Story(failing, 1, 6),
    Story(retried, 2, 8),
    Story(array, ARRAY_SIZE, 4),
    Story(dependent, 3, 8),
    Story(pair, 2 * PAIR_SIZE, 2),
    Story(chain, CHAIN_SIZE, 2),
    Story(timing_out, 1, 3),
    Story(terminated, 1, 3),
    Story(cancelled, 1.5, 3),
)
ATTEMPTS_PER_STORY = sum(each.attempts * each.weight for each in STORIES) / sum(each.weight for each in STORIES)


def some_story(lot: random.Random) -> Story:
    return lot.choices(STORIES, [each.weight for each in STORIES])[0]


def definition_of(records: Path) -> dict[str, Any]:
    """Parameters of RegisterJobDefinition."""
    return {
        "jobDefinitionName": "soak",
        "type": "container",
        "parameters": {"work": "true"},
        "containerProperties": {
            "image": "busybox",
            "command": ["sh", "-c", SCRIPT, "sh", str(records), "Ref::work"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}],
        },
    }
