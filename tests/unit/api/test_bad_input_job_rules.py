"""Rules of jobs, their tags and their logs that the service model leaves open."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.in_process_cases import InProcess
from tests.unit.api.bad_input_rules import (
    BAD_NAMES,
    ENVELOPE,
    GONE,
    NO_TOKENS,
    Row,
    bad_container,
    bad_retries_and_timeouts,
    bad_tags,
    bad_tokens,
    check,
    rows,
)

UNKNOWN_ID = "00000000-0000-4000-8000-00000000ffff"
BAD_JOB_NAMES = (*BAD_NAMES, "-a", "_a")


def submissions(ids: dict[str, str]) -> list[Row]:
    submit, single, array = "SubmitJob", {"arrayProperties": GONE, "dependsOn": GONE}, {"dependsOn": GONE}
    return [
        *rows(submit, ENVELOPE + "Job name should match valid pattern", *({"jobName": name} for name in BAD_JOB_NAMES)),
        *rows(submit, "does not exist", {"jobQueue": "nobody"}, {"jobQueue": ""}, {"jobDefinition": "nobody"}),
        *rows(
            submit, "does not exist", {"jobDefinition": "definition:2"}, {"jobDefinition": "definition:" + "9" * 5000}
        ),
        *rows(submit, "DISABLED", {"jobQueue": "spare-queue"}),
        *rows(
            submit,
            "Array size must be between 2 and 10000",
            *({**array, "arrayProperties": {"size": size}} for size in (0, 1, -1, 10_001, 2**31 - 1)),
        ),
        *rows(submit, "at most 20", {**single, "dependsOn": [{"jobId": ids["job"]}] * 21}),
        *rows(
            submit,
            "does not exist",
            *({**single, "dependsOn": [{"jobId": job_id}]} for job_id in (UNKNOWN_ID, "x", f"{ids['array']}:3")),
            {**single, "dependsOn": [{"jobId": f"{ids['array']}:{'9' * 5000}"}]},
        ),
        *rows(submit, "needs a jobId", {**single, "dependsOn": [{}]}, {"dependsOn": [{"type": "N_TO_N"}]}),
        *rows(submit, "only valid for array jobs", {**single, "dependsOn": [{"type": "SEQUENTIAL"}]}),
        *rows(
            submit,
            "same size",
            {"arrayProperties": {"size": 4}},
            {"dependsOn": [{"jobId": ids["job"], "type": "N_TO_N"}]},
        ),
        *rows(submit, "No parameter found for reference x", {"containerOverrides": {"command": ["echo", "Ref::x"]}}),
        *bad_container(submit, "containerOverrides"),
        *rows(
            submit,
            "can onlybe submitted to job queue with fair share",
            {"shareIdentifier": "a"},
            {"schedulingPriorityOverride": 1},
        ),
        *bad_retries_and_timeouts(submit),
        *bad_tags(submit),
        *rows(submit, "without nodeProperties", {"nodeOverrides": {"numNodes": 2}}),
    ]


def job_queries(ids: dict[str, str]) -> list[Row]:
    listing = "ListJobs"
    in_array = {"jobQueue": GONE, "arrayJobId": ids["array"]}
    return [
        *rows("DescribeJobs", "Maximum number of jobs supported is  100", {"jobs": [ids["job"]] * 101}),
        *rows(
            listing,
            "Exactly one of",
            {"jobQueue": GONE},
            {"arrayJobId": ids["array"]},
            {"multiNodeJobId": ids["job"]},
            {"jobQueue": ""},
        ),
        *rows(listing, "not a multi-node parallel job", {"jobQueue": GONE, "multiNodeJobId": ids["job"]}),
        *rows(listing, "does not exist", {"jobQueue": "nobody"}, {**in_array, "arrayJobId": UNKNOWN_ID}),
        *rows(listing, "not an array job", {**in_array, "arrayJobId": ids["job"]}),
        *rows(listing, "maxResults", *({"maxResults": size} for size in (0, -1, 1001))),
        *rows(listing, "is not one of", {"filters": [{"name": "JUNK", "values": ["x"]}]}),
        *rows(listing, "Only one filter", {"filters": [{"name": "JOB_NAME", "values": ["x"]}] * 2}),
        *rows(
            listing,
            "exactly one value",
            *({"filters": [{"name": "JOB_NAME", "values": values}]} for values in ([], ["a", "b"], [""])),
            {"filters": [{"name": "JOB_NAME"}]},
            {"filters": [{}]},
        ),
        *rows(
            listing,
            "milliseconds since the epoch",
            *({"filters": [{"name": "AFTER_CREATED_AT", "values": [at]}]} for at in ("x", "-1", "1.5", "9" * 16)),
        ),
        *rows(listing, "jobQueue", {**in_array, "filters": [{"name": "JOB_NAME", "values": ["x"]}]}),
        *bad_tokens(listing, {}),
        *bad_tokens(listing, in_array),
        *rows("CancelJob", "jobId must not be empty", {"jobId": ""}, {"jobId": " "}),
        *rows("TerminateJob", "jobId must not be empty", {"jobId": ""}),
        *(
            row
            for operation in ("CancelJob", "TerminateJob", "CancelJobs", "TerminateJobs")
            for row in (
                *rows(operation, "reason must not be empty", {"reason": ""}, {"reason": " "}),
                *rows(operation, "1024", {"reason": "r" * 1025}),
            )
        ),
        *(
            row
            for operation in ("CancelJobs", "TerminateJobs")
            for row in (
                *rows(operation, "jobs must not be empty", {"jobs": []}),
                *rows(operation, "Maximum number of jobs supported is 50", {"jobs": [ids["job"]] * 51}),
            )
        ),
    ]


def tags(ids: dict[str, str]) -> list[Row]:
    arn = "arn:aws:batch:us-east-1:123456789012"
    unknown = [f"{arn}:job-queue/nobody", f"{arn}:job/{UNKNOWN_ID}", f"{arn}:job-definition/definition:9", "x", "arn:"]
    unknown += [f"{arn}:job-definition/definition", f"{arn}:job-definition/definition:{'9' * 5000}", f"{arn}:job/"]
    unknown += ["arn:aws:s3:::bucket", f"{arn}:scheduling-policy/nobody"]
    return [
        row
        for operation in ("ListTagsForResource", "TagResource", "UntagResource")
        for row in (
            *rows(operation, "does not exist", *({"resourceArn": each} for each in unknown)),
            *rows(operation, "child jobs", {"resourceArn": f"{arn}:job/{ids['array']}:1"}),
        )
    ] + bad_tags("TagResource")


def log_queries() -> list[Row]:
    group, both = {"logGroupName": "nobody"}, {"logGroupIdentifier": "/aws/batch/job"}
    missing, token = "does not exist", "nextToken is invalid"
    return [
        *(
            row
            for operation in ("GetLogEvents", "FilterLogEvents", "DescribeLogStreams")
            for row in (
                *rows(operation, missing, group),
                *rows(operation, "Exactly one of", both, {"logGroupName": GONE}),
                *rows(operation, token, *({"nextToken": each} for each in NO_TOKENS)),
            )
        ),
        *rows("GetLogEvents", missing, {"logStreamName": "nobody"}),
        *rows(
            "GetLogEvents",
            token,
            *({"nextToken": each} for each in ("f/", "f/1.2", "b/9999999.0", "g/0.0", "f/0.99999")),
        ),
        *rows("FilterLogEvents", missing, {"logStreamNames": ["nobody"]}),
        *rows("FilterLogEvents", "cannot both", {"logStreamNames": ["a"], "logStreamNamePrefix": "a"}),
        *rows("FilterLogEvents", "filterPattern", {"filterPattern": "{ $.a = 1 }"}, {"filterPattern": "%regex%"}),
        *rows("FilterLogEvents", "Invalid filter pattern", {"filterPattern": '"open'}),
        *rows("DescribeLogGroups", "mutually exclusive", {"logGroupNamePattern": "batch"}),
        *rows("DescribeLogGroups", token, *({"nextToken": each} for each in NO_TOKENS)),
        *rows("DescribeLogStreams", "LastEventTime", {"orderBy": "LastEventTime", "logStreamNamePrefix": "a"}),
        *rows("PutRetentionPolicy", "enum value set", *({"retentionInDays": days} for days in (0, -1, 2, 10_000))),
        *(
            row
            for operation in ("PutRetentionPolicy", "DeleteRetentionPolicy", "DeleteLogStream", "DeleteLogGroup")
            for row in rows(operation, missing, group)
        ),
        *rows("DeleteLogStream", missing, {"logStreamName": "nobody"}),
    ]


@pytest.mark.parametrize("table", [submissions, job_queries, tags])
def test_jobs_and_tags(server: InProcess, table: Callable[[dict[str, str]], list[Row]]) -> None:
    check(server, "batch", table({"job": server.names.job_id, "array": server.names.array_id}))


def test_log_queries(server: InProcess) -> None:
    check(server, "logs", log_queries())


def test_unknown_job_ids_are_no_errors(server: InProcess) -> None:
    """DescribeJobs leaves them out; CancelJob and TerminateJob answer 200 (facts of the service)."""
    array_id = server.names.array_id
    ids = ["", "x", UNKNOWN_ID, f"{array_id}:3", f"{array_id}:-1", f"{array_id}:", "\0", "é" * 500]
    ids += [
        f"{array_id}:{'9' * 20}",
        f"{array_id}:{'9' * 5000}",
        f"x:{'9' * 5000}",
        f"{array_id}:\N{ARABIC-INDIC DIGIT ONE}",
        f"{array_id}:01",
    ]
    response = server.call(("batch", "DescribeJobs"), {"jobs": ids})
    assert (response.status, response.body) == (200, b'{"jobs":[]}')
    for operation in ("CancelJob", "TerminateJob"):
        for job_id in ids[1:]:
            assert server.call(("batch", operation), {"jobId": job_id, "reason": "x"}).status == 200, job_id
