"""The embedded store: one SQLite file, group commit.

Every write is a function of a connection. All that have queued up while the last commit ran are run one after the other
on the event loop, each in a savepoint of its own; then a thread commits them together (WAL, synchronous=FULL), and only
then are they answered: what was acknowledged is on disk, and a hundred callers share one fsync. A write that raises is
undone alone.

The thread is for what waits: the disk, and the lock that another process holds. What a write computes needs the
interpreter, which the loop needs too, and SQLite lets go of it at each statement: in a thread beside a busy loop a
write takes four times as long (ADR 21). Writes of many rows are the exception, as the loop has to answer meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections import deque
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

MAX_WRITES_PER_COMMIT = 100
TURN_SECONDS = 0.01
"""So long writes hold up the loop together: what is not run by then is for the next turn."""
MAX_ROWS_ON_LOOP = 100
"""A write that changes more rows is a long one."""
LOCK_SECONDS = 30
"""How long a write waits for another process that holds the database's lock."""
READERS = 2

log = structlog.get_logger(__name__)


class _Write:
    """One queued write, and where its answer goes."""

    __slots__ = ("error", "function", "future", "is_long", "result")

    def __init__(self, function: Callable[[Connection], Any], future: asyncio.Future[Any], is_long: bool) -> None:
        self.function = function
        self.future = future
        self.is_long = is_long
        self.result: Any = None
        self.error: Exception | None = None


class _Batch:
    """Writes of one transaction, for the thread to commit, or to run first."""

    __slots__ = ("has_failed", "is_run", "loop", "writes")

    def __init__(self, writes: list[_Write]) -> None:
        self.writes = writes
        self.loop = writes[0].future.get_loop()
        self.is_run = False
        self.has_failed = False


