"""The embedded store: one SQLite file, one writer thread, group commit.

Every write is a function of a connection. The writer takes all that have queued up while the last commit ran, runs
each in a savepoint of its own, commits them together (WAL, synchronous=FULL) and only then answers: what was
acknowledged is on disk, and a hundred callers share one fsync. A write that raises is undone alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from batchyard import crashpoints
from batchyard.exceptions import StoreError
from batchyard.store import schema

T = TypeVar("T")

MAX_WRITES_PER_COMMIT = 500
READERS = 2

log = structlog.get_logger(__name__)


class _Write:
    """One queued write, and where its answer goes."""

    __slots__ = ("error", "function", "future", "result")

    def __init__(self, function: Callable[[Connection], Any], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


class Database:
    """Open with `open()`, then `await write(f)` and `await read(f)` from the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = _engine(path)
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._local = threading.local()
        self._connections: list[Connection] = []

    def open(self) -> None:
        """Create or upgrade the schema, and start the writer. Raises StoreError if the file can't be used."""
        connection = self._connect()
        self._writer = threading.Thread(target=self._write_loop, args=(connection,), name="store-write", daemon=True)
        self._writer.start()

    def _connect(self) -> Connection:
        """The writer's connection, to a file that has the current schema."""
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            schema.upgrade(self._engine)
            return self._engine.connect()
        except (OSError, DBAPIError) as error:
            raise StoreError(f"cannot open the database {self._path}: {error}") from error

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Run `function` in a transaction and return its result once that is durable.

        What `function` raises is raised here, with its changes undone. Raises StoreError when the database fails.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writes.put(_Write(function, future))
        return await future

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run `function` on one consistent snapshot. Raises StoreError when the database fails."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def close(self) -> None:
        """Finish the queued writes, then let go of the file."""
        if self._writer is not None:
            self._writes.put(None)
            self._writer.join()
        self._readers.shutdown()
        for connection in self._connections:
            connection.close()
        self._engine.dispose()

    def _read(self, function: Callable[[Connection], T]) -> T:
        try:
            connection: Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._engine.connect()
                self._connections.append(connection)
            raw = _raw(connection)
            raw.execute("BEGIN")
            try:
                return function(connection)
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
        except (DBAPIError, sqlite3.Error) as error:
            raise StoreError(f"the database could not answer: {error}") from error

    def _write_loop(self, connection: Connection) -> None:
        while (first := self._writes.get()) is not None:
            if not self._commit_with(first, connection):
                break
        connection.close()

    def _commit_with(self, first: _Write, connection: Connection) -> bool:
        """Commit a write together with those that have queued up behind it, and answer them; False at the last."""
        batch: list[_Write] = [first]
        is_last = False
        while len(batch) < MAX_WRITES_PER_COMMIT and not is_last:
            try:
                write = self._writes.get_nowait()
            except queue.Empty:
                break
            if write is None:
                is_last = True
            else:
                batch.append(write)
        self._commit(connection, _raw(connection), batch)
        _answer(batch)
        return not is_last

    def _commit(self, connection: Connection, raw: sqlite3.Connection, batch: list[_Write]) -> None:
        """Run and commit a batch; if the database fails, every write of the batch fails with StoreError."""
        try:
            raw.execute("BEGIN IMMEDIATE")
            for write in batch:
                _run(connection, raw, write)
            if crashpoints.ARMED:
                crashpoints.reach("store.before_commit")
            raw.execute("COMMIT")
            if crashpoints.ARMED:
                crashpoints.reach("store.after_commit")
        except Exception as error:  # noqa: BLE001 - should the writer die, every later write would wait for ever
            log.error("store.commit_failed", error=str(error), writes=len(batch))
            with contextlib.suppress(sqlite3.Error):
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
            for write in batch:
                write.error = _store_error(error)


def _run(connection: Connection, raw: sqlite3.Connection, write: _Write) -> None:
    raw.execute("SAVEPOINT one_write")
    try:
        write.result = write.function(connection)
    except Exception as error:
        if not raw.in_transaction:
            raise
        raw.execute("ROLLBACK TO one_write")
        write.error = _store_error(error) if _is_the_databases(error) else error
    raw.execute("RELEASE one_write")


def _is_the_databases(error: Exception) -> bool:
    """Is it the database that failed, and not what was asked of it? Statements run by SQLAlchemy or by the driver."""
    return isinstance(error, DBAPIError | sqlite3.Error) and not isinstance(error, IntegrityError)


def _store_error(error: Exception) -> StoreError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return StoreError(f"the database could not take the write: {cause}")


def _answer(batch: list[_Write]) -> None:
    """Wake the callers, once per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Write]] = {}
    for write in batch:
        by_loop.setdefault(write.future.get_loop(), []).append(write)
    for loop, writes in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, writes)


def _resolve(writes: list[_Write]) -> None:
    for write in writes:
        if write.future.done():
            continue
        if write.error is not None:
            write.future.set_exception(write.error)
        else:
            write.future.set_result(write.result)


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _engine(path: Path) -> Engine:
    """Transactions are begun and ended by hand above, so the driver's and SQLAlchemy's own are switched off."""
    engine = create_engine(
        f"sqlite:///{path}",
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "cached_statements": 512, "timeout": 30},
    )

    @event.listens_for(engine, "connect")
    def _configure(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA cache_size=-32768")
        raw.execute("PRAGMA temp_store=MEMORY")

    return engine
