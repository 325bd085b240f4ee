from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from batchyard import serverinfo
from batchyard.serverinfo import ServerInfo


def info(pid: int) -> ServerInfo:
    return ServerInfo("http://127.0.0.1:8000", pid, "/data", "us-east-1", "123456789012", "process", "none", "0.1")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    serverinfo.write(tmp_path, info(os.getpid()))
    found = serverinfo.read(tmp_path)
    assert found is not None
    assert msgspec.structs.replace(found, process_start=0) == info(os.getpid())
    assert (tmp_path / "server.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]


def test_writing_again_replaces(tmp_path: Path) -> None:
    serverinfo.write(tmp_path, info(os.getppid()))
    serverinfo.write(tmp_path, info(os.getpid()))
    found = serverinfo.read(tmp_path)
    assert found is not None
    assert found.pid == os.getpid()


def test_it_is_gone_after_removal(tmp_path: Path) -> None:
    serverinfo.write(tmp_path, info(os.getpid()))
    serverinfo.remove(tmp_path)
    serverinfo.remove(tmp_path)
    assert serverinfo.read(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff"])
def test_a_broken_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.json").write_bytes(content)
    assert serverinfo.read(tmp_path) is None


def test_a_dead_process_is_not_a_server_even_as_a_zombie(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        serverinfo.write(tmp_path, info(process.pid))
        assert serverinfo.read(tmp_path) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert serverinfo.read(tmp_path) is None
    assert serverinfo.read(tmp_path) is None


def test_another_process_with_the_same_pid_is_not_the_server(tmp_path: Path) -> None:
    serverinfo.write(tmp_path, info(os.getpid()))
    path = tmp_path / "server.json"
    written = msgspec.json.decode(path.read_bytes(), type=ServerInfo)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(written, process_start=written.process_start - 1)))
    assert serverinfo.read(tmp_path) is None
