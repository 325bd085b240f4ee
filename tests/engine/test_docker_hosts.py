"""Containers without a network, and the /etc/hosts that each of them has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchyard.engines.docker.client import Client
from batchyard.engines.docker.hosts import CONTENT
from batchyard.exceptions import EngineError
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.engine.dockerd import Dockerd

INTERFACES = "ls /sys/class/net; "
FIND_LOCALHOST = "ping -c 1 localhost >/dev/null && cat /etc/hosts"
AS_DOCKER_HAS_IT = CONTENT.decode().splitlines()


def files(yard: DockerYard) -> set[str]:
    """The /etc/hosts that the yard has, by the names of their containers without the yard's prefix."""
    return {path.name.removeprefix(yard.prefix) for path in (yard.data_dir / "engine" / "hosts").iterdir()}


@scenario
async def test_a_container_without_a_network_finds_itself_and_nothing_else(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        assert (await bench.run("a", INTERFACES + FIND_LOCALHOST)).exit_code == 0
        assert bench.lines("a") == ["lo", *AS_DOCKER_HAS_IT]
        config = docker_yard.container("a")
        assert (config["Config"].get("NetworkDisabled"), config["HostConfig"]["NetworkMode"]) == (True, "none")


@pytest.mark.parametrize("seen", [False, True], ids=["it finds none of the server's files", "it looks for none"])
@scenario
async def test_docker_itself_gives_the_same_where(
    docker_yard: DockerYard, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    async def sees(self: Client, path: str) -> bool:
        return seen

    monkeypatch.setattr(Client, "sees", sees)
    async with docker_yard.bench() as bench:
        assert (await bench.run("a", INTERFACES + FIND_LOCALHOST)).exit_code == 0
        assert bench.lines("a") == ["lo", *AS_DOCKER_HAS_IT]
        assert not docker_yard.container("a")["Config"].get("NetworkDisabled")
    assert files(docker_yard) == set()


@scenario
async def test_the_daemon_says_which_files_it_finds(dockerd: Dockerd, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    client = Client(dockerd.host)
    try:
        assert await client.sees(str(tmp_path / "here"))
        assert not await client.sees(str(tmp_path / "nowhere"))
    finally:
        await client.close()


@scenario
async def test_each_container_may_change_its_own(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        change = "echo '127.0.0.1 database' >> /etc/hosts && ping -c 1 database >/dev/null && echo found"
        assert (await bench.run("a", change)).exit_code == 0
        assert bench.lines("a") == ["found"]
        assert (await bench.run("b", "cat /etc/hosts | tail -n 1")).exit_code == 0
        assert bench.lines("b") == AS_DOCKER_HAS_IT[-1:]


@scenario
async def test_it_can_not_be_changed_where_nothing_can(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        container = {"readonlyRootFilesystem": True}
        await bench.run("a", "{ echo x >> /etc/hosts; } 2>/dev/null || echo refused", container=container)
        assert bench.lines("a") == ["refused"]


@scenario
async def test_a_job_may_mount_its_own(docker_yard: DockerYard, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 mine\n")
    async with docker_yard.bench() as bench:
        mount = {"sourceVolume": "own", "containerPath": "/etc//hosts"}
        volume = {"name": "own", "host": {"sourcePath": str(tmp_path / "hosts")}}
        await bench.run(
            "a", "cat /etc/hosts | head -n 1", container={"mountPoints": [mount]}, more={"volumes": [volume]}
        )
        assert bench.lines("a") == ["127.0.0.1 mine"]


@scenario
async def test_it_goes_with_the_container(docker_yard: DockerYard) -> None:
    async with docker_yard.bench(keep_failed=1) as bench:
        await bench.run("a", "true")
        await bench.run("b", "false")
        assert files(docker_yard) == {"a", "b"}
        bench.engine.forget(["a", "b"])
        await eventually(lambda: docker_yard.names() == ["failed-b"], "one is removed, and one is kept")
        await eventually(lambda: files(docker_yard) == {"b"}, "its file is kept with it")
    async with docker_yard.bench(keep_failed=1):
        assert files(docker_yard) == {"b"}
    async with docker_yard.bench():
        await eventually(lambda: not docker_yard.names(), "nothing is kept any more")
        await eventually(lambda: not files(docker_yard), "nor its file")


@scenario
async def test_what_a_server_left_that_died_goes_and_running_jobs_keep_theirs(
    docker_yard: DockerYard, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    first = docker_yard.bench()
    await first.__aenter__()
    first.launch("a", f"read line < {tmp_path}/go; {FIND_LOCALHOST}")
    await first.started("a")
    await first.engine.close()
    (docker_yard.data_dir / "engine" / "hosts" / f"{docker_yard.prefix}never-made").write_text("")
    async with docker_yard.bench() as second:
        assert files(docker_yard) == {"a"}
        (tmp_path / "go").write_text("on\n")
        assert (await second.exited("a")).exit_code == 0
        assert second.lines("a") == AS_DOCKER_HAS_IT


@scenario
async def test_a_container_whose_file_can_not_be_written_does_not_start(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        folder = docker_yard.data_dir / "engine" / "hosts"
        folder.rmdir()
        folder.touch()
        report = await bench.run("a", "true")
        assert not report.started
        assert "its /etc/hosts can't be written" in (report.reason or "")
        folder.unlink()


@scenario
async def test_a_folder_that_can_not_be_used_ends_the_start(docker_yard: DockerYard) -> None:
    (docker_yard.data_dir / "engine").mkdir(parents=True)
    (docker_yard.data_dir / "engine" / "hosts").touch()
    with pytest.raises(EngineError, match=r"the docker engine can't use .*hosts"):
        async with docker_yard.bench():
            pytest.fail("the engine started")
