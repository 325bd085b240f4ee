from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.logframes import frame, log_path
from batchyard.store.database import Database


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with one ended job and its log, as a server leaves it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "lock").touch()
    database = Database(folder / "batchyard.db")
    database.open()
    database.close()
    put(folder, "aa-1", b"hello\n")
    return folder


def put(data_dir: Path, attempt_id: str, output: bytes, at_ms: int = 1_000) -> None:
    """One SUCCEEDED job whose attempt wrote this."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(data_dir / "batchyard.db")) as connection:
        connection.execute(
            "INSERT INTO jobs (job_id, name, queue, definition, status, created_at_ms, started_at_ms, stopped_at_ms,"
            " log_group, log_prefix, terms, detail, tags)"
            " VALUES (?, 'job', 'q', 'd:1', 'SUCCEEDED', ?, ?, ?, 'group', 'prefix/', '{}', '{}', '{}')",
            (attempt_id, at_ms, at_ms, at_ms),
        )
        connection.execute(
            "INSERT INTO log_streams (log_group, name, log_id, created_at_ms) VALUES ('group', ?, ?, ?)",
            (f"prefix/{attempt_id}", attempt_id, at_ms),
        )
        connection.commit()
    path = log_path(data_dir / "logs", attempt_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(frame(at_ms, output))
