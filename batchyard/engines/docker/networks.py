"""The network of multi-node jobs: a bridge of the server's own, on which each node has the address it was given.

And the networks that the settings name for the subnets of compute environments, which are the owner's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import structlog

from batchyard.core.reasons import cannot_start
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.exceptions import CannotLaunchError, DaemonGoneError, DaemonRefusedError, EngineError

_log = structlog.get_logger(__name__)


def name_of(server_id: str) -> str:
    return f"batchyard-nodes-{server_id[:12]}"


def body_of(name: str, address: str, labels: dict[str, str]) -> dict[str, Any]:
    """What to ask of Docker for a network that has `address` in it: the 65,536 addresses of its first two numbers."""
    first, second, *_ = address.split(".")
    subnet = {"Subnet": f"{first}.{second}.0.0/16", "Gateway": f"{first}.{second}.0.1"}
    return {"Name": name, "Driver": "bridge", "IPAM": {"Config": [subnet]}, "Labels": labels, "CheckDuplicate": True}


async def provide(client: Client, public: Collection[str], private: Collection[str]) -> None:
    """See to it that the networks of subnets are there; they stay, as others may use them too.

    EngineError if one can't be made, or is there and is not as private as it has to be.
    """
    if not public and not private:
        return
    try:
        there = await client.networks()
        for name in private:
            if there.get(name) is False:
                raise EngineError(
                    f"the Docker network {name} is there and is not internal: docker_private_networks names it"
                )
        for name in dict.fromkeys((*public, *private)):
            if name not in there:
                body = {"Name": name, "Driver": "bridge", "Internal": name in private, "CheckDuplicate": True}
                await client.create_network(body)
                _log.info("docker.network_made", network=name, internal=name in private)
    except (DaemonGoneError, DaemonRefusedError) as error:
        raise EngineError(f"the Docker networks of subnets can't be had: {error}") from error


class NodeNetwork:
    """The network, there as long as attempts use it."""

    def __init__(self, client: Client, link: Link, name: str, labels: dict[str, str]) -> None:
        self.name = name
        self._client = client
        self._link = link
        self._labels = labels
        self._users: set[str] = set()
        self._changing = asyncio.Lock()

    def used_by(self, attempt_id: str) -> None:
        """An attempt of an earlier server's is on it."""
        self._users.add(attempt_id)

    async def join(self, attempt_id: str, address: str) -> None:
        """See to it that the network is there. CannotLaunchError if Docker can't make it."""
        async with self._changing:
            self._users.add(attempt_id)
            body = body_of(self.name, address, self._labels)
            try:
                await self._link.reliably(lambda: self._client.create_network(body))
            except DaemonRefusedError as error:
                raise CannotLaunchError(cannot_start(f"the network of multi-node jobs: {error}")) from error

    async def leave(self, attempt_id: str) -> None:
        """The attempt's container is gone; the network goes with the last one."""
        async with self._changing:
            if attempt_id in self._users:
                self._users.discard(attempt_id)
                await self._remove_unused()

    async def tidy(self) -> None:
        """A server may have died between the end of the last attempt and that of the network."""
        async with self._changing:
            await self._remove_unused()

    async def _remove_unused(self) -> None:
        if self._users:
            return
        try:
            await self._link.reliably(lambda: self._client.remove_network(self.name))
        except DaemonRefusedError as error:
            _log.warning("docker.network_stays", network=self.name, error=str(error))
