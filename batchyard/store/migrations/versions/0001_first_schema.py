"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_environments_and_queues()
    _create_definitions()
    _create_jobs()
    _create_children()
    _create_stop_requests()
    _create_consumables()
    _create_logs()


def _create_environments_and_queues() -> None:
    op.create_table(
        "compute_environments",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "job_queues",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("environments", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "scheduling_policies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("taken_in", sa.Text(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "shares",
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("share_identifier", sa.Text(), nullable=False),
        sa.Column("used_vcpu_seconds", sa.Double(), nullable=False),
        sa.Column("as_of_ms", sa.BigInteger(), nullable=False),
        sa.Column("fades_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("has_jobs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("queue", "share_identifier"),
        sqlite_with_rowid=False,
    )


def _create_definitions() -> None:
    op.create_table(
        "job_definitions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("registered_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("deregistered_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "revision"),
    )


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.LargeBinary(), nullable=True),
        sa.Column("stop", sa.LargeBinary(), nullable=True),
        sa.Column("blocked_since_ms", sa.BigInteger(), nullable=True),
        sa.Column("array_size", sa.Integer(), nullable=True),
        sa.Column("num_nodes", sa.Integer(), nullable=True),
        sa.Column("counts", sa.LargeBinary(), nullable=True),
        sa.Column("rest", sa.LargeBinary(), nullable=True),
        sa.Column("log_group", sa.Text(), nullable=False),
        sa.Column("log_prefix", sa.Text(), nullable=False),
        sa.Column("log_pattern", sa.Text(), nullable=True),
        sa.Column("log_places", sa.LargeBinary(), nullable=True),
        sa.Column("share_identifier", sa.Text(), nullable=True),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("detail", sa.LargeBinary(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("job_id"),
        sqlite_autoincrement=True,
    )
    _index_jobs()


def _index_jobs() -> None:
    op.create_index("jobs_by_queue", "jobs", ["queue", "status", "seq"])
    op.create_index("jobs_by_queue_and_time", "jobs", ["queue", "created_at_ms", "seq"])
    op.create_index(
        "jobs_by_share",
        "jobs",
        ["queue", "share_identifier", "seq"],
        sqlite_where=sa.text("share_identifier IS NOT NULL"),
        postgresql_where=sa.text("share_identifier IS NOT NULL"),
    )
    op.create_index(
        "jobs_finished",
        "jobs",
        ["stopped_at_ms"],
        sqlite_where=sa.text("stopped_at_ms IS NOT NULL"),
        postgresql_where=sa.text("stopped_at_ms IS NOT NULL"),
    )
    op.create_index(
        "jobs_submitted",
        "jobs",
        ["seq"],
        sqlite_where=sa.text("status = 'SUBMITTED'"),
        postgresql_where=sa.text("status = 'SUBMITTED'"),
    )
    op.create_index(
        "jobs_unfinished",
        "jobs",
        ["seq"],
        sqlite_where=sa.text("stopped_at_ms IS NULL"),
        postgresql_where=sa.text("stopped_at_ms IS NULL"),
    )


def _create_children() -> None:
    op.create_table(
        "children",
        sa.Column("parent_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("child_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("started_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("stopped_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.LargeBinary(), nullable=True),
        sa.Column("stop", sa.LargeBinary(), nullable=True),
        sa.Column("blocked_since_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("parent_seq", "child_index"),
        sqlite_with_rowid=False,
    )
    op.create_index("children_by_status", "children", ["parent_seq", "status", "child_index"])


def _create_stop_requests() -> None:
    op.create_table(
        "stop_requests",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )


def _create_consumables() -> None:
    op.create_table(
        "consumable_resources",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arn", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("in_use", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("settled_version", sa.Integer(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("tags", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "consumable_updates",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("consumable_updates_by_time", "consumable_updates", ["at_ms"])
    op.create_table(
        "job_consumables",
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("job_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resource", "job_seq"),
        sqlite_with_rowid=False,
    )
    op.create_index("job_consumables_by_job", "job_consumables", ["job_seq"])


def _create_logs() -> None:
    op.create_table(
        "log_groups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "log_streams",
        sa.Column("log_group", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("log_id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("pattern", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("log_group", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index("log_streams_by_log", "log_streams", ["log_id"])
