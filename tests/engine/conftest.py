"""What tests of the Docker engine share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.docker_yard import DockerYard
from tests.engine.dockerd import Dockerd


@pytest.fixture
def docker_yard(dockerd: Dockerd, tmp_path: Path) -> Iterator[DockerYard]:
    yard = DockerYard(dockerd, tmp_path)
    yield yard
    yard.clear_away()
