from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from batchyard.store import logs
from batchyard.store.logs import GroupRow, StreamPosition
from batchyard.store.tables import log_streams
from tests.unit.api.harness import World, open_world

DAY_MS = logs.DAY_MS


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def put(world: World, group: str, *names: str, created_at_ms: int = 1, closed_at_ms: int | None = None) -> None:
    rows = [
        {
            "log_group": group,
            "name": name,
            "log_id": f"attempt-{name}",
            "created_at_ms": created_at_ms,
            "closed_at_ms": closed_at_ms,
        }
        for name in names
    ]
    world.write(lambda connection: connection.execute(insert(log_streams), rows) and None)


def test_ensuring_a_group_twice_keeps_its_first_time(world: World) -> None:
    world.write(lambda connection: logs.ensure_group(connection, "g", 5))
    world.write(lambda connection: logs.ensure_group(connection, "g", 7))
    assert GroupRow("g", 5, None) in world.read(logs.all_groups)


def test_groups_come_from_rows_and_from_streams(world: World) -> None:
    world.write(lambda connection: logs.ensure_group(connection, "row", 5))
    put(world, "stream", "a", created_at_ms=9)
    put(world, "stream", "b", created_at_ms=8)
    assert world.read(logs.all_groups) == [
        GroupRow(logs.DEFAULT_GROUP, 0, None),
        GroupRow("row", 5, None),
        GroupRow("stream", 8, None),
    ]
    exist = {
        name: world.read(lambda connection, name=name: logs.group_exists(connection, name))
        for name in (logs.DEFAULT_GROUP, "row", "stream", "neither")
    }
    assert exist == {logs.DEFAULT_GROUP: True, "row": True, "stream": True, "neither": False}


def test_the_streams_of_logs_are_deleted(world: World) -> None:
    put(world, "g", "a", "b", "c")
    world.write(lambda connection: logs.delete_streams(connection, ["attempt-a", "attempt-c", "attempt-x"]))
    left = world.read(lambda connection: logs.streams_by_name(connection, "g", "", None, 9))
    assert [each.name for each in left] == ["b"]


def test_more_attempts_than_one_statement_takes(world: World) -> None:
    put(world, "g", "a", "b")
    attempts = ["attempt-a", *(f"attempt-{number}" for number in range(12_000)), "attempt-b"]
    world.write(lambda connection: logs.delete_streams(connection, attempts))
    assert world.read(lambda connection: logs.streams_by_name(connection, "g", "", None, 9)) == []


def test_streams_expire_so_many_days_after_their_end(world: World) -> None:
    put(world, "week", "old", closed_at_ms=1000)
    put(world, "week", "newer", closed_at_ms=1001)
    put(world, "week", "open", closed_at_ms=None)
    put(world, "ever", "kept", closed_at_ms=1)
    world.write(lambda connection: logs.set_retention(connection, "week", 7, 1))
    world.write(lambda connection: logs.set_retention(connection, "ever", None, 1))
    now_ms = 7 * DAY_MS + 1001
    assert world.read(lambda connection: logs.expired_streams(connection, now_ms)) == ["attempt-old"]
    later = world.read(lambda connection: logs.expired_streams(connection, now_ms + 1))
    assert sorted(later) == ["attempt-newer", "attempt-old"]
    assert len(world.read(lambda connection: logs.expired_streams(connection, now_ms + 1, most=1))) == 1


def test_a_groups_streams_are_deleted_in_portions(world: World) -> None:
    put(world, "g", "a", "b", "c")
    put(world, "other", "a2")
    portions = [world.write(lambda connection: logs.delete_streams_of_group(connection, "g", 2)) for _ in range(3)]
    assert portions == [["attempt-a", "attempt-b"], ["attempt-c"], []]
    assert world.read(lambda connection: logs.group_exists(connection, "other"))


def test_streams_by_age_lie_between_two_positions(world: World) -> None:
    for age, name in enumerate("dcba"):
        put(world, "g", name, created_at_ms=age)

    def between(after: StreamPosition, last: StreamPosition | None) -> list[str]:
        found = world.read(lambda connection: logs.streams_by_age(connection, "g", "", after, last, 9))
        return [each.name for each in found]

    assert between(logs.FIRST_STREAM, None) == ["d", "c", "b", "a"]
    assert between(StreamPosition(0, "d"), StreamPosition(2, "b")) == ["c", "b"]
