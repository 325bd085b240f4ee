"""What tells the containers of a data folder from those of others."""

from __future__ import annotations

from pathlib import Path

from batchyard.engines.docker.engine import _server_id


def test_a_folder_keeps_the_id_that_it_was_given(tmp_path: Path) -> None:
    found = _server_id(tmp_path / "id")
    assert len(found) == 32
    assert _server_id(tmp_path / "id") == found
    assert _server_id(tmp_path / "other") != found


def test_an_empty_file_is_no_id_that_folders_could_share(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("\n")
    assert len(_server_id(tmp_path / "id")) == 32
