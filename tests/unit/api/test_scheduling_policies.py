"""Scheduling policies, and queues and jobs that go by them (facts §3, §5, §9, §13, §14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.api.catalogue import OPERATIONS
from batchyard.core.outcome import ShareChanged
from batchyard.store import jobs as stored_jobs
from batchyard.store import policies, progress, shares
from tests.unit.api.harness import World, definition, open_world, refusal, run

ARN = "arn:aws:batch:us-east-1:123456789012:"
POLICY = f"{ARN}scheduling-policy/p"
ENVELOPE = "Error executing request, Exception : "
DEFAULT = {"shareDecaySeconds": 0, "computeReservation": 0, "shareDistribution": []}


def described(world: World, arn: str = POLICY) -> dict[str, Any]:
    found = world.call("DescribeSchedulingPolicies", arns=[arn])["schedulingPolicies"]
    return dict(found[0])


def fair_queue(world: World, name: str = "fair", policy: str = "p") -> None:
    world.environment(f"{name}-env")
    world.call("CreateSchedulingPolicy", name=policy)
    world.queue(name, f"{name}-env", schedulingPolicyArn=f"{ARN}scheduling-policy/{policy}")


def submit(world: World, queue: str = "fair", **params: Any) -> str:
    answer = world.call("SubmitJob", jobName="job", jobQueue=queue, jobDefinition="definition", **params)
    return str(answer["jobId"])


def described_jobs(world: World, *job_ids: str) -> list[dict[str, Any]]:
    """Without the harness's check of the shape, in which startedAt is required of jobs that have not started."""
    found = run(OPERATIONS[("batch", "DescribeJobs")](world.context, {"jobs": list(job_ids)}))
    return list(found["jobs"])


def test_a_policy_is_described_with_its_defaults(world: World) -> None:
    answer = world.call("CreateSchedulingPolicy", name="p", tags={"team": "risk"})
    assert answer == {"name": "p", "arn": POLICY}
    assert described(world) == {"name": "p", "arn": POLICY, "fairsharePolicy": DEFAULT, "tags": {"team": "risk"}}


def test_a_policy_is_described_as_it_was_given(world: World) -> None:
    given = {
        "shareDecaySeconds": 604_800,
        "computeReservation": 99,
        "shareDistribution": [{"shareIdentifier": "A*", "weightFactor": 0.0001}, {"shareIdentifier": "B"}],
    }
    world.call("CreateSchedulingPolicy", name="p", fairsharePolicy=given)
    assert described(world)["fairsharePolicy"] == given


def test_describe_leaves_unknown_ones_out_and_keeps_the_order(world: World) -> None:
    for name in "ab":
        world.call("CreateSchedulingPolicy", name=name)
    arns = [f"{ARN}scheduling-policy/{name}" for name in ("b", "nobody", "a")]
    found = world.call("DescribeSchedulingPolicies", arns=arns)["schedulingPolicies"]
    assert [policy["name"] for policy in found] == ["b", "a"]


def test_list_gives_the_arns_alone_page_by_page(world: World) -> None:
    for name in "abc":
        world.call("CreateSchedulingPolicy", name=name)
    first = world.call("ListSchedulingPolicies", maxResults=2)
    second = world.call("ListSchedulingPolicies", maxResults=2, nextToken=first["nextToken"])
    listed = [*first["schedulingPolicies"], *second["schedulingPolicies"]]
    assert listed == [{"arn": f"{ARN}scheduling-policy/{name}"} for name in "abc"]
    assert "nextToken" not in second


def test_an_update_replaces_the_whole_policy_and_wakes_the_runtime(world: World) -> None:
    world.call("CreateSchedulingPolicy", name="p", fairsharePolicy={"computeReservation": 5})
    wakes = world.wakes
    assert world.call("UpdateSchedulingPolicy", arn=POLICY, fairsharePolicy={"shareDecaySeconds": 60}) == {}
    assert world.wakes == wakes + 1
    assert described(world)["fairsharePolicy"] == {**DEFAULT, "shareDecaySeconds": 60}
    world.call("UpdateSchedulingPolicy", arn=POLICY)
    assert described(world)["fairsharePolicy"] == {**DEFAULT, "shareDecaySeconds": 60}


