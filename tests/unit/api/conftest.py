from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.in_process_cases import InProcess, in_process
from tests.unit.api.harness import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """A whole server without its socket, and good requests to spoil."""
    with in_process(tmp_path_factory.mktemp("bad-input")) as started:
        yield started
