"""What happened in one simulation, in virtual time: for the oracle, and for whoever reads why a seed failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct


class Move(Struct, frozen=True):
    """A change of a row, as it was committed. `index` -1 stands for an array's untouched children.

    Of a stop request that was taken in, `job` is None and `new` the request.
    """

    number: int
    job: str | None
    index: int | None
    old: Any
    new: Any

    @property
    def is_rest(self) -> bool:
        return self.index == -1


class Story:
    """Lines with their times, and the moves. Lines are put together only when somebody reads them."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._lines: list[tuple[float, str, tuple[object, ...]]] = []
        self.moves: list[Move] = []
        self.names: dict[str, str] = {}
        """What the client calls the jobs, by id."""

    def tell(self, text: str, *details: object) -> None:
        self._lines.append((self._now_seconds(), text, details))

    def moved(self, moves: list[Move]) -> None:
        """A commit took place."""
        self.moves += moves
        self._lines.append((self._now_seconds(), "commit", tuple(moves)))

    def text(self) -> str:
        lines = []
        for at_seconds, text, details in self._lines:
            shown = ", ".join(self._shown(each) for each in details)
            lines.append(f"{at_seconds:10.3f}  {text}{': ' if shown else ''}{shown}")
        return self.named("\n".join(lines))

    def named(self, text: str) -> str:
        """With the client's names for jobs instead of their ids."""
        for job_id, name in self.names.items():
            text = text.replace(job_id, name)
        return text

    def _shown(self, detail: object) -> str:
        if not isinstance(detail, Move):
            return str(detail)
        if detail.job is None:
            return f"stop request {msgspec.json.decode(detail.new)} taken in"
        if detail.is_rest:
            return f"{detail.job}:rest {_rest(detail.old)} -> {_rest(detail.new)}"
        who = detail.job if detail.index is None else f"{detail.job}:{detail.index}"
        return f"{who} {detail.old or 'new'} -> {detail.new}"


def _rest(document: Any) -> str:
    return f"{msgspec.json.decode(document)['status']}" if document else "none"
