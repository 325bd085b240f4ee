"""A data folder from a backup.

Everything is unpacked and checked beside the folder, and then put into its place by one rename. What ran when the
backup was made runs no more: the next server finds those attempts lost, and retries the jobs that may be retried.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sqlite3
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from batchyard.engines.process.address import LOCK_NAME
from batchyard.store import schema
from batchyard.upkeep.archive import CHUNK_BYTES, DATABASE, FORMAT, MANIFEST, BackupError, Entry, Manifest, is_expected
from batchyard.upkeep.backup import Progress


def restore(source: Path, data_dir: Path, progress: Progress, *, replace: bool = False) -> tuple[Manifest, Path | None]:
    """Make `data_dir` from the backup `source`. Returns its manifest, and where what was in the folder is now.

    Raises BackupError, with everything as it was, when the archive is damaged or of a newer Batchyard, when a server or
    its jobs still use the folder, or when it isn't empty and `replace` is not asked for.
    """
    data_dir = data_dir.absolute()
    is_taken = data_dir.exists() and any(data_dir.iterdir())
    if is_taken and not replace:
        raise BackupError(f"{data_dir} is not empty; --replace puts its content aside")
    fresh = data_dir.with_name(f".{data_dir.name}.{os.getpid()}.restoring")
    try:
        with _nobody_uses(data_dir):
            data_dir.parent.mkdir(parents=True, exist_ok=True)
            fresh.mkdir(mode=0o700)
            manifest = _unpack(source, fresh, progress)
            _check_database(fresh / DATABASE, manifest)
            return manifest, _put_in_place(fresh, data_dir, is_taken=is_taken)
    except EOFError as error:
        raise BackupError(f"{source} was cut off: {error}") from error
    except (OSError, sqlite3.Error, tarfile.TarError, zlib.error, msgspec.MsgspecError) as error:
        raise BackupError(f"the backup could not be restored: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextlib.contextmanager
def _nobody_uses(data_dir: Path) -> Iterator[None]:
    """Hold the locks of the server and of its supervisor, as far as there are any."""
    users = {data_dir / "lock": "a server", data_dir / "engine" / LOCK_NAME: "jobs of an earlier server"}
    with contextlib.ExitStack() as stack:
        for path, user in users.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BackupError(
                        f"{data_dir} is in use by {user}; `batchyard down --stop-jobs` ends a server and its jobs"
                    ) from None
        yield


def _unpack(source: Path, fresh: Path, progress: Progress) -> Manifest:
    """Write the archive's files below `fresh`, and compare them with its manifest."""
    found: dict[str, Entry] = {}
    manifest: Manifest | None = None
    total = source.stat().st_size
    with source.open("rb") as file, _opened(source, file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                raise BackupError(f"{source} holds {member.name!r}, which is no plain file")
            if member.name == MANIFEST:
                manifest = msgspec.json.decode(content.read(), type=Manifest)
            elif is_expected(member.name) and member.name not in found:
                found[member.name] = _write(content, fresh / member.name)
            else:
                raise BackupError(f"{source} holds {member.name!r}, which no backup does")
            progress("files", min(file.tell(), total), total)
    if manifest is None:
        raise BackupError(f"{source} has no manifest: it was cut off, or is no backup")
    if manifest.format != FORMAT:
        raise BackupError(f"{source} was made by Batchyard {manifest.version} in a format that this version can't read")
    for name in found.keys() | manifest.files.keys():
        if found.get(name) != manifest.files.get(name):
            raise BackupError(f"{source} is damaged: {name} is not what its manifest says")
    return manifest


def _opened(source: Path, file: BinaryIO) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:*")
    except tarfile.ReadError:  # says what each of the kinds of archives that it knows has against the file
        raise BackupError(f"{source} is no backup: it is no tar archive") from None


def _write(content: object, path: Path) -> Entry:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while data := content.read(CHUNK_BYTES):  # type: ignore[attr-defined]
            digest.update(data)
            size += len(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Entry(size, digest.hexdigest())


def _check_database(database: Path, manifest: Manifest) -> None:
    if not database.exists():
        raise BackupError("the backup holds no database")
    if manifest.schema not in schema.known_revisions():
        raise BackupError(f"the backup was made by Batchyard {manifest.version}, which is newer than this one")
    with contextlib.closing(sqlite3.connect(database)) as connection:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise BackupError(f"the backup's database is damaged: {said}")


def _put_in_place(fresh: Path, data_dir: Path, *, is_taken: bool) -> Path | None:
    aside = None
    if is_taken:
        aside = data_dir.with_name(f"{data_dir.name}.before-restore-{time.strftime('%Y%m%dT%H%M%S')}")
        data_dir.rename(aside)
    elif data_dir.exists():
        data_dir.rmdir()
    try:
        fresh.rename(data_dir)
    except OSError:
        if aside is not None:
            aside.rename(data_dir)
        raise
    return aside
