"""The refusals that clients see: codes, statuses and texts as the AWS services give them.

`REQUEST_ID` in a message is replaced by the request's own id when the answer is written, because the
code that refuses doesn't know that id.
"""

from __future__ import annotations

from batchyard.exceptions import ApiError

REQUEST_ID = "{requestId}"


def client_exception(text: str) -> ApiError:
    """Batch's only client error: the request can't be carried out as it stands."""
    return ApiError("ClientException", text)


def executing_request(text: str, request_id: str | None = None) -> ApiError:
    """A `ClientException` in the envelope that Batch puts around most of its validation texts."""
    envelope = f"Error executing request, Exception : {text}, RequestId: {request_id or REQUEST_ID}"
    return client_exception(envelope)


def server_exception(text: str, http_status: int = 500) -> ApiError:
    """The server's own failure; clients retry it."""
    return ApiError("ServerException", text, http_status)


def not_built(operation: str) -> ApiError:
    """The API has this operation and Batchyard doesn't yet."""
    return client_exception(f"{operation} is not built in Batchyard yet")


def throttled() -> ApiError:
    return ApiError("TooManyRequestsException", "Too Many Requests", 429)


def access_denied(text: str) -> ApiError:
    return ApiError("AccessDeniedException", text, 403)


def resource_not_found(text: str) -> ApiError:
    """CloudWatch Logs: the log group or stream isn't there. Batch has no such error."""
    return ApiError("ResourceNotFoundException", text)


def invalid_parameter(text: str) -> ApiError:
    """CloudWatch Logs' word for a parameter that is wrong in itself or with the others."""
    return ApiError("InvalidParameterException", text)


def incomplete_signature(text: str) -> ApiError:
    """The request says that it is signed and the signature's parts can't be read."""
    return ApiError("IncompleteSignatureException", text)


def expired_token(protocol: str) -> ApiError:
    """The request is signed with temporary credentials that are good no longer."""
    text = "The security token included in the request is expired"
    return _of_credentials("ExpiredTokenException", "ExpiredToken", text, protocol)


def invalid_token(protocol: str) -> ApiError:
    """The request is signed with credentials that nobody was ever given here, or not signed at all."""
    text = "The security token included in the request is invalid."
    return _of_credentials("UnrecognizedClientException", "InvalidClientTokenId", text, protocol)


def invalid_signature(protocol: str) -> ApiError:
    """The credentials are good and the signature was not made with them, or not of this request, or not just now."""
    text = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access"
        " Key and signing method. Consult the service documentation for details."
    )
    return _of_credentials("InvalidSignatureException", "SignatureDoesNotMatch", text, protocol)


def not_authorized(who: str, action: str, protocol: str) -> ApiError:
    """The caller is known, and may not call this operation."""
    text = f"User: {who} is not authorized to perform: {action}"
    return _of_credentials("AccessDeniedException", "AccessDenied", text, protocol)


def _of_credentials(code: str, query_code: str, text: str, protocol: str) -> ApiError:
    """Services of the JSON protocol answer all their errors with 400; those of the query protocol have older codes."""
    if protocol == "query":
        return ApiError(query_code, text, 403)
    return ApiError(code, text, 400 if protocol == "json" else 403)


def unknown_operation(text: str) -> ApiError:
    """No operation of any served API answers to this method, path, target or action."""
    return ApiError("UnknownOperationException", text, 404)


def malformed(text: str) -> ApiError:
    """The body or query string can't be decoded at all, so there are no members to validate."""
    return ApiError("SerializationException", text)


def too_large(max_bytes: int) -> ApiError:
    return ApiError("RequestEntityTooLargeException", f"The request body is larger than {max_bytes} bytes", 413)
