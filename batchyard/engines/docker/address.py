"""An address of this machine that containers reach and AWS clients take credentials from: 169.254.170.2.

On a container instance of AWS that is the address of the ECS agent. Here it is the gateway of a Docker network that
nobody joins: Docker gives the gateway's address to this machine, so that a server can listen on it without being root,
and containers on any bridge get there by their default route. All servers on a daemon share the network (ADR 17).
"""

from __future__ import annotations

import asyncio
import socket

import structlog

from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.exceptions import DaemonRefusedError

ADDRESS = "169.254.170.2"
NETWORK = "batchyard-endpoint"
BODY = {
    "Name": NETWORK,
    "Driver": "bridge",
    "Internal": True,
    "CheckDuplicate": True,
    "IPAM": {"Config": [{"Subnet": "169.254.170.0/30", "Gateway": ADDRESS}]},
}

_log = structlog.get_logger(__name__)


class HostAddress:
    """The address, as long as this is kept up: `docker network prune` removes networks that nobody has joined."""

    def __init__(self, client: Client, link: Link) -> None:
        self._client = client
        self._link = link

    async def obtain(self) -> bool:
        """Whether this machine has the address: a daemon elsewhere, or in a network of its own, can't give it."""
        await self._link.reliably(self._make)
        problem = _cannot_listen()
        if problem is not None:
            _log.warning("docker.no_endpoint_address", address=ADDRESS, error=problem)
        return problem is None

    async def keep(self) -> None:
        """Make the network again whenever it was removed."""
        while True:
            await self._link.reliably(self._watch)
            await asyncio.sleep(0.1)

    async def _make(self) -> None:
        try:
            await self._client.create_network(BODY)
        except DaemonRefusedError as error:
            # Another daemon on this machine may have given it the address: what counts is that it has it.
            _log.warning("docker.no_endpoint_network", network=NETWORK, error=str(error))

    async def _watch(self) -> None:
        """Until the stream of events ends. Whatever it did not tell of, the beginning of the next one makes up for."""
        async for event in self._client.network_events(NETWORK):
            if not event or event.get("Action") == "destroy":
                await self._make()


def _cannot_listen() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((ADDRESS, 0))
        except OSError as error:
            return str(error.strerror)
    return None
