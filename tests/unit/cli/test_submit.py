from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchyard.cli import watch
from batchyard.cli.command import IN_FOLDER, IN_FOLDER_WITH_INDEX
from batchyard.cli.follow import exit_code_of, progress_of, verdict
from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, NOW_MS, Refused, Service, described, job, log_of

Serve = Callable[..., Service]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0)


HANDLERS: dict[str, Any] = {
    "DescribeJobDefinitions": lambda _params: {"jobDefinitions": []},
    "RegisterJobDefinition": lambda params: {
        "jobDefinitionName": params["jobDefinitionName"],
        "jobDefinitionArn": "arn",
        "revision": 1,
    },
    "SubmitJob": lambda params: {"jobName": params["jobName"], "jobId": JOB_ID, "jobArn": "arn"},
}


def submitted(service: Service) -> dict[str, Any]:
    (params,) = service.asked("SubmitJob")
    return params


def test_the_id_stands_alone_on_stdout(run: Run, serve: Serve) -> None:
    serve(**HANDLERS)
    result = run("submit", "true")
    assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
    assert json.loads(run("submit", "--json", "true").stdout)["jobId"] == JOB_ID


def test_options_end_where_the_command_begins(run: Run, serve: Serve) -> None:
    service = serve(**HANDLERS)
    run("submit", "--no-cwd", "--queue", "q", "./work.sh", "--wait", "-e", "x", "--", "y")
    assert submitted(service)["containerOverrides"]["command"] == ["./work.sh", "--wait", "-e", "x", "--", "y"]
    assert submitted(service)["jobQueue"] == "q"


def test_a_command_runs_in_the_current_folder(run: Run, serve: Serve) -> None:
    service = serve(**HANDLERS)
    run("submit", "--array", "3", "--", "./work.sh", "{index}")
    command = submitted(service)["containerOverrides"]["command"]
    assert command == ["/bin/sh", "-c", IN_FOLDER_WITH_INDEX, "batchyard", str(Path.cwd()), "./work.sh", "{index}"]
    assert submitted(service)["arrayProperties"] == {"size": 3}


@pytest.mark.parametrize("place", [["--image", "alpine"], ["--definition", "d"]])
def test_a_command_for_an_image_stays_in_the_images_folder_unless_told(
    run: Run, serve: Serve, place: list[str]
) -> None:
    service = serve(**HANDLERS)
    run("submit", *place, "work")
    run("submit", *place, "--cwd", "work")
    commands = [params["containerOverrides"]["command"] for params in service.asked("SubmitJob")]
    assert commands[0] == ["work"]
    assert commands[1][:3] == ["/bin/sh", "-c", IN_FOLDER]


