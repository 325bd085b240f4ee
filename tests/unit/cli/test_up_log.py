"""What the server says of itself while it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from batchyard.cli import up


def test_a_log_that_goes_into_a_file_has_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        up._log_to_stderr()
        structlog.get_logger("test").warning("retention.failed", jobs=3)
    finally:
        structlog.reset_defaults()
    written = capsys.readouterr().err
    assert "retention.failed" in written and "jobs=3" in written
    assert "\x1b" not in written


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    file = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - what is left in it can't be written at its end
    monkeypatch.setattr(sys, "stderr", file)
    yield
    with contextlib.suppress(OSError):
        file.close()


def test_a_log_that_can_not_be_written_stops_nobody(full_disk: None) -> None:
    try:
        up._log_to_stderr()
        for _ in range(3):
            structlog.get_logger("test").error("store.commit_failed", error="the disk is full")
    finally:
        structlog.reset_defaults()
