"""Stops of systemd's slices."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from batchyard.engines.docker import slices
from batchyard.engines.docker.slices import Slices
from tests.engine.bench import eventually, scenario


@scenario
async def test_what_is_wanted_again_while_it_waits_for_its_stop_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[list[str]] = []
    first_is_told = asyncio.Event()

    async def stop(names: list[str]) -> None:
        stopped.append(names)
        await first_is_told.wait()

    monkeypatch.setattr(slices, "_stop", stop)
    waiting, wanted = Slices(), {"b"}
    tasks = [asyncio.create_task(waiting.stop(name, lambda name=name: name in wanted)) for name in "abc"]  # type: ignore[misc]
    await eventually(lambda: stopped == [["a"]], "the first is being stopped")
    wanted |= {"c"}
    wanted -= {"b"}
    first_is_told.set()
    await asyncio.gather(*tasks)
    assert stopped == [["a"], ["b"]]


@scenario
async def test_a_systemd_that_does_not_answer_is_given_up_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(slices, "PROGRAM", str(program))
    monkeypatch.setattr(slices, "ANSWER_SECONDS", 0.05)
    with capture_logs() as logs:
        await Slices().stop("a.slice")
    assert [(each["event"], each["slices"]) for each in logs] == [("docker.slices_stay", 1)]
    assert "timed out" in logs[0]["error"]
