from __future__ import annotations

import pytest

from batchyard.exceptions import ApiError
from batchyard.wire.route import Match, Router, compile_uri
from tests.unit.wire.harness import CONTRACT, request

ROUTER = Router(CONTRACT)
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def found(match: Match) -> tuple[str, str]:
    return match.service.name, match.operation


def test_a_batch_path_needs_no_signature() -> None:
    assert found(ROUTER.match(request("POST", "/v1/submitjob"), None)) == ("batch", "SubmitJob")


def test_a_batch_path_wins_over_a_form_content_type() -> None:
    # What `curl -d '{}'` sends.
    assert found(ROUTER.match(request("POST", "/v1/listjobs", b"{}", headers=FORM), None)) == ("batch", "ListJobs")


def test_a_target_needs_no_signature() -> None:
    headers = {"x-amz-target": "Logs_20140328.GetLogEvents"}
    assert found(ROUTER.match(request(headers=headers), None)) == ("logs", "GetLogEvents")


def test_an_unsigned_form_is_matched_by_its_version() -> None:
    form = request(body=b"Action=GetCallerIdentity&Version=2011-06-15", headers=FORM)
    assert found(ROUTER.match(form, None)) == ("sts", "GetCallerIdentity")


def test_a_query_operation_may_stand_in_the_query_string() -> None:
    presigned = request("GET", query="Action=GetCallerIdentity&Version=2011-06-15")
    assert found(ROUTER.match(presigned, "sts")) == ("sts", "GetCallerIdentity")
    assert found(ROUTER.match(presigned, None)) == ("sts", "GetCallerIdentity")


def test_the_signature_names_the_service_whatever_the_rest_says() -> None:
    headers = {"x-amz-target": "Logs_20140328.GetLogEvents"}
    assert found(ROUTER.match(request("POST", "/v1/submitjob", headers=headers), "batch")) == ("batch", "SubmitJob")


@pytest.mark.parametrize(
    "text",
    [
        "arn%3Aaws%3Abatch%3Aus-east-1%3A123456789012%3Ajob-definition%2Fsleep%3A3",
        "arn:aws:batch:us-east-1:123456789012:job-definition/sleep:3",
        "arn:aws:batch:us-east-1:123456789012:job-definition%2Fsleep:3",
    ],
)
@pytest.mark.parametrize(
    ("method", "operation"), [("GET", "ListTagsForResource"), ("POST", "TagResource"), ("DELETE", "UntagResource")]
)
def test_an_arn_in_the_path_may_be_encoded_or_raw(method: str, operation: str, text: str) -> None:
    match = ROUTER.match(request(method, f"/v1/tags/{text}"), None)
    assert match.operation == operation
    assert match.labels == {"resourceArn": "arn:aws:batch:us-east-1:123456789012:job-definition/sleep:3"}


@pytest.mark.parametrize(
    ("asked", "signed_service"),
    [
        (request("GET", "/v1/submitjob"), None),
        (request("PUT", "/v1/tags/arn"), "batch"),
        (request("POST", "/v1/tags/"), None),
        (request("POST", "/v1/nosuchjob"), "batch"),
        (request("POST", "/v1/submitjob"), "s3"),
        (request("POST", "/v1/submitjob"), "logs"),
        (request("POST", "/v1/submitjob"), "sts"),
        (request("POST", "/"), None),
        (request("HEAD", "/favicon.ico"), None),
        (request("OPTIONS", "*"), None),
        (request(headers={"x-amz-target": "Logs_20140328.NoSuch"}), None),
        (request(headers={"x-amz-target": "Nothing_1.GetLogEvents"}), None),
        (request(headers={"x-amz-target": "Nothing_1.GetLogEvents"}), "logs"),
        (request("GET", headers={"x-amz-target": "Logs_20140328.GetLogEvents"}), None),
        (request(body=b"Action=GetCallerIdentity&Version=1999-01-01", headers=FORM), None),
        (request(body=b"Action=NoSuch&Version=2011-06-15", headers=FORM), None),
        (request("PUT", body=b"Action=GetCallerIdentity&Version=2011-06-15", headers=FORM), "sts"),
    ],
)
def test_what_no_operation_answers_to_is_refused_as_unknown(asked: object, signed_service: str | None) -> None:
    with pytest.raises(ApiError) as refusal:
        ROUTER.match(asked, signed_service)  # type: ignore[arg-type]
    assert (refusal.value.code, refusal.value.http_status) == ("UnknownOperationException", 404)


@pytest.mark.parametrize(
    "asked",
    [
        request("GET", "/v1/tags/%ff"),
        request(body=b"Action=\xff", headers=FORM),
        request(body=b"Action=%ff", headers=FORM),
        request(body=b"a=1&" * 5000, headers=FORM),
    ],
)
def test_what_cannot_be_decoded_is_refused_as_malformed(asked: object) -> None:
    with pytest.raises(ApiError) as refusal:
        ROUTER.match(asked, None)  # type: ignore[arg-type]
    assert (refusal.value.code, refusal.value.http_status) == ("SerializationException", 400)


def test_inner_labels_end_at_a_slash_and_greedy_ones_do_not() -> None:
    pattern, labels = compile_uri("/v2/queues/{queueName}/jobs/{job-id}")
    assert labels == ["queueName", "job-id"]
    assert pattern.fullmatch("/v2/queues/a/jobs/b/c").groups() == ("a", "b/c")  # type: ignore[union-attr]
    assert pattern.fullmatch("/v2/queues/a/b/jobs/c") is None
    pattern, labels = compile_uri("/v2/{key+}/end")
    assert labels == ["key"]
    assert pattern.fullmatch("/v2/a/b/end").groups() == ("a/b",)  # type: ignore[union-attr]
