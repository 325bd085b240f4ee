"""boto3 against a running server: finding jobs again with DescribeJobs and ListJobs."""

from __future__ import annotations

import pytest

from batchyard.testing import Server
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, running, sh, succeed, unique
from tests.acceptance.test_boto3 import define, refused

pytestmark = pytest.mark.acceptance

TIMES = ("createdAt", "startedAt", "stoppedAt")


def test_describe_jobs_keeps_the_order_asked_for_and_takes_arns(yard: Server, queue: str) -> None:
    single = yard.submit(["true"], queue=queue)
    array = yard.submit(["true"], queue=queue, arrayProperties={"size": 2})
    arn = job_of(yard, array)["jobArn"]
    asked = [f"{arn}:1", single, "unknown", array, f"{array}:0", f"{array}:2", ""]
    found = yard.batch.describe_jobs(jobs=asked)["jobs"]
    assert [job["jobId"] for job in found] == [f"{array}:1", single, array, f"{array}:0"]
    with refused("Maximum number of jobs supported is  100"):
        yard.batch.describe_jobs(jobs=[single] * 101)


def test_list_jobs_page_by_page_newest_first(yard: Server, queues: Queues) -> None:
    queue = queues.make()
    job_ids = [yard.submit(["true"], queue=queue, name=f"job-{number}") for number in range(5)]
    for job_id in job_ids:
        succeed(yard, job_id)
    listing = {"jobQueue": queue, "jobStatus": "SUCCEEDED"}
    pages = list(yard.batch.get_paginator("list_jobs").paginate(**listing, PaginationConfig={"PageSize": 2}))
    found = [[summary["jobId"] for summary in page["jobSummaryList"]] for page in pages]
    newest_first = job_ids[::-1]
    assert found == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    summary = pages[0]["jobSummaryList"][0]
    assert (summary["jobName"], summary["status"], summary["statusReason"]) == (
        "job-4",
        "SUCCEEDED",
        "Essential container in task exited",
    )
    assert summary["container"] == {"exitCode": 0}
    assert [summary[at] for at in TIMES] == [job_of(yard, job_ids[4])[at] for at in TIMES]
    assert summary["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 1.0}]
    assert summary["createdAt"] <= summary["scheduledAt"] <= summary["startedAt"]
    assert "isCancelled" not in summary


def test_list_jobs_by_filters(yard: Server, queues: Queues) -> None:
    queue = queues.make()
    mine, other = unique("definition"), unique("definition")
    for name in (mine, other):
        define(yard, name)
    jobs = {
        name: yard.batch.submit_job(jobName=name, jobQueue=queue, jobDefinition=definition)["jobId"]
        for name, definition in (("train-1", mine), ("Train-2", other), ("test", mine))
    }
    for job_id in jobs.values():
        succeed(yard, job_id)
    names = {job_id: name for name, job_id in jobs.items()}

    def found(name: str, value: str) -> set[str]:
        filters = [{"name": name, "values": [value]}]
        listed = yard.batch.list_jobs(jobQueue=queue, filters=filters)["jobSummaryList"]
        return {names[summary["jobId"]] for summary in listed}

    created = job_of(yard, jobs["Train-2"])["createdAt"]
    assert found("JOB_NAME", "TRAIN*") == {"train-1", "Train-2"}
    assert found("JOB_NAME", "test") == {"test"}
    assert found("JOB_NAME", "tes") == set()
    assert found("JOB_DEFINITION", mine) == {"train-1", "test"}
    assert found("JOB_DEFINITION", f"{other[:-1]}*") >= {"Train-2"}
    assert found("JOB_DEFINITION", job_of(yard, jobs["Train-2"])["jobDefinition"]) == {"Train-2"}
    assert found("AFTER_CREATED_AT", "1") == {"train-1", "Train-2", "test"}
    assert "train-1" not in found("AFTER_CREATED_AT", str(created))
    assert "test" not in found("BEFORE_CREATED_AT", str(created))


def test_list_the_children_of_an_array_by_status(yard: Server, queue: str, gate: Gate) -> None:
    script = f"test $AWS_BATCH_JOB_ARRAY_INDEX != 1 || exit 1; test $AWS_BATCH_JOB_ARRAY_INDEX = 0 || {{ {gate.wait} }}"
    array_id = yard.submit(sh(script), queue=queue, arrayProperties={"size": 4})
    succeed(yard, f"{array_id}:0")
    fail(yard, f"{array_id}:1")
    for index in (2, 3):
        running(yard, f"{array_id}:{index}")

    def listed(**params: str) -> list[int]:
        summaries = yard.batch.list_jobs(arrayJobId=array_id, **params)["jobSummaryList"]
        return [summary["arrayProperties"]["index"] for summary in summaries]

    assert listed() == [2, 3]
    assert [listed(jobStatus=status) for status in ("SUCCEEDED", "FAILED", "RUNNABLE")] == [[0], [1], []]
    pages = yard.batch.get_paginator("list_jobs").paginate(
        arrayJobId=array_id, jobStatus="RUNNING", PaginationConfig={"PageSize": 1}
    )
    assert [len(page["jobSummaryList"]) for page in pages] == [1, 1]
