"""A million jobs in the store of a stopped server: copies of the row of a real one, written straight into SQLite.

Submitting and running that many takes an hour; what is measured afterwards is the server that finds them there. Every
row is what the server itself wrote for one job, with another id, and what has the id in it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Change = Callable[[Row, int], None]
"""Makes a copy differ from the real row, given its number from 1."""

DATABASE = "batchyard.db"


def copy_job(data_dir: Path, job_id: str, count: int, change: Change, *, with_stream: bool) -> list[str]:
    """Write `count` copies of the job's row, and of its log stream's if asked for; the ids of the copies."""
    connection = sqlite3.connect(data_dir / DATABASE)
    connection.row_factory = sqlite3.Row
    with contextlib.closing(connection):
        # This is the measurement's own write, not the server's: it need not survive a crash.
        connection.execute("PRAGMA synchronous = OFF")
        job = dict(connection.execute("SELECT * FROM jobs WHERE job_id = ?", [job_id]).fetchone())
        job.pop("seq")
        ids: list[str] = []
        with connection:
            _insert(connection, "jobs", _copies(job, job_id, count, change, ids))
            if with_stream:
                stream = connection.execute("SELECT * FROM log_streams WHERE log_id = ?", [job_id]).fetchone()
                _insert(connection, "log_streams", (_renamed(dict(stream), job_id, each) for each in ids))
        # The server would otherwise begin with reading it all out of the log.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ids


def first_runnable(data_dir: Path) -> str:
    """The id of the RUNNABLE job that was submitted first."""
    connection = sqlite3.connect(data_dir / DATABASE)
    with contextlib.closing(connection):
        found = connection.execute("SELECT job_id FROM jobs WHERE status = 'RUNNABLE' ORDER BY seq LIMIT 1").fetchone()
    return str(found[0])


def _copies(job: Row, job_id: str, count: int, change: Change, ids: list[str]) -> Iterator[Row]:
    for number in range(1, count + 1):
        new_id = str(uuid.uuid4())
        ids.append(new_id)
        copy = _renamed(job, job_id, new_id)
        change(copy, number)
        yield copy


def _renamed(row: Row, old: str, new: str) -> Row:
    """A copy of the row with one id in place of another, wherever it stands."""
    old_bytes, new_bytes = old.encode(), new.encode()
    return {
        name: value.replace(old_bytes, new_bytes)
        if isinstance(value, bytes)
        else value.replace(old, new)
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[Row]) -> None:
    first = next(rows)
    statement = f"INSERT INTO {table} ({', '.join(first)}) VALUES ({', '.join('?' * len(first))})"
    connection.execute(statement, list(first.values()))
    connection.executemany(statement, (list(row.values()) for row in rows))
