"""Alembic's entry point: migrations run on the connection that `store/schema.py` passes in."""

from __future__ import annotations

from alembic import context

from batchyard.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
