from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from batchyard.cli import watch
from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, Service, described, job, log_of

Serve = Callable[..., Service]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0)


def with_stream(stream: str, status: str = "RUNNING", **members: Any) -> dict[str, Any]:
    return job(status=status, container={"logStreamName": stream}, **members)


def test_a_log_is_printed_as_it_is(run: Run, serve: Serve) -> None:
    lines = ["plain", "[bold]no markup[/bold]", "  spaces  ", "\x1b[31mred\x1b[0m", "", "x" * 500]
    serve(DescribeJobs=described(with_stream("s")), GetLogEvents=log_of({"s": lines}))
    assert run("logs", JOB_ID).stdout == "".join(f"{line}\n" for line in lines)


def test_the_last_lines(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(with_stream("s")), GetLogEvents=log_of({"s": ["1", "2", "3"]}))
    assert run("logs", JOB_ID, "--tail", "2").stdout == "2\n3\n"


def test_timestamps_and_json(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(with_stream("s")), GetLogEvents=log_of({"s": ["hello"]}))
    stamp, text = run("logs", JOB_ID, "--timestamps").stdout.split()
    assert (stamp[10], text) == ("T", "hello")
    event = json.loads(run("logs", JOB_ID, "--json").stdout)
    assert (event["jobId"], event["message"]) == (JOB_ID, "hello")


def test_another_log_group_is_found(run: Run, serve: Serve) -> None:
    detail = job(
        container={
            "logStreamName": "s",
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}},
        }
    )
    service = serve(DescribeJobs=described(detail), GetLogEvents=log_of({"s": ["hello"]}))
    run("logs", JOB_ID)
    assert {call["logGroupName"] for call in service.asked("GetLogEvents")} == {"g"}


