"""boto3 against a running server: the logs of jobs."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import LOG_GROUP, Server
from tests.acceptance.job_cases import Gate, job_of, sh, succeed, unique, until
from tests.acceptance.test_boto3 import define

pytestmark = pytest.mark.acceptance

BIG_OUTPUT_BYTES = 50_000_000


def stream_of(yard: Server, job_id: str) -> dict[str, str]:
    return {"logGroupName": LOG_GROUP, "logStreamName": job_of(yard, job_id)["container"]["logStreamName"]}


def test_output_can_be_read_while_the_job_runs(yard: Server, queue: str, gate: Gate) -> None:
    job_id = yard.submit(sh(f"echo before; echo error >&2; {gate.wait} echo after"), queue=queue)
    until(lambda: yard.logs_of(job_id) == ["before", "error"], "the first lines are in the log")
    assert job_of(yard, job_id)["status"] == "RUNNING"
    gate.open()
    succeed(yard, job_id)
    assert yard.logs_of(job_id) == ["before", "error", "after"]


def test_a_reader_can_follow_a_stream_from_page_to_page(yard: Server, queue: str, gate: Gate) -> None:
    """A token that came with an empty page is good for what is written later."""
    job_id = yard.submit(sh(f"echo one; {gate.wait} echo two"), queue=queue)
    until(lambda: yard.logs_of(job_id) == ["one"], "the first line is in the log")
    where = stream_of(yard, job_id)
    page = yard.logs.get_log_events(**where, startFromHead=True)
    empty = yard.logs.get_log_events(**where, nextToken=page["nextForwardToken"])
    assert (empty["events"], empty["nextForwardToken"]) == ([], page["nextForwardToken"])
    gate.open()
    succeed(yard, job_id)
    more = yard.logs.get_log_events(**where, nextToken=empty["nextForwardToken"])
    assert [event["message"] for event in more["events"]] == ["two"]


def test_events_carry_the_time_of_their_writing(yard: Server, queue: str) -> None:
    job_id = yard.submit(["echo", "now"], queue=queue)
    job = succeed(yard, job_id)
    (event,) = yard.logs.get_log_events(**stream_of(yard, job_id))["events"]
    assert job["startedAt"] - 1000 <= event["timestamp"] <= job["stoppedAt"] + 1000


def test_pages_of_a_size_from_both_ends(yard: Server, queue: str) -> None:
    job_id = yard.submit(["seq", "1", "7"], queue=queue)
    succeed(yard, job_id)
    where = stream_of(yard, job_id)
    forward: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        page = yard.logs.get_log_events(**where, **token, startFromHead=True, limit=3)
        if page["nextForwardToken"] == token.get("nextToken"):
            break
        forward.append([event["message"] for event in page["events"]])
        token = {"nextToken": page["nextForwardToken"]}
    assert [line for lines in forward for line in lines] == [str(number) for number in range(1, 8)]
    tail = yard.logs.get_log_events(**where, limit=3)
    assert [event["message"] for event in tail["events"]] == ["5", "6", "7"]
    before = yard.logs.get_log_events(**where, limit=3, nextToken=tail["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == ["2", "3", "4"]


def test_big_output_neither_blocks_the_job_nor_the_reader(yard: Server, queue: str) -> None:
    line = "x" * 99
    job_id = yard.submit(sh(f"yes {line} | head -c {BIG_OUTPUT_BYTES}; echo the end"), queue=queue)
    succeed(yard, job_id)
    where = stream_of(yard, job_id)
    tail = yard.logs.get_log_events(**where, limit=3)
    assert [event["message"] for event in tail["events"]] == [line, line, "the end"]
    head = yard.logs.get_log_events(**where, startFromHead=True)
    assert len(head["events"]) > 1000
    assert {event["message"] for event in head["events"]} == {line}


def test_lines_that_are_no_plain_text_are_kept_apart(yard: Server, queue: str) -> None:
    script = r"printf 'windows\r\n\nafter an empty line\n\377\376 no utf-8\nno newline at the end'"
    job_id = yard.submit(sh(script), queue=queue)
    succeed(yard, job_id)
    assert yard.logs_of(job_id) == ["windows", "after an empty line", "\ufffd\ufffd no utf-8", "no newline at the end"]


def test_groups_and_prefixes_of_the_log_configuration(yard: Server, queue: str) -> None:
    group = unique("/my/group")
    options = {"awslogs-group": group, "awslogs-stream-prefix": "prefix"}
    definition = define(
        yard,
        unique("definition"),
        container={"command": ["echo", "hello"], "logConfiguration": {"logDriver": "awslogs", "options": options}},
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)["jobId"]
    stream = succeed(yard, job_id)["container"]["logStreamName"]
    assert stream == f"prefix/default/{job_id}"
    events = yard.logs.get_log_events(logGroupName=group, logStreamName=stream)["events"]
    assert [event["message"] for event in events] == ["hello"]
    groups = yard.logs.describe_log_groups(logGroupNamePrefix="/my/")["logGroups"]
    assert group in [each["logGroupName"] for each in groups]


def test_streams_are_found_by_the_name_of_the_definition(yard: Server, queue: str) -> None:
    name = unique("definition")
    definition = define(yard, name, container={"command": ["echo", "hello"]})["jobDefinitionArn"]
    array_id = yard.batch.submit_job(
        jobName="job", jobQueue=queue, jobDefinition=definition, arrayProperties={"size": 3}
    )["jobId"]
    succeed(yard, array_id)
    paginator = yard.logs.get_paginator("describe_log_streams")
    pages = paginator.paginate(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/", PaginationConfig={"PageSize": 2})
    streams = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    assert len(streams) == 3
    assert all(stream.startswith(f"{name}/default/") for stream in streams)


def test_events_of_many_streams_are_filtered_together(yard: Server, queue: str) -> None:
    name = unique("definition")
    script = "echo start; echo ERROR in $AWS_BATCH_JOB_ARRAY_INDEX"
    definition = define(yard, name, container={"command": sh(script)})["jobDefinitionArn"]
    array_id = yard.batch.submit_job(
        jobName="job", jobQueue=queue, jobDefinition=definition, arrayProperties={"size": 3}
    )["jobId"]
    succeed(yard, array_id)
    pages = yard.logs.get_paginator("filter_log_events").paginate(
        logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/", filterPattern="ERROR", PaginationConfig={"PageSize": 2}
    )
    found = [event["message"] for page in pages for event in page["events"]]
    assert sorted(found) == ["ERROR in 0", "ERROR in 1", "ERROR in 2"]


def test_a_stream_that_is_not_there(yard: Server) -> None:
    with pytest.raises(ClientError) as caught:
        yard.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName="nobody")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(yard.logs.exceptions.ResourceNotFoundException):
        yard.logs.describe_log_streams(logGroupName="nobody")
