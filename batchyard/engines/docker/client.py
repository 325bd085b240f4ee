"""All input and output with the daemon. Two things can go wrong: it is gone, or it refuses.

The calls are aiodocker's; streams of bytes (logs, events) are read from its HTTP session, because its own readers
decode them and don't tell a stream's end from a broken connection (ADR 12).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import aiodocker
import aiohttp
import msgspec
import structlog
from aiodocker.networks import DockerNetwork
from aiodocker.volumes import DockerVolume
from yarl import URL

from batchyard.engines.base import ContainerFacts
from batchyard.engines.docker.parse import (
    Daemon,
    Entry,
    LogDemultiplexer,
    State,
    daemon_of,
    facts_of,
    is_about_the_daemon,
    state_of,
)
from batchyard.engines.docker.registry import auth_header, split_tag
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError, EngineError

GONE_STATUS = 900
"""What aiodocker calls a connection that failed."""
NO_NAME = "<none>:<none>"
NO_IMAGE = "sha256:" + 64 * "0"
"""The id of an image that nobody has."""
CONNECT_SECONDS = 10.0
REMOVAL_SECONDS = 10.0
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_read=None, sock_connect=CONNECT_SECONDS)
_EVENTS = ["die", "destroy", "oom", "kill", "health_status"]
_log = structlog.get_logger(__name__)
_object = msgspec.json.Decoder(dict[str, Any])


class ImageListed(NamedTuple):
    """An image, its bytes with those it shares with others, and how many tags it has."""

    image_id: str
    size_bytes: int
    names: int


class Client:
    """One daemon. Every method raises DaemonGoneError or DaemonRefusedError; names are containers' names or ids."""

    def __init__(self, host: str) -> None:
        """`host` is an address as in $DOCKER_HOST, unix:// or tcp:// without TLS; EngineError for any other."""
        # aiodocker's own connectors allow 100 connections, and each running container has one.
        if host.startswith("unix://"):
            self._connector: aiohttp.BaseConnector = aiohttp.UnixConnector(host.removeprefix("unix://"), limit=0)
        elif host.startswith("tcp://"):
            self._connector = aiohttp.TCPConnector(limit=0)
        else:
            raise EngineError(f"docker_host is {host!r}, it must begin with unix:// or tcp://")
        self._docker = aiodocker.Docker(url=host, connector=self._connector, timeout=_NO_LIMIT)
        if host.startswith("unix://"):
            self._docker.docker_host = "unix://localhost"
        self.is_local = host.startswith("unix://")

    async def close(self) -> None:
        await self._docker.close()
        await self._connector.close()

    async def info(self) -> Daemon:
        with _translated():
            return daemon_of(await self._docker.system.info())

    async def create(self, name: str, body: Mapping[str, Any]) -> None:
        """Make a container. One of this name that is there already is as good: names are attempts' ids."""
        try:
            with _translated():
                await self._docker.containers.create(dict(body), name=name)
        except DaemonRefusedError as error:
            if error.status != 409 or "already in use" not in str(error):
                raise

    async def sees(self, path: str) -> bool:
        """Whether the daemon finds a file under this path, or doesn't look. It says so when it is asked for a container
        that can't be made: Docker looks for what is to be mounted before it looks for the image."""
        mount = {"Type": "bind", "Source": path, "Target": "/file"}
        try:
            with _translated():
                await self._docker.containers.create({"Image": NO_IMAGE, "HostConfig": {"Mounts": [mount]}})
        except DaemonRefusedError as error:
            return error.status == 404
        raise EngineError(f"{NO_IMAGE} is there")

    async def start(self, name: str) -> None:
        with _translated():
            await self._docker.containers.container(name).start()

    async def kill(self, name: str, signal: str) -> bool:
        """Send a signal; false if nothing runs there."""
        try:
            with _translated():
                await self._docker.containers.container(name).kill(signal=signal)
        except DaemonRefusedError as error:
            if error.status in (404, 409) or "is not running" in str(error):
                return False
            raise
        return True

    async def inspect(self, name: str) -> State | None:
        """None if there is no such container."""
        try:
            with _translated():
                return state_of(await self._docker.containers.container(name).show())
        except DaemonRefusedError as error:
            if error.status == 404:
                return None
            raise

    async def facts(self, name: str) -> ContainerFacts | None:
        """None if there is no such container."""
        try:
            with _translated():
                return facts_of(await self._docker.containers.container(name).show())
        except DaemonRefusedError as error:
            if error.status == 404:
                return None
            raise

    async def remove(self, name: str) -> None:
        """Remove a container, whatever it does, and its anonymous volumes. Its name is free when this returns."""
        try:
            with _translated():
                await self._docker.containers.container(name).delete(force=True, v=True)
        except DaemonRefusedError as error:
            if error.status == 409:
                # A removal that was asked for before, perhaps by a server that has died since, is under way.
                await self._removed(name)
            elif error.status != 404:
                raise

    async def _removed(self, name: str) -> None:
        """Wait until a container is gone, though not for ever: a removal may fail."""
        try:
            async with asyncio.timeout(REMOVAL_SECONDS):
                with _translated():
                    await self._docker.containers.container(name).wait(condition="removed")
        except DaemonRefusedError as error:
            if error.status != 404:
                raise
        except TimeoutError:
            _log.warning("docker.removal_takes_long", container=name)

    async def rename(self, name: str, to: str) -> None:
        with _translated():
            await self._docker.containers.container(name).rename(to)

    async def volumes_by_label(self, label: str) -> list[tuple[str, dict[str, str]]]:
        """The names and labels of all volumes with a label `name=value`."""
        with _translated():
            found = await self._docker.volumes.list(filters={"label": [label]})  # type: ignore[no-untyped-call]
        return [(each["Name"], dict(each["Labels"] or {})) for each in found["Volumes"] or ()]

    async def remove_volume(self, name: str) -> None:
        try:
            with _translated():
                await DockerVolume(self._docker, name).delete()  # type: ignore[no-untyped-call]
        except DaemonRefusedError as error:
            if error.status != 404:
                raise

    async def containers_by_label(self, label: str) -> list[tuple[str, dict[str, str]]]:
        """The names and labels of all containers with a label `name=value`, running or not, the newest first."""
        with _translated():
            found = await self._docker.containers.list(all=True, filters=_filters(label=[label]))
        return [(each["Names"][0].removeprefix("/"), dict(each["Labels"] or {})) for each in found if each["Names"]]

    async def networks(self) -> dict[str, bool]:
        """The networks by name, and whether each is internal: without a way out."""
        with _translated():
            found = await self._docker.networks.list()
        return {network["Name"]: bool(network.get("Internal")) for network in found}

    async def create_network(self, body: Mapping[str, Any]) -> None:
        """Make a network, unless one of this name is there."""
        try:
            with _translated():
                await self._docker.networks.create(dict(body))
        except DaemonRefusedError as error:
            if error.status != 409:
                raise

    async def remove_network(self, name: str) -> None:
        try:
            with _translated():
                await DockerNetwork(self._docker, name).delete()  # type: ignore[no-untyped-call]
        except DaemonRefusedError as error:
            if error.status != 404:
                raise

    async def has_image(self, image: str) -> bool:
        try:
            with _translated():
                await self._docker.images.inspect(image)
        except DaemonRefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def make_image(self, name: str, root_filesystem: bytes, changes: Sequence[str]) -> None:
        """Make an image of a tar; `changes` are lines of a Dockerfile."""
        with _translated():
            query = [("fromSrc", "-"), ("repo", name.rpartition(":")[0]), ("tag", name.rpartition(":")[2])]
            url = (await self._url("images/create")).with_query([*query, *(("changes", each) for each in changes)])
            headers = {"Content-Type": "application/x-tar"}
            async with self._docker.session.post(url, data=root_filesystem, headers=headers) as response:
                text = await response.text()
                if response.status >= 400:
                    raise aiodocker.DockerError(response.status, _message(text))

    async def images(self) -> list[ImageListed]:
        """All images that have a name, or had one."""
        with _translated():
            found = await self._docker.images.list()
        return [
            ImageListed(each["Id"], int(each.get("Size") or 0), len({*(each.get("RepoTags") or ())} - {NO_NAME}))
            for each in found
        ]

    async def image_id(self, image: str) -> str | None:
        """None if there is no such image."""
        try:
            with _translated():
                return str((await self._docker.images.inspect(image))["Id"])
        except DaemonRefusedError as error:
            if error.status == 404:
                return None
            raise

    async def image_ids_of_containers(self) -> set[str]:
        """The images that containers are made from, anybody's and running or not."""
        with _translated():
            return {str(each["ImageID"]) for each in await self._docker.containers.list(all=True)}

    async def remove_image(self, image: str) -> None:
        """Remove an image, unless a container is made from it: that is DaemonRefusedError."""
        try:
            with _translated():
                await self._docker.images.delete(image)
        except DaemonRefusedError as error:
            if error.status != 404:
                raise

    async def pull(self, image: str, auth: Mapping[str, str] | None) -> AsyncIterator[dict[str, Any]]:
        """Pull an image; what the daemon says of its progress. DaemonRefusedError with its text if it can't."""
        name, tag = split_tag(image)
        headers = {"X-Registry-Auth": auth_header(auth)} if auth else {}
        async for message in self._objects("images/create", {"fromImage": name, "tag": tag}, "POST", headers):
            if message:
                yield message

    async def logs(
        self, name: str, *, follow: bool, since_seconds: int | None = None
    ) -> AsyncGenerator[list[Entry], None]:
        """A container's output, from its first byte or from a time on, in lumps. The end of it may come before the
        last byte of what is followed; a connection that broke is DaemonGoneError."""
        query = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1" if follow else "0"}
        if since_seconds is not None:
            query["since"] = str(since_seconds)
        demultiplexer = LogDemultiplexer()
        async for data in self._stream(f"containers/{name}/logs", query):
            if entries := list(demultiplexer.feed(data)):
                yield entries

    async def events(self, label: str) -> AsyncIterator[dict[str, Any]]:
        """What happens to containers with a label, from now on. The first item is empty: it says that now is now."""
        query = {"filters": _filters(type=["container"], label=[label], event=_EVENTS)}
        async for event in self._objects("events", query):
            yield event

    async def network_events(self, name: str) -> AsyncIterator[dict[str, Any]]:
        """What happens to a network, from now on. The first item is empty: it says that now is now."""
        query = {"filters": _filters(type=["network"], network=[name])}
        async for event in self._objects("events", query):
            yield event

    async def _objects(
        self, path: str, query: Mapping[str, str], method: str = "GET", headers: Mapping[str, str] = {}
    ) -> AsyncIterator[dict[str, Any]]:
        """An answer that comes bit by bit, an object a line. The first is empty: the daemon has begun to answer."""
        left = b""
        async for data in self._stream(path, query, method, headers):
            if not data:
                yield {}
            *lines, left = (left + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _object.decode(line)

    async def _stream(
        self, path: str, query: Mapping[str, str], method: str = "GET", headers: Mapping[str, str] = {}
    ) -> AsyncIterator[bytes]:
        """An answer in the pieces in which it comes. The first is empty: the daemon has begun to answer."""
        with _translated():
            url = (await self._url(path)).with_query(dict(query))
            async with self._docker.session.request(method, url, headers=headers, timeout=_NO_LIMIT) as response:
                if response.status >= 400:
                    text = await response.text()
                    raise aiodocker.DockerError(response.status, _message(text))
                yield b""
                async for data in response.content.iter_any():
                    yield data

    async def _url(self, path: str) -> URL:
        if self._docker.api_version == "auto":
            # The first call that aiodocker makes itself settles it.
            await self._docker.version()
        return URL(f"{self._docker.docker_host}/{self._docker.api_version}/{path}")


def _message(text: str) -> str:
    try:
        return str(msgspec.json.decode(text).get("message", text))
    except (msgspec.DecodeError, AttributeError):
        return text


def _filters(**given: list[str]) -> str:
    return msgspec.json.encode(given).decode()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except aiodocker.DockerError as error:
        message = str(error.message)
        if error.status in (GONE_STATUS, 502, 503) or is_about_the_daemon(message):
            raise DaemonGoneError(message) from error
        raise DaemonRefusedError(error.status, message) from error
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
        raise DaemonGoneError(f"{type(error).__name__}: {error}") from error
