"""Images: there before a container is made from them, and pulled once however many attempts wait for one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Literal

import structlog

from batchyard.engines.base import Launch
from batchyard.engines.docker import registry
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.engines.task import Container
from batchyard.exceptions import CannotLaunchError, DaemonRefusedError

PullPolicy = Literal["missing", "always", "never"]
MAX_REASON = 255

_log = structlog.get_logger(__name__)


class Images:
    """The images of a daemon."""

    def __init__(self, client: Client, link: Link, policy: PullPolicy) -> None:
        self._client = client
        self._link = link
        self._policy = policy
        self._pulls: dict[str, asyncio.Task[str | None]] = {}
        self.progress: dict[str, str] = {}
        """What the daemon last said of each pull under way."""

    async def ensure(self, container: Container, launch: Launch) -> None:
        """See to it that the image is there; CannotLaunchError (`CannotPullContainerError: …`) if it can't be had.

        Attempts that ask while it is being pulled, with the same credentials, share one pull and its outcome.
        """
        image, auth = container.image, registry.auth_of(container, launch)
        if self._policy != "always" and await self._has(image):
            return
        if self._policy == "never":
            raise CannotLaunchError(_cannot_pull(f"{image} is not on this host, and docker_pull is never"))
        key = image if not auth else f"{image} {_digest(auth)}"
        pull = self._pulls.get(key)
        if pull is None:
            pull = asyncio.create_task(self._pull(image, auth), name=f"pull of {image}")
            self._pulls[key] = pull
            pull.add_done_callback(lambda _: self._pulls.pop(key, None))
        problem = await asyncio.shield(pull)
        if problem is not None:
            raise CannotLaunchError(_cannot_pull(problem))

    async def _has(self, image: str) -> bool:
        return await self._link.reliably(lambda: self._client.has_image(image))

    async def _pull(self, image: str, auth: Mapping[str, str] | None) -> str | None:
        """None, or why it can't be pulled."""
        _log.info("docker.pull", image=image)
        try:
            return await self._link.reliably(lambda: self._pull_once(image, auth))
        finally:
            self.progress.pop(image, None)

    async def _pull_once(self, image: str, auth: Mapping[str, str] | None) -> str | None:
        try:
            async for message in self._client.pull(image, auth):
                if "error" in message:
                    return str(message["error"])
                self.progress[image] = " ".join(
                    str(message[part]) for part in ("id", "status", "progress") if message.get(part)
                )
        except DaemonRefusedError as error:
            return str(error)
        return None

    def close(self) -> None:
        for pull in self._pulls.values():
            pull.cancel()


def _cannot_pull(detail: str) -> str:
    return f"CannotPullContainerError: Error response from daemon: {detail}"[:MAX_REASON]


def _digest(auth: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(auth.items())).encode()).hexdigest()
