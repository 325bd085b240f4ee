"""`batchyard doctor` where jobs run in containers: what it finds at the daemon, each thing with what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import test_docker
from tests.acceptance.test_cli import BATCHYARD
from tests.engine.dockerd import Dockerd, running
from tests.requirements import require

pytestmark = pytest.mark.acceptance


def findings(data_dir: Path, daemon: str, code: int = 0, **settings: str) -> list[dict[str, Any]]:
    """All that is found, ok or not."""
    given = {f"BATCHYARD_{name.upper()}": value for name, value in {"docker_network": "none", **settings}.items()}
    done = subprocess.run(
        [*BATCHYARD, "doctor", "--json", "--data-dir", str(data_dir)],
        env=os.environ | given | {"BATCHYARD_DOCKER_HOST": daemon},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert all(each["advice"] for each in found if each["health"] != "ok")
    return found


def wrong(data_dir: Path, daemon: str, code: int = 0, **settings: str) -> list[tuple[str, str]]:
    found = findings(data_dir, daemon, code, **settings)
    return [(each["check"], each["text"]) for each in found if each["health"] != "ok"]


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    """A daemon on which no other tests have left anything."""
    require("docker")
    with running() as daemon:
        yield daemon


@pytest.fixture
def data_dir(dockerd: Dockerd, tmp_path: Path) -> Path:
    """A data folder that has had a server on this daemon."""
    folder = tmp_path / "data"
    with test_docker.server(dockerd, data_dir=folder) as yard:
        yard.wait_for(test_docker.submit(yard, "true"))
        test_docker.eventually(lambda: not dockerd.containers(), "its container is gone")
    return folder


def test_a_daemon_in_order(dockerd: Dockerd, data_dir: Path) -> None:
    found = {each["check"]: each["text"] for each in findings(data_dir, dockerd.host) if each["health"] == "ok"}
    assert found["docker"].endswith(f" answers at {dockerd.host}")
    assert "images, " in found["images"]
    assert found["orphans"] == "0 containers of this folder, 0 running, 0 kept after a failure"
    assert "engine" not in found
    assert wrong(data_dir, dockerd.host) == []


def test_while_a_server_runs_nothing_is_wrong(dockerd: Dockerd, tmp_path: Path) -> None:
    with test_docker.server(dockerd, data_dir=tmp_path / "data") as yard:
        job_id = test_docker.submit(yard, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
        yard.wait_for(job_id, status="RUNNING")
        texts = [each["text"] for each in findings(tmp_path / "data", dockerd.host)]
        assert "1 containers of this folder, 1 running, 0 kept after a failure" in texts
        assert wrong(tmp_path / "data", dockerd.host) == []


def test_no_daemon_is_a_problem(data_dir: Path) -> None:
    said = "no Docker daemon answers at unix:///nowhere.sock: No such file or directory"
    assert wrong(data_dir, "unix:///nowhere.sock", 1) == [("docker", said)]


def test_a_network_that_is_not_there_is_a_problem(dockerd: Dockerd, data_dir: Path) -> None:
    said = "there is no network lost, on which jobs have to be (docker_network)"
    assert wrong(data_dir, dockerd.host, 1, docker_network="lost") == [("docker", said)]


def test_quotas_that_the_storage_has_not_are_a_problem(dockerd: Dockerd, data_dir: Path) -> None:
    driver = dockerd.call("GET", "/info")["Driver"]
    ((check, text),) = wrong(data_dir, dockerd.host, 1, docker_storage_quota="true")
    assert check == "docker"
    assert text.startswith(f"docker_storage_quota is set, and its storage driver {driver} on ")


def test_what_a_deleted_data_folder_left_is_told(dockerd: Dockerd, data_dir: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    volumes = {
        "volumes": [{"name": "scratch"}],
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/scratch"}],
    }
    with test_docker.server(dockerd, data_dir=gone) as yard:
        job_id = test_docker.submit(yard, "sh", "-c", "while :; do sleep 0.1; done", **volumes)
        yard.wait_for(job_id, status="RUNNING")
        yard.kill()
        shutil.rmtree(gone)
        try:
            ((check, text),) = wrong(data_dir, dockerd.host)
            assert check == "orphans"
            assert text == f"1 containers of the data folder {gone}, which is not there any more: {job_id}"
        finally:
            dockerd.remove(job_id)
        ((check, text),) = wrong(data_dir, dockerd.host)
        assert text == f"1 volumes of attempts that have no container: batchyard-{job_id}-scratch"
        dockerd.call("DELETE", f"/volumes/batchyard-{job_id}-scratch", parse=False)
