"""The migrations and the tables say the same."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from batchyard.store import schema
from batchyard.store.database import Database
from batchyard.store.tables import metadata


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    schema.upgrade(engine)
    with engine.connect() as connection:
        yield connection


def test_migrating_gives_the_tables_as_declared(connection: Connection) -> None:
    assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(schema.alembic_config()).get_current_head() == schema.HEAD


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db", isolation_level="AUTOCOMMIT", poolclass=NullPool)
    schema.upgrade(engine)
    schema.upgrade(engine)
    assert schema.current_revision(engine) == schema.HEAD


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db")
    database.open()
    database.close()
    assert stat.S_IMODE((tmp_path / "x.db").stat().st_mode) == 0o600
