"""The numbers: a square plate, its rows in a block, one explicit step of the heat equation.

The plate's edges are held at fixed temperatures: the first row at 100 degrees, the others at 0; a hot disc lies in the
middle at the start. Each inner cell moves towards the mean of its four neighbours (forward in time, centred in space),
    u' = u + R ((up + down) + (left + right) - 4 u),
which is stable for R <= 1/4. Every cell is computed by the same sequence of operations wherever it lies and with NumPy
or without, so that any number of nodes gets the same result to the last bit.
"""

from __future__ import annotations

from array import array
from typing import Any, Protocol

R = 0.24
HOT, DISC, COLD = 100.0, 400.0, 0.0


def initial(row: int, column: int, size: int) -> float:
    """The temperature at the start."""
    if row == 0:
        return HOT
    if row == size - 1 or column in (0, size - 1):
        return COLD
    middle = (size - 1) / 2
    return DISC if (row - middle) ** 2 + (column - middle) ** 2 < (size / 8) ** 2 else COLD


def share(size: int, index: int, count: int) -> tuple[int, int]:
    """The rows of node `index`, the first and one past the last: whole rows, as evenly as can be."""
    return size * index // count, size * (index + 1) // count


class Block(Protocol):
    """Rows in a row. Rows are exchanged as the bytes of their doubles."""

    def edge(self, *, top: bool) -> bytes:
        """The outermost row, which the neighbour on that side needs."""

    def step(self, above: bytes | None, below: bytes | None) -> float:
        """One step, given the rows next to the block (None at the plate's edges); the largest change of a cell."""

    def content(self) -> bytes:
        """All rows."""


def block(size: int, first: int, last: int) -> Block:
    """The rows `first` to `last` - 1 of a plate at the start."""
    rows = [array("d", [initial(row, column, size) for column in range(size)]) for row in range(first, last)]
    try:
        import numpy
    except ImportError:
        return PlainBlock(rows)
    return NumpyBlock(numpy, rows)


class PlainBlock:
    """In pure Python."""

    def __init__(self, rows: list[array[float]]) -> None:
        self._rows = rows

    def edge(self, *, top: bool) -> bytes:
        return self._rows[0 if top else -1].tobytes()

    def step(self, above: bytes | None, below: bytes | None) -> float:
        around = [_row(above), *self._rows, _row(below)]
        moved, largest = [], 0.0
        for up, here, down in zip(around, around[1:], around[2:], strict=False):
            assert here is not None
            row = here[:]
            if up is not None and down is not None:
                for at in range(1, len(here) - 1):
                    u = here[at]
                    row[at] = u + R * (((up[at] + down[at]) + (here[at - 1] + here[at + 1])) - 4 * u)
                    largest = max(largest, abs(row[at] - u))
            moved.append(row)
        self._rows = moved
        return largest

    def content(self) -> bytes:
        return b"".join(row.tobytes() for row in self._rows)


def _row(data: bytes | None) -> array[float] | None:
    if data is None:
        return None
    row = array("d")
    row.frombytes(data)
    return row


class NumpyBlock:
    """With NumPy; the same sums in the same order."""

    def __init__(self, numpy: Any, rows: list[array[float]]) -> None:
        self._numpy = numpy
        self._rows = numpy.array([numpy.frombuffer(row.tobytes()) for row in rows])

    def edge(self, *, top: bool) -> bytes:
        data: bytes = self._rows[0 if top else -1].tobytes()
        return data

    def step(self, above: bytes | None, below: bytes | None) -> float:
        rows = [self._rows]
        if above is not None:
            rows.insert(0, self._numpy.frombuffer(above)[None])
        if below is not None:
            rows.append(self._numpy.frombuffer(below)[None])
        padded = self._numpy.concatenate(rows)
        if len(padded) < 3:
            return 0.0
        u = padded[1:-1, 1:-1]
        moved = u + R * (((padded[:-2, 1:-1] + padded[2:, 1:-1]) + (padded[1:-1, :-2] + padded[1:-1, 2:])) - 4 * u)
        largest = float(self._numpy.abs(moved - u).max())
        first = 0 if above is not None else 1
        self._rows = self._rows.copy()
        self._rows[first : first + len(moved), 1:-1] = moved
        return largest

    def content(self) -> bytes:
        data: bytes = self._rows.tobytes()
        return data
