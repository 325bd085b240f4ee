from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, Service, described, job

Serve = Callable[..., Service]
OTHER_ID = "a" + JOB_ID[1:]


def yard(serve: Serve, *jobs: dict[str, Any]) -> Service:
    return serve(DescribeJobs=described(*jobs), CancelJob=lambda _: {}, TerminateJob=lambda _: {})


def test_cancel_stops_what_has_not_started(run: Run, serve: Serve) -> None:
    service = yard(serve, job(status="RUNNABLE"))
    result = run("cancel", JOB_ID, "--reason", "changed my mind")
    assert result.exit_code == 0
    assert result.stdout == f"{JOB_ID} is being cancelled (it was RUNNABLE).\n"
    assert service.asked("CancelJob") == [{"jobId": JOB_ID, "reason": "changed my mind"}]


@pytest.mark.parametrize("status", ["STARTING", "RUNNING"])
def test_cancel_says_what_it_cannot_stop_and_stops_the_rest(run: Run, serve: Serve, status: str) -> None:
    service = yard(serve, job(status=status), job(OTHER_ID))
    result = run("cancel", JOB_ID, OTHER_ID)
    assert result.exit_code == 1
    assert "`batchyard terminate` stops it" in result.stderr
    assert [params["jobId"] for params in service.asked("CancelJob")] == [OTHER_ID]


def test_terminate_stops_running_jobs_and_leaves_ended_ones(run: Run, serve: Serve) -> None:
    service = yard(serve, job(status="RUNNING"), job(OTHER_ID, status="SUCCEEDED"))
    result = run("terminate", JOB_ID, OTHER_ID, JOB_ID)
    assert result.exit_code == 0
    assert f"{OTHER_ID} has already SUCCEEDED." in result.stdout
    assert [params["jobId"] for params in service.asked("TerminateJob")] == [JOB_ID]


def test_nothing_is_stopped_when_one_of_the_jobs_is_not_there(run: Run, serve: Serve) -> None:
    service = yard(serve, job(status="RUNNING"))
    result = run("terminate", JOB_ID, OTHER_ID)
    assert result.exit_code == 1
    assert f"there is no job {OTHER_ID}; nothing was done." in result.stderr
    assert not service.asked("TerminateJob")


def test_json(run: Run, serve: Serve) -> None:
    yard(serve, job(status="RUNNING"))
    answer = json.loads(run("terminate", JOB_ID, "--json").stdout)
    assert answer == {"jobs": [{"jobId": JOB_ID, "previousStatus": "RUNNING", "terminated": True}]}