class Database:
    """Open with `open()`, then `await write(f)` and `await read(f)` from one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = _engine(path)
        self._writes: deque[_Write] = deque()
        self._is_writing = False
        """A turn is due, or a batch is with the thread."""
        self._is_closed = False
        self._writing: _Writing | None = None
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._committer: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._local = threading.local()
        self._connections: list[Connection] = []

    def open(self) -> None:
        """Create or upgrade the schema, and start the writer. Raises StoreError if the file can't be used."""
        self._writing = _Writing(self._connect())
        self._committer = threading.Thread(target=self._commit_loop, name="store-commit", daemon=True)
        self._committer.start()

    def _connect(self) -> Connection:
        """The writer's connection, to a file that has the current schema."""
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            schema.upgrade(self._engine)
            return self._engine.connect()
        except (OSError, DBAPIError) as error:
            raise StoreError(f"cannot open the database {self._path}: {_cause(error)}") from error

    async def write(self, function: Callable[[Connection], T], *, is_long: bool = False) -> T:
        """Run `function` in a transaction and return its result once that is durable.

        It runs on the event loop, unless it says that it `is_long`: that it may change more than MAX_ROWS_ON_LOOP rows.
        What it raises is raised here, with its changes undone. Raises StoreError when the database fails.
        """
        if self._is_closed:
            raise StoreError("the database is closed")
        loop = asyncio.get_running_loop()
        write = _Write(function, loop.create_future(), is_long)
        self._writes.append(write)
        if not self._is_writing:
            self._is_writing = True
            self._schedule(loop)
        result: T = await write.future
        return result

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not at once, so that what else the loop has to do now can write in the same turn."""
        loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Run the writes that have queued up, and leave it to the thread to commit them."""
        assert self._writing is not None
        if not self._writes:  # closed meanwhile
            self._is_writing = False
            return
        batch = self._take()
        try:
            if not any(write.is_long for write in batch.writes):
                self._writes.extendleft(reversed(self._writing.run_at_once(batch)))
        finally:
            self._hand_over(batch)

    def _take(self) -> _Batch:
        count = min(len(self._writes), MAX_WRITES_PER_COMMIT)
        return _Batch([self._writes.popleft() for _ in range(count)])

    def _hand_over(self, batch: _Batch) -> None:
        self._batches.put(batch)

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Run `function` on one consistent snapshot. Raises StoreError when the database fails."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, function)

    def close(self) -> None:
        """Finish the queued writes, then let go of the file."""
        self._is_closed = True
        if self._committer is not None:
            self._batches.put(None)
            self._committer.join()
        if self._writing is not None:
            while self._writes:
                batch = self._take()
                self._writing.commit(batch)
                if not batch.loop.is_closed():
                    _resolve(batch.writes)
            self._writing.connection.close()
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
            raise StoreError(f"the database could not answer: {_cause(error)}") from error

    def _commit_loop(self) -> None:
        assert self._writing is not None
        while (batch := self._batches.get()) is not None:
            self._writing.commit(batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                batch.loop.call_soon_threadsafe(self._answer, batch)

    def _answer(self, batch: _Batch) -> None:
        """Wake the callers, and go on with those that have come since."""
        try:
            _resolve(batch.writes)
        finally:
            if self._writes:
                self._schedule(batch.loop)
            else:
                self._is_writing = False


class _Writing:
    """The connection that writes. The loop and the thread have it in turns, never both."""

    def __init__(self, connection: Connection, seconds: Callable[[], float] = time.monotonic) -> None:
        """`seconds` is the clock by which turns are bounded."""
        self.connection = connection
        self.raw = _raw(connection)
        self._seconds = seconds
        self.raw.execute("PRAGMA busy_timeout=0")

    def run_at_once(self, batch: _Batch) -> list[_Write]:
        """Run a batch without waiting, as far as the time of a turn allows; the rest leaves the batch, and is returned.
        A batch that can't begin is left as it is, for `commit`, which waits or sees why."""
        try:
            self.raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            return []
        return self._run(batch, self._seconds() + TURN_SECONDS)

    def commit(self, batch: _Batch) -> None:
        """Commit a batch, run or not; if the database fails, every write of it fails with StoreError."""
        try:
            if not batch.is_run:
                self._begin()
                self._run(batch)
            if batch.has_failed:
                return
            if crashpoints.ARMED:
                crashpoints.reach("store.before_commit")
            self.raw.execute("COMMIT")
            if crashpoints.ARMED:
                crashpoints.reach("store.after_commit")
        except Exception as error:  # noqa: BLE001 - should the thread die, every later write would wait for ever
            self._fail(batch, error)

    def _begin(self) -> None:
        self.raw.execute(f"PRAGMA busy_timeout={1000 * LOCK_SECONDS}")
        try:
            self.raw.execute("BEGIN IMMEDIATE")
        finally:
            self.raw.execute("PRAGMA busy_timeout=0")

    def _run(self, batch: _Batch, until: float | None = None) -> list[_Write]:
        batch.is_run = True
        try:
            for count, write in enumerate(batch.writes, start=1):
                self._run_one(write)
                if until is not None and self._seconds() > until:
                    batch.writes, rest = batch.writes[:count], batch.writes[count:]
                    return rest
        except BaseException as error:
            # The transaction itself has ended, or this process is about to: all of them have failed.
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
        return []

    def _run_one(self, write: _Write) -> None:
        self.raw.execute("SAVEPOINT one_write")
        try:
            write.result = write.function(self.connection)
        except Exception as error:
            if not self.raw.in_transaction:
                raise
            self.raw.execute("ROLLBACK TO one_write")
            write.error = _store_error(error) if _is_the_databases(error) else error
        self.raw.execute("RELEASE one_write")

    def _fail(self, batch: _Batch, error: BaseException) -> None:
        batch.has_failed = True
        with contextlib.suppress(sqlite3.Error):
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
        for write in batch.writes:
            write.error = _store_error(error)
        log.error("store.commit_failed", error=str(error), writes=len(batch.writes))


def _is_the_databases(error: Exception) -> bool:
    """Is it the database that failed, and not what was asked of it? Statements run by SQLAlchemy or by the driver."""
    return isinstance(error, DBAPIError | sqlite3.Error) and not isinstance(error, IntegrityError)


def _store_error(error: BaseException) -> StoreError:
    return StoreError(f"the database could not take the write: {_cause(error)}")


def _cause(error: BaseException) -> BaseException | None:
    """What the driver said, without the statement and a link to SQLAlchemy's pages."""
    return error.orig if isinstance(error, DBAPIError) else error


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
        connect_args={"check_same_thread": False, "cached_statements": 512, "timeout": LOCK_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _configure(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")
        raw.execute("PRAGMA cache_size=-32768")
        raw.execute("PRAGMA temp_store=MEMORY")

    return engine
