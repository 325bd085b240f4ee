"""Tasks of several containers, on a daemon of the tests' own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchyard.core.inputs import AttemptExited, AttemptStarted
from batchyard.core.model import ContainerEnd
from batchyard.engines.docker import pause
from batchyard.engines.docker.client import Client
from batchyard.engines.task import Container, HostPath, MountPoint, Task, Volume
from batchyard.logframes import log_id
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerBench, DockerYard
from tests.engine.dockerd import IMAGE, Dockerd

HEALTH_IMAGE = "batchyard-test/health:1"
TRAP = "trap 'exit 9' TERM;"


def container(name: str, script: str, *needs: str, **members: Any) -> dict[str, Any]:
    """`needs` are written `other:CONDITION`."""
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    found = [dict(zip(("containerName", "condition"), need.split(":"), strict=True)) for need in needs]
    return {
        "name": name,
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "resourceRequirements": sizes,
        "dependsOn": found,
        **members,
    }


def task(shared: Path, *containers: dict[str, Any], **members: Any) -> Task:
    """A task whose containers see the test's own folder under its own path."""
    volumes = (Volume("shared", HostPath(str(shared))), *members.pop("volumes", ()))
    mount = MountPoint(str(shared), source_volume="shared")
    decoded = (msgspec.json.decode(msgspec.json.encode(each), type=Container) for each in containers)
    found = (msgspec.structs.replace(each, mount_points=(mount, *each.mount_points)) for each in decoded)
    return Task(tuple(found), volumes, **members)


def lines(bench: DockerBench, place: int, attempt_id: str = "a") -> list[str]:
    return bench.lines(log_id(attempt_id, place))


