"""What runs, by the rooms that it takes of, and the launches that wait until they fit."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from batchyard.core.model import RoomLimit
from batchyard.engines.base import Launch


class Place(NamedTuple):
    """What one attempt takes of its rooms."""

    rooms: tuple[RoomLimit, ...]
    vcpu_milli: int
    memory_mib: int


class Waiting(NamedTuple):
    """A launch, and which one it was."""

    number: int
    launch: Launch


Names = tuple[str, ...]
"""The rooms that a launch wants, by name. Those that want the same stand in one line: only the first can be next."""


class Rooms:
    """vCPUs (in thousandths) and MiB in use, by the name of the room, and the lines before them."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[int, int]] = {}
        self._lines: dict[Names, dict[str, Waiting]] = {}
        self._line_of: dict[str, Names] = {}
        self._numbers = itertools.count()

    # ---- waiting

    def wait(self, launch: Launch) -> None:
        """Let a launch wait until it is admitted."""
        names = tuple(room.name for room in launch.rooms)
        self._line_of[launch.attempt_id] = names
        self._lines.setdefault(names, {})[launch.attempt_id] = Waiting(next(self._numbers), launch)

    def drop(self, attempt_id: str) -> bool:
        """Let an attempt wait no more; whether it did."""
        names = self._line_of.pop(attempt_id, None)
        if names is None:
            return False
        line = self._lines[names]
        del line[attempt_id]
        if not line:
            del self._lines[names]
        return True

    def __contains__(self, attempt_id: str) -> bool:
        return attempt_id in self._line_of

    def __len__(self) -> int:
        return len(self._line_of)

    def __iter__(self) -> Iterator[str]:
        """The attempts that wait."""
        return iter(self._line_of)

    # ---- being admitted

    def admit(self, most: int | None = None) -> list[Launch]:
        """The first launches that fit, each with its place taken; they wait no more.

        What waits for a room is not overtaken by others that want the same.
        """
        admitted: list[Launch] = []
        full: set[str] = set()
        firsts = [(next(iter(line.values())), names) for names, line in self._lines.items()]
        heapq.heapify(firsts)
        while firsts and len(admitted) != most:
            (_, launch), names = heapq.heappop(firsts)
            lacking = [room.name for room in launch.rooms if not self._holds(room, launch)]
            full.update(lacking)
            if lacking or not full.isdisjoint(names):
                continue
            self.drop(launch.attempt_id)
            self._add(launch, 1)
            admitted.append(launch)
            if line := self._lines.get(names):
                heapq.heappush(firsts, (next(iter(line.values())), names))
        return admitted

    def put_back(self, launches: Sequence[Launch]) -> None:
        """What was just admitted, in this order, could not begin: it waits again, before all others."""
        lines, self._lines = self._lines, {}
        self._line_of.clear()
        for launch in launches:
            self.leave(launch)
        waiting = sorted(each for line in lines.values() for each in line.values())
        for launch in (*launches, *(each.launch for each in waiting)):
            self.wait(launch)

    def leave(self, place: Place | Launch) -> None:
        """What was admitted has ended, or did not begin."""
        self._add(place, -1)

    def _holds(self, room: RoomLimit, launch: Launch) -> bool:
        vcpu_milli, memory_mib = self._used.get(room.name, (0, 0))
        return (room.vcpu_milli is None or vcpu_milli + launch.vcpu_milli <= room.vcpu_milli) and (
            room.memory_mib is None or memory_mib + launch.memory_mib <= room.memory_mib
        )

    def _add(self, place: Place | Launch, times: int) -> None:
        for room in place.rooms:
            vcpu_milli, memory_mib = self._used.get(room.name, (0, 0))
            self._used[room.name] = vcpu_milli + times * place.vcpu_milli, memory_mib + times * place.memory_mib
