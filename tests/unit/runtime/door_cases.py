"""Asks a house's doors as an attempt does, without a socket."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from batchyard.api import doors
from batchyard.api.roles.keys import Bearer, Credentials, Keys
from tests.unit.runtime.yardhouse import House

OWN = ("127.0.0.1", 8000)
ATTEMPTS = ("169.254.170.2", 9000)
SIGNING = {"DescribeJobs": "/v1/describejobs", "SubmitJob": "/v1/submitjob"}


class Doors:
    """Both doors of a house, and the keys that its attempts are given."""

    def __init__(self, server: House) -> None:
        self.keys = Keys.load(server.context.settings.data_path)
        both = doors.Doors(server.context, self.keys)
        self._doors = {OWN: both.own(lambda: True), ATTEMPTS: both.attempts(ATTEMPTS[0])}

    async def get(
        self,
        path: str,
        authorization: str | None = None,
        at: tuple[str, int] = ATTEMPTS,
        query: str = "",
        **headers: str,
    ) -> tuple[int, dict[str, Any]]:
        given = dict(headers) if authorization is None else {**headers, "authorization": authorization}
        return await self._ask("GET", path, given, b"", at, query)

    async def call(
        self,
        operation: str,
        credentials: Credentials | None,
        *,
        at: tuple[str, int] = ATTEMPTS,
        prefix: str = "",
        **params: Any,
    ) -> tuple[int, dict[str, Any]]:
        """An operation of AWS Batch, signed with credentials if there are any."""
        body = json.dumps(params).encode()
        url = f"http://{at[0]}:{at[1]}{prefix}{SIGNING[operation]}"
        request = AWSRequest(method="POST", url=url, data=body)
        if credentials is not None:
            keys = BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token)
            SigV4Auth(keys, "batch", "us-east-1").add_auth(request)
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        return await self._ask("POST", urlsplit(url).path, headers, body, at)

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes, at: tuple[str, int], query: str = ""
    ) -> tuple[int, dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {"host": f"{at[0]}:{at[1]}", **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "scheme": "http",
            "server": at,
        }
        await self._doors[at](scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def running(server: House, **properties: Any) -> Bearer:
    """A job's first attempt, which goes on until the test ends it."""
    await server.define(**properties)
    job_id = await server.submit()
    await server.until(lambda: job_id in server.engine.launches)
    return Bearer(job_id, None, 1)
