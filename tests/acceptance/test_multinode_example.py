"""The multi-node example against a real server, with the driver that the README shows."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from batchyard.testing import server
from tests.requirements import require

MULTINODE = Path(__file__).resolve().parents[2] / "examples" / "multinode"
TIMEOUT_SECONDS = 120.0

pytestmark = pytest.mark.acceptance


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(MULTINODE / program), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def test_four_nodes_and_one_get_the_same_plate(tmp_path: Path) -> None:
    with server(overcommit=True) as yard:
        done = run("run.py", "--size", "60", "--steps", "300", "--output", str(tmp_path), **yard.environment())
        assert done.returncode == 0, done.stderr
        assert "4 nodes and one node agree on all 60x60 cells" in done.stdout
        assert {line[:7] for line in done.stdout.splitlines() if line.startswith("node ")} == {
            f"node {index}:" for index in range(4)
        }
        assert (tmp_path / "heat-4.bin").read_bytes() == (tmp_path / "heat-1.bin").read_bytes()
        assert len((tmp_path / "heat-4.bin").read_bytes()) == 60 * 60 * 8


def test_four_nodes_and_one_learn_the_same_weights(tmp_path: Path) -> None:
    require("torch")
    with server(overcommit=True) as yard:
        arguments = ("--problem", "training", "--steps", "100", "--output", str(tmp_path))
        done = run("run.py", *arguments, **yard.environment())
    assert done.returncode == 0, done.stderr + done.stdout
    assert "4 nodes and one node agree on all 697 weights" in done.stdout
    several, alone = (array("d", (tmp_path / f"training-{nodes}.bin").read_bytes()) for nodes in (4, 1))
    assert max(abs(one - other) for one, other in zip(several, alone, strict=True)) < 1e-6


def test_the_demo_brings_its_own_server(tmp_path: Path) -> None:
    done = run("demo.py", "--size", "40", "--steps", "100", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "4 nodes and one node agree on all 40x40 cells, to the last bit." in done.stdout


def test_nodes_that_can_never_fit_are_not_waited_for() -> None:
    with server() as yard:
        done = run("run.py", "--nodes", str(4 * (os.cpu_count() or 1) + 1), **yard.environment())
        assert done.returncode == 1
        assert "start the server with --overcommit" in done.stderr
