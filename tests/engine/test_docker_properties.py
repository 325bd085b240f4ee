"""What each member of containerProperties does, seen from inside the container."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from batchyard.core.reasons import OUT_OF_MEMORY
from batchyard.engines.docker import client, parse, usage
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard
from tests.engine.dockerd import IMAGE

MIB = 1024 * 1024
FUSE = os.makedev(10, 229)
"""A device that Docker gives to no container by itself."""


def _capabilities(which: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(which))


def _all_capabilities() -> int:
    return (1 << (int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)) - 1


HOST_IPC = str(Path("/proc/self/ns/ipc").readlink())
HAS_ALL_CAPABILITIES = _capabilities("CapBnd") >= _all_capabilities()
OTHER_ARCHITECTURE = "ARM64" if os.uname().machine == "x86_64" else "X86_64"


class Case(NamedTuple):
    """A container's members and options of its launch, what it runs, and what that writes."""

    name: str
    script: str
    lines: list[str]
    container: dict[str, Any] = {}
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    unified: tuple[str, list[str]] | None = None
    """The script and what it writes where control groups are those of version 2."""


CGROUP = "cd /sys/fs/cgroup; "
WEIGHT = CGROUP + "read weight < cpu.weight; echo $((weight >= 118 && weight < 300))"
"""What runc makes of 3,072 shares: 118, from version 1.4 on somewhat more. One vCPU has 39, or 100."""
CASES = [
    Case(
        "vcpus are shares of the CPUs",
        CGROUP + "cat cpu/cpu.shares",
        ["3072"],
        options={"vcpu_milli": 3000},
        unified=(WEIGHT, ["1"]),
    ),
    Case(
        "vcpus are no limit by default",
        CGROUP + "cat cpu/cpu.cfs_quota_us",
        ["-1"],
        options={"vcpu_milli": 1500},
        unified=(CGROUP + "cut -d' ' -f1 cpu.max", ["max"]),
    ),
    Case(
        "vcpus are a limit where a setting says so",
        CGROUP + "echo $(($(cat cpu/cpu.cfs_quota_us) * 10 / $(cat cpu/cpu.cfs_period_us)))",
        ["15"],
        options={"vcpu_milli": 1500},
        settings={"cpu_quota": True},
        unified=(CGROUP + "read quota period < cpu.max; echo $((quota * 10 / period))", ["15"]),
    ),
    Case(
        "memory is a hard limit",
        CGROUP + "cat memory/memory.limit_in_bytes",
        [str(96 * MIB)],
        options={"memory_mib": 96},
        unified=(CGROUP + "cat memory.max", [str(96 * MIB)]),
    ),
    Case(
        "maxSwap is added to the memory, with its swappiness",
        CGROUP + "cat memory/memory.memsw.limit_in_bytes memory/memory.swappiness",
        [str((64 + 32) * MIB), "10"],
        {"linuxParameters": {"maxSwap": 32, "swappiness": 10}},
        {"memory_mib": 64},
        unified=(CGROUP + "cat memory.swap.max", [str(32 * MIB)]),
    ),
    Case(
        "a maxSwap of nothing allows no swap",
        CGROUP + "cat memory/memory.memsw.limit_in_bytes",
        [str(64 * MIB)],
        {"linuxParameters": {"maxSwap": 0}},
        {"memory_mib": 64},
        unified=(CGROUP + "cat memory.swap.max", ["0"]),
    ),
    Case(
        "environment",
        'echo "$GIVEN"',
        ["a value"],
        {"environment": [{"name": "GIVEN", "value": "a value"}]},
    ),
    Case(
        "the service's own variables win",
        "echo $AWS_BATCH_JOB_ID $AWS_EXECUTION_ENV",
        ["mine AWS_ECS_EC2"],
        {"environment": [{"name": "AWS_BATCH_JOB_ID", "value": "other"}]},
        {"environment": {"AWS_BATCH_JOB_ID": "mine"}},
    ),
    Case(
        "secrets are variables",
        "echo $PASSWORD",
        ["open sesame"],
        {"secrets": [{"name": "PASSWORD", "valueFrom": "cave"}]},
        {"secrets": {"cave": "open sesame"}},
    ),
    Case("user", "id -u", ["1000"], {"user": "guest"}),
    Case(
        "readonlyRootFilesystem",
        "touch /new 2>/dev/null || echo refused; grep -c ' / overlay ro' /proc/mounts",
        ["refused", "1"],
        {"readonlyRootFilesystem": True},
    ),
    Case("a root file system that can be written", "touch /new && echo written", ["written"]),
    Case("privileged", "mount -t tmpfs none /tmp && echo allowed", ["allowed"], {"privileged": True}),
    Case("not privileged", "mount -t tmpfs none /tmp 2>/dev/null || echo refused", ["refused"]),
    Case(
        "ulimits",
        "ulimit -Sn; ulimit -Hn",
        ["100", "200"],
        {"ulimits": [{"name": "nofile", "softLimit": 100, "hardLimit": 200}]},
    ),
    Case(
        "initProcessEnabled",
        "cat /proc/1/comm",
        ["docker-init"],
        {"linuxParameters": {"initProcessEnabled": True}},
    ),
    Case(
        "sharedMemorySize",
        "df -k /dev/shm | tail -1 | awk '{print $2}'",
        [str(32 * 1024)],
        {"linuxParameters": {"sharedMemorySize": 32}},
    ),
    Case(
        "tmpfs with its size and options",
        "grep ' /scratch ' /proc/mounts | tr ' ,' '\\n' | grep -E '^(tmpfs|size=.*|noexec|noatime)$' | sort -u",
        ["noatime", "noexec", "size=4096k", "tmpfs"],
        {
            "linuxParameters": {
                "tmpfs": [{"containerPath": "/scratch", "size": 4, "mountOptions": ["noexec", "noatime"]}]
            }
        },
    ),
    Case(
        "devices with their permissions",
        "(exec 3</dev/mine) && echo readable; (exec 3>>/dev/mine) 2>/dev/null || echo not writable",
        ["readable", "not writable"],
        {
            "linuxParameters": {
                "devices": [{"hostPath": "DEVICE", "containerPath": "/dev/mine", "permissions": ["READ"]}]
            }
        },
    ),
    Case(
        "devices with all permissions",
        "(exec 3<>DEVICE) && echo usable",
        ["usable"],
        {"linuxParameters": {"devices": [{"hostPath": "DEVICE"}]}},
    ),
    Case(
        "a volume of the attempt's own",
        "echo kept > /one/file; cat /two/file; touch /two/new 2>/dev/null || echo read-only",
        ["kept", "read-only"],
        {
            "mountPoints": [
                {"sourceVolume": "own", "containerPath": "/one"},
                {"sourceVolume": "own", "containerPath": "/two", "readOnly": True},
            ]
        },
        {"more": {"volumes": [{"name": "own"}]}},
    ),
    Case(
        "a host path, which is made if it isn't there",
        "echo found > /data/file; ls /data",
        ["file"],
        {"mountPoints": [{"sourceVolume": "host", "containerPath": "/data"}]},
        {"more": {"volumes": [{"name": "host", "host": {"sourcePath": "FOLDER/not/there/yet"}}]}},
    ),
    Case("pidMode", "[ $(cat /proc/1/comm) != sh ] && echo shared", ["shared"], options={"more": {"pid_mode": "host"}}),
    Case("pids of its own", "[ $$ = 1 ] && echo first", ["first"]),
    Case(
        "ipcMode",
        "[ $(readlink /proc/self/ns/ipc) = HOST_IPC ] && echo shared",
        ["shared"],
        options={"more": {"ipc_mode": "host"}},
    ),
    Case(
        "a runtimePlatform that the host is",
        "echo runs",
        ["runs"],
        options={"more": {"runtime_platform": {"operatingSystemFamily": "LINUX"}}},
    ),
]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    os.mknod(path, stat.S_IFCHR | 0o666, FUSE)
    return path


