"""Who may call, and what: attempts with credentials of their own, and, on loopback, everybody else."""

from __future__ import annotations

import fnmatch

from msgspec import structs

from batchyard.api.context import Context
from batchyard.api.roles.attempts import LiveAttempt, live_attempt
from batchyard.api.roles.keys import ACCESS_KEY_PREFIX, Bearer, Keys
from batchyard.settings import Settings
from batchyard.wire import errors
from batchyard.wire.front import Verifier as FrontVerifier
from batchyard.wire.request import Request
from batchyard.wire.route import Match
from batchyard.wire.signature import is_genuine
from batchyard.wire.sigv4 import Caller


class Verifier:
    """Checks attempts' credentials. Other callers are taken at their word, or refused where only attempts may call."""

    def __init__(self, context: Context, keys: Keys, *, attempts_only: bool) -> None:
        self._context = context
        self._keys = keys
        self._attempts_only = attempts_only

    async def __call__(self, caller: Caller, request: Request, match: Match) -> Caller:
        protocol = match.service.protocol
        if caller.access_key is None or not caller.access_key.startswith(ACCESS_KEY_PREFIX):
            if self._attempts_only:
                raise errors.invalid_token(protocol)
            return caller
        found = self._keys.of_token(request.header(b"x-amz-security-token"))
        if found is None or found[1].access_key != caller.access_key:
            raise errors.invalid_token(protocol)
        bearer, credentials = found
        now_seconds = self._context.clock.now_ms() / 1000
        if not is_genuine(request, credentials.secret_key, now_seconds):
            raise errors.invalid_signature(protocol)
        if now_seconds >= credentials.expires_at:
            raise errors.expired_token(protocol)
        return await self._known(bearer, caller, match)

    async def _known(self, bearer: Bearer, caller: Caller, match: Match) -> Caller:
        attempt = await live_attempt(self._context.database, self._context.settings, bearer)
        return authorized(self._context.settings, attempt, caller, match)

    def of(self, bearer: Bearer) -> FrontVerifier:
        """For requests that show who they are by the path they come on, whatever they are signed with."""

        async def verify(caller: Caller, request: Request, match: Match) -> Caller:
            return await self._known(bearer, caller, match)

        return verify


def authorized(settings: Settings, attempt: LiveAttempt | None, caller: Caller, match: Match) -> Caller:
    """The caller as the attempt that it is; ApiError if that has ended, or may not call this operation."""
    protocol = match.service.protocol
    if attempt is None or attempt.role is None:
        raise errors.expired_token(protocol)
    action = f"{match.service.signing_name}:{match.operation}"
    session = attempt.bearer.attempt_id
    if not any(fnmatch.fnmatchcase(action.lower(), allowed.lower()) for allowed in settings.job_role_actions):
        raise errors.not_authorized(assumed_role_arn(settings, attempt.role, session), action, protocol)
    return structs.replace(caller, role=attempt.role, session=session)


def assumed_role_arn(settings: Settings, role: str, session: str) -> str:
    """Who the holder of a role is: `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`, the role without its path."""
    parts = role.split(":", 5)
    account = parts[4] if len(parts) == 6 and parts[4] else settings.account_id
    return f"arn:{settings.partition}:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{session}"
