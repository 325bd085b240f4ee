"""Statements on the hot paths: built with SQLAlchemy like all others, compiled once, run by the driver.

Running one through SQLAlchemy costs three times what SQLite needs for it: at thousands of rows a second that is most of
the server's time. Values go to the driver as they are, so only plain types may be used: numbers, text, bytes, None.
"""

from __future__ import annotations

import functools
import operator
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Executable, text
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

# mypy wants the names written out where it recognises the function.
_named_tuple: Any = namedtuple


class AnyRow(Protocol):
    """A row that was read, its columns by name: SQLAlchemy's own, or a named tuple of a statement here."""

    def __getattr__(self, name: str, /) -> Any: ...


class Prepared:
    """One statement with named parameters."""

    def __init__(self, statement: Executable | str) -> None:
        self._statement = text(statement) if isinstance(statement, str) else statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        compiled = self._for(connection)
        _cursor(connection).execute(compiled.text, compiled.arguments(parameters))

    def run_many(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run it once for each of the rows."""
        compiled = self._for(connection)
        _cursor(connection).executemany(compiled.text, [compiled.arguments(row) for row in rows])

    def rows(self, connection: Connection, parameters: Mapping[str, Any] | None = None) -> list[AnyRow]:
        """All rows of a query, as named tuples."""
        compiled = self._for(connection)
        found = _cursor(connection).execute(compiled.text, compiled.arguments(parameters or {}))
        return list(map(compiled.row, found.fetchall()))

    def first(self, connection: Connection, parameters: Mapping[str, Any] | None = None) -> AnyRow | None:
        """The first row of a query as a named tuple; None if there is none."""
        compiled = self._for(connection)
        found = _cursor(connection).execute(compiled.text, compiled.arguments(parameters or {})).fetchone()
        return None if found is None else compiled.row(found)

    def _for(self, connection: Connection) -> _Compiled:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return compiled


class _Compiled:
    """The statement in the words of one kind of database."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        self.text = str(compiled)
        self.row = _row_type(tuple(name for name, *_ in compiled._result_columns))
        self._positions = None if compiled.positiontup is None else _positions(compiled.positiontup)
        # What stands in the statement itself, such as the 1 of LIMIT 1.
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def arguments(self, parameters: Mapping[str, Any]) -> tuple[Any, ...] | Mapping[str, Any]:
        if self._fixed:
            parameters = {**self._fixed, **parameters}
        return parameters if self._positions is None else self._positions(parameters)


def _positions(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Values by name, in the order of the names."""
    if len(names) < 2:  # of one name, itemgetter gets a value and no tuple
        return lambda parameters: tuple(parameters[name] for name in names)
    return operator.itemgetter(*names)


def plain_rows(
    connection: Connection, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> list[AnyRow]:
    """All rows of a query that can't be prepared, because its text depends on what is asked, as named tuples too: where
    many columns of many rows are read, SQLAlchemy's own rows cost more than the query."""
    result = connection.execute(statement, parameters)
    row = _row_type(tuple(result.keys()))
    assert result.cursor is not None
    found = list(map(row, result.cursor.fetchall()))
    result.close()
    return found


@functools.lru_cache
def _row_type(names: tuple[str, ...]) -> Callable[[Iterable[Any]], AnyRow]:
    make: Callable[[Iterable[Any]], AnyRow] = _named_tuple("Row", names, rename=True)._make
    return make


def _cursor(connection: Connection) -> Any:
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    return driver_connection.cursor()
