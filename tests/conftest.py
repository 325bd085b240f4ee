"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests import profiles
from tests.engine.dockerd import Dockerd, running
from tests.requirements import require

profiles.load()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """`batchyard up` configures logging for its process; a test that calls it in ours must not leave that behind."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def _shared_dockerd() -> Iterator[Dockerd]:
    """One daemon for all tests that leave it alone, started for the first of them."""
    with running() as daemon:
        yield daemon


@pytest.fixture
def dockerd(request: pytest.FixtureRequest) -> Dockerd:
    require("docker")
    daemon: Dockerd = request.getfixturevalue("_shared_dockerd")
    return daemon