def _put_in(value: Any, places: dict[str, str]) -> Any:
    """`value` with the places of this test in it."""
    if isinstance(value, str):
        for name, place in places.items():
            value = value.replace(name, place)
        return value
    if isinstance(value, dict):
        return {key: _put_in(inner, places) for key, inner in value.items()}
    return [_put_in(inner, places) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@scenario
async def test_inside(docker_yard: DockerYard, device: Path, tmp_path: Path, case: Case) -> None:
    info = docker_yard.daemon.call("GET", "/info")
    script, lines = case.script, case.lines
    if info["CgroupVersion"] != "1" and case.unified is not None:
        script, lines = case.unified
    if "memsw" in script and not info["SwapLimit"]:
        pytest.skip("the kernel does not account for swap")
    if case.container.get("privileged") and not HAS_ALL_CAPABILITIES:
        pytest.skip("these tests run with fewer capabilities than a privileged container has")
    places = {"DEVICE": str(device), "FOLDER": str(tmp_path), "HOST_IPC": HOST_IPC}
    async with docker_yard.bench(**case.settings) as bench:
        options = _put_in(case.options, places)
        exited = await bench.run(
            "a", _put_in(script, places) + " ;", container=_put_in(case.container, places), **options
        )
        assert exited.started, exited.reason
        assert bench.lines("a") == lines


REFUSED = [
    (
        "but this host is",
        {},
        {"runtime_platform": {"cpuArchitecture": OTHER_ARCHITECTURE}},
    ),
    ("runs LINUX containers", {}, {"runtime_platform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}),
    ("volume 'absent', which is not there", {"mountPoints": [{"sourceVolume": "absent", "containerPath": "/a"}]}, {}),
    (
        "s3filesVolumeConfiguration is not built",
        {"mountPoints": [{"sourceVolume": "s3", "containerPath": "/a"}]},
        {"volumes": [{"name": "s3", "s3filesVolumeConfiguration": {"fileSystemArn": "arn:x"}}]},
    ),
    (
        "transitEncryption needs the EFS mount helper",
        {"mountPoints": [{"sourceVolume": "efs", "containerPath": "/a"}]},
        {
            "volumes": [
                {
                    "name": "efs",
                    "efsVolumeConfiguration": {"fileSystemId": "fs-1", "transitEncryption": "ENABLED"},
                }
            ]
        },
    ),
    ("no such file or directory", {"linuxParameters": {"devices": [{"hostPath": "/dev/no-such-device"}]}}, {}),
]


@pytest.mark.parametrize(("reason", "container", "more"), REFUSED, ids=[each[0] for each in REFUSED])
@scenario
async def test_what_cannot_be_had_is_refused_with_the_reason(
    docker_yard: DockerYard, reason: str, container: dict[str, Any], more: dict[str, Any]
) -> None:
    async with docker_yard.bench() as bench:
        exited = await bench.run("a", "true", container=container, more=dict(more))
        assert not exited.started
        assert exited.reason is not None
        assert exited.reason.startswith("CannotStartContainerError: Error response from engine: ")
        assert reason in exited.reason


@scenario
async def test_the_images_own_entrypoint_gets_the_command(docker_yard: DockerYard) -> None:
    docker_yard.daemon.make_image("batchyard-test/entry:1", 'ENTRYPOINT ["echo", "entry"]', 'CMD ["default"]')
    async with docker_yard.bench() as bench:
        for name, words in (("a", ("given", "words")), ("b", ())):
            await bench.run(name, *words, container={"image": "batchyard-test/entry:1"})
        assert bench.lines("a") == ["entry given words"]
        assert bench.lines("b") == ["entry default"]


@scenario
async def test_a_container_killed_for_its_memory_says_so(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        exited = await bench.run("a", "tail", "/dev/zero", memory_mib=16)
        assert (exited.exit_code, exited.reason) == (137, "OutOfMemoryError: Container killed due to memory usage")
        assert (await bench.run("b", "exit 137", memory_mib=16)).reason is None


@scenario
async def test_what_docker_does_not_tell_of_a_killed_container_its_control_group_does(
    docker_yard: DockerYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_of = parse.state_of
    monkeypatch.setattr(client, "_EVENTS", ["die"])
    monkeypatch.setattr(client, "state_of", lambda inspected: replace(state_of(inspected), oom_killed=False))
    async with docker_yard.bench() as bench:
        assert (await bench.run("a", "tail", "/dev/zero", memory_mib=16)).reason == OUT_OF_MEMORY
        assert (await bench.run("b", "exit 137", memory_mib=16)).reason is None


@scenario
async def test_a_container_full_of_what_it_read_and_wrote_was_not_killed_for_its_memory(
    docker_yard: DockerYard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "memory_kills", lambda: 7)  # nothing is killed, whatever other tests do meanwhile
    async with docker_yard.bench() as bench:
        fill = "dd if=/dev/zero of=/tmp/file bs=1M count=64 2>/dev/null; exit 137"
        exited = await bench.run("a", fill, memory_mib=16)
        assert (exited.exit_code, exited.reason) == (137, None)


@scenario
async def test_another_log_driver_gets_the_output_and_its_options(docker_yard: DockerYard) -> None:
    log = {
        "logDriver": "json-file",
        "options": {"max-size": "1m"},
        "secretOptions": [{"name": "tag", "valueFrom": "where"}],
    }
    async with docker_yard.bench() as bench:
        await bench.run("a", "echo hello", container={"logConfiguration": log}, secrets={"where": "hidden"})
        assert bench.lines("a") == []
        config = docker_yard.container("a")["HostConfig"]["LogConfig"]
        assert config == {"Type": "json-file", "Config": {"max-size": "1m", "tag": "hidden"}}
    async with docker_yard.bench() as bench:
        await bench.engine.holding()
        assert (await bench.exited("a")).exit_code == 0
        assert bench.lines("a") == []


@scenario
async def test_labels_hold_ids_and_nothing_of_the_job(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        secret = {"secrets": [{"name": "PASSWORD", "valueFrom": "cave"}]}
        await bench.run("a", "true", container=secret, secrets={"cave": "open sesame"})
        labels = docker_yard.container("a")["Config"]["Labels"]
        assert set(labels) == {f"batchyard.{name}" for name in ("server", "attempt", "container", "boot", "data-dir")}
        assert labels["batchyard.attempt"] == "a"


@scenario
async def test_what_an_attempt_made_goes_when_it_is_forgotten(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        mount = {"mountPoints": [{"sourceVolume": "own", "containerPath": "/one"}]}
        await bench.run("a", "true", container=mount, more={"volumes": [{"name": "own"}]})
        assert docker_yard.volumes() == ["a-own"]
        bench.engine.forget(["a"])
        await eventually(lambda: not docker_yard.names(), "the container is gone")
        await eventually(lambda: not docker_yard.volumes(), "the volume is gone")


@scenario
async def test_failed_containers_can_be_kept_but_not_for_ever(docker_yard: DockerYard) -> None:
    async with docker_yard.bench(keep_failed=2) as bench:
        for name in ("a", "b", "c"):
            await bench.run(name, "exit 1")
            bench.engine.forget([name])
            await eventually(lambda name=name: f"failed-{name}" in docker_yard.names(), f"{name} is kept")  # type: ignore[misc]
        await bench.run("good", "true")
        bench.engine.forget(["good"])
        await eventually(lambda: set(docker_yard.names()) == {"failed-b", "failed-c"}, "the others are gone")
    async with docker_yard.bench(keep_failed=2) as bench:
        assert await bench.engine.holding() == []
        assert set(docker_yard.names()) == {"failed-b", "failed-c"}
    async with docker_yard.bench(keep_failed=1):
        await eventually(lambda: docker_yard.names() == ["failed-c"], "no more than are asked for now are kept")
    async with docker_yard.bench():
        await eventually(lambda: not docker_yard.names(), "none is kept any more")


@scenario
async def test_a_container_of_an_image_that_was_made_of_a_jobs_is_somebodys_own(docker_yard: DockerYard) -> None:
    """`docker commit` takes the labels along, and `docker create` hands them on."""
    async with docker_yard.bench() as bench:
        await bench.run("a", "true")
        labels = docker_yard.container("a")["Config"]["Labels"]
        docker_yard.create("copy", {"Image": IMAGE, "Cmd": ["true"], "Labels": labels})
        bench.engine.forget(["a"])
        await eventually(lambda: docker_yard.names() == ["copy"], "the attempt's own is gone")
    async with docker_yard.bench() as bench:
        assert await bench.engine.holding() == []
        assert docker_yard.names() == ["copy"]
