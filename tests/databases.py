"""Databases for tests: copied where a server would migrate, and not waiting for disks, as nothing has to last."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, select

from batchyard.store.database import Database
from batchyard.store.tables import metadata

Tables = dict[str, list[Any]]


def opened(path: Path) -> Database:
    """The database at `path`, a new one if there is no file."""
    if not path.exists():
        path.write_bytes(_empty())
    database = Database(path)
    event.listen(database._engine, "connect", _do_not_wait_for_the_disk)
    database.open()
    return database


class Watch:
    """Reads all rows of all tables, again only if anything was committed since."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._own = sqlite3.connect(path, check_same_thread=False)
        self._version = -1
        self._tables: Tables = {}

    async def tables(self) -> Tables:
        version = self._own.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._tables = await self._database.read(_all_rows)
            self._version = version
        return self._tables

    def close(self) -> None:
        self._own.close()


def _all_rows(connection: Connection) -> Tables:
    return {name: [tuple(row) for row in connection.execute(select(table))] for name, table in metadata.tables.items()}


def _do_not_wait_for_the_disk(raw: Any, _record: object) -> None:
    raw.execute("PRAGMA synchronous=OFF")


@functools.cache
def _empty() -> bytes:
    """A database with the schema in place: migrations are slow, a copy is not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        database = Database(path)
        database.open()
        database.close()
        return path.read_bytes()
