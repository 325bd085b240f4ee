from __future__ import annotations

import subprocess
import sys

import pytest

import batchyard.cli
from batchyard.cli.app import app
from tests.unit.cli.conftest import Run

COMMANDS = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
WITHOUT_JSON = ("exec",)
"""What they print is not theirs."""


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"batchyard {batchyard.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert ("--json" in result.stdout) is (command not in WITHOUT_JSON)


def test_clients_do_not_import_the_server() -> None:
    """The commands have to start fast: only `up` needs the server's libraries."""
    code = """
import sys
from batchyard.cli.app import app
app(["jobs", "--endpoint", "http://127.0.0.1:1"], standalone_mode=False)
"""
    probe = f"import atexit, sys\natexit.register(lambda: print(*sorted(sys.modules)))\n{code}"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    loaded = set(done.stdout.split())
    assert "botocore.client" in loaded
    assert not loaded & {"sqlalchemy", "alembic", "uvicorn", "starlette", "uvloop", "structlog", "pytest"}


def test_the_pytest_plugin_is_cheap_to_import() -> None:
    probe = "import sys, batchyard.testing; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"boto3", "botocore", "sqlalchemy", "typer", "rich", "msgspec"}


def test_ctrl_c_while_a_command_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("batchyard.cli.app.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        batchyard.cli.main()
    assert ended.value.code == 130


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "batchyard", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("batchyard ")
