from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchyard.cli import output
from batchyard.cli.jobs import row, short_id
from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, NOW_MS, Service, job, queues

Serve = Callable[..., Service]


def numbered(number: int, **members: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"jobName": f"job-{number}", "createdAt": NOW_MS + number}
    return job(f"{number:08x}{JOB_ID[8:]}", **defaults | members)


def listing(by_queue: dict[str, list[dict[str, Any]]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """ListJobs as the service does it: RUNNING only, unless a status or a filter is given; newest first."""

    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        found = by_queue[params["jobQueue"]]
        if "filters" in params:
            (condition,) = params["filters"]
            if condition["name"] == "AFTER_CREATED_AT":
                found = [each for each in found if each["createdAt"] > int(condition["values"][0])]
            else:
                found = [each for each in found if each["jobName"].startswith(condition["values"][0].rstrip("*"))]
        else:
            found = [each for each in found if each["status"] == params.get("jobStatus", "RUNNING")]
        return {"jobSummaryList": sorted(found, key=lambda each: -each["createdAt"])}

    return list_jobs


@pytest.fixture
def yard(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Two queues on a day long after NOW_MS, so that all of their jobs are old."""
    monkeypatch.setattr(output, "now_ms", lambda: NOW_MS + 10 * 86_400_000)
    by_queue = {
        "fast": [numbered(1, status="RUNNING"), numbered(3, status="SUCCEEDED")],
        "slow": [numbered(2, status="RUNNABLE"), numbered(4, status="FAILED", createdAt=NOW_MS + 864_000_000 - 5)],
    }
    return serve(DescribeJobQueues=queues("fast", "slow"), ListJobs=listing(by_queue))


def names(result: Any) -> list[str]:
    assert result.exit_code == 0, result.output
    return [each["jobName"] for each in json.loads(result.stdout)["jobs"]]


@pytest.mark.usefixtures("yard")
def test_unfinished_jobs_of_any_age_and_finished_ones_of_today_newest_first(run: Run) -> None:
    assert names(run("jobs", "--json")) == ["job-4", "job-2", "job-1"]


@pytest.mark.usefixtures("yard")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--all"], ["job-4", "job-3", "job-2", "job-1"]),
        (["--all", "--limit", "2"], ["job-4", "job-3"]),
        (["--queue", "fast"], ["job-1"]),
        (["--status", "succeeded"], ["job-3"]),
        (["-s", "FAILED", "-s", "RUNNABLE"], ["job-4", "job-2"]),
        (["--name", "job*"], ["job-4", "job-3", "job-2", "job-1"]),
        (["--name", "job*", "--status", "RUNNING"], ["job-1"]),
        (["--name", "job-3"], ["job-3"]),
    ],
)
def test_choosing_jobs(run: Run, arguments: list[str], expected: list[str]) -> None:
    assert names(run("jobs", "--json", *arguments)) == expected


@pytest.mark.usefixtures("yard")
def test_the_table_in_a_pipe_is_whole_and_says_when_it_was_cut(run: Run) -> None:
    result = run("jobs", "--all", "--limit", "1")
    heading, line = result.stdout.splitlines()
    assert heading.split() == ["ID", "NAME", "QUEUE", "STATUS", "CREATED", "TIME", "EXIT", "REASON"]
    assert line.split()[:4] == [f"{4:08x}{JOB_ID[8:]}", "job-4", "slow", "FAILED"]
    assert "Only 1 jobs are shown" in result.stderr


def test_no_jobs_leave_stdout_empty(run: Run, serve: Serve) -> None:
    serve(DescribeJobQueues=queues("q"), ListJobs=listing({"q": []}))
    result = run("jobs")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No jobs.\n")


def test_an_unknown_status_is_a_usage_error(run: Run) -> None:
    assert run("jobs", "--status", "DONE").exit_code == 2


def test_children_of_an_array_are_asked_for_state_by_state_and_sorted_by_index(run: Run, serve: Serve) -> None:
    by_status = {"RUNNING": [10, 2], "SUCCEEDED": [1], "FAILED": [10]}

    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        status = params["jobStatus"]
        assert params["arrayJobId"] == JOB_ID
        return {"jobSummaryList": [job(f"{JOB_ID}:{i}", status=status) for i in by_status.get(status, [])]}

    serve(ListJobs=list_jobs)
    result = run("jobs", "--array", JOB_ID, "--json")
    listed = [(each["jobId"].split(":")[1], each["status"]) for each in json.loads(result.stdout)["jobs"]]
    assert listed == [("1", "SUCCEEDED"), ("2", "RUNNING"), ("10", "FAILED")]


def test_a_row_shows_the_containers_reason_rather_than_the_general_one() -> None:
    failed = job(
        status="FAILED",
        statusReason="Essential container in task exited",
        container={"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
        startedAt=NOW_MS,
        stoppedAt=NOW_MS + 61_000,
    )
    assert row(failed, shorten_id=True)[-3:] == (
        "1m 01s",
        "137",
        "OutOfMemoryError: Container killed due to memory usage",
    )
    assert row(failed, shorten_id=True)[0] == JOB_ID[:8]


def test_a_row_of_a_waiting_array_has_its_size_and_no_times() -> None:
    waiting = row(job(status="PENDING", arrayProperties={"size": 100}))
    assert waiting[3] == "PENDING [100]"
    assert waiting[5:] == ("-", "-", "-")


def test_short_ids_keep_the_index() -> None:
    assert short_id(f"{JOB_ID}:12") == f"{JOB_ID[:8]}:12"
    assert short_id(f"{JOB_ID}#1") == f"{JOB_ID[:8]}#1"


def test_the_nodes_of_a_job_by_index(run: Run, serve: Serve) -> None:
    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        assert params["multiNodeJobId"] == JOB_ID
        found = [
            job(
                f"{JOB_ID}#{index}",
                "RUNNING",
                nodeProperties={"isMainNode": index == 2, "numNodes": 11, "nodeIndex": index},
            )
            for index in (10, 2)
        ]
        return {"jobSummaryList": found if params["jobStatus"] == "RUNNING" else []}

    serve(ListJobs=list_jobs)
    shown = json.loads(run("jobs", "--nodes", JOB_ID, "--json").stdout)["jobs"]
    assert [each["jobId"] for each in shown] == [f"{JOB_ID}#2", f"{JOB_ID}#10"]
    assert "RUNNING [main node]" in run("jobs", "--nodes", JOB_ID).stdout
    assert run("jobs", "--nodes", JOB_ID, "--array", JOB_ID).exit_code == 2


def test_a_multi_node_job_says_how_many_nodes_it_has() -> None:
    assert "RUNNING [4 nodes]" in row(job(status="RUNNING", nodeProperties={"numNodes": 4}))
