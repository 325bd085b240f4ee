"""The control group around an attempt's containers, as the kernel shows it: of either version, and by either driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.engines.docker.parse import daemon_of
from batchyard.engines.docker.usage import Groups
from batchyard.engines.process import cgroup_paths
from batchyard.engines.process.cgroup_paths import UNIFIED
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard


def has_groups(yard: DockerYard) -> bool:
    """Whether attempts get groups here."""
    info: dict[str, Any] = yard.daemon.call("GET", "/info")
    return bool(Groups().driver(daemon_of(info), is_local=True))


def group_of(yard: DockerYard, attempt_id: str, controller: str) -> Path:
    """The group around the group of a running container."""
    pid = yard.container(attempt_id)["State"]["Pid"]
    mounts = Path("/proc/self/mountinfo").read_text()
    return cgroup_paths.parse(mounts, Path(f"/proc/{pid}/cgroup").read_text())[controller].own.parent


def controller_of_shares(yard: DockerYard) -> str:
    """Whose tree says how the CPUs are shared; skips where attempts have no groups of their own."""
    if not has_groups(yard):
        pytest.skip("attempts get no control groups of their own here")
    return "cpu" if "cpu" in cgroup_paths.places() else UNIFIED


def shares_of(group: Path) -> int:
    """As many as one vCPU has are 100."""
    old = group / "cpu.shares"
    return int(old.read_text()) * 100 // 1024 if old.exists() else int((group / "cpu.weight").read_text())


@scenario
async def test_attempts_weigh_against_each_other_what_they_asked_for(docker_yard: DockerYard) -> None:
    controller = controller_of_shares(docker_yard)
    async with docker_yard.bench() as bench:
        for name, vcpu_milli in (("a", 3000), ("b", 500)):
            bench.launch(name, "sleep 3600", vcpu_milli=vcpu_milli)
            await bench.started(name)
        groups = [group_of(docker_yard, name, controller) for name in ("a", "b")]
        assert list(map(shares_of, groups)) == [300, 50]
        for name in ("a", "b"):
            bench.engine.stop(name, 0)
            await bench.exited(name)
        bench.engine.forget(["a", "b"])
        await eventually(lambda: not any(group.exists() for group in groups), "both are gone")


@scenario
async def test_a_share_that_a_server_did_not_live_to_write_is_written_by_the_next(docker_yard: DockerYard) -> None:
    controller = controller_of_shares(docker_yard)
    async with docker_yard.bench() as first:
        first.launch("a", "sleep 3600", vcpu_milli=2750)
        await first.started("a")
        group = group_of(docker_yard, "a", controller)
        await first.engine.close()
        old = group / "cpu.shares"
        (old if old.exists() else group / "cpu.weight").write_text("100")
        async with docker_yard.bench() as second:
            await eventually(lambda: shares_of(group) == 275, "it has its share")
            second.engine.stop("a", 0)
            await second.exited("a")


@scenario
async def test_what_an_attempt_used_is_known_at_its_end(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        usage = (await bench.run("a", "true")).usage
        assert (usage is not None) is has_groups(docker_yard)
        if usage is not None:
            assert usage.cpu_seconds is not None
            assert usage.cpu_seconds > 0
            assert usage.peak_memory_bytes is not None
            assert usage.peak_memory_bytes > 0
