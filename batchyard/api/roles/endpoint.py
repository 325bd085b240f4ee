"""What attempts find at the addresses in their environment: credentials of their role, and the task metadata.

Paths and answers are those of the ECS agent. Credentials are given to who shows the attempt's authorization token;
the metadata's path holds a part that nobody else can guess. Both end with the attempt.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from batchyard.api.context import Context
from batchyard.api.roles import metadata
from batchyard.api.roles.assume import RoleService
from batchyard.api.roles.attempts import LiveAttempt, live_attempt
from batchyard.api.roles.keys import CREDENTIALS_SECONDS, Bearer, Credentials, Keys, bearer_of
from batchyard.core.model import JobTerms
from batchyard.engines.base import ContainerFacts
from batchyard.exceptions import RoleError, StoreError

CREDENTIALS_PATH = "/v2/credentials"
METADATA_PATH = "/v4"
METADATA = "metadata"
"""What the part of a metadata path is a proof for."""

CONTAINER_MARK = "-container-"
"""In a metadata path, before a container's place in its task; the first has none."""
GUEST_PATH = "/attempt"
GUEST = "guest"
"""What the part of a path below GUEST_PATH is a proof for: that its requests are the attempt's, whoever signed them."""

_terms = msgspec.json.Decoder(JobTerms)
_log = structlog.get_logger(__name__)


def is_served_here(path: str) -> bool:
    return path.startswith((f"{CREDENTIALS_PATH}/", f"{METADATA_PATH}/"))


def application(context: Context, keys: Keys) -> Starlette:
    """The ASGI application for the paths that are served here."""
    endpoint = _Endpoint(context, keys)
    place = f"{METADATA_PATH}/{{place}}"
    routes = [
        Route(f"{CREDENTIALS_PATH}/{{name}}", endpoint.credentials),
        Route(place, endpoint.container),
        Route(f"{place}/task", endpoint.task),
        Route(f"{place}/taskWithTags", endpoint.task_with_tags),
        Route(f"{place}/stats", endpoint.stats),
        Route(f"{place}/task/stats", endpoint.stats),
    ]
    made = Starlette(routes=routes, exception_handlers={HTTPException: _refused, StoreError: _unavailable})
    made.router.redirect_slashes = False
    return made


class _Endpoint:
    def __init__(self, context: Context, keys: Keys) -> None:
        self._context = context
        self._keys = keys
        self._roles = RoleService(context.settings) if context.settings.sts_endpoint_url else None

    async def credentials(self, request: Request) -> Response:
        bearer = bearer_of(request.path_params["name"])
        shown = request.headers.get("authorization", "")
        if bearer is None or not self._keys.is_authorization(bearer, shown):
            raise HTTPException(403, "The authorization token is missing, or it is not the attempt's")
        attempt = await self._live(bearer)
        if attempt is None or attempt.role is None:
            raise HTTPException(404, "The attempt has ended, or has no role")
        try:
            credentials = await self._credentials(bearer, attempt.role)
        except RoleError as error:
            _log.warning("role.not_assumed", attempt=bearer.attempt_id, error=str(error))
            raise HTTPException(502, str(error)) from error
        return JSONResponse(_document(credentials, attempt.role), headers={"cache-control": "no-store"})

    async def _credentials(self, bearer: Bearer, role: str) -> Credentials:
        if self._roles is not None:
            return await self._roles.assume(role, bearer.attempt_id)
        expires_at = self._context.clock.now_ms() // 1000 + CREDENTIALS_SECONDS
        return self._keys.credentials(bearer, expires_at)

    async def container(self, request: Request) -> Response:
        attempt, index = await self._placed(request)
        facts = await self._facts(attempt, index)
        terms = _terms.decode(attempt.job.terms)
        return JSONResponse(metadata.container_document(self._context.settings, attempt, terms, facts, index))

    async def task(self, request: Request) -> Response:
        return JSONResponse(await self._task(request))

    async def task_with_tags(self, request: Request) -> Response:
        """There are no container instances that could have tags of their own."""
        attempt, _ = await self._placed(request)
        return JSONResponse({**await self._task(request), "TaskTags": msgspec.json.decode(attempt.job.tags)})

    async def _task(self, request: Request) -> dict[str, Any]:
        attempt, _ = await self._placed(request)
        facts = [await self._facts(attempt, index) for index in range(metadata.container_count(attempt))]
        return metadata.task_document(self._context.settings, attempt, _terms.decode(attempt.job.terms), facts)

    async def stats(self, request: Request) -> Response:
        await self._placed(request)
        raise HTTPException(501, "stats are not built in Batchyard yet")

    async def _placed(self, request: Request) -> tuple[LiveAttempt, int]:
        """Whose path it is, and which of its containers."""
        place, _, container = request.path_params["place"].partition(CONTAINER_MARK)
        bearer = self._keys.bearer_at(METADATA, place)
        attempt = await self._live(bearer) if bearer is not None else None
        if attempt is None:
            raise HTTPException(404, "There is no such attempt, or it has ended")
        places = ["", *map(str, range(1, metadata.container_count(attempt)))]
        if container not in places:
            raise HTTPException(404, "The attempt has no such container")
        return attempt, places.index(container)

    async def _live(self, bearer: Bearer) -> LiveAttempt | None:
        return await live_attempt(self._context.database, self._context.settings, bearer)

    async def _facts(self, attempt: LiveAttempt, index: int) -> ContainerFacts | None:
        return await self._context.engine.container_facts(attempt.bearer.attempt_id, index)


def _document(credentials: Credentials, role: str) -> dict[str, str]:
    expiration = datetime.fromtimestamp(credentials.expires_at, UTC).isoformat().replace("+00:00", "Z")
    return {
        "RoleArn": role,
        "AccessKeyId": credentials.access_key,
        "SecretAccessKey": credentials.secret_key,
        "Token": credentials.token,
        "Expiration": expiration,
    }


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {403: "AccessDenied", 404: "NotFound", 502: "RoleNotAssumed"}.get(error.status_code, "BadRequest")
    return JSONResponse({"code": code, "message": error.detail}, status_code=error.status_code, headers=error.headers)


async def _unavailable(_request: Request, _error: Exception) -> Response:
    _log.exception("store unavailable")
    body = {"code": "ServerError", "message": "The server can't reach its database"}
    return JSONResponse(body, status_code=503)
