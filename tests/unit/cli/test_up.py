from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from batchyard import exceptions
from batchyard.serverinfo import ServerInfo
from batchyard.settings import Settings
from tests.unit.cli.conftest import Run

INFO = ServerInfo(
    endpoint_url="http://127.0.0.1:8123",
    pid=1,
    data_dir="/data",
    region="us-east-1",
    account_id="123456789012",
    engine="process",
    limits="memory and CPU by cgroup v2",
    version="9.9",
)
Serve = Callable[[Settings, Callable[[ServerInfo], None], Callable[[int], None]], None]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[[Serve], None]:
    """Put another `serve` in the place of the server's."""

    def put(serve: Serve) -> None:
        module = ModuleType("batchyard.app")
        module.__dict__["serve"] = serve
        monkeypatch.setitem(sys.modules, "batchyard.app", module)

    return put


def ready(_settings: Settings, on_ready: Callable[[ServerInfo], None], on_stopping: Callable[[int], None]) -> None:
    on_ready(INFO)
    on_stopping(2)


def test_it_prints_what_to_paste(run: Run, app: Callable[[Serve], None], tmp_path: Path) -> None:
    app(ready)
    result = run("up", "--data-dir", str(tmp_path / "new"))
    lines = result.stdout.splitlines()
    assert "export AWS_ENDPOINT_URL_BATCH=http://127.0.0.1:8123" in lines
    assert "export AWS_ENDPOINT_URL_CLOUDWATCH_LOGS=http://127.0.0.1:8123" in lines
    assert lines[0] == "Batchyard 9.9 is ready at http://127.0.0.1:8123 (Ctrl-C stops it)"
    assert "  limits  memory and CPU by cgroup v2" in lines
    assert "the queue `default`" in result.stdout
    assert "2 jobs go on running; Ctrl-C again stops them." in result.stderr


def test_a_folder_in_use_before_is_not_called_new(run: Run, app: Callable[[Serve], None], tmp_path: Path) -> None:
    app(ready)
    (tmp_path / "batchyard.db").touch()
    assert "created" not in run("up", "--data-dir", str(tmp_path)).stdout


def test_json_is_one_line_for_scripts(run: Run, app: Callable[[Serve], None], tmp_path: Path) -> None:
    app(ready)
    (line,) = run("up", "--data-dir", str(tmp_path), "--json").stdout.splitlines()
    assert json.loads(line)["endpoint_url"] == "http://127.0.0.1:8123"


def test_flags_win_over_the_environment_and_that_over_the_file(
    run: Run, app: Callable[[Serve], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "batchyard.toml"
    config.write_text('port = 1\nhost = "127.0.0.2"\nengine = "docker"\novercommit = true\n')
    monkeypatch.setenv("BATCHYARD_PORT", "2")
    monkeypatch.setenv("BATCHYARD_ENGINE", "auto")
    seen: list[Settings] = []
    app(lambda settings, *_: seen.append(settings))
    arguments = ["--config", str(config), "--engine", "process", "--data-dir", str(tmp_path / "x")]
    assert run("up", *arguments).exit_code == 0
    (settings,) = seen
    assert (settings.port, settings.host, settings.engine, settings.overcommit) == (2, "127.0.0.2", "process", True)
    assert settings.data_path == tmp_path / "x"


@pytest.mark.parametrize(
    "error", [exceptions.DataFolderError("in use"), exceptions.EngineError("in use"), exceptions.StoreError("in use")]
)
def test_what_the_server_cannot_do_is_one_line(
    run: Run, app: Callable[[Serve], None], tmp_path: Path, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    app(fail)
    result = run("up", "--data-dir", str(tmp_path))
    assert (result.exit_code, result.stderr) == (1, "batchyard: in use\n")


def test_a_damaged_database_is_one_line_that_names_the_doctor(run: Run, tmp_path: Path) -> None:
    database = tmp_path / "batchyard.db"
    database.write_bytes(b"not a database" * 1000)
    result = run("up", "--engine", "process", "--port", "0", "--data-dir", str(tmp_path))
    assert (result.exit_code, result.stderr) == (
        1,
        f"batchyard: cannot open the database {database}: file is not a database. `batchyard doctor --data-dir"
        f" {tmp_path}` may say more.\n",
    )


def test_wrong_settings_are_one_line(run: Run, tmp_path: Path) -> None:
    result = run("up", "--port", "70000", "--data-dir", str(tmp_path))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "port is 70000" in result.stderr
