"""One server for each worker, shared by the tests that leave it running; each test makes its own jobs and queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server
from tests.acceptance.aws_cli_cases import AwsCli
from tests.acceptance.job_cases import Gate, Queues
from tests.requirements import require


@pytest.fixture(scope="session")
def yard() -> Iterator[Server]:
    with server(overcommit=True, minimum_timeout_seconds=1, check_invariants=True) as started:
        yield started


@pytest.fixture
def queues(yard: Server) -> Queues:
    """Makes queues over compute environments of their own."""
    return Queues(yard)


@pytest.fixture(scope="session")
def queue(yard: Server) -> str:
    """A queue with room for whatever a test may run at once."""
    return Queues(yard).make(max_vcpus=256)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Jobs can wait for it; it is open once the test is over, so that none of them waits for ever."""
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


@pytest.fixture
def aws(yard: Server, tmp_path: Path) -> AwsCli:
    require("aws-cli")
    return AwsCli(yard, tmp_path)
