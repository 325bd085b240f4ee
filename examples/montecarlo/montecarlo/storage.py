"""Objects under a base: a plain folder or anything fsspec opens (`s3://bucket/prefix`).

A write replaces the whole object at once, so that an action which runs a second time (a retried attempt, a repeated
job) leaves the same object behind and a reader never sees half of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class InputError(Exception):
    """What an action was given cannot be worked on; the message is for the person who runs it."""


def join(base: str, *keys: str) -> str:
    """`base` and `keys` with exactly one slash between them."""
    return "/".join([base.rstrip("/"), *(key.strip("/") for key in keys)])


def read_bytes(uri: str) -> bytes:
    """The object at `uri`."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    try:
        content: bytes = filesystem.cat_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"{uri}: no such object") from error
    return content


def write_bytes(uri: str, content: bytes) -> None:
    """Put `content` at `uri` in one step: a rename in a folder, a single put in an object store."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    if isinstance(filesystem, LocalFileSystem):
        _replace_file(Path(path), content)
    else:
        filesystem.pipe_file(path, content)


def read_json(uri: str) -> Any:
    """The JSON document at `uri`."""
    return parse_json(read_bytes(uri), uri)


def parse_json(content: bytes, uri: str) -> Any:
    """`content` as JSON; `uri` names it in the error."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise InputError(f"{uri}: not JSON: {error}") from error


def json_bytes(document: Any) -> bytes:
    """The one byte form of `document`: equal documents give equal bytes, and NaN is refused."""
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _replace_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes private files; results are for whoever may read the folder
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