def test_an_update_that_comes_while_another_is_taken_in_is_not_lost(world: World) -> None:
    world.call("CreateSchedulingPolicy", name="p")
    taken = world.read(policies.unsettled)[0]
    world.call("UpdateSchedulingPolicy", arn=POLICY, fairsharePolicy={"shareDecaySeconds": 60})
    world.write(lambda connection: policies.settle(connection, "p", taken.revision))
    assert [row.document["shareDecaySeconds"] for row in world.read(policies.unsettled)] == [60]


def test_a_policy_is_an_intent_together_with_the_queue_that_has_it(world: World) -> None:
    world.environment("env")
    world.call("CreateSchedulingPolicy", name="p")
    order = [{"order": 1, "computeEnvironment": "env"}]
    world.call(
        "CreateJobQueue", jobQueueName="q", priority=1, computeEnvironmentOrder=order, schedulingPolicyArn=POLICY
    )
    intents = world.read(lambda connection: progress.read_intents(connection, 10))
    assert [row.name for row in intents.policies] == [row.policy for row in intents.queues] == ["p"]


def test_a_policy_that_a_queue_has_cannot_be_deleted(world: World) -> None:
    fair_queue(world)
    error = refusal(world, "DeleteSchedulingPolicy", arn=POLICY)
    assert error.message == "Cannot delete, found existing JobQueue relationship"
    world.call("CreateSchedulingPolicy", name="other")
    world.call("UpdateJobQueue", jobQueue="fair", schedulingPolicyArn=f"{ARN}scheduling-policy/other")
    assert world.call("DeleteSchedulingPolicy", arn=POLICY) == {}
    assert world.call("DescribeSchedulingPolicies", arns=[POLICY])["schedulingPolicies"] == []


def test_policies_have_tags(world: World) -> None:
    world.call("CreateSchedulingPolicy", name="p", tags={"a": "1"})
    world.call("TagResource", resourceArn=POLICY, tags={"b": "2"})
    world.call("UntagResource", resourceArn=POLICY, tagKeys=["a"])
    assert world.call("ListTagsForResource", resourceArn=POLICY)["tags"] == described(world)["tags"] == {"b": "2"}


def entries(*patterns: str) -> dict[str, Any]:
    return {"shareDistribution": [{"shareIdentifier": pattern} for pattern in patterns]}


BAD_POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "decay too long": ({"shareDecaySeconds": 604_801}, "shareDecaySeconds must be between 0 and 604800"),
    "negative decay": ({"shareDecaySeconds": -1}, "shareDecaySeconds must be between 0 and 604800"),
    "whole reservation": ({"computeReservation": 100}, "computeReservation must be between 0 and 99"),
    "no weight": (
        {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.0}]},
        "weightFactor must be between 0.0001 and 999.9999",
    ),
    "too much weight": (
        {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 1000.0}]},
        "weightFactor must be between 0.0001 and 999.9999",
    ),
    "hyphen": (entries("a-b"), "shareIdentifier should have up to 255 letters and digits"),
    "star within": (entries("a*b"), "shareIdentifier should have up to 255 letters and digits"),
    "too long": (entries("a" * 256), "shareIdentifier should have up to 255 letters and digits"),
    "twice the same": (entries("a", "b", "a"), "shareDistribution has overlapping entries: a and a"),
    "prefix of another": (entries("UserA1", "UserB", "UserA*"), "shareDistribution has overlapping entries: UserA*"),
    "prefix of a prefix": (entries("abc*", "a*"), "shareDistribution has overlapping entries: a* and abc*"),
    "prefix of itself": (entries("a", "a*"), "shareDistribution has overlapping entries: a* and a"),
    "covered further on": (entries("a*", "a0", "a1"), "shareDistribution has overlapping entries: a* and a0"),
}


