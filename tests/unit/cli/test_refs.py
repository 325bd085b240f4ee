from __future__ import annotations

from typing import Any

import pytest

from batchyard.cli.errors import CliError
from batchyard.cli.refs import resolve
from tests.unit.cli.service import JOB_ID, Service, job, queues

OTHER_ID = "0f4e9999-1111-4222-8333-444455556666"


def service_of(**jobs_by_queue: list[dict[str, Any]]) -> Service:
    def list_jobs(params: dict[str, Any]) -> dict[str, Any]:
        found = jobs_by_queue[params["jobQueue"]]
        (condition,) = params["filters"]
        if condition["name"] == "JOB_NAME":
            # The service compares names without regard to case.
            found = [each for each in found if each["jobName"].lower() == condition["values"][0].lower()]
        # Pages of one, to see that all are asked for.
        start = int(params.get("nextToken", "0"))
        more = {"nextToken": str(start + 1)} if start + 1 < len(found) else {}
        return {"jobSummaryList": found[start : start + 1], **more}

    return Service(DescribeJobQueues=queues(*jobs_by_queue), ListJobs=list_jobs)


@pytest.mark.parametrize("text", [JOB_ID, f"{JOB_ID}:12", f"{JOB_ID}#0"])
def test_a_whole_id_needs_no_question(text: str) -> None:
    service = service_of()
    with service.api as api:
        assert resolve(api.batch, text) == text
        assert resolve(api.batch, f"arn:aws:batch:us-east-1:123456789012:job/{text}") == text
    assert not service.calls


def test_the_beginning_of_an_id_is_searched_in_all_queues() -> None:
    service = service_of(a=[job(OTHER_ID), job("ffff" + OTHER_ID[4:])], b=[job()])
    with service.api as api:
        assert resolve(api.batch, "0f4e2") == JOB_ID
        assert resolve(api.batch, "ffff:3") == "ffff" + OTHER_ID[4:] + ":3"


def test_an_exact_name_is_a_reference() -> None:
    service = service_of(a=[job(OTHER_ID, jobName="Sim")], b=[job(jobName="sim")])
    with service.api as api:
        assert resolve(api.batch, "sim") == JOB_ID
        assert resolve(api.batch, "sim:4") == f"{JOB_ID}:4"


def test_what_names_several_jobs_is_refused_and_they_are_listed() -> None:
    service = service_of(a=[job(OTHER_ID, status="FAILED"), job()])
    with service.api as api, pytest.raises(CliError) as refusal:
        resolve(api.batch, "0f4e")
    assert "'0f4e' names 2 jobs" in str(refusal.value)
    assert f"{OTHER_ID} (work, FAILED)" in str(refusal.value)


@pytest.mark.parametrize("text", ["0f4", "beef", "work*", "*"])
def test_what_names_no_job_is_refused(text: str) -> None:
    service = service_of(a=[job(jobName="work1")])
    with service.api as api, pytest.raises(CliError, match="no job has the id"):
        resolve(api.batch, text)
