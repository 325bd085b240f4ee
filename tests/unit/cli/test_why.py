from __future__ import annotations

import json
from collections.abc import Callable

from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, Service, described, job

Serve = Callable[..., Service]
ANSWER = {
    "jobId": JOB_ID,
    "status": "RUNNABLE",
    "cause": "TURN",
    "summary": "Others go first.",
    "startsWhen": "When they end.",
}


def test_it_says_why_and_what_would_start_it(run: Run, serve: Serve) -> None:
    serve().views[(JOB_ID, "why")] = ANSWER
    assert run("why", JOB_ID).stdout.splitlines() == [
        f"{JOB_ID} is RUNNABLE. Others go first.",
        "It starts when they end.",
    ]


def test_json_is_the_servers_answer(run: Run, serve: Serve) -> None:
    serve().views[(JOB_ID, "why")] = ANSWER
    assert json.loads(run("why", JOB_ID, "--json").stdout) == ANSWER


def test_a_job_that_runs_needs_nothing_to_start_it(run: Run, serve: Serve) -> None:
    answer = {"jobId": JOB_ID, "status": "RUNNING", "cause": "PLACED", "summary": "It is running."}
    serve().views[(JOB_ID, "why")] = answer
    assert run("why", JOB_ID).stdout == f"{JOB_ID} is RUNNING. It is running.\n"


def test_an_unknown_job_and_another_server_are_told_apart(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(job()))
    assert "can't say why" in run("why", JOB_ID).stderr
    serve(DescribeJobs=described())
    result = run("why", JOB_ID)
    assert (result.exit_code, f"there is no job {JOB_ID}" in result.stderr) == (1, True)