@pytest.mark.parametrize(("policy", "text"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_bad_policy_is_refused_and_changes_nothing(world: World, policy: dict[str, Any], text: str) -> None:
    created = refusal(world, "CreateSchedulingPolicy", name="new", fairsharePolicy=policy)
    assert created.message.startswith(ENVELOPE + text)
    world.call("CreateSchedulingPolicy", name="p")
    assert refusal(world, "UpdateSchedulingPolicy", arn=POLICY, fairsharePolicy=policy).message.startswith(
        ENVELOPE + text
    )


def test_prefixes_that_begin_alike_do_not_overlap(world: World) -> None:
    world.call("CreateSchedulingPolicy", name="p", fairsharePolicy=entries("a", "ab*", "ac", "ac1", "b*"))


def test_other_bad_requests_are_refused(world: World) -> None:
    world.call("CreateSchedulingPolicy", name="p")
    quota = {"idleResourceAssignmentStrategy": "FIFO"}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("CreateSchedulingPolicy", {"name": "p"}, "Scheduling policy p already exists"),
        ("CreateSchedulingPolicy", {"name": "a.b"}, f"{ENVELOPE}Scheduling policy name should match valid pattern"),
        ("CreateSchedulingPolicy", {"name": "new", "quotaSharePolicy": quota}, "quotaSharePolicy is not built in"),
        ("UpdateSchedulingPolicy", {"arn": POLICY, "quotaSharePolicy": quota}, "quotaSharePolicy is not built in"),
        (
            "CreateSchedulingPolicy",
            {"name": "new", "quotaSharePolicy": quota, "fairsharePolicy": {}},
            f"{ENVELOPE}Only one of fairsharePolicy and quotaSharePolicy",
        ),
        ("UpdateSchedulingPolicy", {"arn": f"{POLICY}2"}, f"{POLICY}2 does not exist"),
        ("DeleteSchedulingPolicy", {"arn": f"{POLICY}2"}, f"{POLICY}2 does not exist"),
        ("DescribeSchedulingPolicies", {"arns": [POLICY] * 101}, f"{ENVELOPE}Maximum number of arns supported is  100"),
        ("ListSchedulingPolicies", {"maxResults": 101}, "maxResults must be between 1 and 100"),
    ]
    for operation, params, text in cases:
        assert refusal(world, operation, **params).message.startswith(text), (operation, params)


def test_a_queue_has_the_policy_it_was_created_with_and_can_change_it(world: World) -> None:
    fair_queue(world)
    assert world.described_queue("fair")["schedulingPolicyArn"] == POLICY
    world.call("CreateSchedulingPolicy", name="other")
    other = f"{ARN}scheduling-policy/other"
    world.call("UpdateJobQueue", jobQueue="fair", schedulingPolicyArn=other)
    world.settle()
    assert world.described_queue("fair")["schedulingPolicyArn"] == other
    world.call("UpdateJobQueue", jobQueue="fair", priority=7)
    world.settle()
    assert world.described_queue("fair")["schedulingPolicyArn"] == other


def test_a_queues_policy_cannot_be_removed_and_a_fifo_queue_gets_none(world: World) -> None:
    fair_queue(world)
    world.queue("fifo", "fair-env")
    error = refusal(world, "UpdateJobQueue", jobQueue="fair", schedulingPolicyArn="")
    assert error.message.startswith(f"{ENVELOPE}The scheduling policy of job queue fair cannot be removed")
    error = refusal(world, "UpdateJobQueue", jobQueue="fifo", schedulingPolicyArn=POLICY)
    assert error.message.startswith(f"{ENVELOPE}Job queue fifo was created without a scheduling policy")
    error = refusal(world, "UpdateJobQueue", jobQueue="fair", schedulingPolicyArn=f"{POLICY}2")
    assert error.message == f"Scheduling policy {POLICY}2 does not exist"
    assert "schedulingPolicyArn" not in world.described_queue("fifo")


def test_a_fair_share_job_says_whose_it_is(world: World) -> None:
    fair_queue(world)
    world.call("RegisterJobDefinition", **definition(schedulingPriority=3))
    plain = submit(world, shareIdentifier="alice")
    raised = submit(world, shareIdentifier="alice", schedulingPriorityOverride=9999)
    details = described_jobs(world, plain, raised)
    assert [(job["shareIdentifier"], job["schedulingPriority"]) for job in details] == [("alice", 3), ("alice", 9999)]
    terms = {job.job_id: job.terms for job in world.read(lambda connection: progress.read_intents(connection, 9)).jobs}
    assert (terms[raised].share_identifier, terms[raised].scheduling_priority) == ("alice", 9999)


def test_share_and_priority_belong_to_fair_share_queues(world: World) -> None:
    fair_queue(world)
    world.queue("fifo", "fair-env")
    world.call("RegisterJobDefinition", **definition())
    text = "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair share"
    job = {"jobName": "job", "jobQueue": "fifo", "jobDefinition": "definition"}
    for members in ({"shareIdentifier": "a"}, {"schedulingPriorityOverride": 0}):
        assert refusal(world, "SubmitJob", **job, **members).message == f"{text} scheduling policy."
    job["jobQueue"] = "fair"
    wanted = {
        "shareIdentifier is required": {"schedulingPriorityOverride": 0},
        "Either schedulingPriority in job definition or schedulingPriorityOverride should be specified.": {
            "shareIdentifier": "a"
        },
        f"{ENVELOPE}shareIdentifier should have": {"shareIdentifier": "a b", "schedulingPriorityOverride": 0},
        f"{ENVELOPE}schedulingPriorityOverride must be": {"shareIdentifier": "a", "schedulingPriorityOverride": 10_000},
    }
    for start, members in wanted.items():
        assert refusal(world, "SubmitJob", **job, **members).message.startswith(start)


def test_a_priority_in_a_definition_does_not_keep_it_out_of_fifo_queues(world: World) -> None:
    world.environment("env")
    world.queue("fifo", "env")
    world.call("RegisterJobDefinition", **definition(schedulingPriority=3))
    job = described_jobs(world, submit(world, "fifo"))[0]
    assert job["schedulingPriority"] == 3
    assert "shareIdentifier" not in job


def test_a_new_share_too_many_is_refused_and_those_that_are_active_are_not(tmp_path: Path) -> None:
    with open_world(tmp_path, max_active_shares=2) as world:
        _fill_shares(world)


def _fill_shares(world: World) -> None:
    fair_queue(world)
    world.call("RegisterJobDefinition", **definition(schedulingPriority=0))
    for share in ("a", "b", "a"):
        submit(world, shareIdentifier=share)
    job = {"jobName": "job", "jobQueue": "fair", "jobDefinition": "definition"}
    assert "2 active share identifiers" in refusal(world, "SubmitJob", **job, shareIdentifier="c").message
    now_ms = world.clock.now_ms()
    faded = ShareChanged("fair", "a", 1.0, now_ms - 600_000, now_ms)
    world.write(lambda connection: shares.write(connection, [faded]))
    submit(world, shareIdentifier="c")


def test_jobs_are_listed_by_share_and_by_status_with_it(world: World) -> None:
    fair_queue(world)
    world.call("RegisterJobDefinition", **definition(schedulingPriority=0))
    mine = [submit(world, shareIdentifier="a") for _ in range(3)]
    submit(world, shareIdentifier="b")
    by_share = [{"name": "SHARE_IDENTIFIER", "values": ["a"]}]
    first = world.call("ListJobs", jobQueue="fair", filters=by_share, maxResults=2)
    second = world.call("ListJobs", jobQueue="fair", filters=by_share, maxResults=2, nextToken=first["nextToken"])
    listed = [*first["jobSummaryList"], *second["jobSummaryList"]]
    assert [job["jobId"] for job in listed] == mine[::-1]
    assert {job["shareIdentifier"] for job in listed} == {"a"}
    submitted = world.call("ListJobs", jobQueue="fair", filters=by_share, jobStatus="SUBMITTED")["jobSummaryList"]
    assert len(submitted) == 3
    assert world.call("ListJobs", jobQueue="fair", filters=by_share, jobStatus="RUNNING")["jobSummaryList"] == []


def test_share_rows_go_with_their_queue(world: World) -> None:
    fair_queue(world)
    world.call("RegisterJobDefinition", **definition(schedulingPriority=0))
    job_id = submit(world, shareIdentifier="a")
    assert world.read(lambda connection: stored_jobs.find(connection, [job_id]))[job_id].share_identifier == "a"
    world.write(lambda connection: shares.remove_queue(connection, "fair"))
    assert world.read(shares.all_rows) == []
