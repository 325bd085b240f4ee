"""The server's one entrance for every AWS protocol: a plain ASGI application.

Each request goes the same way: read the body, find the caller and the operation, parse, validate, handle, serialise.
Whatever goes wrong on that way is answered in the protocol's own error shape.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote

import structlog

from batchyard.clock import Ids
from batchyard.exceptions import ApiError, StoreError
from batchyard.wire import errors
from batchyard.wire.contract import Contract
from batchyard.wire.request import Request
from batchyard.wire.route import Match, Router
from batchyard.wire.serialise import Response, error_response
from batchyard.wire.sigv4 import Caller, signed_caller

DEFAULT_MAX_REQUEST_BYTES = 1024 * 1024

Params = dict[str, Any]
Handler = Callable[[Caller, Params], Awaitable[Params]]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Verifier(Protocol):
    async def __call__(self, caller: Caller, request: Request, match: Match) -> Caller:
        """The caller, with what is known of it; ApiError if it isn't who it says, or may not call this operation."""


async def accept_any(caller: Caller, request: Request, match: Match) -> Caller:
    """Take every caller at its word."""
    return caller


class Front:
    """Serves a contract's operations by `handlers`, keyed by (service, operation)."""

    def __init__(
        self,
        contract: Contract,
        handlers: Mapping[tuple[str, str], Handler],
        *,
        default_region: str,
        ids: Ids,
        max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES,
        verifier: Verifier = accept_any,
    ) -> None:
        unknown = handlers.keys() - set(contract.operations())
        if unknown:
            raise ValueError(f"Handlers for operations that the models don't have: {sorted(unknown)}")
        self._handlers = handlers
        self._router = Router(contract)
        self._default_region = default_region
        self._ids = ids
        self._max_request_bytes = max_request_bytes
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            raise RuntimeError(f"The front serves HTTP and can't serve '{scope['type']}'")
        await self.serve(scope, receive, send, self._verifier)

    async def serve(self, scope: Scope, receive: Receive, send: Send, verifier: Verifier) -> None:
        """Answer one HTTP request, whose caller `verifier` knows."""
        response = await self._answer(scope, receive, verifier)
        if response is None:
            return
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _answer(self, scope: Scope, receive: Receive, verifier: Verifier) -> Response | None:
        """None when the client hung up before its request was complete: there is nobody to answer."""
        request_id = self._ids.new()
        request = _without_body(scope)
        signed: Caller | None = None
        match: Match | None = None
        try:
            # Before the body: the refusal of a body that is too large should be worded for its service too.
            signed = signed_caller(request)
            body = await self._body(request, receive)
            if body is None:
                return None
            request = Request(request.method, request.path, request.query, request.headers, body)
            match = self._router.match(request, signed.service if signed else None)
            return await self._serve(request, signed, match, request_id, verifier)
        except ApiError as refusal:
            error = refusal
        except StoreError:
            _log.exception("store unavailable", request_id=request_id, operation=_name(match))
            error = errors.server_exception("The server can't reach its database; nothing was changed", 503)
        except Exception:  # noqa: BLE001 - the one place that keeps a bug from becoming a broken connection
            _log.exception("request failed", request_id=request_id, operation=_name(match))
            error = errors.server_exception(f"Internal error, request id {request_id}")
        if match is not None:
            spoken = match.service.dialect
        else:
            spoken = self._router.dialect_of(request, signed.service if signed else None)
        return error_response(spoken, error, request_id)

    async def _serve(
        self, request: Request, signed: Caller | None, match: Match, request_id: str, verifier: Verifier
    ) -> Response:
        service = match.service
        caller = signed or Caller(None, self._default_region, service.name)
        caller = await verifier(caller, request, match)
        handler = self._handlers.get((service.name, match.operation))
        if handler is None:
            raise errors.not_built(match.operation)
        operation = service.operation(match.operation)
        params = _checked(operation.parse(request, match.labels, match.form), operation.validate)
        return operation.serialise(await handler(caller, params), request_id)

    async def _body(self, request: Request, receive: Receive) -> bytes | None:
        limit = self._max_request_bytes
        announced = request.headers.get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
            raise errors.too_large(limit)
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise errors.too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _without_body(scope: Scope) -> Request:
    # `path` has lost the difference between an ARN's slashes and encoded ones.
    raw_path = scope.get("raw_path")
    path = raw_path.decode("latin-1") if raw_path is not None else quote(scope["path"])
    return Request(scope["method"], path, scope.get("query_string", b"").decode("latin-1"), dict(scope["headers"]))


def _checked(params: Params, validate: Callable[[Params], Params]) -> Params:
    try:
        return validate(params)
    except RecursionError:
        raise errors.malformed("The request is nested too deeply") from None


def _name(match: Match | None) -> str | None:
    return f"{match.service.name}.{match.operation}" if match is not None else None
