from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from batchyard.store import definitions
from batchyard.store.definitions import DefinitionFilter, DefinitionRow
from tests.unit.api.harness import World, open_world

ANY = DefinitionFilter(inactive_since_ms=0)


def row(name: str, revision: int) -> DefinitionRow:
    return DefinitionRow(
        name=name,
        revision=revision,
        arn=f"arn:aws:batch:us-east-1:123456789012:job-definition/{name}:{revision}",
        status="ACTIVE",
        registered_at_ms=1,
        deregistered_at_ms=None,
        document=b'{"type":"container"}',
        tags={"a": "1"},
    )


def put(world: World, *rows: DefinitionRow) -> None:
    def write(connection: Connection) -> None:
        for each in rows:
            definitions.insert_row(connection, each)

    world.write(write)


def test_a_row_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("d", 1))
        assert world.read(lambda connection: definitions.find_for_submission(connection, "d", 1)) == row("d", 1)
        assert world.read(lambda connection: definitions.find_for_submission(connection, "d", 2)) is None


def test_the_next_revision_is_above_all_that_were(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        assert world.read(lambda connection: definitions.next_revision(connection, "d")) == 1
        put(world, row("d", 1), row("d", 9))
        world.write(lambda connection: definitions.deregister(connection, "d", 9, 5))
        assert world.read(lambda connection: definitions.next_revision(connection, "d")) == 10
        assert world.read(lambda connection: definitions.next_revision(connection, "other")) == 1


def test_deregistering_again_keeps_the_first_time(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("d", 1), row("d", 2))
        world.write(lambda connection: definitions.deregister(connection, "d", 1, 5))
        world.write(lambda connection: definitions.deregister(connection, "d", 1, 7))
        found = world.read(lambda connection: definitions.find_for_submission(connection, "d", 1))
        assert found is not None
        assert (found.status, found.deregistered_at_ms) == ("INACTIVE", 5)
        assert world.read(lambda connection: definitions.find_for_submission(connection, "d", None)) == row("d", 2)


def test_pages_go_by_name_and_number(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("e", 1), row("d", 10), row("d", 9), row("d", 1))
        page = world.read(lambda connection: definitions.page(connection, ANY, ("d", 1), 2))
        assert [(each.name, each.revision) for each in page] == [("d", 9), ("d", 10)]
        page = world.read(lambda connection: definitions.page(connection, ANY, ("d", 10), 2))
        assert [(each.name, each.revision) for each in page] == [("e", 1)]


def test_references_that_name_nothing_give_nothing(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("d", 1))
        wanted = DefinitionFilter(inactive_since_ms=0, references=(("d", 2), ("x", None)))
        assert world.read(lambda connection: definitions.page(connection, wanted, ("", 0), 9)) == []
        assert world.read(lambda connection: definitions.exists(connection, "d"))
        assert not world.read(lambda connection: definitions.exists(connection, "x"))
