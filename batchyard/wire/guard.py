"""Keeping web pages away from a server on loopback.

A browser on this machine can be made to send requests here by any page it shows. Such a request names a foreign
Origin, or, after DNS rebinding, a foreign Host; clients of the AWS APIs do neither.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class LocalOnly:
    """An ASGI application that lets through only requests meant for this host, and refuses others with 403."""

    def __init__(self, application: Application, host: str) -> None:
        self._application = application
        self._names = LOOPBACK_NAMES | {host.lower()}

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not self._is_meant_for_us(scope):
            await send(
                {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"application/json")]}
            )
            await send({"type": "http.response.body", "body": b'{"message":"This Host or Origin is not served here"}'})
            return
        await self._application(scope, receive, send)

    def _is_meant_for_us(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"host" and _host_name(b"//" + value) not in self._names:
                return False
            if name == b"origin" and _host_name(value) not in self._names:
                return False
        return True


@functools.lru_cache
def _host_name(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("ascii")).hostname
    except ValueError:
        return None