def task(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return job(
        container={}, ecsProperties={"taskProperties": [{"containers": list(containers)}]}, status="RUNNING", **members
    )


OWN_GROUP = {"logDriver": "awslogs", "options": {"awslogs-group": "g"}}
SEVERAL = task(
    {"name": "web", "logStreamName": "w"}, {"name": "database", "logStreamName": "d", "logConfiguration": OWN_GROUP}
)


def test_lines_of_several_containers_have_their_names_before_them(run: Run, serve: Serve) -> None:
    service = serve(DescribeJobs=described(SEVERAL), GetLogEvents=log_of({"w": ["one"], "d": ["two", "three"]}))
    assert run("logs", JOB_ID).stdout == "web      | one\ndatabase | two\ndatabase | three\n"
    assert {(call["logGroupName"], call["logStreamName"]) for call in service.asked("GetLogEvents")} == {
        ("/aws/batch/job", "w"),
        ("g", "d"),
    }
    events = [json.loads(line) for line in run("logs", JOB_ID, "--json").stdout.splitlines()]
    assert [event["containerName"] for event in events] == ["web", "database", "database"]


def test_one_of_several_containers_can_be_chosen(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(SEVERAL), GetLogEvents=log_of({"w": ["one"], "d": ["two", "three"]}))
    assert run("logs", JOB_ID, "--container", "database").stdout == "two\nthree\n"
    refused = run("logs", JOB_ID, "--container", "cache")
    assert "the job has no container cache: it has web, database." in refused.stderr


RETRIED = job(
    status="FAILED",
    container={"logStreamName": "b"},
    attempts=[{"container": {"logStreamName": "a"}}, {"container": {"logStreamName": "b"}}],
)


def test_the_last_attempts_log_unless_another_is_asked_for(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(RETRIED), GetLogEvents=log_of({"a": ["first"], "b": ["second"]}))
    assert run("logs", JOB_ID).stdout == "second\n"
    assert run("logs", JOB_ID, "--attempt", "1").stdout == "first\n"
    result = run("logs", JOB_ID, "--attempt", "3")
    assert (result.exit_code, result.stderr.rstrip().endswith("has made 2 attempts so far.")) == (1, True)


@pytest.mark.parametrize(("status", "words"), [("RUNNABLE", "no log yet; -f waits"), ("FAILED", "It has no log.")])
def test_a_job_without_a_log_says_so(run: Run, serve: Serve, status: str, words: str) -> None:
    serve(DescribeJobs=described(job(status=status, statusReason="because")))
    result = run("logs", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "")
    assert words in result.stderr
    assert "because" in result.stderr


def test_a_job_that_did_not_start_says_why(run: Run, serve: Serve) -> None:
    container = {"reason": "CannotPullContainerError: no such host"}
    serve(DescribeJobs=described(job(status="FAILED", statusReason="Task failed to start", container=container)))
    said = " ".join(run("logs", JOB_ID).stderr.split())
    assert "is FAILED: Task failed to start, CannotPullContainerError: no such host. It has no log." in said


def test_a_stream_that_is_not_there_yet_is_empty(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(with_stream("s")), GetLogEvents=log_of({}))
    assert run("logs", JOB_ID).exit_code == 0


class Story:
    """DescribeJobs that tells a job's states one after the other; each may write to the logs first."""

    def __init__(self, *chapters: tuple[dict[str, Any], dict[str, list[str]]]) -> None:
        self.streams: dict[str, list[str]] = {}
        self._chapters = list(chapters)

    def describe(self, _params: dict[str, Any]) -> dict[str, Any]:
        detail, written = self._chapters.pop(0) if len(self._chapters) > 1 else self._chapters[0]
        for stream, lines in written.items():
            self.streams.setdefault(stream, []).extend(lines)
        written.clear()
        return {"jobs": [detail]}


def test_following_waits_for_the_start_goes_through_the_attempts_and_ends_with_the_job(run: Run, serve: Serve) -> None:
    first = {"container": {"logStreamName": "a"}}
    story = Story(
        (job(status="RUNNABLE"), {}),
        (job(status="RUNNABLE"), {}),
        (with_stream("a"), {"a": ["1"]}),
        (with_stream("a"), {}),
        (with_stream("a"), {"a": ["2"]}),
        (job(status="RUNNABLE", attempts=[first]), {"a": ["3"]}),
        (with_stream("b", attempts=[first]), {"b": ["4"], "a": ["late"]}),
        (with_stream("b", status="SUCCEEDED", attempts=[first]), {"b": ["5"]}),
    )
    serve(DescribeJobs=story.describe, GetLogEvents=log_of(story.streams))
    result = run("logs", "-f", JOB_ID)
    assert result.exit_code == 0
    assert result.stdout.split() == ["1", "2", "3", "late", "4", "5"]


def test_an_arrays_log_is_that_of_its_children_by_index(run: Run, serve: Serve) -> None:
    details = {f"{JOB_ID}:{i}": job(f"{JOB_ID}:{i}", "SUCCEEDED", container={"logStreamName": str(i)}) for i in (2, 10)}
    parent = job(status="SUCCEEDED", arrayProperties={"size": 11})

    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        return {"jobSummaryList": list(details.values()) if params["jobStatus"] == "SUCCEEDED" else []}

    serve(
        DescribeJobs=described(parent, *details.values()),
        ListJobs=list_jobs,
        GetLogEvents=log_of({"2": ["two"], "10": ["ten", "TEN"]}),
    )
    assert run("logs", JOB_ID).stdout == " 2 | two\n10 | ten\n10 | TEN\n"
    assert run("logs", JOB_ID, "--attempt", "1").exit_code == 2


def test_a_multi_node_jobs_log_is_that_of_its_nodes(run: Run, serve: Serve) -> None:
    nodes = {f"{JOB_ID}#{i}": job(f"{JOB_ID}#{i}", "SUCCEEDED", container={"logStreamName": str(i)}) for i in (0, 1)}
    properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": []}
    parent = job(status="SUCCEEDED", nodeProperties=properties)

    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        assert params["multiNodeJobId"] == JOB_ID
        return {"jobSummaryList": list(nodes.values()) if params["jobStatus"] == "SUCCEEDED" else []}

    serve(
        DescribeJobs=described(parent, *nodes.values()),
        ListJobs=list_jobs,
        GetLogEvents=log_of({"0": ["main"], "1": ["other"]}),
    )
    assert run("logs", JOB_ID).stdout == "0 | main\n1 | other\n"
    result = run("logs", JOB_ID, "--attempt", "1")
    assert result.exit_code == 2 and f"name a node, such as {JOB_ID}#0" in result.stderr


def test_following_an_array_reads_a_finished_child_only_once(run: Run, serve: Serve) -> None:
    child = job(f"{JOB_ID}:0", "SUCCEEDED", container={"logStreamName": "0"})
    parents = [job(status="PENDING", arrayProperties={"size": 2})] * 4
    parents.append(job(status="SUCCEEDED", arrayProperties={"size": 2}))

    def describe(params: dict[str, Any]) -> dict[str, Any]:
        if params["jobs"] == [JOB_ID]:
            return {"jobs": [parents.pop(0)]}
        return {"jobs": [child]}

    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        return {"jobSummaryList": [child] if params["jobStatus"] == "SUCCEEDED" else []}

    service = serve(DescribeJobs=describe, ListJobs=list_jobs, GetLogEvents=log_of({"0": ["once"]}))
    assert run("logs", "-f", JOB_ID).stdout == "0 | once\n"
    assert service.asked("DescribeJobs").count({"jobs": [f"{JOB_ID}:0"]}) == 1
