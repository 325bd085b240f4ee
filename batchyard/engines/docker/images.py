"""Images: there before a container is made from them, and pulled once however many attempts wait for one."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping
from typing import Literal

import structlog

from batchyard.engines.base import Launch
from batchyard.engines.docker import registry
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.progress import Pull
from batchyard.engines.docker.shelf import Shelf
from batchyard.engines.task import Container
from batchyard.exceptions import CannotLaunchError, DaemonRefusedError

PullPolicy = Literal["missing", "always", "never"]
MAX_REASON = 255
LOGGED_EVERY_SECONDS = 10.0
LOOKS_AT_ONCE = 8

_log = structlog.get_logger(__name__)


class Images:
    """The images of a daemon."""

    def __init__(self, client: Client, link: Link, policy: PullPolicy, shelf: Shelf) -> None:
        self._client = client
        self._link = link
        self._policy = policy
        self._shelf = shelf
        self._pulls: dict[str, asyncio.Task[str | None]] = {}
        self._progress: dict[str, Pull] = {}
        """How far each pull under way has come, by its key."""
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._waiting: dict[str, list[str]] = {}
        """The pulls that each attempt waits for."""

    def progress_of(self, attempt_id: str) -> str | None:
        """How far the pull has come that an attempt waits for; None if it waits for none."""
        found = (self._progress.get(key) for key in self._waiting.get(attempt_id, ()))
        return next((pull.text for pull in found if pull is not None), None)

    async def ensure(self, container: Container, launch: Launch) -> None:
        """See to it that the image is there; CannotLaunchError (`CannotPullContainerError: …`) if it can't be had.

        Attempts that ask while it is being pulled, with the same credentials, share one pull and its outcome.
        """
        image, auth = container.image, registry.auth_of(container, launch)
        self._shelf.used(image)
        if self._policy != "always" and await self._has(image):
            return
        if self._policy == "never":
            raise CannotLaunchError(_cannot_pull(f"{image} is not on this host, and docker_pull is never"))
        key = image if not auth else f"{image} {_digest(auth)}"
        pull = self._pulls.get(key)
        if pull is None:
            pull = asyncio.create_task(self._pull(key, image, auth), name=f"pull of {image}")
            self._pulls[key] = pull
            pull.add_done_callback(lambda _: self._pulls.pop(key, None))
        waiting = self._waiting.setdefault(launch.attempt_id, [])
        waiting.append(key)
        try:
            problem = await asyncio.shield(pull)
        finally:
            waiting.remove(key)
            if not waiting:
                self._waiting.pop(launch.attempt_id, None)
        if problem is not None:
            raise CannotLaunchError(_cannot_pull(problem))

    async def _has(self, image: str) -> bool:
        async with self._looks:
            return await self._link.reliably(lambda: self._client.has_image(image))

    async def _pull(self, key: str, image: str, auth: Mapping[str, str] | None) -> str | None:
        """None, or why it can't be pulled."""
        began = time.monotonic()
        _log.info("docker.pull", image=image)
        was_there = await self._has(image)
        if not was_there:
            self._shelf.will_pull(image)
        try:
            problem = await self._link.reliably(lambda: self._pull_once(key, image, auth))
        finally:
            self._progress.pop(key, None)
        if not was_there and problem is None:
            # Once more: if nobody waited for it any longer, the note may have been forgotten meanwhile.
            self._shelf.will_pull(image)
        _log.info("docker.pulled", image=image, seconds=round(time.monotonic() - began, 1), problem=problem)
        return problem

    async def _pull_once(self, key: str, image: str, auth: Mapping[str, str] | None) -> str | None:
        pull = self._progress[key] = Pull(image)
        said = time.monotonic()
        try:
            async for message in self._client.pull(image, auth):
                if "error" in message:
                    return str(message["error"])
                pull.hear(message)
                if time.monotonic() - said > LOGGED_EVERY_SECONDS:
                    said = time.monotonic()
                    _log.info("docker.pulling", image=image, progress=pull.text, attempts=self._waiters(key))
        except DaemonRefusedError as error:
            return str(error)
        return None

    def _waiters(self, key: str) -> int:
        return sum(key in keys for keys in self._waiting.values())

    def close(self) -> None:
        for pull in self._pulls.values():
            pull.cancel()


def _cannot_pull(detail: str) -> str:
    return f"CannotPullContainerError: Error response from daemon: {detail}"[:MAX_REASON]


def _digest(auth: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(auth.items())).encode()).hexdigest()
