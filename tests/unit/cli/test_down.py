from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchyard import serverinfo
from batchyard.serverinfo import ServerInfo
from tests.unit.cli.conftest import Run

# A process that ends like a server does: it says by its exit code which signal it got.
STAND_IN = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, lambda got, _frame: sys.exit(100 + got))
print("ready", flush=True)
while True:
    signal.pause()
"""
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", STAND_IN], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        info = ServerInfo("http://127.0.0.1:1", process.pid, str(tmp_path), "us-east-1", "1", "process", "", "0")
        serverinfo.write(tmp_path, info)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize(("arguments", "number"), [([], 15), (["--stop-jobs"], 12)])
def test_it_sends_the_signal_and_waits_for_the_end(
    run: Run, start: Start, tmp_path: Path, arguments: list[str], number: int
) -> None:
    process = start()
    result = run("down", "--data-dir", str(tmp_path), *arguments)
    assert (result.exit_code, process.wait(10)) == (0, 100 + number)
    assert f"The server on {tmp_path} has stopped." in result.stdout


def test_json(run: Run, start: Start, tmp_path: Path) -> None:
    process = start()
    result = run("down", "--data-dir", str(tmp_path), "--json")
    assert json.loads(result.stdout) == {"stopped": True, "pid": process.pid, "runningJobs": None, "jobsStopped": False}


def test_no_server_is_what_was_wanted(run: Run, tmp_path: Path) -> None:
    result = run("down", "--data-dir", str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, f"No server runs on {tmp_path}.\n")
    assert json.loads(run("down", "--data-dir", str(tmp_path), "--json").stdout) == {"stopped": False}


def test_jobs_can_only_be_stopped_by_a_server(run: Run, tmp_path: Path) -> None:
    result = run("down", "--data-dir", str(tmp_path), "--stop-jobs")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "`batchyard up`" in result.stderr
