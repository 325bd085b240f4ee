"""What a server left that died while it removed what an attempt had: the next one finds it, and removes that alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from batchyard.engines.docker.labels import LABEL_SERVER, LABEL_VOLUME_OF
from batchyard.engines.process import cgroup_paths
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard

WITH_A_VOLUME: dict[str, Any] = {
    "container": {"mountPoints": [{"sourceVolume": "own", "containerPath": "/one"}]},
    "more": {"volumes": [{"name": "own"}]},
}


async def tidied() -> None:
    """Wait until the engine that was started has looked for what is left."""
    await eventually(lambda: "tidying up" not in [task.get_name() for task in asyncio.all_tasks()], "it is tidied up")


def groups(yard: DockerYard) -> set[str]:
    """The control groups of the yard's attempts."""
    mounts = {place.mount for place in cgroup_paths.places().values()}
    slice_prefix = yard.prefix.replace("-", "_")
    found = {
        group.name.removeprefix(yard.prefix) for each in mounts for group in each.glob(f"batchyard/*/{yard.prefix}*")
    }
    slices = [group for each in mounts for group in each.glob(f"batchyard.slice/*/batchyard-*-{slice_prefix}*.slice")]
    return found | {group.stem.rpartition(slice_prefix)[2] for group in slices}


async def died_before_it_removed_all(yard: DockerYard, *attempt_ids: str, **settings: Any) -> None:
    """The attempts have ended, their containers are gone, and nothing else is."""
    bench = yard.bench(**settings)
    async with bench:
        for attempt_id in attempt_ids:
            await bench.run(attempt_id, "true", **WITH_A_VOLUME)
    for attempt_id in attempt_ids:
        yard.daemon.remove(yard.prefix + attempt_id)


@scenario
async def test_volumes_and_control_groups_of_attempts_that_are_gone(docker_yard: DockerYard) -> None:
    await died_before_it_removed_all(docker_yard, "a", "b")
    assert set(docker_yard.volumes()) == {"a-own", "b-own"}
    assert groups(docker_yard) <= {"a", "b"}
    async with docker_yard.bench():
        await tidied()
        assert docker_yard.volumes() == []
        await eventually(lambda: not groups(docker_yard), "the groups are gone")  # systemd takes its time


@scenario
async def test_what_attempts_have_that_go_on_or_are_kept_stays(docker_yard: DockerYard) -> None:
    async with docker_yard.bench(keep_failed=1) as first:
        await first.run("kept", "false", **WITH_A_VOLUME)
        first.engine.forget(["kept"])
        await eventually(lambda: docker_yard.names() == ["failed-kept"], "the container is kept")
        await first.run("untold", "true", **WITH_A_VOLUME)
        first.launch("runs", "echo hello > /one/file; sleep 1000", **WITH_A_VOLUME)
        await first.started("runs")
        had = groups(docker_yard)
        await first.engine.close()
        async with docker_yard.bench(keep_failed=1) as second:
            await tidied()
            assert set(docker_yard.volumes()) == {"kept-own", "untold-own", "runs-own"}
            assert groups(docker_yard) == had
            assert {each.attempt_id for each in await second.engine.holding()} == {"runs", "untold"}


@scenario
async def test_what_is_another_servers_or_anybody_elses_stays(docker_yard: DockerYard, tmp_path: Path) -> None:
    def make(name: str, labels: dict[str, str]) -> None:
        body = {"Name": f"batchyard-{docker_yard.prefix}{name}", "Labels": labels}
        docker_yard.daemon.call("POST", "/volumes/create", msgspec.json.encode(body), json=True)

    await died_before_it_removed_all(docker_yard, "a")
    server_id = (docker_yard.data_dir / "engine" / "docker-server-id").read_text()
    make("b-others", {LABEL_SERVER: "another", LABEL_VOLUME_OF: f"{docker_yard.prefix}b"})
    make("c-own", {LABEL_SERVER: server_id})
    async with docker_yard.bench():
        await tidied()
        assert set(docker_yard.volumes()) == {"b-others", "c-own"}
