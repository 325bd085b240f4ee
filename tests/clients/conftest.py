"""A server for the clients, and a way to run a program in a client's own environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server
from tests.clients.environments import python_of

DEADLINE_SECONDS = 400

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def yard() -> Iterator[Server]:
    with server(overcommit=True, check_invariants=True) as started:
        yield started


@pytest.fixture
def run_in(yard: Server, tmp_path: Path) -> Run:
    """`run_in(client, *arguments)`: the client's Python, in a folder of its own, pointed at the server."""

    def run(client: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHYARD_"))},
            **yard.environment(),
            **variables,
        }
        return subprocess.run(
            [str(python_of(client)), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    return run
