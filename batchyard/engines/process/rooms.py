"""What runs, by the rooms that it takes of: launches wait here until they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from batchyard.core.model import RoomLimit
from batchyard.engines.base import Launch


class Place(NamedTuple):
    """What one attempt takes of its rooms."""

    rooms: tuple[RoomLimit, ...]
    vcpu_milli: int
    memory_mib: int


class Rooms:
    """vCPUs (in thousandths) and MiB in use, by the name of the room."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[int, int]] = {}

    def select(self, launches: Iterable[Launch], most: int) -> Iterator[Launch]:
        """The first `most` launches that fit, each taking its place as it is given out.

        What waits for a room is not overtaken by others that want the same.
        """
        full: set[str] = set()
        for launch in launches:
            lacking = [room.name for room in launch.rooms if not self._holds(room, launch)]
            full.update(lacking)
            if lacking or any(room.name in full for room in launch.rooms):
                continue
            self._add(launch, 1)
            yield launch
            most -= 1
            if not most:
                return

    def leave(self, place: Place | Launch) -> None:
        """What was selected has ended, or did not begin."""
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
