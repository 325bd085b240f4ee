from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from batchyard.cli import client
from batchyard.cli.app import app
from tests.unit.cli.service import Handler, Service

Run = Callable[..., Any]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """Make a Service that every command then talks to."""
    made: list[Service] = []

    def start(**handlers: Handler) -> Service:
        service = Service(**handlers)
        made.append(service)
        monkeypatch.setattr(client, "connect", lambda _option, _data_dir: service.api)
        return service

    yield start
    for service in made:
        service.api.__exit__(None, None, None)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command line in this process; gives click's result with exit_code, stdout and stderr."""
    # Without this, a developer's own setting (or a CI's) would colour and frame what is compared here.
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
