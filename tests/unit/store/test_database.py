"""Group commit: what was acknowledged is stored, what raised is undone alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, InterfaceError, ProgrammingError

from batchyard.exceptions import StoreError
from batchyard.store.database import Database

Scenario = Callable[[Database], Awaitable[Any]]


def run(tmp_path: Path, scenario: Scenario) -> Any:
    async def whole() -> Any:
        database = Database(tmp_path / "test.db")
        database.open()
        try:
            return await scenario(database)
        finally:
            database.close()

    return asyncio.run(whole())


def add_group(name: str) -> Callable[[Connection], str]:
    def write(connection: Connection) -> str:
        connection.execute(text("INSERT INTO log_groups (name, created_at_ms) VALUES (:name, 1)"), {"name": name})
        return name

    return write


def groups(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT name FROM log_groups ORDER BY name")).scalars())


def test_a_write_returns_its_result_and_is_there_for_readers(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        assert await database.write(add_group("a")) == "a"
        assert await database.read(groups) == ["a"]

    run(tmp_path, scenario)


def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path) -> None:
    run(tmp_path, lambda database: database.write(add_group("a")))
    assert run(tmp_path, lambda database: database.read(groups)) == ["a"]


def test_a_write_that_raises_is_undone_alone(tmp_path: Path) -> None:
    def fail(connection: Connection) -> None:
        add_group("bad")(connection)
        raise KeyError("mine")

    async def scenario(database: Database) -> None:
        outcomes = await asyncio.gather(
            database.write(add_group("a")), database.write(fail), database.write(add_group("b")), return_exceptions=True
        )
        assert outcomes[0] == "a" and outcomes[2] == "b"
        assert isinstance(outcomes[1], KeyError)
        assert await database.read(groups) == ["a", "b"]

    run(tmp_path, scenario)


def test_the_writer_outlives_a_failure_that_ends_its_transaction(tmp_path: Path) -> None:
    def fail(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")
        raise KeyError("mine")

    async def scenario(database: Database) -> None:
        async with asyncio.timeout(10):
            with pytest.raises(StoreError):
                await database.write(fail)
            await database.write(add_group("a"))
        assert await database.read(groups) == ["a"]

    run(tmp_path, scenario)


def test_a_broken_constraint_is_one_writes_own_error(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        first, second, third = await asyncio.gather(
            database.write(add_group("a")),
            database.write(add_group("a")),
            database.write(add_group("b")),
            return_exceptions=True,
        )
        assert (first, third) == ("a", "b") and isinstance(second, Exception)
        assert not isinstance(second, StoreError)

    run(tmp_path, scenario)


def test_many_writers_all_get_their_answers(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        names = [f"g{number:04}" for number in range(1500)]
        assert await asyncio.gather(*(database.write(add_group(name)) for name in names)) == names
        assert await database.read(groups) == names

    run(tmp_path, scenario)


def test_writes_of_one_moment_share_a_transaction_and_readers_see_none_of_them_before_the_last(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        own = sqlite3.connect(tmp_path / "test.db")

        def count(connection: Connection) -> int:
            return int(own.execute("SELECT count(*) FROM log_groups").fetchone()[0])

        seen = await asyncio.gather(
            database.write(add_group("a")), database.write(count), database.write(add_group("b")), database.write(count)
        )
        assert seen == ["a", 0, "b", 0]
        assert await database.write(count) == 2
        own.close()

    run(tmp_path, scenario)


def test_the_loop_goes_on_while_a_long_write_runs(tmp_path: Path) -> None:
    def write(connection: Connection) -> bool:
        return has_gone_on.wait(10)

    has_gone_on = threading.Event()

    async def scenario(database: Database) -> None:
        waiting = asyncio.create_task(database.write(write, is_long=True))
        asyncio.get_running_loop().call_later(0.01, has_gone_on.set)
        assert await waiting

    run(tmp_path, scenario)


def test_long_writes_and_others_are_stored_in_their_order(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        seen = await asyncio.gather(
            *(
                database.write(lambda c, name=str(number): [*groups(c), add_group(name)(c)], is_long=number % 3 == 1)  # type: ignore[misc]
                for number in range(8)
            )
        )
        assert seen == [[str(each) for each in range(number + 1)] for number in range(8)]

    run(tmp_path, scenario)


def test_a_write_waits_for_another_process_that_holds_the_lock_and_the_loop_does_not(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(database.write(add_group("a")))
        assert await database.read(groups) == []
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert await waiting == "a"
        other.close()

    run(tmp_path, scenario)


def test_a_write_fails_when_the_lock_is_held_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchyard.store.database.LOCK_SECONDS", 0.01)

    async def scenario(database: Database) -> None:
        other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            await database.write(add_group("a"))
        other.close()
        assert await database.write(add_group("b")) == "b"

    run(tmp_path, scenario)


def test_a_transaction_that_a_write_has_ended_is_acknowledged_to_nobody(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        outcomes = await asyncio.gather(
            database.write(add_group("a")),
            database.write(lambda connection: connection.exec_driver_sql("ROLLBACK").rowcount),
            database.write(add_group("b")),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
        assert await database.read(groups) == []

    run(tmp_path, scenario)


def test_writes_that_take_too_long_together_leave_the_others_to_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchyard.store.database.TURN_SECONDS", -1.0)

    async def scenario(database: Database) -> None:
        order: list[str] = []

        async def write(name: str) -> None:
            await database.write(add_group(name))
            order.append(name)
            # What is answered is stored, and nobody behind it has overtaken it.
            answered = list(order)
            assert await database.read(groups) >= answered

        await asyncio.gather(*map(write, "abcd"))
        assert order == list("abcd")

    run(tmp_path, scenario)


def test_a_write_that_ends_the_process_is_stored_no_more_than_those_beside_it(tmp_path: Path) -> None:
    def leave(connection: Connection) -> None:
        raise SystemExit(3)

    async def scenario(database: Database) -> None:
        waiting = [asyncio.create_task(database.write(write)) for write in (add_group("a"), leave)]
        await asyncio.wait(waiting)

    with pytest.raises(SystemExit):
        run(tmp_path, scenario)
    assert run(tmp_path, lambda database: database.read(groups)) == []


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        database.close()
        with pytest.raises(StoreError, match="the database is closed"):
            await database.write(add_group("a"))

    run(tmp_path, scenario)


def test_what_is_queued_when_the_database_is_closed_is_stored(tmp_path: Path) -> None:
    async def scenario(database: Database) -> list[str]:
        writes = [asyncio.create_task(database.write(add_group(name))) for name in "abc"]
        await asyncio.sleep(0)
        database.close()
        return await asyncio.gather(*writes)

    assert run(tmp_path, scenario) == ["a", "b", "c"]
    assert run(tmp_path, lambda database: database.read(groups)) == ["a", "b", "c"]


def test_a_reader_sees_one_snapshot(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        loop = asyncio.get_running_loop()

        def read_twice(connection: Connection) -> tuple[list[str], list[str]]:
            before = groups(connection)
            asyncio.run_coroutine_threadsafe(database.write(add_group("late")), loop).result()
            return before, groups(connection)

        assert await database.read(read_twice) == ([], [])
        assert await database.read(groups) == ["late"]

    run(tmp_path, scenario)


def test_a_full_disk_fails_the_write_and_heals(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        await database.write(add_group("a"))
        pages = await database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        await database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())

        def fill(connection: Connection) -> None:
            for number in range(5000):
                add_group(f"{number}-{'x' * 100}")(connection)

        with pytest.raises(StoreError):
            await database.write(fill)
        await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar())
        await database.write(add_group("b"))
        assert await database.read(groups) == ["a", "b"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError, ProgrammingError, sqlite3.DatabaseError])
def test_whatever_the_driver_raises_is_the_databases_failure(tmp_path: Path, error: type[Exception]) -> None:
    def write(connection: Connection) -> None:
        add_group("undone")(connection)
        raise error("malformed") if error.__module__ == "sqlite3" else error("INSERT", {}, Exception("malformed"))  # type: ignore[call-arg]

    async def scenario(database: Database) -> None:
        with pytest.raises(StoreError, match="malformed"):
            await database.write(write)
        await database.write(add_group("b"))
        assert await database.read(groups) == ["b"]

    run(tmp_path, scenario)


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    async def scenario(database: Database) -> None:
        assert await database.write(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar()) == 2
        assert await database.write(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"

    run(tmp_path, scenario)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot open the database"):
        Database(tmp_path / "missing" / "x.db").open()


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 1000)
    database = Database(tmp_path / "x.db")
    with pytest.raises((StoreError, sqlite3.DatabaseError)) as raised:
        database.open()
    assert isinstance(raised.value, StoreError)
