"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests import profiles

profiles.load()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """`batchyard up` configures logging for its process; a test that calls it in ours must not leave that behind."""
    yield
    structlog.reset_defaults()
