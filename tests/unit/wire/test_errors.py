from __future__ import annotations

import pytest

from batchyard.exceptions import ApiError
from batchyard.wire import errors
from batchyard.wire.serialise import error_response
from tests.unit.wire.harness import CONTRACT, botocore_parsed, header

ID = "8d1c0b0e-0b3c-4b0e-8b0e-000000000000"


@pytest.mark.parametrize(
    ("error", "code", "message", "status"),
    [
        (errors.client_exception("No"), "ClientException", "No", 400),
        (
            errors.executing_request("Instance role is required.", ID),
            "ClientException",
            f"Error executing request, Exception : Instance role is required., RequestId: {ID}",
            400,
        ),
        (errors.server_exception("Oh"), "ServerException", "Oh", 500),
        (errors.not_built("CancelJobs"), "ClientException", "CancelJobs is not built in Batchyard yet", 400),
        (errors.throttled(), "TooManyRequestsException", "Too Many Requests", 429),
        (errors.access_denied("No"), "AccessDeniedException", "No", 403),
        (errors.resource_not_found("No"), "ResourceNotFoundException", "No", 400),
        (errors.invalid_parameter("No"), "InvalidParameterException", "No", 400),
        (errors.incomplete_signature("No"), "IncompleteSignatureException", "No", 400),
        (errors.unknown_operation("No"), "UnknownOperationException", "No", 404),
        (errors.malformed("No"), "SerializationException", "No", 400),
        (errors.too_large(5), "RequestEntityTooLargeException", "The request body is larger than 5 bytes", 413),
    ],
)
def test_each_refusal_has_the_code_text_and_status_of_the_service(
    error: ApiError, code: str, message: str, status: int
) -> None:
    assert (error.code, error.message, error.http_status) == (code, message, status)


@pytest.mark.parametrize(
    ("service", "operation"), [("batch", "SubmitJob"), ("logs", "GetLogEvents"), ("sts", "GetCallerIdentity")]
)
def test_a_refusal_reads_the_same_in_every_protocol(service: str, operation: str) -> None:
    text = 'Job name should match <valid> & "sane" pattern, né\x00'
    response = error_response(CONTRACT.services[service].dialect, errors.executing_request(text), ID)

    assert header(response, "x-amzn-errortype") == "ClientException"
    assert header(response, "x-amzn-requestid") == ID
    assert header(response, "content-type") == CONTRACT.services[service].dialect.content_type
    parsed = botocore_parsed(CONTRACT, service, operation, response)
    assert parsed["Error"]["Code"] == "ClientException"
    # XML can't carry a NUL in any way.
    shown = text.replace("\x00", "\ufffd") if service == "sts" else text
    assert parsed["Error"]["Message"] == f"Error executing request, Exception : {shown}, RequestId: {ID}"
    assert parsed["ResponseMetadata"]["RequestId"] == ID
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_query_errors_say_whose_fault_it_is() -> None:
    spoken = CONTRACT.services["sts"].dialect
    assert b"<Type>Sender</Type>" in error_response(spoken, errors.access_denied("No"), ID).body
    assert b"<Type>Receiver</Type>" in error_response(spoken, errors.server_exception("No"), ID).body
