"""What a backup is: a tar archive of the database's snapshot, the logs that it knows, and last a manifest.

The manifest names every file with its size and SHA-256. It comes last, so an archive that was cut off has none.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import IO

from msgspec import Struct

from batchyard.exceptions import BatchyardError
from batchyard.logframes import checked_attempt_id, log_path

DATABASE = "batchyard.db"
LOGS = "logs"
MANIFEST = "manifest.json"
FORMAT = 1
CHUNK_BYTES = 1024 * 1024

_LOG_NAME = re.compile(rf"{LOGS}/[^/]+/([^/]+)\.log")


class BackupError(BatchyardError):
    """A backup can't be made or read; the text says why. Nothing was changed."""


class Entry(Struct, frozen=True):
    """One file of the archive."""

    size_bytes: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What an archive holds, and what made it."""

    format: int
    version: str
    """Batchyard's."""
    schema: str
    """The database's last migration."""
    made_at_ms: int
    files: dict[str, Entry]


class HashingReader:
    """Exactly `size_bytes` of a file that may be growing; zeros stand in for what was cut off in the meantime."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        data += b"\0" * (wanted - len(data))
        self._left -= len(data)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def log_name(attempt_id: str) -> str:
    """The name of an attempt's log in the archive."""
    return str(log_path(Path(LOGS), attempt_id))


def is_expected(name: str) -> bool:
    """May an archive hold a file of this name? Nothing else of it is ever written anywhere."""
    if name == DATABASE:
        return True
    match = _LOG_NAME.fullmatch(name)
    if match is None:
        return False
    try:
        return name == log_name(checked_attempt_id(match[1]))
    except ValueError:
        return False
