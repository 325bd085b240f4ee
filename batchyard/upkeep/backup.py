"""A copy of a data folder, while the server goes on.

The database is copied from one consistent snapshot, which neither waits for the server nor holds it up. Then come the
logs of the attempts that the snapshot knows; they may be a little longer than it says, never shorter.
"""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from batchyard import __version__
from batchyard.logframes import log_path
from batchyard.upkeep.archive import (
    CHUNK_BYTES,
    DATABASE,
    FORMAT,
    LOGS,
    MANIFEST,
    BackupError,
    Entry,
    HashingReader,
    Manifest,
    log_name,
)

PAGES_A_STEP = 2000

Progress = Callable[[str, int, int], None]
"""Told what is being copied, how much of it is done and how much there is, in bytes."""


def back_up(data_dir: Path, target: Path, progress: Progress, *, with_logs: bool = True) -> Manifest:
    """Write a backup of `data_dir` to `target`, whole or not at all, readable by its owner alone.

    Raises BackupError when there is no database, or the backup can't be written or would replace something.
    """
    database = data_dir / DATABASE
    if not database.exists():
        raise BackupError(f"there is no database in {data_dir}")
    if target.exists():
        raise BackupError(f"{target} exists already")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    snapshot = target.with_name(f".{target.name}.{os.getpid()}.db")
    try:
        made_at_ms = time.time_ns() // 1_000_000
        _copy_database(database, snapshot, progress)
        mode: Literal["w", "w:gz"] = "w:gz" if target.suffix in (".gz", ".tgz") else "w"
        manifest = _write(draft, mode, made_at_ms, data_dir, snapshot, progress, with_logs=with_logs)
        # Never over a file that has come in the meantime.
        os.link(draft, target)
        _sync_folder(target.parent)
    except (OSError, sqlite3.Error, tarfile.TarError) as error:
        raise BackupError(f"the backup could not be written: {error}") from error
    finally:
        for path in (draft, snapshot):
            path.unlink(missing_ok=True)
    return manifest


def _copy_database(database: Path, snapshot: Path, progress: Progress) -> None:
    os.close(os.open(snapshot, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(snapshot)) as copy,
    ):
        page_bytes = source.execute("PRAGMA page_size").fetchone()[0]
        source.isolation_level = None
        # One transaction around all steps: without it the copy begins anew whenever the server commits.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_master").fetchone()
        source.backup(
            copy,
            pages=PAGES_A_STEP,
            progress=lambda _status, left, total: progress("database", (total - left) * page_bytes, total * page_bytes),
        )
        # A plain file: no -wal beside it is part of the backup.
        copy.execute("PRAGMA journal_mode=DELETE")


def _write(
    draft: Path,
    mode: Literal["w", "w:gz"],
    made_at_ms: int,
    data_dir: Path,
    snapshot: Path,
    progress: Progress,
    *,
    with_logs: bool,
) -> Manifest:
    files: dict[str, Entry] = {}
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode=mode) as archive:
            files[DATABASE] = _add(archive, DATABASE, snapshot)
            logs = list(_logs(data_dir, snapshot)) if with_logs else []
            total = sum(path.stat().st_size for _, path in logs if path.exists())
            done = 0
            for log_id, path in logs:
                with contextlib.suppress(FileNotFoundError):  # its time was up: the server removes old logs
                    entry = files[log_name(log_id)] = _add(archive, log_name(log_id), path)
                    done += entry.size_bytes
                    progress("logs", min(done, total), total)
            manifest = Manifest(FORMAT, __version__, _schema(snapshot), made_at_ms, files)
            _add_bytes(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _add(archive: tarfile.TarFile, name: str, path: Path) -> Entry:
    with path.open("rb", buffering=CHUNK_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        reader = HashingReader(file, size)
        archive.addfile(_header(name, size), reader)
        return Entry(size, reader.sha256)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_header(name, len(content)), io.BytesIO(content))


def _header(name: str, size_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size_bytes
    header.mode = 0o600
    header.mtime = int(time.time())
    return header


def _logs(data_dir: Path, snapshot: Path) -> Iterator[tuple[str, Path]]:
    """The attempts that have a log stream, and a log."""
    with contextlib.closing(sqlite3.connect(snapshot)) as connection:
        log_ids = [row[0] for row in connection.execute("SELECT DISTINCT log_id FROM log_streams")]
    for log_id in log_ids:
        path = log_path(data_dir / LOGS, log_id)
        if path.exists():
            yield log_id, path


def _schema(snapshot: Path) -> str:
    with contextlib.closing(sqlite3.connect(snapshot)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
