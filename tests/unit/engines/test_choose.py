from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.engines.choose import choose, remember
from batchyard.engines.hosts import find_host
from batchyard.exceptions import EngineError
from batchyard.settings import Settings


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[str]:
    """A socket behind which something answers as a daemon does."""
    path = tmp_path / "answers.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"unix://{path}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def chosen(tmp_path: Path, engine: str, host: str) -> str:
    settings = Settings(data_dir=str(tmp_path), engine=engine, docker_host=host)  # type: ignore[arg-type]
    return choose(settings).name


def test_auto_takes_docker_where_a_daemon_answers(tmp_path: Path, answering: str) -> None:
    assert chosen(tmp_path, "auto", answering) == "docker"
    assert chosen(tmp_path, "auto", f"unix://{tmp_path}/absent.sock") == "process"
    assert chosen(tmp_path, "auto", "tcp://127.0.0.1:1") == "process"
    assert chosen(tmp_path, "auto", "nonsense") == "process"


def test_auto_keeps_to_the_engine_that_the_folder_has_had(tmp_path: Path, answering: str) -> None:
    remember(tmp_path, "process")
    assert chosen(tmp_path, "auto", answering) == "process"
    remember(tmp_path, "docker")
    assert chosen(tmp_path, "auto", f"unix://{tmp_path}/absent.sock") == "docker"


def test_what_is_asked_for_is_taken(tmp_path: Path, answering: str) -> None:
    assert chosen(tmp_path, "process", answering) == "process"
    assert chosen(tmp_path, "docker", f"unix://{tmp_path}/absent.sock") == "docker"


def test_the_daemon_is_looked_for_where_docker_and_podman_listen(tmp_path: Path) -> None:
    assert find_host("tcp://there:2375", {"DOCKER_HOST": "unix:///other"}) == "tcp://there:2375"
    assert find_host("", {"DOCKER_HOST": "unix:///other"}) == "unix:///other"
    podman = tmp_path / "podman" / "podman.sock"
    podman.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(podman))
        assert find_host("", {"XDG_RUNTIME_DIR": str(tmp_path)}) is not None


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot write"):
        remember(tmp_path / "absent", "docker")