def until(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


@pytest.fixture
def shared(docker_yard: DockerYard) -> Path:
    return docker_yard.shared


async def run(bench: DockerBench, wanted: Task) -> AttemptExited:
    bench.launch_task("a", wanted)
    return await bench.exited("a")


@scenario
async def test_each_container_has_its_own_command_log_and_end(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        main = container("main", f"echo from main; {until(shared / 'helped')}; exit 0")
        helper = container("helper", f"echo from helper; touch {shared}/helped; exit 3", essential=False)
        exited = await run(bench, task(shared, main, helper))
        assert (exited.exit_code, exited.reason) == (0, None)
        assert exited.containers[0] == ContainerEnd(0)
        assert exited.containers[1].exit_code in (3, 143)
        assert lines(bench, 0) == ["from main"]
        assert lines(bench, 1) == ["from helper"]
        assert [type(report) for report in bench.of("a")] == [AttemptStarted, AttemptExited]


@scenario
async def test_containers_of_a_task_are_at_each_others_localhost(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        server = container("server", "echo hello | nc -l -p 9000; sleep 600", essential=False, stopTimeout=2)
        client = container("client", "until nc 127.0.0.1 9000 </dev/null; do sleep 0.05; done", "server:START")
        assert (await run(bench, task(shared, client, server))).exit_code == 0
        assert lines(bench, 0) == ["hello"]


@scenario
async def test_a_container_starts_when_what_it_waits_for_has_succeeded(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        setup = container("setup", f"{until(shared / 'gate')}; echo data > {shared}/result", essential=False)
        main = container("main", f"cat {shared}/result", "setup:SUCCESS")
        bench.launch_task("a", task(shared, main, setup))
        await eventually(lambda: docker_yard.runs("a.setup"), "setup runs")
        assert docker_yard.container("a.main")["State"]["Status"] == "created"
        assert bench.of("a") == []
        (shared / "gate").touch()
        assert (await bench.exited("a")).exit_code == 0
        assert lines(bench, 0) == ["data"]


@scenario
async def test_a_container_that_waits_in_vain_fails_the_task_with_the_reason(
    docker_yard: DockerYard, shared: Path
) -> None:
    async with docker_yard.bench() as bench:
        setup = container("setup", "echo broken; exit 5", essential=False)
        exited = await run(bench, task(shared, container("main", "echo never", "setup:SUCCESS"), setup))
        why = "CannotStartContainerError: Error response from engine: container 'setup' ended with exit code 5, and was"
        assert (exited.exit_code, exited.reason, exited.started) == (None, f"{why} to succeed", True)
        assert exited.containers == (ContainerEnd(None, exited.reason), ContainerEnd(5))
        assert lines(bench, 1) == ["broken"]


@scenario
async def test_a_start_timeout_ends_the_waiting(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        setup = container("setup", f"{TRAP} sleep 600 & wait", essential=False, startTimeout=2)
        exited = await run(bench, task(shared, container("main", "echo never", "setup:COMPLETE"), setup))
        assert exited.reason is not None
        assert exited.reason.endswith("did not reach the condition COMPLETE within its startTimeout of 2 seconds")
        assert exited.containers[1] == ContainerEnd(9)


@scenario
async def test_healthy_is_what_the_image_says(docker_yard: DockerYard, shared: Path, dockerd: Dockerd) -> None:
    dockerd.make_image(HEALTH_IMAGE, 'HEALTHCHECK --interval=1s CMD ["test", "-e", "/tmp/ready"]')
    async with docker_yard.bench() as bench:
        script = f"touch {shared}/up; {until(shared / 'gate')}; touch /tmp/ready {shared}/ready; sleep 600"
        server = container("server", script, essential=False, stopTimeout=2, image=HEALTH_IMAGE)
        main = container("main", f"ls {shared}/ready", "server:HEALTHY")
        bench.launch_task("a", task(shared, main, server))
        await eventually(lambda: (shared / "up").exists(), "the server runs")
        assert docker_yard.container("a.main")["State"]["Status"] == "created"
        (shared / "gate").touch()
        assert (await bench.exited("a")).exit_code == 0


@scenario
async def test_an_image_without_a_health_check_is_never_healthy(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        server = container("server", "sleep 600", essential=False, stopTimeout=2)
        exited = await run(bench, task(shared, container("main", "true", "server:HEALTHY"), server))
        assert exited.reason is not None
        assert exited.reason.endswith("container 'server' was to be HEALTHY, but its image has no HEALTHCHECK")


@scenario
async def test_the_first_essential_end_stops_the_others_in_their_own_time(
    docker_yard: DockerYard, shared: Path
) -> None:
    async with docker_yard.bench() as bench:
        polite = container("polite", f"{TRAP} touch {shared}/up; sleep 600 & wait", stopTimeout=20)
        deaf = container("deaf", "trap '' TERM; sleep 600", essential=False, stopTimeout=2)
        fails = container("fails", f"{until(shared / 'up')}; exit 4")
        exited = await run(bench, task(shared, polite, deaf, fails))
        assert exited.exit_code == 4
        assert exited.containers == (ContainerEnd(9), ContainerEnd(137), ContainerEnd(4))


@scenario
async def test_a_container_that_can_not_be_made_fails_the_task_before_anything_runs(
    docker_yard: DockerYard, shared: Path
) -> None:
    async with docker_yard.bench(pull="never") as bench:
        exited = await run(
            bench, task(shared, container("a", f"touch {shared}/ran"), container("b", "true", image="no/such:image"))
        )
        assert not exited.started
        assert exited.reason is not None
        assert exited.reason.startswith("CannotPullContainerError: ")
        assert not (shared / "ran").exists()


@scenario
async def test_a_program_that_is_not_there_fails_the_task_and_stops_the_others(
    docker_yard: DockerYard, shared: Path
) -> None:
    async with docker_yard.bench() as bench:
        other = container("other", f"{TRAP} sleep 600 & wait", stopTimeout=5)
        exited = await run(bench, task(shared, other, container("main", "", "other:START", command=["/no/such"])))
        assert exited.exit_code is None
        assert exited.reason is not None
        assert "/no/such" in exited.reason
        assert exited.containers[1].reason == exited.reason


@scenario
async def test_a_stop_ends_all_containers_and_starts_none(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        ready = f"{TRAP} touch {shared}/$NAME; sleep 600 & wait"
        names = ("one", "two")
        waiting = [container(name, ready, environment=[{"name": "NAME", "value": name}]) for name in names]
        last = container("last", "true", "one:COMPLETE")
        waiting[0]["essential"] = False
        bench.launch_task("a", task(shared, *waiting, last))
        await eventually(lambda: all((shared / name).exists() for name in names), "both run")
        bench.engine.stop("a", 30)
        exited = await bench.exited("a")
        assert exited.containers == (ContainerEnd(9), ContainerEnd(9), ContainerEnd())
        assert exited.exit_code == 9


@scenario
async def test_volumes_are_shared_and_go_with_the_task(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        mounts = [{"sourceVolume": "box", "containerPath": "/box"}]
        writer = container("writer", "echo kept > /box/file", essential=False, mountPoints=mounts)
        reader = container("reader", "cat /box/file", "writer:SUCCESS", mountPoints=mounts)
        await run(bench, task(shared, reader, writer, volumes=(Volume("box"),)))
        assert lines(bench, 0) == ["kept"]
        bench.engine.forget(["a"])
        await eventually(lambda: docker_yard.names() == [], "all containers are gone")
        await eventually(lambda: not docker_yard.volumes(), "the volume is gone")


def looking(shared: Path, kind: str, *more: str) -> list[dict[str, Any]]:
    """Two containers that live at the same time, and write which namespace they are in."""
    script = f"readlink /proc/self/ns/{kind}; {'; '.join(more) or 'true'}; touch {shared}/$SELF; "
    found = []
    for name, other in (("a", "b"), ("b", "a")):
        environment = [{"name": "SELF", "value": name}]
        found.append(container(name, script + until(shared / other), environment=environment))
    found[1]["essential"] = False
    return found


def own_namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


@pytest.mark.parametrize("mode", ["task", "host", None])
@scenario
async def test_pid_mode(docker_yard: DockerYard, shared: Path, mode: str | None) -> None:
    async with docker_yard.bench() as bench:
        await run(bench, task(shared, *looking(shared, "pid", "cat /proc/1/comm"), pid_mode=mode))
        namespaces = [lines(bench, place)[0] for place in (0, 1)]
        assert (namespaces[0] == namespaces[1]) is (mode is not None)
        assert (namespaces[0] == own_namespace("pid")) is (mode == "host")
        if mode == "task":
            assert lines(bench, 0)[1] == pause.PROGRAM


@pytest.mark.parametrize("mode", ["task", "host", "none"])
@scenario
async def test_ipc_mode(docker_yard: DockerYard, shared: Path, mode: str) -> None:
    async with docker_yard.bench() as bench:
        looks = looking(shared, "ipc", "df -k /dev/shm 2>/dev/null | tail -1 | awk '{print $2}'")
        looks[0]["linuxParameters"] = {"sharedMemorySize": 8}
        await run(bench, task(shared, *looks, ipc_mode=mode))
        assert (lines(bench, 0)[0] == lines(bench, 1)[0]) is (mode != "none")
        assert (lines(bench, 0)[0] == own_namespace("ipc")) is (mode == "host")
        if mode == "task":
            assert lines(bench, 1)[1] == "8192"


@scenario
async def test_the_host_network_needs_nothing_to_share(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench(network="host") as bench:
        await run(bench, task(shared, *looking(shared, "net")))
        assert lines(bench, 0) == lines(bench, 1) == [own_namespace("net")]
        assert set(docker_yard.names()) == {"a.a", "a.b"}


@scenario
async def test_launching_twice_makes_one_of_each(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        script = f"echo x >> {shared}/marks; {until(shared / 'gate')}"
        wanted = task(shared, container("one", script), container("two", script))
        bench.launch_task("a", wanted)
        bench.launch_task("a", wanted)
        await bench.started("a")
        bench.launch_task("a", wanted)
        assert sorted(docker_yard.names()) == ["a-pause", "a.one", "a.two"]
        (shared / "gate").touch()
        await bench.exited("a")
        assert (shared / "marks").read_text() == "x\nx\n"


@pytest.mark.parametrize("passes", [True, False], ids=["what waits is started", "what waits in vain is told"])
@scenario
async def test_the_next_server_goes_on_where_the_last_one_was(
    docker_yard: DockerYard, shared: Path, passes: bool
) -> None:
    code = 0 if passes else 6
    setup = container("setup", f"echo one >> {shared}/setup; {until(shared / 'gate')}; exit {code}", essential=False)
    main = container("main", f"echo two >> {shared}/main", "setup:SUCCESS", stopTimeout=7)
    first = docker_yard.bench()
    await first.__aenter__()
    first.launch_task("a", task(shared, main, setup))
    await eventually(lambda: (shared / "setup").exists(), "setup runs")
    await first.engine.close()
    (shared / "gate").touch()
    await eventually(lambda: not docker_yard.container("a.setup")["State"]["Running"], "setup has ended meanwhile")
    async with docker_yard.bench() as second:
        held = await second.engine.holding()
        assert [each.attempt_id for each in held] == ["a"]
        second.launch_task("a", task(shared, main, setup))
        exited = await second.exited("a")
        assert exited.exit_code == (0 if passes else None)
        assert (shared / "setup").read_text() == "one\n"
        assert (shared / "main").exists() is passes
        assert exited.containers[1] == ContainerEnd(code)


@pytest.mark.parametrize("seed", range(4))
@scenario
async def test_servers_that_die_at_any_moment_run_each_container_once(
    docker_yard: DockerYard, shared: Path, seed: int
) -> None:
    chance = random.Random(seed)
    marks = "echo $NAME >> $SHARED/marks; sleep 0.3"
    named = [
        {"environment": [{"name": "NAME", "value": name}, {"name": "SHARED", "value": str(shared)}], "stopTimeout": 2}
        for name in ("work", "setup", "early")
    ]
    wanted = task(
        shared,
        container("work", marks, "setup:SUCCESS", "early:COMPLETE", **named[0]),
        container("setup", marks, "early:START", essential=False, **named[1]),
        container("early", marks, essential=False, **named[2]),
    )

    async def take_over(bench: DockerBench) -> None:
        """As the runtime does it with an attempt that is to start: what no engine knows of is launched."""
        if not await bench.engine.holding():
            bench.launch_task("a", wanted)

    for _ in range(8):
        bench = docker_yard.bench()
        await bench.__aenter__()
        await take_over(bench)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.05, 0.8)):
                await bench.exited("a")
        await bench.engine.close()
    async with docker_yard.bench() as bench:
        await take_over(bench)
        exited = await bench.exited("a")
        assert exited.exit_code == 0, exited
        assert exited.containers == (ContainerEnd(0),) * 3
        assert sorted((shared / "marks").read_text().split()) == ["early", "setup", "work"]


@scenario
async def test_the_next_server_stops_what_an_ended_task_has_left(docker_yard: DockerYard, shared: Path) -> None:
    helper = container("helper", f"{TRAP} touch {shared}/up; sleep 600 & wait", essential=False)
    main = container("main", f"{until(shared / 'gate')}; exit 3")
    first = docker_yard.bench()
    await first.__aenter__()
    first.launch_task("a", task(shared, main, helper))
    await first.started("a")
    await eventually(lambda: (shared / "up").exists(), "the helper runs")
    await first.engine.close()
    (shared / "gate").touch()
    await eventually(lambda: not docker_yard.container("a.main")["State"]["Running"], "main has ended meanwhile")
    async with docker_yard.bench() as second:
        exited = await second.exited("a")
        assert exited.exit_code == 3
        assert exited.containers == (ContainerEnd(3), ContainerEnd(9))


@scenario
async def test_a_container_is_gone_when_its_removal_returns_even_if_it_is_removed_already(
    docker_yard: DockerYard, dockerd: Dockerd
) -> None:
    client = Client(dockerd.host)
    try:
        name = docker_yard.prefix + "a"
        for _ in range(5):
            docker_yard.create("a", {"Image": IMAGE, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}})
            await client.start(name)
            first = asyncio.create_task(client.remove(name))
            await client.remove(name)
            assert await client.inspect(name) is None
            await first
    finally:
        await client.close()


@scenario
async def test_what_was_made_and_never_started_is_made_anew(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench() as bench:
        bench.launch_task("a", task(shared, container("one", "sleep 600"), container("two", "sleep 600")))
        await bench.started("a")
        body = docker_yard.container("a.one")["Config"]
        server_id = body["Labels"]["batchyard.server"]
        labels = {**body["Labels"], "batchyard.attempt": "b"}
        assert labels["batchyard.server"] == server_id
        for name in ("b.one", "b-pause"):
            docker_yard.create(name, {"Image": IMAGE, "Cmd": ["true"], "Labels": labels})
    async with docker_yard.bench() as bench:
        assert "b" not in [each.attempt_id for each in await bench.engine.holding()]
        assert {"b.one", "b-pause"}.isdisjoint(docker_yard.names())


@scenario
async def test_a_removed_container_loses_the_attempt_once_the_others_have_ended(
    docker_yard: DockerYard, shared: Path, dockerd: Dockerd
) -> None:
    async with docker_yard.bench() as bench:
        script = f"{TRAP} touch {shared}/up; sleep 600 & wait"
        bench.launch_task("a", task(shared, container("one", script), container("two", "sleep 600", essential=False)))
        await bench.started("a")
        await eventually(lambda: (shared / "up").exists(), "it runs")
        dockerd.remove(docker_yard.prefix + "a.two")
        await bench.lost("a")
        assert docker_yard.container("a.one")["State"]["ExitCode"] == 9


@scenario
async def test_failed_attempts_keep_all_their_containers_and_volumes(docker_yard: DockerYard, shared: Path) -> None:
    async with docker_yard.bench(keep_failed=1) as bench:
        for name in ("a", "b"):
            mounts = [{"sourceVolume": "box", "containerPath": "/box"}]
            helper = container("helper", "true", essential=False, mountPoints=mounts)
            wanted = task(shared, container("main", "exit 1", "helper:COMPLETE"), helper, volumes=(Volume("box"),))
            bench.launch_task(name, wanted)
            await bench.exited(name)
            bench.engine.forget([name])
            kept = {f"failed-{name}.helper", f"failed-{name}.main"}
            await eventually(lambda kept=kept: set(docker_yard.names()) == kept, f"{name} is kept alone")
            await eventually(lambda name=name: docker_yard.volumes() == [f"{name}-box"], "its volume is kept alone")
