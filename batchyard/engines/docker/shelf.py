"""The images that Batchyard itself pulled: how long ago each was used, and which go when they take too much room.

They are noted in a file before they are pulled, so that a server that dies in a pull still knows whose image it was;
of a note that comes to nothing nothing follows. An image that was there before, or that has another name as well, is
somebody else's, and never removed. Nor is one that a container is made from, or that an unfinished job names. One that
is removed all the same just before a container is made from it is pulled again (ADR 19).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from batchyard.engines.docker.client import Client, ImageListed
from batchyard.engines.docker.link import Link
from batchyard.exceptions import DaemonGoneError, DaemonRefusedError

FILE_NAME = "docker-images.json"
NOTED_EVERY_MS = 60_000
"""An image that is used all the time is noted so often."""

IsWanted = Callable[[str], Awaitable[bool]]
_log = structlog.get_logger(__name__)


class Note(Struct):
    """One image: when it was last used, its id, once it is known, and the ids of those that had its name before."""

    used_at_ms: int
    image_id: str = ""
    replaced: list[str] = []


class Candidate(Struct, frozen=True):
    """An image that is ours, with its size; its name is its id if another one has the name now."""

    name: str
    size_bytes: int
    used_at_ms: int
    image_id: str = ""


def removal_order(candidates: Iterable[Candidate], most_bytes: int) -> list[Candidate]:
    """Who is to be asked to go, the least recently used first; none as long as all together keep to the bound."""
    found = sorted(candidates, key=lambda each: each.used_at_ms)
    return found if sum(each.size_bytes for each in found) > most_bytes else []


class Shelf:
    """The notes on disk, and the bound."""

    def __init__(
        self, client: Client, link: Link, folder: Path, most_bytes: int | None, is_wanted: IsWanted | None
    ) -> None:
        """Without `most_bytes` there is no bound. `is_wanted` says whether an unfinished job names an image."""
        self._client = client
        self._link = link
        self._path = folder / FILE_NAME
        self._most_bytes = most_bytes
        self._is_wanted = is_wanted
        self._trimming = asyncio.Lock()
        self._notes = _read(self._path)
        self._noted_ms = {name: note.used_at_ms for name, note in self._notes.items()}

    def will_pull(self, image: str) -> None:
        """It is not there, and is about to be pulled."""
        before = self._notes.get(image)
        self._notes[image] = Note(_now_ms(), replaced=before.replaced if before is not None else [])
        self._write()

    def used(self, image: str) -> None:
        """An attempt is about to be started from it."""
        note = self._notes.get(image)
        if note is not None:
            note.used_at_ms = _now_ms()
            if note.used_at_ms - self._noted_ms.get(image, 0) >= NOTED_EVERY_MS:
                self._write()

    async def trim(self, held: Callable[[], Collection[str]]) -> None:
        """Keep to the bound. `held` names the images that attempts of this server are being started from."""
        if self._most_bytes is None or self._trimming.locked():
            return
        async with self._trimming:
            try:
                await self._trim(self._most_bytes, held)
            except (DaemonGoneError, DaemonRefusedError) as error:
                _log.warning("docker.images_not_trimmed", error=str(error))

    async def _trim(self, most_bytes: int, held: Callable[[], Collection[str]]) -> None:
        by_id = {each.image_id: each for each in await self._client.images()}
        await self._identify(held, by_id)
        ours = [each for name, note in self._notes.items() for each in _candidates(name, note, by_id)]
        excess = sum(each.size_bytes for each in ours) - most_bytes
        for candidate in removal_order(ours, most_bytes):
            if excess <= 0:
                return
            used = await self._client.image_ids_of_containers()
            is_used = candidate.image_id in used or candidate.name in held()
            if is_used or (self._is_wanted is not None and await self._is_wanted(candidate.name)):
                continue
            # Asked once more, because time has passed: from here on nothing is waited for but the removal.
            if candidate.name not in held() and await self._remove(candidate.name):
                excess -= candidate.size_bytes

    async def _identify(self, held: Callable[[], Collection[str]], there: Container[str]) -> None:
        """Put the ids to notes that have none yet, or another one now; forget the images that are gone."""
        before = dict(self._notes)
        for name, note in before.items():
            image_id = await self._client.image_id(name)
            if note.image_id not in ("", image_id, *note.replaced):
                note.replaced.append(note.image_id)
            note.image_id = image_id or ""
            note.replaced = [each for each in note.replaced if each in there]
            if image_id is None and not note.replaced and name not in held():
                self._notes.pop(name, None)
        self._write()

    async def _remove(self, name: str) -> bool:
        """Whether it is gone. Docker refuses where a container was made from it in the meantime."""
        try:
            await self._client.remove_image(name)
        except DaemonRefusedError as error:
            _log.info("docker.image_stays", image=name, error=str(error))
            return False
        _log.info("docker.image_removed", image=name)
        note = self._notes.pop(name, None)
        if note is not None and note.replaced:
            self._notes[name] = Note(note.used_at_ms, replaced=note.replaced)
        self._write()
        return True

    def _write(self) -> None:
        """A disk that is full makes a note late, and nothing else."""
        try:
            draft = self._path.with_suffix(".new")
            draft.write_bytes(msgspec.json.encode(self._notes))
            draft.replace(self._path)
        except OSError as error:
            _log.warning("docker.images_not_noted", error=str(error))
        else:
            self._noted_ms = {name: note.used_at_ms for name, note in self._notes.items()}


def _candidates(name: str, note: Note, there: Mapping[str, ImageListed]) -> Iterator[Candidate]:
    """What a note is about: its image, unless that has another name too, and those from which it took its name."""
    for asked, image_id, names in (*((each, each, 0) for each in note.replaced), (name, note.image_id, 1)):
        found = there.get(image_id)
        if found is not None and found.names <= names:
            yield Candidate(asked, found.size_bytes, note.used_at_ms, image_id)


def _read(path: Path) -> dict[str, Note]:
    """What a server before noted. Without it every image counts as somebody else's."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Note])
    except (OSError, msgspec.DecodeError):
        return {}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
