from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchyard.exceptions import ApiError, BatchyardError, StoreError
from batchyard.wire import errors
from batchyard.wire.request import Request
from batchyard.wire.route import Match
from batchyard.wire.sigv4 import Caller
from tests.unit.wire.harness import (
    CONTRACT,
    REGION,
    Handler,
    authorization,
    batch,
    botocore_request,
    call,
    drive,
    exchange,
    front,
    header,
    logs,
    send,
    sts,
)

FIRST_ID = "00000000-0000-4000-8000-000000000001"
SUBMIT = {"jobName": "one", "jobQueue": "default", "jobDefinition": "sleep"}
SCOPE = {"type": "http", "method": "POST", "path": "/v1/submitjob", "raw_path": b"/v1/submitjob", "headers": []}


def submit_front(answer: Any = None, **options: Any) -> tuple[Any, Handler]:
    handler = Handler(answer)
    return front({("batch", "SubmitJob"): handler}, **options), handler


def test_an_unsigned_caller_is_anonymous_in_the_default_region() -> None:
    app, handler = submit_front()
    assert batch(app, "SubmitJob", SUBMIT).status == 200
    assert handler.calls == [(Caller(None, "us-east-1", "batch"), SUBMIT)]


def test_a_signed_caller_brings_key_and_region() -> None:
    app, handler = submit_front()
    assert batch(app, "SubmitJob", SUBMIT, authorization=authorization("batch")).status == 200
    assert handler.calls == [(Caller("AKIDEXAMPLE", REGION, "batch"), SUBMIT)]


def test_a_missing_body_is_an_empty_request() -> None:
    handler = Handler({"jobQueues": []})
    assert batch(front({("batch", "DescribeJobQueues"): handler}), "DescribeJobQueues").body == b'{"jobQueues":[]}'
    assert handler.params == {}


def test_a_body_may_come_in_parts() -> None:
    app, handler = submit_front()
    body = json.dumps(SUBMIT).encode()
    parts = [{"type": "http.request", "body": body[i : i + 7], "more_body": True} for i in range(0, len(body), 7)]
    sent = exchange(app, SCOPE, [*parts, {"type": "http.request"}])
    assert sent[0]["status"] == 200
    assert handler.params == SUBMIT


def test_a_client_that_hangs_up_in_the_middle_of_its_body_gets_no_answer() -> None:
    app, handler = submit_front()
    incoming = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert exchange(app, SCOPE, incoming) == []
    assert handler.calls == []


def test_without_a_raw_path_the_decoded_one_serves() -> None:
    handler = Handler({"tags": {}})
    scope = {"type": "http", "method": "GET", "path": "/v1/tags/arn:a:b/ä", "query_string": b"", "headers": []}
    app = front({("batch", "ListTagsForResource"): handler})
    assert exchange(app, scope, [{"type": "http.request"}])[0]["status"] == 200
    assert handler.params == {"resourceArn": "arn:a:b/ä"}


@pytest.mark.parametrize("announced", ["1001", "9" * 5000])
def test_a_body_announced_as_too_large_is_refused_unread(announced: str) -> None:
    app, handler = submit_front(max_request_bytes=1000)
    scope = {**SCOPE, "headers": [(b"content-length", announced.encode())]}
    sent = exchange(app, scope, [])
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "RequestEntityTooLargeException"
    assert handler.calls == []


def test_a_body_that_grows_too_large_is_refused() -> None:
    app, _ = submit_front(max_request_bytes=1000)
    parts = [{"type": "http.request", "body": b" " * 400, "more_body": True}] * 3
    assert exchange(app, SCOPE, parts)[0]["status"] == 413


def test_a_body_of_just_the_largest_size_is_read() -> None:
    body = json.dumps(SUBMIT).encode()
    app, _ = submit_front(max_request_bytes=len(body))
    assert batch(app, "SubmitJob", body).status == 200


def test_the_default_limit_takes_a_megabyte() -> None:
    app, handler = submit_front()
    params = {**SUBMIT, "parameters": {"script": "x" * 1_000_000}}
    assert batch(app, "SubmitJob", params).status == 200
    assert handler.params == params
    assert batch(app, "SubmitJob", {**SUBMIT, "parameters": {"script": "x" * 1_100_000}}).status == 413


def test_a_signature_that_cannot_be_read_is_refused_in_the_protocol_that_the_request_shows() -> None:
    app = front()
    assert json.loads(batch(app, "SubmitJob", authorization="nonsense").body)["code"] == "IncompleteSignatureException"
    target = {"authorization": "nonsense", "x-amz-target": "Logs_20140328.GetLogEvents"}
    assert json.loads(call(app, headers=target).body)["__type"] == "IncompleteSignatureException"
    posted = {"authorization": "nonsense", "content-type": "application/x-www-form-urlencoded"}
    assert b"<Code>IncompleteSignatureException</Code>" in call(app, headers=posted).body


def test_the_verifier_may_refuse_anyone() -> None:
    seen: list[str | None] = []

    async def refuse(caller: Caller, request: Request, match: Match) -> Caller:
        seen.append(caller.access_key)
        raise errors.access_denied("Not you")

    app, handler = submit_front(verifier=refuse)
    assert batch(app, "SubmitJob", SUBMIT).status == 403
    assert batch(app, "SubmitJob", SUBMIT, authorization=authorization("batch")).status == 403
    assert seen == [None, "AKIDEXAMPLE"]
    assert handler.calls == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/nothing"),
        ("GET", "/v1/submitjob"),
        ("POST", "/v1/nothing"),
        ("OPTIONS", "*"),
        ("X", ""),
    ],
)
def test_an_unknown_path_or_method_is_an_unknown_operation(method: str, path: str) -> None:
    response = call(front(), method, path)
    assert response.status == 404
    assert header(response, "x-amzn-errortype") == "UnknownOperationException"
    assert json.loads(response.body)["code"] == "UnknownOperationException"


