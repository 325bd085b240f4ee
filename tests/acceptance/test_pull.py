"""`batchyard pull`, from a stand-in registry; and how far a job's pull has come, wherever one looks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard import testing
from tests.acceptance import test_docker
from tests.acceptance.terminal import Terminal
from tests.acceptance.test_cli import BATCHYARD
from tests.engine.dockerd import Dockerd
from tests.engine.registry import Registry

pytestmark = pytest.mark.acceptance


@pytest.fixture
def registry(dockerd: Dockerd) -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


def environment(daemon: Dockerd, folder: Path) -> dict[str, str]:
    return os.environ | {"BATCHYARD_DOCKER_HOST": daemon.host, "DOCKER_CONFIG": str(folder)}


def pull(daemon: Dockerd, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*BATCHYARD, "pull", *arguments]
    return subprocess.run(
        command, env=environment(daemon, folder), capture_output=True, text=True, timeout=60, check=False
    )


def images(daemon: Dockerd) -> list[str]:
    return [tag for image in daemon.call("GET", "/images/json") for tag in image["RepoTags"] or ()]


def test_images_are_there_afterwards(dockerd: Dockerd, registry: Registry, tmp_path: Path) -> None:
    names = [f"{registry.name}/one:1", f"{registry.name}/two"]
    done = pull(dockerd, tmp_path, *names)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        f"{names[0]}: Downloaded newer image for {names[0]}",
        f"{names[1]}: Downloaded newer image for {names[1]}:latest",
    ]
    assert {names[0], f"{names[1]}:latest"} <= set(images(dockerd))
    before = registry.asked.total()
    done = pull(dockerd, tmp_path, "--missing", "--json", *names)
    assert json.loads(done.stdout)["images"][0] == {"image": names[0], "outcome": "it is there"}
    assert registry.asked.total() == before


def test_what_cannot_be_had_is_a_line_and_the_others_are_pulled(
    dockerd: Dockerd, registry: Registry, tmp_path: Path
) -> None:
    done = pull(dockerd, tmp_path, f"{registry.name}/missing:1", f"{registry.name}/three:1")
    assert done.returncode == 1
    assert f"batchyard: {registry.name}/missing:1 can't be pulled: " in done.stderr
    assert "Traceback" not in done.stderr
    assert f"{registry.name}/three:1" in images(dockerd)
    nowhere = subprocess.run(
        [*BATCHYARD, "pull", "x"],
        env=os.environ | {"BATCHYARD_DOCKER_HOST": "unix:///nowhere.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "batchyard: no Docker daemon answers at unix:///nowhere.sock: No such file or directory\n"
    assert (nowhere.returncode, nowhere.stderr) == (1, said)


def test_a_terminal_shows_layers_and_ctrl_c_ends_it(dockerd: Dockerd, registry: Registry, tmp_path: Path) -> None:
    registry.gate.clear()
    image = f"{registry.name}/slow:1"
    terminal = Terminal([*BATCHYARD, "pull", image], environment(dockerd, tmp_path) | {"TERM": "xterm"}, 40, 120)
    try:
        terminal.read_until("Pulling fs layer")
        terminal.press("\x03")
        assert terminal.end() == 130
    finally:
        terminal.close()
    assert image not in images(dockerd)


def test_a_definitions_images_with_the_logins_that_its_jobs_get(dockerd: Dockerd, tmp_path: Path) -> None:
    private = Registry(login=("me", "secret"))
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('login = \'{"username": "me", "password": "secret"}\'\n')
    secrets.chmod(0o600)
    config = tmp_path / "batchyard.toml"
    config.write_text(f'secrets_file = "{secrets}"\ndocker_host = "{dockerd.host}"\n')
    try:
        with testing.server() as yard:
            sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
            login = {"credentialsParameter": "login"}
            container = {"image": f"{private.name}/mine:1", "resourceRequirements": sizes}
            yard.batch.register_job_definition(
                jobDefinitionName="mine",
                type="container",
                containerProperties={**container, "repositoryCredentials": login},
            )
            where = ("--config", str(config), "--endpoint", yard.endpoint_url)
            denied = pull(dockerd, tmp_path, *where, f"{private.name}/mine:1")
            assert denied.returncode == 1
            done = pull(dockerd, tmp_path, *where, "--definition", "mine")
            assert (done.returncode, f"{private.name}/mine:1" in images(dockerd)) == (0, True), done.stderr
            unknown = pull(dockerd, tmp_path, *where, "--definition", "mine:2")
            assert unknown.stderr == "batchyard: there is no ACTIVE job definition mine:2.\n"
    finally:
        private.close()


def test_a_job_that_waits_for_its_image_says_how_far_that_is(
    dockerd: Dockerd, registry: Registry, tmp_path: Path
) -> None:
    registry.gate.clear()
    image = f"{registry.name}/waited-for:1"
    with test_docker.server(dockerd) as yard:
        job_id = test_docker.submit(yard, "true", image=image, job={"arrayProperties": {"size": 2}})

        def why(unit_id: str) -> str:
            command = [*BATCHYARD, "why", unit_id, "--endpoint", yard.endpoint_url]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        test_docker.eventually(lambda: f"It is pulling {image}: " in why(f"{job_id}:0"), "the child's answer")
        assert f"of its children are pulling {image}: " in why(job_id)
        registry.gate.set()
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
