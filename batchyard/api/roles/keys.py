"""What attempts are given to show who they are: made from one key of the server's, so that nothing has to be stored.

Everything names its attempt in plain text and proves it with a MAC, one key for each purpose. A server that starts
anew, with the key in its data folder, takes what the last one gave out.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from msgspec import Struct

from batchyard.core.job import attempt_id
from batchyard.exceptions import DataFolderError

FILE_NAME = "attempt-key"
ACCESS_KEY_PREFIX = "ASIA0"
"""Temporary keys of AWS begin with ASIA and are in base 32, which has no 0: no key of AWS's looks like these."""
CREDENTIALS_SECONDS = 3600
"""How long credentials are good for. Clients ask for new ones 15 minutes before the end at the latest."""

_KEY_BYTES = 32
_MAC_HEX = 40
_NAME = re.compile(r"([0-9A-Za-z_-]{1,128})\.([0-9]{0,9})\.([0-9]{1,9})", re.ASCII)


class Bearer(Struct, frozen=True):
    """An attempt by its job, its index (of a child or a node) and its number."""

    job_id: str
    index: int | None
    number: int

    @property
    def name(self) -> str:
        """The attempt in a path or a token: `JOB.INDEX.NUMBER`."""
        return f"{self.job_id}.{'' if self.index is None else self.index}.{self.number}"

    @property
    def attempt_id(self) -> str:
        return attempt_id(self.job_id, self.index, self.number)


class Credentials(Struct, frozen=True):
    """What signs requests, until `expires_at` (seconds since the epoch)."""

    access_key: str
    secret_key: str
    token: str
    expires_at: int


def bearer_of(name: str) -> Bearer | None:
    """The attempt that `Bearer.name` names; None if it can't be one."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    job_id, index, number = found.groups()
    return Bearer(job_id, int(index) if index else None, int(number))


class Keys:
    """Makes and checks what attempts show."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, data_dir: Path) -> Keys:
        """The key of a data folder, made the first time. DataFolderError if it can't be had, or isn't secret."""
        try:
            return cls(_key_in(data_dir / FILE_NAME))
        except OSError as error:
            raise DataFolderError(f"cannot read or write {data_dir / FILE_NAME}: {error.strerror}") from error

    def authorization(self, bearer: Bearer) -> str:
        """What an attempt shows to be given credentials."""
        return self._mac("authorization", bearer.name)

    def is_authorization(self, bearer: Bearer, shown: str) -> bool:
        return _same(self.authorization(bearer), shown)

    def place(self, purpose: str, bearer: Bearer) -> str:
        """A part of a path that nobody else can guess: the attempt's name and its proof for this purpose."""
        return f"{bearer.name}.{self._mac(purpose, bearer.name)}"

    def bearer_at(self, purpose: str, place: str) -> Bearer | None:
        """Whose place it is; None if it was not made here."""
        name, _, proof = place.rpartition(".")
        bearer = bearer_of(name)
        return bearer if bearer is not None and _same(self._mac(purpose, bearer.name), proof) else None

    def credentials(self, bearer: Bearer, expires_at: int) -> Credentials:
        claims = f"{bearer.name}.{expires_at}"
        return self._of_token(f"{claims}.{self._mac('session', claims)}", expires_at)

    def of_token(self, token: str) -> tuple[Bearer, Credentials] | None:
        """Whose session token it is, and the credentials that it came with; None if it was not made here."""
        claims, _, proof = token.rpartition(".")
        name, _, expires_at = claims.rpartition(".")
        bearer = bearer_of(name)
        if bearer is None or not _same(self._mac("session", claims), proof):
            return None
        return bearer, self._of_token(token, int(expires_at))

    def _of_token(self, token: str, expires_at: int) -> Credentials:
        access_key = base64.b32encode(self._digest("access key", token)).decode()[: 20 - len(ACCESS_KEY_PREFIX)]
        secret_key = base64.urlsafe_b64encode(self._digest("secret key", token)).decode()[:40]
        return Credentials(ACCESS_KEY_PREFIX + access_key, secret_key, token, expires_at)

    def _mac(self, purpose: str, text: str) -> str:
        return self._digest(purpose, text).hex()[:_MAC_HEX]

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\0{text}".encode(), "sha256")


def _same(expected: str, shown: str) -> bool:
    return hmac.compare_digest(expected.encode(), shown.encode(errors="replace"))


def _key_in(path: Path) -> bytes:
    if not path.exists():
        draft = path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_KEY_BYTES).encode())
            file.flush()
            # Else a power cut may leave an empty file under the key's name, and a server that does not start.
            os.fsync(file.fileno())
        draft.replace(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise DataFolderError(
            f"{path} can be read by others, who can do what running jobs may: remove it, or take another data folder if"
            " this one is where files can't be kept from others"
        )
    key = path.read_bytes()
    if len(key) < _KEY_BYTES:
        # Whatever cut it off: with an empty key everybody could make what attempts show.
        raise DataFolderError(f"{path} is too short to be a key: remove it")
    return key
