"""A new version on the database of an earlier release: everything is there, and what was unfinished goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from batchyard import __version__
from batchyard.exceptions import StoreError
from batchyard.store import schema
from batchyard.store.database import Database
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run

RELEASES = sorted((Path(__file__).parent / "releases").glob("*.sql"))


def database_of(dump: Path, folder: Path) -> Path:
    path = folder / "batchyard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())
    return path


def test_this_release_has_a_dump() -> None:
    assert f"{__version__}.sql" in {path.name for path in RELEASES}


@pytest.mark.parametrize("dump", RELEASES, ids=lambda path: path.stem)
def test_jobs_of_an_earlier_release_are_there_and_go_on(dump: Path, tmp_path: Path) -> None:
    database_of(dump, tmp_path)

    async def scenario() -> None:
        engine = ScriptedEngine(vcpus=2)
        engine.held = {await_running(tmp_path): False}
        async with house(tmp_path, engine) as yard:
            jobs = await all_jobs(yard)
            assert {name: job["status"] for name, job in jobs.items()}["ended"] == "SUCCEEDED"
            assert jobs["failed"]["attempts"][0]["container"]["exitCode"] == 3
            assert jobs["ended"]["tags"] == {"team": "a"}
            engine.start_and_exit(jobs["running"]["jobId"])
            await yard.until_status(jobs["running"]["jobId"], "SUCCEEDED")
            await finish_launched(yard, engine, jobs["waiting"]["jobId"])
            assert (await yard.job(jobs["array"]["jobId"]))["status"] == "SUCCEEDED"

    run(scenario())


def await_running(folder: Path) -> str:
    """The attempt that its engine still runs."""
    with closing(sqlite3.connect(folder / "batchyard.db")) as connection:
        return str(connection.execute("SELECT job_id FROM jobs WHERE name = 'running'").fetchone()[0])


async def all_jobs(yard: House) -> dict[str, dict[str, object]]:
    everything = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]
    listed = (await yard.call("ListJobs", jobQueue="default", filters=everything))["jobSummaryList"]
    described = (await yard.call("DescribeJobs", jobs=[job["jobId"] for job in listed]))["jobs"]
    return {job["jobName"]: job for job in described}


async def finish_launched(yard: House, engine: ScriptedEngine, last_job_id: str) -> None:
    """End whatever is launched until this job has succeeded."""
    done: set[str] = set()
    while (await yard.job(last_job_id))["status"] != "SUCCEEDED":
        await yard.until(lambda: bool(engine.launches.keys() - done) or last_job_id in done)
        for attempt_id in engine.launches.keys() - done:
            done.add(attempt_id)
            engine.start_and_exit(attempt_id)
        if last_job_id in done:
            await yard.until_status(last_job_id, "SUCCEEDED")


def test_a_database_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = database_of(RELEASES[-1], tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer version of Batchyard"):
        Database(path).open()
    assert path.read_bytes()[100:] == before[100:]


def test_an_upgrade_that_dies_leaves_the_old_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", dies)
    database = Database(tmp_path / "batchyard.db")
    with pytest.raises(KeyboardInterrupt):
        database.open()
    monkeypatch.undo()
    database = Database(tmp_path / "batchyard.db")
    database.open()
    database.close()
    with closing(sqlite3.connect(tmp_path / "batchyard.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema.HEAD,)