def test_dependencies_may_be_named_like_jobs_elsewhere(run: Run, serve: Serve) -> None:
    service = serve(**HANDLERS)
    run("submit", "--array", "2", "--depends-on", f"{JOB_ID}:N_TO_N", "--depends-on", "SEQUENTIAL", "true")
    assert submitted(service)["dependsOn"] == [{"jobId": JOB_ID, "type": "N_TO_N"}, {"type": "SEQUENTIAL"}]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--definition", "d", "--image", "i"], ["--env", "NOT_SET_ANYWHERE", "true"], ["--tag", "x", "true"]],
)
def test_wrong_options_are_refused_before_anything_is_registered(run: Run, serve: Serve, arguments: list[str]) -> None:
    service = serve(**HANDLERS)
    result = run("submit", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert not service.asked("RegisterJobDefinition")


def test_a_refusal_is_one_line(run: Run, serve: Serve) -> None:
    def refuse(_params: dict[str, Any]) -> dict[str, Any]:
        raise Refused("ClientException", "Job queue job-queue/nope does not exist")

    serve(**HANDLERS | {"SubmitJob": refuse})
    result = run("submit", "--queue", "nope", "true")
    assert result.exit_code == 1
    assert result.stderr == "batchyard: Job queue job-queue/nope does not exist (ClientException)\n"


FAILED = job(
    status="FAILED",
    statusReason="Essential container in task exited",
    startedAt=NOW_MS,
    stoppedAt=NOW_MS + 1500,
    container={"exitCode": 7, "logStreamName": "s"},
)


def test_waiting_for_a_failing_job_shows_why_and_exits_as_it_did(run: Run, serve: Serve) -> None:
    serve(**HANDLERS, DescribeJobs=described(FAILED), GetLogEvents=log_of({"s": ["so far so good", "oh no"]}))
    result = run("submit", "--wait", "false")
    assert (result.exit_code, result.stdout) == (7, "")
    assert f"Job {JOB_ID} FAILED: Essential container in task exited, exit code 7, 1.5s" in result.stderr
    assert "oh no" in result.stderr


def test_following_puts_the_log_on_stdout_once(run: Run, serve: Serve) -> None:
    serve(**HANDLERS, DescribeJobs=described(FAILED), GetLogEvents=log_of({"s": ["oh no"]}))
    result = run("submit", "--follow", "false")
    assert (result.exit_code, result.stdout) == (7, "oh no\n")
    assert "oh no" not in result.stderr


def test_waiting_with_json_gives_the_job_in_the_end(run: Run, serve: Serve) -> None:
    serve(**HANDLERS, DescribeJobs=described(FAILED))
    result = run("submit", "--wait", "--json", "false")
    assert (result.exit_code, json.loads(result.stdout)["jobs"][0]["status"]) == (7, "FAILED")


def test_a_failed_array_names_its_failed_children_and_shows_the_first_ones_log(run: Run, serve: Serve) -> None:
    parent = job(status="FAILED", statusReason="Array Child Job failed", arrayProperties={"size": 9})
    failed = [job(f"{JOB_ID}:{i}", "FAILED", container={"exitCode": 2, "logStreamName": str(i)}) for i in (8, 3)]
    serve(
        **HANDLERS,
        DescribeJobs=described(parent, *failed),
        ListJobs=lambda params: {"jobSummaryList": failed if params["jobStatus"] == "FAILED" else []},
        GetLogEvents=log_of({"3": ["three's last words"], "8": []}),
    )
    result = run("submit", "--array", "9", "--wait", "false")
    assert result.exit_code == 1
    assert "Failed: 3, 8" in result.stderr
    assert "three's last words" in result.stderr


def test_progress_in_a_pipe_is_a_line_per_state(run: Run, serve: Serve) -> None:
    states = [job(), job(), job(status="RUNNING"), job(status="RUNNING"), job(status="SUCCEEDED")]
    states.insert(0, job())
    serve(**HANDLERS, DescribeJobs=lambda _params: {"jobs": [states.pop(0)]})
    result = run("submit", "--wait", "true")
    assert result.exit_code == 0
    short = JOB_ID[:8]
    assert result.stderr.splitlines() == [
        f"work {short}: RUNNABLE",
        f"work {short}: RUNNING",
        f"Job {JOB_ID} SUCCEEDED",
    ]


@pytest.mark.parametrize(
    ("state", "is_hinted"),
    [
        ({"status": "RUNNABLE"}, True),
        ({"status": "RUNNING"}, False),
        ({"status": "PENDING", "arrayProperties": {"size": 2, "statusSummary": {"RUNNABLE": 2}}}, True),
        ({"status": "PENDING", "arrayProperties": {"size": 2, "statusSummary": {"RUNNING": 1}}}, False),
    ],
    ids=["waiting", "running", "waiting array", "running array"],
)
def test_ctrl_c_leaves_the_job_alone_and_says_so(
    run: Run, serve: Serve, state: dict[str, Any], is_hinted: bool
) -> None:
    looks = [job(**state), job(**state)]

    def describe(_params: dict[str, Any]) -> dict[str, Any]:
        if not looks:
            raise KeyboardInterrupt
        return {"jobs": [looks.pop()]}

    service = serve(**HANDLERS, DescribeJobs=describe)
    result = run("submit", "--wait", "true")
    assert result.exit_code == 130
    assert f"Job {JOB_ID} goes on. `batchyard terminate {JOB_ID[:8]}` stops it." in result.stderr
    assert (f"`batchyard why {JOB_ID[:8]}` says what for" in result.stderr) is is_hinted
    assert not service.asked("TerminateJob")


@pytest.mark.parametrize(("container", "code"), [({"exitCode": 9}, 9), ({}, 1), ({"exitCode": 0}, 1)])
def test_exit_codes(container: dict[str, int], code: int) -> None:
    assert exit_code_of(job(status="FAILED", container=container)) == code
    assert exit_code_of(job(status="SUCCEEDED", container=container)) == 0


def test_an_arrays_progress() -> None:
    summary = {"SUCCEEDED": 5, "FAILED": 1, "RUNNING": 2, "RUNNABLE": 2}
    array = job(status="PENDING", arrayProperties={"size": 10, "statusSummary": summary})
    assert progress_of(array) == (6, 10, "2 running, 1 failed")


def test_the_verdict_on_a_success_is_short() -> None:
    assert verdict(job(status="SUCCEEDED", statusReason="Essential container in task exited")) == (
        f"Job {JOB_ID} SUCCEEDED"
    )
