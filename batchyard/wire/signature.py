"""Whether a request's SigV4 signature was made with a secret key (the AWS general reference, "Signature Version 4").

Only the Authorization header's form is checked here; presigned requests are for services that browsers call.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from urllib.parse import quote

from botocore.utils import normalize_url_path

from batchyard.wire.request import Request
from batchyard.wire.sigv4 import ALGORITHM, header_fields

MAX_SKEW_SECONDS = 900
"""How far the client's clock may be off, as on AWS."""

_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_BLANKS = re.compile(r" +")


def is_genuine(request: Request, secret_key: str, now_seconds: float) -> bool:
    """Whether the holder of `secret_key` signed this very request, and did so just now."""
    fields = header_fields(request.header(b"authorization"))
    scope = fields.get("Credential", "").split("/")[-4:]
    names = fields.get("SignedHeaders", "").split(";")
    signed_at = request.header(b"x-amz-date")
    if not _must_be_signed(request) <= set(names) or not _is_recent(signed_at, now_seconds):
        return False
    if len(scope) != 4 or scope[0] != signed_at[:8]:
        return False
    digest = hashlib.sha256(_canonical(request, names).encode("latin-1")).hexdigest()
    to_sign = "\n".join([ALGORITHM, signed_at, "/".join(scope), digest])
    expected = hmac.new(_key(secret_key, scope), to_sign.encode("latin-1"), "sha256").hexdigest()
    return hmac.compare_digest(expected.encode(), fields.get("Signature", "").encode("latin-1"))


def _must_be_signed(request: Request) -> set[str]:
    """What isn't signed could be replaced: the host, the time, the token that says whose key it is, and whatever else
    begins with x-amz-, as X-Amz-Target does, which names the operation."""
    others = {name.decode("latin-1") for name in request.headers if name.startswith(b"x-amz-")}
    return {"host", "x-amz-date", "x-amz-security-token", *others}


def _is_recent(signed_at: str, now_seconds: float) -> bool:
    if not _TIME.fullmatch(signed_at):
        return False
    try:
        moment = calendar.timegm(time.strptime(signed_at, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return False
    return abs(now_seconds - moment) <= MAX_SKEW_SECONDS


def _canonical(request: Request, names: list[str]) -> str:
    """The request as it is signed. The path is encoded once more than on the wire, as all services but S3 have it."""
    query = "&".join("=".join(pair) for pair in sorted(_pairs(request.query)))
    headers = "".join(f"{name}:{_BLANKS.sub(' ', request.header(name.encode('latin-1')).strip())}\n" for name in names)
    path = quote(normalize_url_path(request.path) or "/", safe="/~", encoding="latin-1")
    payload = hashlib.sha256(request.body).hexdigest()
    return "\n".join([request.method, path, query, headers, ";".join(names), payload])


def _pairs(query: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in query.split("&") if part]
    return [(name, value) for name, _, value in parts]


def _key(secret_key: str, scope: list[str]) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key
