"""The multi-node example against a real server, with the driver that the README shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchyard.testing import server

MULTINODE = Path(__file__).resolve().parents[2] / "examples" / "multinode"
TIMEOUT_SECONDS = 120.0

pytestmark = pytest.mark.acceptance


def test_four_nodes_and_one_get_the_same_plate(tmp_path: Path) -> None:
    with server(overcommit=True) as yard:
        done = subprocess.run(
            [sys.executable, str(MULTINODE / "run.py"), "--size", "60", "--steps", "300", "--output", str(tmp_path)],
            env=os.environ | yard.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "4 nodes and one node agree on all 60x60 cells" in done.stdout
        assert {line[:7] for line in done.stdout.splitlines() if line.startswith("node ")} == {
            f"node {index}:" for index in range(4)
        }
        assert (tmp_path / "plate-4.bin").read_bytes() == (tmp_path / "plate-1.bin").read_bytes()
        assert len((tmp_path / "plate-4.bin").read_bytes()) == 60 * 60 * 8


def test_nodes_that_can_never_fit_are_not_waited_for() -> None:
    with server() as yard:
        done = subprocess.run(
            [sys.executable, str(MULTINODE / "run.py"), "--nodes", str(4 * (os.cpu_count() or 1) + 1)],
            env=os.environ | yard.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == 1
        assert "start the server with --overcommit" in done.stderr
