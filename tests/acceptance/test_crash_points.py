"""SIGKILL at every named place of the server and its supervisor (batchyard/crashpoints.py): no promise is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchyard import crashpoints
from tests.acceptance.crash_point_cases import Phoenix, Work, phoenix
from tests.acceptance.job_cases import until

pytestmark = [pytest.mark.acceptance, pytest.mark.crash]

FIRST_START = ("bootstrap.between",)
SERVER_START = ("runtime.engine_started", "runtime.restored", "runtime.surveyed")
SUPERVISOR_START = ("supervisor.opened", "supervisor.before_rename")
RETENTION = ("retention.after_files",)
WORK = [
    point for point in crashpoints.POINTS if point not in (*FIRST_START, *SERVER_START, *SUPERVISOR_START, *RETENTION)
]
COUNTS = {"runtime.after_stop": 1}
COUNT = 3
"""Not the first time, where there are many: the first job is often a special case of nothing."""


def some_work(yard: Phoenix, folder: Path) -> Work:
    """Work of which a part is done."""
    work = Work(yard, folder)
    until(lambda: work.diary.size >= 4, "some children are done")
    return work


@pytest.mark.parametrize("point", WORK)
def test_dying_at_work_breaks_no_promise(tmp_path: Path, point: str) -> None:
    with phoenix(tmp_path, f"{point}:{COUNTS.get(point, COUNT)}") as yard:
        yard.start()
        yard.make_queue()
        yard.arm()
        lost = Work(yard, tmp_path / "work").check()
        assert yard.has_crashed
        if not point.startswith("supervisor."):
            assert lost == 0


@pytest.mark.parametrize("point", SERVER_START)
def test_dying_while_starting_with_jobs_under_way_breaks_no_promise(tmp_path: Path, point: str) -> None:
    with phoenix(tmp_path, point) as yard:
        yard.start()
        yard.make_queue()
        work = some_work(yard, tmp_path / "work")
        yard.arm()
        yard.restart()
        assert yard.has_crashed
        assert work.check() == 0


@pytest.mark.parametrize("point", SUPERVISOR_START)
def test_a_supervisor_that_dies_while_it_recovers_breaks_no_promise(tmp_path: Path, point: str) -> None:
    with phoenix(tmp_path, point) as yard:
        yard.start()
        yard.make_queue()
        work = some_work(yard, tmp_path / "work")
        yard.arm()
        yard.restart(with_supervisor=True)
        work.check()
        assert yard.has_crashed


@pytest.mark.parametrize("point", FIRST_START)
def test_a_first_start_that_dies_is_made_up_for(tmp_path: Path, point: str) -> None:
    with phoenix(tmp_path, point) as yard:
        yard.arm()
        yard.start()
        assert yard.has_crashed
        queues = yard.ask(lambda batch: batch.describe_job_queues())["jobQueues"]
        assert [(each["jobQueueName"], each["status"]) for each in queues] == [("default", "VALID")]


@pytest.mark.parametrize("point", RETENTION)
def test_a_removal_that_dies_is_finished_by_the_next(tmp_path: Path, point: str) -> None:
    # Long enough that the job is there until the server that is to die has come.
    with phoenix(tmp_path, point, job_retention_days=5 / 86_400) as yard:
        yard.start()
        yard.make_queue()
        job_id = yard.submit(["echo", "hello"])
        yard.until_ended(job_id)
        yard.arm()
        yard.restart()
        until(lambda: yard.ask(lambda batch: batch.describe_jobs(jobs=[job_id]))["jobs"] == [], "the job is gone")
        assert yard.has_crashed
        assert [path for path in (tmp_path / "data" / "logs").rglob("*") if path.is_file()] == []


def test_every_place_is_passed_by_the_program() -> None:
    """The table lists what there is, and nothing else."""
    package = Path(crashpoints.__file__).parent
    sources = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "crashpoints.py")
    assert sources.count("crashpoints.reach(") == len(crashpoints.POINTS)
    for point in crashpoints.POINTS:
        assert f'crashpoints.reach("{point}")' in sources


def test_a_place_that_does_not_exist_is_refused() -> None:
    environment = {**os.environ, crashpoints.CRASH_AT: "nowhere"}
    ran = subprocess.run(
        [sys.executable, "-c", "import batchyard.crashpoints"], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 1 and "there is no place nowhere" in ran.stderr


def test_nobody_dies_unless_asked_to() -> None:
    assert not crashpoints.ARMED
    for point in crashpoints.POINTS:
        crashpoints.reach(point)
