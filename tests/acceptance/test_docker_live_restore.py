"""A daemon with live-restore that is restarted or killed: its containers go on, and so do the jobs in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_docker import eventually, server, submit
from tests.engine.dockerd import Dockerd, running
from tests.requirements import require

ENDS = pytest.mark.parametrize("end", [Dockerd.stop, Dockerd.kill], ids=["stopped", "killed"])
SCRIPT = """trap 'exit 143' TERM; echo before; until [ -e /gate/open ]; do sleep 0.1; done
    echo after; touch /gate/passed; exit 7"""


@pytest.fixture
def daemon() -> Iterator[Dockerd]:
    require("docker")
    with running("--live-restore") as daemon:
        yield daemon


def waiting(gate: Path) -> dict[str, list[dict[str, object]]]:
    """Members of containerProperties: the gate that SCRIPT waits for."""
    return {
        "volumes": [{"name": "gate", "host": {"sourcePath": str(gate)}}],
        "mountPoints": [{"sourceVolume": "gate", "containerPath": "/gate"}],
    }


@ENDS
def test_a_job_goes_on_over_the_daemons_end(daemon: Dockerd, tmp_path: Path, end: object) -> None:
    assert callable(end)
    with server(daemon) as yard:
        job_id = submit(yard, "sh", "-c", SCRIPT, **waiting(tmp_path))
        yard.wait_for(job_id, status="RUNNING")
        eventually(lambda: yard.logs_of(job_id) == ["before"], "it has begun")
        end(daemon)
        daemon.start()
        (tmp_path / "open").touch()
        job = yard.wait_for(job_id)
        assert (job["status"], job["container"]["exitCode"], len(job["attempts"])) == ("FAILED", 7, 1)
        assert yard.logs_of(job_id) == ["before", "after"]


@ENDS
def test_a_job_that_ends_while_the_daemon_is_away_has_its_own_end(daemon: Dockerd, tmp_path: Path, end: object) -> None:
    assert callable(end)
    with server(daemon) as yard:
        job_id = submit(yard, "sh", "-c", SCRIPT, **waiting(tmp_path))
        yard.wait_for(job_id, status="RUNNING")
        end(daemon)
        (tmp_path / "open").touch()
        eventually((tmp_path / "passed").exists, "it has ended, nearly")
        daemon.start()
        job = yard.wait_for(job_id)
        assert (job["status"], job["container"]["exitCode"], len(job["attempts"])) == ("FAILED", 7, 1)
