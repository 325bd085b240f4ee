"""The server's two doors, as ASGI applications: its own address, and the one that only attempts come to (ADR 17).

At its own address, which is on loopback, it answers everybody who is on this machine. At the other, every request has
to show that it comes from an attempt that goes on: by its signature, by a token, or by the path that it was told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from msgspec import structs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from batchyard import __version__
from batchyard.api.catalogue import OPERATIONS
from batchyard.api.context import Context, Operation
from batchyard.api.native import application as native
from batchyard.api.roles import endpoint
from batchyard.api.roles.keys import Keys
from batchyard.api.roles.verify import Verifier
from batchyard.wire.contract import Contract
from batchyard.wire.front import Front
from batchyard.wire.guard import LocalOnly
from batchyard.wire.sigv4 import Caller

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class Doors:
    """Both, over the same operations."""

    def __init__(self, context: Context, keys: Keys) -> None:
        self._context = context
        self._keys = keys
        self._contract = Contract.load()
        self._roles = endpoint.application(context, keys)

    def own(self, is_healthy: Callable[[], bool]) -> Application:
        """For the server's own address."""
        front = _front(self._context, self._contract, Verifier(self._context, self._keys, attempts_only=False))

        async def health(_request: Request) -> JSONResponse:
            healthy = is_healthy()
            body = {"status": "ok" if healthy else "scheduler stopped", "version": __version__}
            return JSONResponse(body, status_code=200 if healthy else 503)

        own = Starlette(
            routes=[
                Route("/health", health, methods=["GET"]),
                Mount(native.PREFIX, native.application(self._context)),
            ]
        )

        async def dispatch(scope: Scope, receive: Any, send: Any) -> None:
            """The AWS APIs past the router of our own endpoints: they have every other path."""
            path = scope.get("path", "/")
            if path == "/health" or path.startswith(f"{native.PREFIX}/"):
                await own(scope, receive, send)
            elif endpoint.is_served_here(path):
                await self._roles(scope, receive, send)
            else:
                await front(scope, receive, send)

        return LocalOnly(dispatch, self._context.settings.host)

    def attempts(self, host: str) -> Application:
        """For the address that attempts come to, `host`."""
        verifier = Verifier(self._context, self._keys, attempts_only=True)
        front = _front(self._context, self._contract, verifier)

        async def dispatch(scope: Scope, receive: Any, send: Any) -> None:
            path = scope.get("path", "/")
            if endpoint.is_served_here(path):
                await self._roles(scope, receive, send)
                return
            prefix, _, rest = path.removeprefix(f"{endpoint.GUEST_PATH}/").partition("/")
            is_guest = scope["type"] == "http" and path.startswith(f"{endpoint.GUEST_PATH}/")
            bearer = self._keys.bearer_at(endpoint.GUEST, prefix) if is_guest else None
            if bearer is None:
                await front(scope, receive, send)
                return
            skipped = len(path) - len(rest) - 1
            inner = {**scope, "path": f"/{rest}", "raw_path": scope.get("raw_path", path.encode())[skipped:] or b"/"}
            await front.serve(inner, receive, send, verifier.of(bearer))

        return LocalOnly(dispatch, host)


def _front(context: Context, contract: Contract, verifier: Verifier) -> Front:
    return Front(
        contract,
        {key: _handler(context, function) for key, function in OPERATIONS.items()},
        default_region=context.settings.region,
        ids=context.ids,
        max_request_bytes=context.settings.max_request_bytes,
        verifier=verifier,
    )


def _handler(context: Context, function: Operation) -> Any:
    async def handle(caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        return await function(structs.replace(context, caller=caller), params)

    return handle
