"""nextToken: opaque to clients, and all the server has to know to go on; nothing is kept between two pages.

A token holds a position and a checksum of it and of its scope: the operation and the request's other members. So a
token that was changed, cut off or sent along with another query is refused, not read as some other position.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from batchyard.exceptions import ApiError
from batchyard.wire import errors

MAX_DESCRIBED = 100
MAX_TOKEN_CHARACTERS = 16_384
_CHECKSUM_BYTES = 8


def encode(position: Sequence[Any], scope: str = "") -> str:
    """A token for `position`, a list that says where the next page begins."""
    payload = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_checksum(payload, scope) + payload).decode("ascii").rstrip("=")


def decode(token: str, scope: str = "", refuse: Callable[[str], ApiError] = errors.client_exception) -> Any:
    """The position, as a list, in a token that `encode` made for the same scope; raises `refuse(text)` for others."""
    if len(token) <= MAX_TOKEN_CHARACTERS:
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            data = b""
        checksum, payload = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
        if payload and checksum == _checksum(payload, scope):
            return msgspec.json.decode(payload)
    raise refuse("nextToken is not valid")


def page_size(params: dict[str, Any], most: int = MAX_DESCRIBED) -> int:
    """maxResults of a Describe operation: 1 to 100, and 100 when it is not given (service model)."""
    size: int = params.get("maxResults", most)
    if not 1 <= size <= most:
        raise errors.client_exception(f"maxResults must be between 1 and {most}")
    return size


def _checksum(payload: bytes, scope: str) -> bytes:
    return hashlib.blake2b(scope.encode() + b"\0" + payload, digest_size=_CHECKSUM_BYTES).digest()
