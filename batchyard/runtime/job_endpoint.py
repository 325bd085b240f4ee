"""Where attempts find this server, and what their environment says of it: credentials, metadata, the APIs.

Attempts that share this machine's network come to the server's own address. Others come to a second one, which other
machines' packets might reach too: there every request has to show that it comes from an attempt that goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

import structlog

from batchyard.api.roles.endpoint import (
    CONTAINER_MARK,
    CREDENTIALS_PATH,
    GUEST,
    GUEST_PATH,
    METADATA,
    METADATA_PATH,
)
from batchyard.api.roles.keys import Bearer, Keys
from batchyard.core.effects import LaunchAttempt
from batchyard.engines.base import LOOPBACK, Engine
from batchyard.settings import Settings

PORT_FILE = "job-endpoint-port"
"""The port of the second address, kept for the attempts that go on when a server ends."""

METADATA_VARIABLE = "ECS_CONTAINER_METADATA_URI_V4"
_ENDPOINT = "AWS_ENDPOINT_URL"
_SERVICES = ("BATCH", "CLOUDWATCH_LOGS", "STS")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")

_log = structlog.get_logger(__name__)


class JobEndpoint:
    """Opened before the first launch. `listener` is the second address's, if there is one."""

    def __init__(self, settings: Settings, keys: Keys, own_url: str) -> None:
        """`own_url` is where the server listens for everybody."""
        self._settings = settings
        self._keys = keys
        self._own_url = own_url
        self._engine: Engine | None = None
        self._guarded_url: str | None = None
        self.listener: socket.socket | None = None

    async def open(self, engine: Engine) -> None:
        """Find out how the engine's attempts reach this server, and listen there."""
        self._engine = engine
        address = await engine.open_address()
        if address is None:
            return
        try:
            self.listener = _listen(address, self._settings.data_path / PORT_FILE)
        except OSError as error:
            _log.error("job_endpoint.not_open", address=address, error=str(error))
            return
        self._guarded_url = f"http://{address}:{self.listener.getsockname()[1]}"

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()

    def variables(
        self, effect: LaunchAttempt, own: Collection[str], *, has_role: bool, container: int = 0
    ) -> dict[str, str]:
        """What a container of the attempt is told; `own` are the variables that it sets itself."""
        url = self._url(effect)
        if url is None:
            return {}
        bearer = _bearer(effect)
        which = f"{CONTAINER_MARK}{container}" if container else ""
        variables = {METADATA_VARIABLE: f"{url}{METADATA_PATH}/{self._keys.place(METADATA, bearer)}{which}"}
        if has_role:
            variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{url}{CREDENTIALS_PATH}/{bearer.name}"
            variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = self._keys.authorization(bearer)
            variables.update(self._defaults(effect, url, own))
        return variables

    def _defaults(self, effect: LaunchAttempt, url: str, own: Collection[str]) -> Iterator[tuple[str, str]]:
        """What an attempt with a role is told as far as its job says nothing of it, nor the server's owner."""
        are_processes = self._engine is not None and not self._engine.runs_containers
        if are_processes:
            own = {*own, *self._settings.pass_environment}
        if not any(name in own for name in _REGIONS):
            yield from ((name, self._settings.region) for name in _REGIONS)
        defaults: dict[str, str] = {}
        if _ENDPOINT not in own:
            # Who has credentials of the real STS asks that one who he is.
            services = _SERVICES[:-1] if self._settings.sts_endpoint_url else _SERVICES
            api_url = self._api_url(effect, url, own)
            defaults.update((f"{_ENDPOINT}_{service}", api_url) for service in services)
        if are_processes and "AWS_PROFILE" not in own:
            # Clients look into these files before they ask for a role's credentials.
            defaults.update(dict.fromkeys(_FILES, os.devnull))
        yield from ((name, value) for name, value in defaults.items() if name not in own)

    def _url(self, effect: LaunchAttempt) -> str | None:
        if self._engine is None:
            return None
        address = self._engine.server_address(effect.subnets, is_node=effect.node is not None)
        return self._own_url if address == LOOPBACK else None if address is None else self._guarded_url

    def _api_url(self, effect: LaunchAttempt, url: str, own: Collection[str]) -> str:
        signs_with_others = self._settings.sts_endpoint_url or "AWS_ACCESS_KEY_ID" in own
        if url != self._guarded_url or not signs_with_others:
            return url
        return f"{url}{GUEST_PATH}/{self._keys.place(GUEST, _bearer(effect))}"


def _bearer(effect: LaunchAttempt) -> Bearer:
    return Bearer(effect.job_id, effect.index, effect.number)


def _listen(address: str, port_file: Path) -> socket.socket:
    """Listen where the last server on this data folder did, else on any free port."""
    before = 0
    with contextlib.suppress(OSError, ValueError):
        before = int(port_file.read_text(encoding="ascii"))
    try:
        listener = _bound(address, before)
    except (OSError, OverflowError) as error:
        # It is taken, or the file was cut off and names one that can't be had.
        if not before:
            raise
        _log.warning("job_endpoint.port_not_had", port=before, error=str(error))
        listener = _bound(address, 0)
    with contextlib.suppress(OSError):
        # A full disk costs the attempts that outlive this server their way back, and nothing else.
        port_file.write_text(str(listener.getsockname()[1]), encoding="ascii")
    return listener


def _bound(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
