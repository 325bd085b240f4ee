from __future__ import annotations

from typing import Any

import pytest

from batchyard.wire.contract import Contract
from tests.unit.wire.harness import CONTRACT, header

ID = "8d1c0b0e-0b3c-4b0e-8b0e-000000000000"


def body(operation: str, result: dict[str, Any], service: str = "batch") -> bytes:
    return CONTRACT.services[service].operation(operation).serialise(result, ID).body


def test_absent_and_none_members_are_omitted_at_every_depth() -> None:
    result = {"jobs": [{"jobName": "a", "statusReason": None, "container": {"exitCode": 0, "reason": None}}]}
    assert body("DescribeJobs", result) == b'{"jobs":[{"jobName":"a","container":{"exitCode":0}}]}'


def test_the_handler_s_own_result_is_left_as_it_was() -> None:
    result = {"jobs": [{"jobName": "a", "statusReason": None}], "x": None}
    del result["x"]
    body("DescribeJobs", result)
    assert result == {"jobs": [{"jobName": "a", "statusReason": None}]}


@pytest.mark.parametrize(
    ("service", "operation", "result"),
    [
        ("batch", "SubmitJob", {"jobName": "a", "queue": "b"}),
        ("batch", "DescribeJobs", {"jobs": [{"jobName": "a", "container": {"exit_code": 0}}]}),
        ("batch", "ListJobs", {"jobSummaryList": [{"state": None}]}),
        ("logs", "DeleteLogGroup", {"anything": 1}),
        ("sts", "GetCallerIdentity", {"account": "1"}),
    ],
)
def test_a_member_that_the_model_does_not_have_is_never_sent(
    service: str, operation: str, result: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        body(operation, result, service)


@pytest.mark.parametrize(("service", "operation"), [("batch", "CancelJob"), ("logs", "DeleteLogGroup")])
def test_an_empty_result_is_an_empty_object(service: str, operation: str) -> None:
    assert body(operation, {}, service) == b"{}"


def test_every_response_names_its_request() -> None:
    response = CONTRACT.services["batch"].operation("CancelJob").serialise({}, ID)
    assert response.status == 200
    assert header(response, "x-amzn-requestid") == ID
    assert header(response, "content-type") == "application/json"
    assert header(response, "content-length") == "2"


def test_xml_has_the_wrapper_and_the_request_s_id() -> None:
    result = {"UserId": "a<b", "Account": "123456789012", "Arn": None}
    assert body("GetCallerIdentity", result, "sts") == (
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        b"<UserId>a&lt;b</UserId><Account>123456789012</Account></GetCallerIdentityResult>"
        b"<ResponseMetadata><RequestId>8d1c0b0e-0b3c-4b0e-8b0e-000000000000</RequestId></ResponseMetadata>"
        b"</GetCallerIdentityResponse>"
    )


def test_xml_timestamps_are_iso_8601() -> None:
    credentials = {"AccessKeyId": "k", "Expiration": 1_700_000_000}
    assert b"<Expiration>2023-11-14T22:13:20Z</Expiration>" in body(
        "GetSessionToken", {"Credentials": credentials}, "sts"
    )
    credentials["Expiration"] = 1_700_000_000.25
    assert b"<Expiration>2023-11-14T22:13:20.250Z</Expiration>" in body(
        "GetSessionToken", {"Credentials": credentials}, "sts"
    )


def test_json_timestamps_are_numbers() -> None:
    events = Contract.load(["events"]).services["events"].operation("DescribeReplay")
    assert events.serialise({"EventStartTime": 1_700_000_000}, ID).body == b'{"EventStartTime":1700000000}'
