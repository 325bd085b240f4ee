"""Where the values of a job's secrets come from: a file here, AWS Secrets Manager, or the SSM Parameter Store.

`valueFrom` is what the container definition gives: the ARN of a secret (with `:json-key:version-stage:version-id`
behind it, as ECS reads it), the ARN of a parameter, or the name of either. The file is asked first, then the service
that the name means: Secrets Manager for its ARNs, the Parameter Store for the rest. Values are never stored.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

from batchyard import remote
from batchyard.exceptions import SecretError, SettingsError
from batchyard.settings import Settings

SECRET_SERVICE = "secretsmanager"
PARAMETER_SERVICE = "ssm"
_SECRET_SUFFIX_PARTS = 7
"""An ARN's parts up to a secret's name; what ECS adds behind it comes after them."""

KEPT_SECONDS = 30.0


class SecretName(Struct, frozen=True):
    """A valueFrom, taken apart."""

    service: str
    name: str
    json_key: str | None = None
    version_stage: str | None = None
    version_id: str | None = None


def parse(value_from: str) -> SecretName:
    """What a valueFrom means (ECS guide, "Specifying sensitive data")."""
    parts = value_from.split(":")
    if value_from.startswith("arn:") and len(parts) >= 6 and parts[2] == SECRET_SERVICE:
        rest = [part or None for part in (*parts[_SECRET_SUFFIX_PARTS:], "", "", "")][:3]
        return SecretName(SECRET_SERVICE, ":".join(parts[:_SECRET_SUFFIX_PARTS]), *rest)
    if value_from.startswith("arn:") and len(parts) >= 6 and parts[2] == PARAMETER_SERVICE:
        name = parts[5].removeprefix("parameter")
        # A parameter without a hierarchy has no slash of its own before its name.
        return SecretName(PARAMETER_SERVICE, name if name.count("/") > 1 else name.lstrip("/"))
    return SecretName(PARAMETER_SERVICE, value_from)


class Secrets:
    """Looks secrets up. What a service answered is not asked again for a while: an array's children all need it."""

    def __init__(self, settings: Settings) -> None:
        self._file = Path(settings.secrets_file).expanduser() if settings.secrets_file else None
        self._endpoint_url = settings.secrets_endpoint_url
        self._region = settings.region
        self._clients: dict[str, Any] = {}
        self._answers: dict[SecretName, tuple[float, str]] = {}
        self._line = remote.Line("secrets")

    async def resolve(self, sources: Sequence[str]) -> dict[str, str]:
        """The values by where they come from. SecretError names the first that can't be had, and why."""
        local = await asyncio.to_thread(self._from_file)
        return {source: await self._value(source, local) for source in sources}

    async def _value(self, source: str, local: Mapping[str, str]) -> str:
        wanted = parse(source)
        for name in (source, wanted.name):
            if name in local:
                return _picked(local[name], wanted, source)
        if not self._endpoint_url:
            where = f"secrets_file {self._file}" if self._file else "secrets_file, which is not set,"
            raise SecretError(f"{source} is not in {where} and secrets_endpoint_url is not set")
        return _picked(await self._line.ask(lambda: self._answer(wanted, source)), wanted, source)

    def _answer(self, wanted: SecretName, source: str) -> str:
        asked_at, answer = self._answers.get(wanted, (-KEPT_SECONDS, ""))
        if asked_at + KEPT_SECONDS <= time.monotonic():
            answer = self._ask(wanted, source)
            self._answers[wanted] = (time.monotonic(), answer)
        return answer

    def _from_file(self) -> dict[str, str]:
        """The file, read again each time: it is small, and its owner may have changed it."""
        if self._file is None:
            return {}
        try:
            content = tomllib.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SecretError(f"secrets_file {self._file} can't be read: {error}") from error
        return {name: value if isinstance(value, str) else _as_json(value) for name, value in content.items()}

    def _ask(self, wanted: SecretName, source: str) -> str:
        try:
            if wanted.service not in self._clients:
                self._clients[wanted.service] = self._client(wanted.service)
            client = self._clients[wanted.service]
            if wanted.service == PARAMETER_SERVICE:
                return str(client.get_parameter(Name=wanted.name, WithDecryption=True)["Parameter"]["Value"])
            version = {"VersionStage": wanted.version_stage, "VersionId": wanted.version_id}
            answer = client.get_secret_value(
                SecretId=wanted.name, **{name: value for name, value in version.items() if value}
            )
        except (BotoCoreError, ClientError) as error:
            raise SecretError(f"{source}: {error}") from error
        if "SecretString" not in answer:
            raise SecretError(f"{source} is a binary secret")
        return str(answer["SecretString"])

    def _client(self, service: str) -> Any:
        try:
            return remote.client(service, self._endpoint_url, self._region)
        except ValueError as error:
            raise SecretError(f"secrets_endpoint_url {self._endpoint_url} can't be one: {error}") from error


def _picked(value: str, wanted: SecretName, source: str) -> str:
    """The value itself, or a member of it where valueFrom names one."""
    if wanted.json_key is None:
        return value
    try:
        members = msgspec.json.decode(value, type=dict[str, Any])
    except msgspec.DecodeError:
        members = {}
    if wanted.json_key not in members:
        raise SecretError(f"{source}: the secret has no member {wanted.json_key}")
    member = members[wanted.json_key]
    return member if isinstance(member, str) else _as_json(member)


def _as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def check(settings: Settings) -> None:
    """SettingsError if others than the server's user may read the file of secrets."""
    if not settings.secrets_file:
        return
    path = Path(settings.secrets_file).expanduser()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"settings: secrets_file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise SettingsError(f"settings: secrets_file {path} can be read by others: chmod 600 {path}")
