"""Bringing a database to the current schema with Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from batchyard.exceptions import StoreError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0001"
"""The newest migration; `tests/unit/store/test_schema.py` holds it to what Alembic says."""


def upgrade(engine: Engine) -> None:
    """Run the migrations that are missing. Alembic is loaded only if there are any: it is slow to import.

    Raises StoreError, with nothing changed, for a database of a later version.
    """
    revision = current_revision(engine)
    if revision == HEAD:
        return
    from alembic import command

    if revision is not None and revision not in known_revisions():
        raise StoreError(f"the database was made by a newer version of Batchyard (schema {revision}); use that one")
    with engine.connect() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        # One transaction around all of it: a server killed in the middle leaves the old schema, not half a new one.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")


def known_revisions() -> frozenset[str]:
    """All migrations of this version."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


def alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def current_revision(engine: Engine) -> str | None:
    """The migration a database is at; None for an empty one."""
    with engine.connect() as connection:
        try:
            revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        except DBAPIError:
            return None
        return revision
