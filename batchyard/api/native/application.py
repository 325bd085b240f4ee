"""Batchyard's own HTTP endpoints beside the AWS APIs: JSON over GET, below /batchyard/v1 (docs/http.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchyard.api.context import Context
from batchyard.api.native.notes import notes
from batchyard.api.native.place import place
from batchyard.api.native.usage import usage
from batchyard.api.native.why import why
from batchyard.exceptions import StoreError

PREFIX = "/batchyard"

Answer = Callable[[Context, str], Awaitable[dict[str, Any] | None]]

JOB_VIEWS: dict[str, Answer] = {"notes": notes, "place": place, "usage": usage, "why": why}
"""What can be asked of a job: the last part of the path, and who answers."""

log = structlog.get_logger(__name__)


def application(context: Context) -> Starlette:
    """The ASGI application to mount at PREFIX."""
    routes = [Route(f"/v1/jobs/{{unit_id:path}}/{name}", _of_job(context, view)) for name, view in JOB_VIEWS.items()]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refused, StoreError: _unavailable})


def _of_job(context: Context, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        unit_id = request.path_params["unit_id"]
        body = await answer(context, unit_id)
        if body is None:
            return JSONResponse({"message": f"There is no job {unit_id}"}, status_code=404)
        return JSONResponse(body)

    return endpoint


async def _refused(_request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": error.detail}, status_code=error.status_code, headers=error.headers)


async def _unavailable(_request: Request, _error: Exception) -> Response:
    log.exception("store unavailable")
    return JSONResponse({"message": "The server can't reach its database"}, status_code=503)
