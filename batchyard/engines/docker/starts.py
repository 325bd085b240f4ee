"""How many attempts begin at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable
from weakref import WeakValueDictionary

TIMES_IN_ALL = 4
"""How much more may begin in all than of one kind: as many kinds have to hang before they keep the others waiting."""


class Starts:
    """The turns of attempts that begin. They are told apart by the file systems that are mounted for them: one that
    doesn't answer keeps its own waiting, and leaves turns to the others."""

    def __init__(self, most: int) -> None:
        """`most` at a time with the same file systems, and TIMES_IN_ALL as many in all."""
        self._most = most
        self._in_all = asyncio.Semaphore(TIMES_IN_ALL * most)
        self._by_kind: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()
        """They last as long as somebody has a turn by them, or waits for one."""

    @property
    def kinds(self) -> int:
        """How many are held apart now."""
        return len(self._by_kind)

    @contextlib.asynccontextmanager
    async def turn(self, kind: Hashable) -> AsyncIterator[None]:
        """Wait for a turn, which the with-block is."""
        own = self._by_kind.get(kind)
        if own is None:
            own = self._by_kind[kind] = asyncio.Semaphore(self._most)
        async with own, self._in_all:
            yield
