"""Fair-share queues as boto3 sees them, on a server that is killed in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batchyard.testing import Server, server
from tests.acceptance.job_cases import Queues, succeed, unique

pytestmark = pytest.mark.acceptance


@pytest.fixture
def mortal() -> Iterator[Server]:
    with server(overcommit=True, check_invariants=True) as started:
        yield started


def submit(yard: Server, queue: str, share: str, seconds: float, name: str = "job") -> str:
    return yard.submit(
        ["sleep", str(seconds)],
        name=name,
        queue=queue,
        shareIdentifier=share,
        schedulingPriorityOverride=0,
    )


def test_the_share_that_ran_less_goes_first_though_the_server_was_killed(mortal: Server) -> None:
    yard = mortal
    queues = Queues(yard)
    policy = yard.batch.create_scheduling_policy(
        name=unique("policy"),
        fairsharePolicy={"shareDistribution": [{"shareIdentifier": "team*", "weightFactor": 0.5}]},
    )
    queue = queues.make(max_vcpus=1, schedulingPolicyArn=policy["arn"])
    described = queues.describe_queue(queue)
    assert described is not None
    assert described["schedulingPolicyArn"] == policy["arn"]
    succeed(yard, submit(yard, queue, "teamA", 1))
    running = submit(yard, queue, "other", 3)
    yard.wait_for(running, status="RUNNING")
    waiting = [submit(yard, queue, share, 0) for share in ("teamA", "teamA", "newcomer")]
    yard.kill()
    yard.start()
    jobs = [succeed(yard, job_id) for job_id in waiting]
    assert jobs[2]["startedAt"] < jobs[0]["startedAt"] <= jobs[1]["startedAt"]
    listed = yard.batch.list_jobs(jobQueue=queue, filters=[{"name": "SHARE_IDENTIFIER", "values": ["teamA"]}])
    assert {job["shareIdentifier"] for job in listed["jobSummaryList"]} == {"teamA"}
    assert len(listed["jobSummaryList"]) == 3
    snapshot = yard.batch.get_job_queue_snapshot(jobQueue=queue)["queueUtilization"]["fairshareUtilization"]
    assert snapshot["activeShareCount"] == 3
