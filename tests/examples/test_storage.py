from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from montecarlo import storage
from montecarlo.storage import InputError


def test_a_write_replaces_the_object_and_leaves_nothing_else(tmp_path: Path) -> None:
    uri = storage.join(str(tmp_path), "deep/folder/", "object.json")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert [path.name for path in (tmp_path / "deep/folder").iterdir()] == ["object.json"]


def test_a_write_that_fails_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "object")
    storage.write_bytes(uri, b"one")

    def full(self: Path, target: Path) -> Path:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["object"]


def test_other_filesystems_of_fsspec() -> None:
    uri = "memory://bucket/key"
    storage.write_bytes(uri, b"content")
    assert storage.read_bytes(uri) == b"content"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_a_missing_object_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such object"):
        storage.read_bytes(str(tmp_path / "nowhere"))


def test_equal_documents_have_equal_bytes_and_nan_is_refused() -> None:
    assert storage.json_bytes({"a": 1, "b": 2}) == storage.json_bytes({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.json_bytes({"a": float("nan")})
