"""Copies of a job's row differ from it in its id, everywhere, and in what they are made to differ."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from bench.many_jobs import DATABASE, Row, copy_job, first_runnable

REAL = "11111111-2222-3333-4444-555555555555"


def stored(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / DATABASE)
    connection.executescript(
        """
        CREATE TABLE jobs (seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT UNIQUE, status TEXT, attempts BLOB);
        CREATE TABLE log_streams (name TEXT PRIMARY KEY, log_id TEXT);
        """
    )
    with connection:
        connection.execute("INSERT INTO jobs VALUES (7, ?, 'SUCCEEDED', ?)", [REAL, b'[{"id":"%s"}]' % REAL.encode()])
        connection.execute("INSERT INTO log_streams VALUES (?, ?)", [f"bench/default/{REAL}", REAL])
    return connection


def test_copies_have_ids_of_their_own_and_log_streams(tmp_path: Path) -> None:
    connection = stored(tmp_path)
    ids = copy_job(tmp_path, REAL, 3, lambda row, number: None, with_stream=True)
    rows = connection.execute("SELECT job_id, attempts FROM jobs WHERE seq > 7 ORDER BY seq").fetchall()
    assert rows == [(each, f'[{{"id":"{each}"}}]'.encode()) for each in ids]
    streams = connection.execute("SELECT name, log_id FROM log_streams WHERE log_id <> ?", [REAL]).fetchall()
    assert sorted(streams) == sorted((f"bench/default/{each}", each) for each in ids)
    connection.close()


def test_copies_can_be_made_to_differ(tmp_path: Path) -> None:
    connection = stored(tmp_path)

    def queued(row: Row, number: int) -> None:
        row["status"] = "RUNNABLE" if number > 1 else "FAILED"

    ids = copy_job(tmp_path, REAL, 3, queued, with_stream=False)
    assert first_runnable(tmp_path) == ids[1]
    assert connection.execute("SELECT count(*) FROM log_streams").fetchone() == (1,)
    connection.close()
