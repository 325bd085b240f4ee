"""Who calls, by the request's SigV4 credential scope: `ACCESS_KEY/DATE/REGION/SERVICE/aws4_request`.

The scope stands in the Authorization header or, in presigned requests, in the query string. It also names the
region and the service that the client means, which no other part of a request does reliably.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs

import msgspec

from batchyard.exceptions import ApiError
from batchyard.wire import errors
from batchyard.wire.request import Request

ALGORITHM = "AWS4-HMAC-SHA256"

# Regions become parts of ARNs, so they may hold no colon, slash or blank.
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ACCESS_KEY = re.compile(r"[!-~]{1,256}")


class Caller(msgspec.Struct, frozen=True):
    """`access_key` is None when the request carries no signature."""

    access_key: str | None
    region: str
    service: str
    role: str | None = None
    """The ARN of the role, if an attempt of a job calls with its role's credentials."""
    session: str | None = None
    """That attempt's id."""


def signed_caller(request: Request) -> Caller | None:
    """The caller that the signature names, or None for a request without one."""
    authorization = request.header(b"authorization").strip()
    if authorization:
        return _from_header(authorization)
    if "X-Amz-Credential=" in request.query:
        return _from_query(request.query)
    return None


def _from_header(authorization: str) -> Caller:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise errors.incomplete_signature(f"Authorization header must begin with '{ALGORITHM}'")
    fields = _fields(rest)
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    if missing:
        texts = [f"Authorization header requires '{name}' parameter." for name in missing]
        raise errors.incomplete_signature(" ".join(texts))
    return _from_credential(fields["Credential"])


def header_fields(authorization: str) -> dict[str, str]:
    """The parts of an Authorization header: Credential, SignedHeaders, Signature."""
    return _fields(authorization.strip().partition(" ")[2])


def _fields(text: str) -> dict[str, str]:
    return dict(_field(part) for part in text.split(","))


def _field(part: str) -> tuple[str, str]:
    name, _, value = part.strip().partition("=")
    return name, value


def _from_query(query: str) -> Caller:
    try:
        fields = parse_qs(query, max_num_fields=1000)
    except ValueError as error:
        raise _bad_credential() from error
    credentials = fields.get("X-Amz-Credential")
    if not credentials:
        raise _bad_credential()
    return _from_credential(credentials[0])


def _from_credential(credential: str) -> Caller:
    # From the right: nothing forbids a slash in a made-up access key.
    parts = credential.rsplit("/", 4)
    if len(parts) != 5:
        raise _bad_credential()
    access_key, _date, region, service, terminator = parts
    if terminator != "aws4_request" or not _ACCESS_KEY.fullmatch(access_key) or not _REGION.fullmatch(region):
        raise _bad_credential()
    return Caller(access_key, region, service)


def _bad_credential() -> ApiError:
    return errors.incomplete_signature("Credential must have the form ACCESS_KEY/DATE/REGION/SERVICE/aws4_request")
