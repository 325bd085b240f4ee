"""Statements on the hot paths, and their rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select

from batchyard.store.prepared import Prepared, plain_rows
from batchyard.store.tables import log_groups
from tests import databases

NAMED = select(log_groups.c.name, log_groups.c.created_at_ms).order_by(log_groups.c.name)


def asked(tmp_path: Path, question: Callable[[Connection], Any]) -> Any:
    """The answer to a question of a database that has the log groups `a`, `b` and `c`."""

    def fill(connection: Connection) -> None:
        rows = [{"name": name, "at": at} for at, name in enumerate("abc")]
        Prepared("INSERT INTO log_groups (name, created_at_ms) VALUES (:name, :at)").run_many(connection, rows)

    async def whole() -> Any:
        database = databases.opened(tmp_path / "x.db")
        try:
            await database.write(fill)
            return await database.read(question)
        finally:
            database.close()

    return asyncio.run(whole())


def test_a_prepared_query_gives_named_rows_and_fills_in_what_it_is_given(tmp_path: Path) -> None:
    query = Prepared(NAMED.where(log_groups.c.name >= bindparam("least")).limit(1))
    rows = asked(tmp_path, lambda connection: query.rows(connection, {"least": "b"}))
    assert [row._asdict() for row in rows] == [{"name": "b", "created_at_ms": 1}]


def test_a_prepared_query_that_finds_nothing(tmp_path: Path) -> None:
    query = Prepared(NAMED.where(log_groups.c.name == bindparam("name")))
    assert asked(tmp_path, lambda connection: query.first(connection, {"name": "z"})) is None


def test_plain_rows_are_named_whatever_the_text_of_the_query(tmp_path: Path) -> None:
    some = NAMED.where(log_groups.c.name.in_(bindparam("names", expanding=True)))

    def question(connection: Connection) -> list[Any]:
        return [plain_rows(connection, some, {"names": names}) for names in (["a", "c"], [], ["b"])]

    answers = asked(tmp_path, question)
    assert [[(row.name, row.created_at_ms) for row in rows] for rows in answers] == [
        [("a", 0), ("c", 2)],
        [],
        [("b", 1)],
    ]
