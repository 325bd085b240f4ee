"""User guide, "AWS Batch Service Limits": each is a setting."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from batchyard.store.tables import jobs as table
from tests.unit.api.harness import World, definition, ec2_environment, open_world, refusal

ENVELOPE = "Error executing request, Exception : "
LIMITS = {
    "max_compute_environments": 2,
    "max_job_queues": 1,
    "max_queue_environments": 1,
    "max_dependencies": 1,
    "max_array_size": 4,
    "max_job_definition_bytes": 4096,
    "max_submit_job_bytes": 2048,
    "max_submitted_jobs": 2,
}


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, **LIMITS) as world:
        world.environment("one")
        world.queue("queue", "one")
        world.call("RegisterJobDefinition", **definition())
        yield world


SUBMIT = {"jobName": "job", "jobQueue": "queue", "jobDefinition": "definition"}


def test_compute_environments(narrow: World) -> None:
    narrow.environment("two")
    text = refusal(narrow, "CreateComputeEnvironment", **ec2_environment("three")).message
    assert text.startswith(f"{ENVELOPE}Limits Error: number of compute environments is above the limits 2")


def test_job_queues(narrow: World) -> None:
    order = [{"order": 1, "computeEnvironment": "one"}]
    given = {"jobQueueName": "second", "priority": 1, "computeEnvironmentOrder": order}
    text = refusal(narrow, "CreateJobQueue", **given).message
    assert text.startswith(f"{ENVELOPE}Limits Error: number of job queues is above the limits 1")


def test_compute_environments_of_a_queue(narrow: World) -> None:
    narrow.environment("two")
    order = [{"order": place, "computeEnvironment": name} for place, name in enumerate(("one", "two"))]
    text = refusal(narrow, "UpdateJobQueue", jobQueue="queue", computeEnvironmentOrder=order).message
    assert text.startswith(f"{ENVELOPE}computeEnvironmentOrder can have at most 1 entries")


def test_the_size_of_a_job_definition(narrow: World) -> None:
    large = definition("large", container={"command": ["x" * 4096]})
    text = refusal(narrow, "RegisterJobDefinition", **large).message
    assert text.startswith(f"{ENVELOPE}Limits Error: JobDefinitionsize is above the limits 4 KB")


def test_the_size_of_a_submission(narrow: World) -> None:
    text = refusal(narrow, "SubmitJob", **SUBMIT, parameters={"a": "x" * 2048}).message
    assert text.startswith(f"{ENVELOPE}Limits Error: SubmitJob payload size is above the limits 2 KB")


def test_the_size_of_an_array(narrow: World) -> None:
    text = refusal(narrow, "SubmitJob", **SUBMIT, arrayProperties={"size": 5}).message
    assert text.startswith(f"{ENVELOPE}Array size must be between 2 and 4")


def test_dependencies(narrow: World) -> None:
    text = refusal(narrow, "SubmitJob", **SUBMIT, dependsOn=[{"jobId": "a"}, {"jobId": "b"}]).message
    assert text.startswith(f"{ENVELOPE}A job can depend on at most 1 jobs")


def test_jobs_in_submitted(narrow: World) -> None:
    """Until the scheduler has taken some in."""
    first = narrow.call("SubmitJob", **SUBMIT)["jobId"]
    narrow.call("SubmitJob", **SUBMIT)
    text = refusal(narrow, "SubmitJob", **SUBMIT).message
    assert text.startswith(f"{ENVELOPE}Limits Error: number of jobs in SUBMITTED state is above the limits 2")
    narrow.write(
        lambda connection: connection.execute(update(table).where(table.c.job_id == first).values(status="RUNNABLE"))
    )
    narrow.call("SubmitJob", **SUBMIT)


def test_refusing_a_job_costs_the_same_however_many_are_submitted(tmp_path: Path) -> None:
    def instructions_of_a_refusal(most: int) -> int:
        folder = tmp_path / str(most)
        folder.mkdir()
        with open_world(folder, max_submitted_jobs=most) as world:
            world.environment("one")
            world.queue("queue", "one")
            world.call("RegisterJobDefinition", **definition())
            for _ in range(most):
                world.call("SubmitJob", **SUBMIT)
            with counted_instructions(world) as counted:
                refusal(world, "SubmitJob", **SUBMIT)
        return len(counted)

    assert instructions_of_a_refusal(200) == instructions_of_a_refusal(2)


@contextmanager
def counted_instructions(world: World) -> Iterator[list[None]]:
    """One entry for each instruction of SQLite's machine that writes run."""
    found: list[None] = []

    def count(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(lambda: found.append(None), 1)

    def stop(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(None, 0)

    world.write(count)
    found.clear()
    yield found
    world.write(stop)


def test_without_settings_the_counts_are_not_limited(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        for number in range(4):
            world.environment(f"environment{number}")
            world.queue(f"queue{number}", f"environment{number}")
        world.call("RegisterJobDefinition", **definition())
        world.call("SubmitJob", **{**SUBMIT, "jobQueue": "queue0"}, parameters={"a": "x" * 40_000})


def test_a_limit_of_zero_is_none(tmp_path: Path) -> None:
    with open_world(
        tmp_path, max_queue_environments=0, max_dependencies=0, max_job_definition_bytes=0, max_submitted_jobs=0
    ) as world:
        names = [f"environment{number}" for number in range(4)]
        for name in names:
            world.environment(name)
        world.queue("queue", *names)
        world.call("RegisterJobDefinition", **definition(container={"command": ["x" * 25_000]}))
        first = world.call("SubmitJob", **SUBMIT)["jobId"]
        world.call("SubmitJob", **SUBMIT, dependsOn=[{"jobId": first}] * 21)
