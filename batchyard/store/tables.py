"""The tables. JSON and MessagePack documents are stored as bytes; what is searched, sorted or moved has a column.

A job's row in SUBMITTED, an environment's or queue's row in CREATING, UPDATING or DELETING, a scheduling policy's row
whose `revision` isn't the one `taken_in`, and each row of `stop_requests` is an *intent*: written by the API, taken in
by the runtime, which alone moves states on.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()

BigSerial = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts row ids up only in a column that is exactly INTEGER PRIMARY KEY."""

compute_environments = Table(
    "compute_environments",
    metadata,
    Column("name", Text, primary_key=True),
    Column("arn", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("tags", LargeBinary, nullable=False),
)

job_queues = Table(
    "job_queues",
    metadata,
    Column("name", Text, primary_key=True),
    Column("arn", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    Column("priority", Integer, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("environments", LargeBinary, nullable=False),
    Column("policy", Text),
    Column("document", LargeBinary, nullable=False),
    Column("tags", LargeBinary, nullable=False),
)

scheduling_policies = Table(
    "scheduling_policies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("arn", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("taken_in", Text),
    Column("document", LargeBinary, nullable=False),
    Column("tags", LargeBinary, nullable=False),
)

shares = Table(
    "shares",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("share_identifier", Text, primary_key=True),
    Column("used_vcpu_seconds", Double, nullable=False),
    Column("as_of_ms", BigInteger, nullable=False),
    Column("fades_at_ms", BigInteger, nullable=False),
    Column("has_jobs", Integer, nullable=False),
    sqlite_with_rowid=False,
)

job_definitions = Table(
    "job_definitions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("arn", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("registered_at_ms", BigInteger, nullable=False),
    Column("deregistered_at_ms", BigInteger),
    Column("document", LargeBinary, nullable=False),
    Column("tags", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", BigSerial, primary_key=True, autoincrement=True),
    Column("job_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("started_at_ms", BigInteger),
    Column("stopped_at_ms", BigInteger),
    Column("attempts", LargeBinary),
    Column("stop", LargeBinary),
    Column("blocked_since_ms", BigInteger),
    Column("array_size", Integer),
    Column("num_nodes", Integer),
    Column("counts", LargeBinary),
    Column("rest", LargeBinary),
    Column("log_group", Text, nullable=False),
    Column("log_prefix", Text, nullable=False),
    Column("log_pattern", Text),
    Column("log_places", LargeBinary),
    Column("share_identifier", Text),
    Column("terms", LargeBinary, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("tags", LargeBinary, nullable=False),
    Index("jobs_by_queue", "queue", "status", "seq"),
    Index("jobs_by_queue_and_time", "queue", "created_at_ms", "seq"),
    Index(
        "jobs_by_share",
        "queue",
        "share_identifier",
        "seq",
        sqlite_where=text("share_identifier IS NOT NULL"),
        postgresql_where=text("share_identifier IS NOT NULL"),
    ),
    Index(
        "jobs_submitted",
        "seq",
        sqlite_where=text("status = 'SUBMITTED'"),
        postgresql_where=text("status = 'SUBMITTED'"),
    ),
    Index(
        "jobs_unfinished",
        "seq",
        sqlite_where=text("stopped_at_ms IS NULL"),
        postgresql_where=text("stopped_at_ms IS NULL"),
    ),
    Index(
        "jobs_finished",
        "stopped_at_ms",
        sqlite_where=text("stopped_at_ms IS NOT NULL"),
        postgresql_where=text("stopped_at_ms IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

children = Table(
    "children",
    metadata,
    Column("parent_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("child_index", Integer, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    Column("started_at_ms", BigInteger),
    Column("stopped_at_ms", BigInteger),
    Column("attempts", LargeBinary),
    Column("stop", LargeBinary),
    Column("blocked_since_ms", BigInteger),
    Index("children_by_status", "parent_seq", "status", "child_index"),
    sqlite_with_rowid=False,
)

consumable_resources = Table(
    "consumable_resources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("arn", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("in_use", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("settled_version", Integer, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("tags", LargeBinary, nullable=False),
)

consumable_updates = Table(
    "consumable_updates",
    metadata,
    Column("key", Text, primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index("consumable_updates_by_time", "at_ms"),
)

job_consumables = Table(
    "job_consumables",
    metadata,
    Column("resource", Text, primary_key=True),
    Column("job_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("quantity", BigInteger, nullable=False),
    Index("job_consumables_by_job", "job_seq"),
    sqlite_with_rowid=False,
)

stop_requests = Table(
    "stop_requests",
    metadata,
    Column("id", BigSerial, primary_key=True, autoincrement=True),
    Column("request", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

log_groups = Table(
    "log_groups",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("retention_days", Integer),
)

log_streams = Table(
    "log_streams",
    metadata,
    Column("log_group", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("log_id", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger),
    Column("pattern", Text),
    Index("log_streams_by_log", "log_id"),
    sqlite_with_rowid=False,
)
