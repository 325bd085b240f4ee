"""The store on a disk that can be slow, full or broken. The store is the real one, without its threads: what they would
do is done on the loop, in an order that follows from the seed."""

from __future__ import annotations

import asyncio
import functools
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import Engine

from batchyard.exceptions import StoreError
from batchyard.store.database import Database, _Batch, _engine, _raw, _Writing
from tests.faults.plan import Plan
from tests.faults.story import Move, Story

T = TypeVar("T")

MAX_PAGES = 1_073_741_823

_RECORD_MOVES = """
CREATE TABLE moves (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT, child INTEGER, old, new);
CREATE TRIGGER job_new AFTER INSERT ON jobs
  BEGIN INSERT INTO moves (job, new) VALUES (NEW.job_id, NEW.status); END;
CREATE TRIGGER job_moved AFTER UPDATE OF status ON jobs WHEN OLD.status <> NEW.status
  BEGIN INSERT INTO moves (job, old, new) VALUES (NEW.job_id, OLD.status, NEW.status); END;
CREATE TRIGGER rest_new AFTER INSERT ON jobs WHEN NEW.rest IS NOT NULL
  BEGIN INSERT INTO moves (job, child, new) VALUES (NEW.job_id, -1, NEW.rest); END;
CREATE TRIGGER rest_moved AFTER UPDATE OF rest ON jobs WHEN OLD.rest IS NOT NEW.rest
  BEGIN INSERT INTO moves (job, child, old, new) VALUES (NEW.job_id, -1, OLD.rest, NEW.rest); END;
CREATE TRIGGER child_new AFTER INSERT ON children
  BEGIN INSERT INTO moves (job, child, new)
    SELECT job_id, NEW.child_index, NEW.status FROM jobs WHERE seq = NEW.parent_seq; END;
CREATE TRIGGER child_moved AFTER UPDATE OF status ON children WHEN OLD.status <> NEW.status
  BEGIN INSERT INTO moves (job, child, old, new)
    SELECT job_id, NEW.child_index, OLD.status, NEW.status FROM jobs WHERE seq = NEW.parent_seq; END;
CREATE TRIGGER stop_taken_in AFTER DELETE ON stop_requests
  BEGIN INSERT INTO moves (new) VALUES (OLD.request); END;
"""
"""The database writes down by itself what is committed, whatever the server thinks of it."""


def make_template(path: Path) -> None:
    """An empty database with the current schema, which notes each committed move."""
    database = Database(path)
    database.open()
    database.close()
    connection = sqlite3.connect(path)
    connection.executescript(_RECORD_MOVES)
    connection.close()


def copy_template(template: Path, path: Path) -> None:
    shutil.copyfile(template, path)


@functools.cache
def _engine_of(path: Path) -> Engine:
    """One for all lives and simulations at a path: it remembers how each statement is said in SQL, and keeps no
    connection."""
    return _engine(path)


class _Raw:
    """The writer's connection; its COMMIT fails while the plan says so."""

    def __init__(self, raw: sqlite3.Connection, plan: Plan) -> None:
        self._raw = raw
        self._plan = plan

    @property
    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def execute(self, statement: str) -> Any:
        if statement == "COMMIT" and self._plan.commits_fail:
            raise sqlite3.OperationalError("disk I/O error")
        return self._raw.execute(statement)


class SimulatedDatabase(Database):
    """The real store; commits and reads take as long as the plan says, and can fail."""

    def __init__(self, path: Path, plan: Plan, story: Story, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__(path)
        self._engine = _engine_of(path)
        self._plan = plan
        self._story = story
        self._loop = loop
        self._last_move = story.moves[-1].number if story.moves else 0
        self._is_full = False

    def open(self) -> None:
        self._writing = _Writing(self._connect(), seconds=lambda: 0.0)
        self._writing.raw = _Raw(self._writing.raw, self._plan)  # type: ignore[assignment]
        self._record()

    async def read(self, function: Callable[[Connection], T]) -> T:
        self._plan.reach("before read")
        return await super().read(function)

    def _read(self, function: Callable[[Connection], T]) -> T:
        if self._plan.reads_fail:
            raise StoreError("the database could not answer: disk I/O error")
        return super()._read(function)

    def drop(self) -> None:
        """The server is dead: whatever wasn't committed is gone."""
        writing = [] if self._writing is None else [self._writing.connection]
        for connection in (*writing, *self._connections):
            # Of a transaction that is open nothing reaches the file, as after SIGKILL.
            connection.close()
        self._readers.shutdown(wait=False)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """What the loop and the thread would do as soon as there is something to do."""
        self._loop().call_later(self._plan.commit_seconds(), self._turn)

    def _turn(self) -> None:
        assert self._writing is not None
        if self._plan.disk_is_full != self._is_full:
            self._is_full = self._plan.disk_is_full
            self._writing.raw.execute(f"PRAGMA max_page_count={1 if self._is_full else MAX_PAGES}")
        super()._turn()

    def _hand_over(self, batch: _Batch) -> None:
        self._plan.reach("before commit")
        self._commit(batch)
        self._record()
        self._plan.reach("after commit")
        self._answer(batch)

    def _commit(self, batch: _Batch) -> None:
        assert self._writing is not None
        self._writing.commit(batch)

    def _record(self) -> None:
        """Tell what has been committed since the last time, by this server or the one before."""
        assert self._writing is not None
        query = "SELECT number, job, child, old, new FROM moves WHERE number > ? ORDER BY number"
        moves = [Move(*row) for row in _raw(self._writing.connection).execute(query, (self._last_move,))]
        if moves:
            self._last_move = moves[-1].number
            self._story.moved(moves)
