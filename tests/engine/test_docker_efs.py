"""EFS volumes, mounted from a real NFS server on this machine: one that exports a folder for each test."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.requirements import require

ADDRESS = "localhost"
"""A name, as EFS has one: to be looked up before the mount."""


@pytest.fixture
def exported(tmp_path: Path) -> Iterator[Path]:
    """A folder that the NFS server of this machine gives to this machine."""
    require("nfs")
    folder = tmp_path / "exported"
    folder.mkdir()
    whom = f"{ADDRESS}:{folder}"
    options = f"rw,no_root_squash,insecure,fsid={uuid.uuid4()}"
    subprocess.run(["exportfs", "-o", options, whom], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["exportfs", "-u", whom], check=True)


def asking_for(root: Path, file_system_id: str = "fs-1", *, read_only: bool = False) -> dict[str, Any]:
    """Options of a launch: `root` of the file system at /efs."""
    efs = {"fileSystemId": file_system_id, "rootDirectory": str(root)}
    mount = {"sourceVolume": "efs", "containerPath": "/efs", "readOnly": read_only}
    return {
        "container": {"mountPoints": [mount]},
        "more": {"volumes": [{"name": "efs", "efsVolumeConfiguration": efs}]},
    }


@scenario
async def test_attempts_share_files_on_the_server(docker_yard: DockerYard, exported: Path) -> None:
    async with docker_yard.bench(efs_address=ADDRESS) as bench:
        assert (await bench.run("a", "echo of a > /efs/file", **asking_for(exported))).exit_code == 0
        assert (exported / "file").read_text() == "of a\n"
        assert (await bench.run("b", "cat /efs/file", **asking_for(exported))).exit_code == 0
        assert bench.lines("b") == ["of a"]
        bench.engine.forget(["a", "b"])
        await eventually(lambda: not docker_yard.volumes(), "the volumes are gone")
    assert (exported / "file").exists()


@scenario
async def test_it_is_mounted_as_the_guide_of_efs_says(docker_yard: DockerYard, exported: Path) -> None:
    async with docker_yard.bench(efs_address=ADDRESS) as bench:
        await bench.run("a", "grep ' /efs ' /proc/mounts", **asking_for(exported))
        (line,) = bench.lines("a")
        _, _, kind, options, *_ = line.split()
        assert kind == "nfs4"
        wanted = {"vers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"}
        assert wanted <= set(options.split(","))


@scenario
async def test_a_folder_below_can_be_the_root(docker_yard: DockerYard, exported: Path) -> None:
    (exported / "below").mkdir()
    (exported / "below" / "file").write_text("below\n")
    async with docker_yard.bench(efs_address=ADDRESS) as bench:
        await bench.run("a", "cat /efs/file", **asking_for(exported / "below"))
        assert bench.lines("a") == ["below"]


@scenario
async def test_what_is_mounted_to_be_read_cannot_be_written(docker_yard: DockerYard, exported: Path) -> None:
    (exported / "file").write_text("as it was")
    async with docker_yard.bench(efs_address=ADDRESS) as bench:
        script = "cat /efs/file > /dev/null || exit 9; echo changed > /efs/file"
        assert (await bench.run("a", script, **asking_for(exported, read_only=True))).exit_code == 1
        assert "Read-only file system" in bench.lines("a")[-1]
        assert (exported / "file").read_text() == "as it was"


@scenario
async def test_a_folder_that_the_server_does_not_have_is_the_reason(docker_yard: DockerYard, exported: Path) -> None:
    async with docker_yard.bench(efs_address=ADDRESS) as bench:
        exited = await bench.run("a", "true", **asking_for(exported / "absent"))
        assert not exited.started
        assert exited.reason == (
            "ResourceInitializationError: failed to mount the EFS volume: "
            f"127.0.0.1:{exported}/absent: no such file or directory"
        )


@scenario
async def test_a_server_that_is_not_there_is_the_reason(docker_yard: DockerYard, exported: Path) -> None:
    async with docker_yard.bench(efs_address="{file_system_id}.invalid") as bench:
        exited = await bench.run("a", "true", **asking_for(exported))
        assert not exited.started
        assert exited.reason is not None
        assert exited.reason.startswith(
            "ResourceInitializationError: failed to mount the EFS volume: lookup fs-1.invalid"
        )
