"""One HTTP request as the wire layer sees it: read whole, nothing decoded yet."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Request(msgspec.Struct, frozen=True):
    """Header names are lower case; `path` is the raw path, still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""

    def header(self, name: bytes) -> str:
        """The header's value, or an empty text when the request has none."""
        return self.headers.get(name, b"").decode("latin-1")
