"""CancelJob, TerminateJob and their bulk forms: what they leave for the scheduler."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.core.inputs import CancelRequested, TerminateRequested
from batchyard.store.progress import StopRequest, read_intents
from tests.unit.api.harness import World, open_world


def stops(world: World) -> list[StopRequest]:
    return [request for _, request in world.read(lambda connection: read_intents(connection, 10)).stops]


@pytest.mark.parametrize(
    ("operation", "request_of"), [("CancelJobs", CancelRequested), ("TerminateJobs", TerminateRequested)]
)
def test_all_jobs_of_a_call_are_asked_for_in_its_order_and_together(
    tmp_path: Path, operation: str, request_of: type[StopRequest]
) -> None:
    job_ids = [f"job-{number}" for number in (3, 1, 2)]
    with open_world(tmp_path) as world:
        answer = world.call(operation, jobs=[job_ids[0], "no job id", *job_ids[1:]], reason="why")
        assert answer["successful"] == job_ids
        assert [error["job"] for error in answer["errors"]] == ["no job id"]
        assert stops(world) == [request_of(job_id, "why") for job_id in job_ids]
        assert world.wakes == 1


@pytest.mark.parametrize(
    ("operation", "request_of"), [("CancelJob", CancelRequested), ("TerminateJob", TerminateRequested)]
)
def test_one_job(tmp_path: Path, operation: str, request_of: type[StopRequest]) -> None:
    with open_world(tmp_path) as world:
        world.call(operation, jobId="job-1", reason="why")
        assert stops(world) == [request_of("job-1", "why")]


def test_a_call_that_names_no_job_asks_for_nothing(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        assert world.call("TerminateJobs", jobs=["no job id"], reason="why")["successful"] == []
        assert stops(world) == []
        assert world.wakes == 0