def test_an_unknown_operation_of_a_signed_service_is_worded_in_its_protocol() -> None:
    signed = {"authorization": authorization("logs"), "x-amz-target": "Logs_20140328.Nothing"}
    assert json.loads(call(front(), headers=signed).body)["__type"] == "UnknownOperationException"
    signed = {"authorization": authorization("sts")}
    assert b"<Code>UnknownOperationException</Code>" in call(front(), headers=signed, body=b"Action=Nothing").body


def test_a_request_that_fails_validation_never_reaches_its_handler() -> None:
    app, handler = submit_front()
    response = batch(app, "SubmitJob", {"jobName": 1})
    assert response.status == 400
    assert header(response, "x-amzn-errortype") == "ClientException"
    assert handler.calls == []


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"tags":' + b'{"a":' * 50_000])
def test_deep_nesting_is_the_client_s_mistake(body: bytes) -> None:
    app, _ = submit_front()
    response = batch(app, "SubmitJob", body)
    assert response.status == 400
    assert json.loads(response.body)["code"] == "SerializationException"


def test_a_refusal_by_the_handler_names_the_request() -> None:
    app, _ = submit_front(errors.executing_request("Job name should match valid pattern"))
    response = batch(app, "SubmitJob", SUBMIT)
    assert response.status == 400
    assert json.loads(response.body) == {
        "code": "ClientException",
        "message": "Error executing request, Exception : Job name should match valid pattern, RequestId: " + FIRST_ID,
    }
    assert header(response, "x-amzn-requestid") == FIRST_ID


def test_a_throttled_request_is_a_429() -> None:
    app, _ = submit_front(errors.throttled())
    response = batch(app, "SubmitJob", SUBMIT)
    assert (response.status, header(response, "x-amzn-errortype")) == (429, "TooManyRequestsException")


def test_a_store_that_fails_is_a_503_and_is_logged() -> None:
    app, _ = submit_front(StoreError("disk full at /secret/place"))
    with capture_logs() as logged:
        response = batch(app, "SubmitJob", SUBMIT)
    assert response.status == 503
    assert json.loads(response.body)["code"] == "ServerException"
    assert b"secret" not in response.body
    assert [(entry["log_level"], entry["operation"]) for entry in logged] == [("error", "batch.SubmitJob")]


@pytest.mark.parametrize("failure", [ValueError("secret"), BatchyardError("secret"), RecursionError("secret")])
def test_a_bug_in_a_handler_is_a_500_that_tells_nothing_and_is_logged(failure: Exception) -> None:
    app, _ = submit_front(failure)
    with capture_logs() as logged:
        response = batch(app, "SubmitJob", SUBMIT)
    assert response.status == 500
    assert json.loads(response.body) == {
        "code": "ServerException",
        "message": f"Internal error, request id {FIRST_ID}",
    }
    assert [(entry["log_level"], entry["request_id"], entry["exc_info"]) for entry in logged] == [
        ("error", FIRST_ID, True)
    ]


def test_an_answer_that_the_model_does_not_have_is_a_500() -> None:
    app, _ = submit_front({"surprise": 1})
    with capture_logs():
        response = batch(app, "SubmitJob", SUBMIT)
    assert response.status == 500
    assert b"surprise" not in response.body


def test_every_protocol_is_served_at_one_entrance() -> None:
    identity = Handler({"Account": "123456789012"})
    groups = Handler({"logGroups": []})
    app = front({("sts", "GetCallerIdentity"): identity, ("logs", "DescribeLogGroups"): groups})
    assert b"<Account>123456789012</Account>" in sts(app, "Action=GetCallerIdentity&Version=2011-06-15").body
    assert logs(app, "DescribeLogGroups", {"limit": 5}).body == b'{"logGroups":[]}'
    assert groups.params == {"limit": 5}


def test_tags_are_removed_by_keys_in_the_query_string() -> None:
    handler = Handler()
    app = front({("batch", "UntagResource"): handler})
    params = {"resourceArn": "arn:aws:batch:us-east-1:123456789012:job/8d1c#1", "tagKeys": ["a/b", "c d", "e&f"]}
    assert send(app, botocore_request(CONTRACT, "batch", "UntagResource", params)).status == 200
    assert handler.params == params


def test_a_handler_for_an_operation_that_does_not_exist_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="SubmitJobs"):
        front({("batch", "SubmitJobs"): Handler()})


def test_a_websocket_is_closed() -> None:
    assert exchange(front(), {"type": "websocket"}, []) == [{"type": "websocket.close"}]


def test_other_connections_are_not_served() -> None:
    with pytest.raises(RuntimeError, match="lifespan"):
        drive(front()({"type": "lifespan"}, None, None))  # type: ignore[arg-type]


def test_an_api_error_keeps_its_own_status() -> None:
    app, _ = submit_front(ApiError("SampleException", "Sample", 418))
    assert batch(app, "SubmitJob", SUBMIT).status == 418
