"""A backup is whole or not there, and a restore changes nothing before it has looked at all of it."""

from __future__ import annotations

import fcntl
import io
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from batchyard.logframes import log_path
from batchyard.upkeep.archive import BackupError, Manifest, is_expected
from batchyard.upkeep.backup import back_up
from batchyard.upkeep.restore import restore
from tests.unit.upkeep.conftest import put


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody looks."""


def made(data_dir: Path, tmp_path: Path, name: str = "b.tar") -> Path:
    target = tmp_path / name
    back_up(data_dir, target, quiet)
    return target


def job_ids(data_dir: Path) -> list[str]:
    with closing(sqlite3.connect(data_dir / "batchyard.db")) as connection:
        return [row[0] for row in connection.execute("SELECT job_id FROM jobs ORDER BY seq")]


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz", "backup"])
def test_what_was_backed_up_comes_back(data_dir: Path, tmp_path: Path, name: str) -> None:
    target = made(data_dir, tmp_path, name)
    manifest, aside = restore(target, tmp_path / "new", quiet)
    assert (len(manifest.files), aside) == (2, None)
    assert job_ids(tmp_path / "new") == ["aa-1"]
    log = log_path(tmp_path / "new" / "logs", "aa-1")
    assert log.read_bytes() == log_path(data_dir / "logs", "aa-1").read_bytes()
    for path in (target, tmp_path / "new" / "batchyard.db", log):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_progress_ends_with_everything(data_dir: Path, tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}
    back_up(data_dir, tmp_path / "b.tar", lambda what, done, total: seen.update({what: (done, total)}))
    assert seen.keys() == {"database", "logs"}
    assert all(done == total > 0 for done, total in seen.values())


def test_logs_can_be_left_out(data_dir: Path, tmp_path: Path) -> None:
    manifest = back_up(data_dir, tmp_path / "b.tar", quiet, with_logs=False)
    assert manifest.files.keys() == {"batchyard.db"}


def test_logs_that_the_database_does_not_know_are_left_out(data_dir: Path, tmp_path: Path) -> None:
    stray = log_path(data_dir / "logs", "zz-9")
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"of a job that was removed")
    assert len(back_up(data_dir, tmp_path / "b.tar", quiet).files) == 2


def test_a_backup_into_no_folder(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError) as caught:
        back_up(data_dir, tmp_path / "none" / "b.tar", quiet)
    assert str(caught.value) == f"{tmp_path / 'none'} is no folder"


def test_a_backup_replaces_no_file(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(BackupError, match="exists already"):
        made(data_dir, tmp_path)
    assert (tmp_path / "b.tar").read_text() == "mine"


def test_what_cannot_be_written_leaves_nothing(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError):
        back_up(data_dir, tmp_path / "missing" / "b.tar", quiet)
    with pytest.raises(BackupError, match="no database"):
        back_up(tmp_path / "empty", tmp_path / "b.tar", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


class TestRestore:
    def test_a_folder_with_content_is_refused_or_put_aside(self, data_dir: Path, tmp_path: Path) -> None:
        target = made(data_dir, tmp_path)
        put(data_dir, "bb-2", b"later\n")
        with pytest.raises(BackupError, match="not empty"):
            restore(target, data_dir, quiet)
        _, aside = restore(target, data_dir, quiet, replace=True)
        assert aside is not None
        assert (job_ids(data_dir), job_ids(aside)) == (["aa-1"], ["aa-1", "bb-2"])

    def test_an_empty_folder_is_taken(self, data_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "new").mkdir()
        restore(made(data_dir, tmp_path), tmp_path / "new", quiet)
        assert job_ids(tmp_path / "new") == ["aa-1"]

    @pytest.mark.parametrize(("lock", "user"), [("lock", "a server"), ("engine/supervisor.lock", "jobs")])
    def test_a_folder_in_use_is_left_alone(self, data_dir: Path, tmp_path: Path, lock: str, user: str) -> None:
        target = made(data_dir, tmp_path)
        (data_dir / "engine").mkdir()
        with (data_dir / lock).open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(BackupError, match=f"in use by {user}"):
                restore(target, data_dir, quiet, replace=True)
        assert job_ids(data_dir) == ["aa-1"]

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.97])
    @pytest.mark.parametrize("name", ["b.tar", "b.tgz"])
    def test_an_archive_that_was_cut_off_is_refused(
        self, data_dir: Path, tmp_path: Path, name: str, share: float
    ) -> None:
        target = made(data_dir, tmp_path, name)
        content = target.read_bytes().rstrip(b"\0")
        target.write_bytes(content[: int(len(content) * share)])
        self.is_refused(target, data_dir, tmp_path)

    def test_a_compressed_one_says_that_it_was_cut_off(self, data_dir: Path, tmp_path: Path) -> None:
        target = made(data_dir, tmp_path, "b.tgz")
        target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
        assert f"{target} was cut off" in self.is_refused(target, data_dir, tmp_path)

    def test_a_file_of_another_kind_is_refused_in_few_words(self, data_dir: Path, tmp_path: Path) -> None:
        target = tmp_path / "b.tgz"
        target.write_text("hello")
        assert self.is_refused(target, data_dir, tmp_path) == f"{target} is no backup: it is no tar archive"

    def test_an_archive_with_a_changed_byte_is_refused(self, data_dir: Path, tmp_path: Path) -> None:
        target = made(data_dir, tmp_path)
        content = bytearray(target.read_bytes())
        content[content.index(b"hello")] ^= 1
        target.write_bytes(content)
        assert "not what its manifest says" in self.is_refused(target, data_dir, tmp_path)

    @pytest.mark.parametrize(
        "name",
        ["../evil", "/etc/evil", "logs/../../evil.log", "logs/aa/../evil.log", "server.json", "logs/ab/aa-1.log"],
    )
    def test_files_that_no_backup_holds_are_written_nowhere(self, data_dir: Path, tmp_path: Path, name: str) -> None:
        assert not is_expected(name)
        target = rewritten(made(data_dir, tmp_path), lambda archive: add(archive, name, b"evil"))
        assert "which no backup does" in self.is_refused(target, data_dir, tmp_path)

    def test_links_are_refused(self, data_dir: Path, tmp_path: Path) -> None:
        link = tarfile.TarInfo("logs/aa/aa-1.log")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        target = rewritten(made(data_dir, tmp_path), lambda archive: archive.addfile(link))
        assert "no plain file" in self.is_refused(target, data_dir, tmp_path)

    def test_the_backup_of_a_newer_version_is_refused(self, data_dir: Path, tmp_path: Path) -> None:
        with closing(sqlite3.connect(data_dir / "batchyard.db")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        assert "newer" in self.is_refused(made(data_dir, tmp_path), data_dir, tmp_path)

    def is_refused(self, target: Path, data_dir: Path, tmp_path: Path) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(BackupError) as caught:
            restore(target, data_dir, quiet, replace=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        assert job_ids(data_dir) == ["aa-1"]
        return str(caught.value)


def rewritten(target: Path, change: Callable[[tarfile.TarFile], None]) -> Path:
    """The archive with something more in it, before its own files."""
    with tarfile.open(target) as archive:
        files = [(member, archive.extractfile(member)) for member in archive]
        contents = [(member, file.read()) for member, file in files if file is not None]
    with tarfile.open(target, "w") as archive:
        change(archive)
        for member, content in contents:
            archive.addfile(member, io.BytesIO(content))
    return target


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    archive.addfile(header, io.BytesIO(content))


def test_a_manifest_says_what_made_it(data_dir: Path, tmp_path: Path) -> None:
    manifest = back_up(data_dir, tmp_path / "b.tar", quiet)
    assert isinstance(manifest, Manifest)
    assert (manifest.schema, manifest.format) == ("0001", 1)
