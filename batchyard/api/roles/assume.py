"""Credentials of real roles: AssumeRole at the STS endpoint of the settings, with the server's own credentials."""

from __future__ import annotations

import calendar
import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from batchyard import remote
from batchyard.api.roles.keys import CREDENTIALS_SECONDS, Credentials
from batchyard.exceptions import RoleError
from batchyard.settings import Settings

FRESH_SECONDS = 1200
"""What was got before is handed out again as long as it is good for this long: clients renew at 15 minutes."""


class RoleService:
    """Assumes roles. What it got for an attempt serves all the attempt's processes."""

    def __init__(self, settings: Settings) -> None:
        self._endpoint_url = settings.sts_endpoint_url
        self._region = settings.region
        self._client: Any = None
        self._held: dict[tuple[str, str], Credentials] = {}
        self._line = remote.Line("sts")

    async def assume(self, role: str, session: str) -> Credentials:
        """RoleError says why the role can't be had."""
        return await self._line.ask(lambda: self._assume(role, session))

    def _assume(self, role: str, session: str) -> Credentials:
        now = time.time()
        self._held = {key: each for key, each in self._held.items() if each.expires_at - now > FRESH_SECONDS}
        if (role, session) not in self._held:
            self._held[role, session] = self._ask(role, session)
        return self._held[role, session]

    def _ask(self, role: str, session: str) -> Credentials:
        try:
            if self._client is None:
                self._client = self._new_client()
            answer = self._client.assume_role(
                RoleArn=role, RoleSessionName=session, DurationSeconds=CREDENTIALS_SECONDS
            )["Credentials"]
        except (BotoCoreError, ClientError) as error:
            raise RoleError(f"the role {role} can't be assumed: {error}") from error
        return Credentials(
            answer["AccessKeyId"],
            answer["SecretAccessKey"],
            answer["SessionToken"],
            calendar.timegm(answer["Expiration"].utctimetuple()),
        )

    def _new_client(self) -> Any:
        try:
            return remote.client("sts", self._endpoint_url, self._region)
        except ValueError as error:
            raise RoleError(f"sts_endpoint_url {self._endpoint_url} can't be one: {error}") from error
