"""Who is to be called when a file can be read or written."""

from __future__ import annotations

import select
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

EVENTS_PER_TURN = 256


class Poller:
    """epoll, level-triggered: what isn't read in one turn is offered again in the next, after all others."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}

    def watch(self, fd: int, callback: Callable[[int], None]) -> None:
        """Call `callback` with the events whenever `fd` can be read."""
        self._epoll.register(fd, READ)
        self._callbacks[fd] = callback

    def watch_writing(self, fd: int, wanted: bool) -> None:
        """Whether to call when a watched `fd` can be written as well."""
        self._epoll.modify(fd, READ | WRITE if wanted else READ)

    def unwatch(self, fd: int) -> None:
        """To be called before `fd` is closed."""
        self._epoll.unregister(fd)
        del self._callbacks[fd]

    def turn(self, timeout_seconds: float | None) -> None:
        """Wait for events, and make their calls."""
        for fd, events in self._epoll.poll(timeout_seconds, EVENTS_PER_TURN):
            # A callback before this one may have closed the file.
            callback = self._callbacks.get(fd)
            if callback is not None:
                callback(events)
