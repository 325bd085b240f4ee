from __future__ import annotations

import pytest

from tests.engine.bench import BenchMaker
from tests.engine.conformance import EngineConformance
from tests.engine.docker_yard import DockerYard


@pytest.fixture
def make_bench(docker_yard: DockerYard) -> BenchMaker:
    return docker_yard.bench


class TestDockerEngine(EngineConformance):
    """The contract, on the Docker engine."""

    killable = {"container": {"linuxParameters": {"initProcessEnabled": True}}}
    merges_streams = False
