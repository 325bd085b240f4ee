"""What `batchyard doctor` finds, each thing once, and nothing where nothing is wrong."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import time
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from batchyard.core.inputs import AttemptExited
from batchyard.engines.process import journal, processes
from batchyard.upkeep import doctor
from batchyard.upkeep.findings import Finding, Health
from tests.unit.upkeep.conftest import put


def wrong(data_dir: Path) -> list[Finding]:
    return [finding for finding in doctor.examine(data_dir) if finding.health is not Health.OK]


def only(data_dir: Path) -> Finding:
    (finding,) = wrong(data_dir)
    assert finding.advice
    return finding


def change(data_dir: Path, statement: str) -> None:
    with closing(sqlite3.connect(data_dir / "batchyard.db")) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.fixture(autouse=True)
def writable_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has: its groups are not what is looked at here."""
    monkeypatch.setattr(doctor.cgroup_paths, "places", lambda: {"memory": Place(Path("/tmp"))})


Place = namedtuple("Place", "own")


def test_a_sound_folder_has_nothing_wrong(data_dir: Path) -> None:
    findings = list(doctor.examine(data_dir))
    assert {finding.health for finding in findings} == {Health.OK}
    names = [finding.check for finding in findings]
    assert names == ["folder", "disk", "database", "server", "engine", "clock", "orphans"]


def test_no_folder_is_one_problem(tmp_path: Path) -> None:
    finding = only(tmp_path / "none")
    assert (finding.check, finding.health) == ("folder", Health.PROBLEM)


def test_a_folder_without_a_database_is_no_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert only(tmp_path).text == "there is none yet"


def test_what_others_can_read_is_a_warning(data_dir: Path) -> None:
    data_dir.chmod(0o755)
    (data_dir / "batchyard.db").chmod(0o644)
    assert [finding.advice.split()[0] for finding in wrong(data_dir)] == ["chmod", "chmod"]


@pytest.mark.parametrize(("free", "health"), [(1, Health.PROBLEM), (500_000_000, Health.WARNING)])
def test_a_disk_that_fills_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch, free: int, health: Health) -> None:
    usage = type(shutil.disk_usage("/"))(10**12, 10**12 - free, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: usage)
    assert (only(data_dir).check, only(data_dir).health) == ("disk", health)


def test_a_damaged_database(data_dir: Path) -> None:
    for number in range(200):
        put(data_dir, f"cc-{number}", b"x")
    with (data_dir / "batchyard.db").open("r+b") as file:
        file.seek(4096 * 10)
        file.write(os.urandom(4096 * 20))
    assert (only(data_dir).check, only(data_dir).health) == ("database", Health.PROBLEM)
    assert only(data_dir).advice.startswith("stop the server and restore")


def test_a_file_that_is_no_database_is_a_damaged_one_and_is_told_once(data_dir: Path) -> None:
    (data_dir / "batchyard.db").write_bytes(b"not a database" * 1000)
    assert only(data_dir).text == "it is damaged: file is not a database"
    assert only(data_dir).advice.startswith("stop the server and restore")


def test_a_database_of_a_newer_version(data_dir: Path) -> None:
    change(data_dir, "UPDATE alembic_version SET version_num = '9999'")
    assert "newer" in only(data_dir).text


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("INSERT INTO children (parent_seq, child_index, status) VALUES (99, 0, 'RUNNING')", "1 children of no job"),
        ("UPDATE jobs SET stopped_at_ms = NULL, status = 'RUNNABLE'", "1 unfinished jobs of no queue"),
    ],
)
def test_rows_that_contradict_each_other(data_dir: Path, statement: str, text: str) -> None:
    change(data_dir, statement)
    assert only(data_dir).text == text


def test_a_folder_that_somebody_holds_silently(data_dir: Path) -> None:
    with (data_dir / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert (only(data_dir).check, only(data_dir).health) == ("server", Health.PROBLEM)


def test_a_clock_that_was_set_back(data_dir: Path) -> None:
    put(data_dir, "dd-1", b"x", at_ms=(int(time.time()) + 3600) * 1000)
    assert "3600 s in the future" in only(data_dir).text or "3599 s in the future" in only(data_dir).text


def test_control_groups_that_cannot_be_written(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.cgroup_paths, "places", dict)
    assert (only(data_dir).check, only(data_dir).health) == ("engine", Health.WARNING)


def test_a_process_of_a_job_that_has_ended(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ORPHAN_RECHECK_SECONDS", 0.0)
    (data_dir / "engine").mkdir()
    opened = journal.Opened("mine", processes.boot_id(), ())
    ended = journal.Ended(AttemptExited("aa-1", 5, 0), 4)
    journal.Journal(data_dir / "engine" / "journal", [opened, journal.Launching("aa-1"), ended]).close()
    left = [subprocess.Popen(["sleep", "60"], env={processes.MARKER: f"{name}/aa-1"}) for name in ("mine", "other")]
    try:
        assert str(left[0].pid) in only(data_dir).advice.split()
        assert str(left[1].pid) not in only(data_dir).advice.split()
    finally:
        for process in left:
            process.kill()
            process.wait()
    assert wrong(data_dir) == []
