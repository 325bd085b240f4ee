"""Bodies that Docker gets, as far as no test looks at their effect inside a container."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from batchyard.engines.base import Launch
from batchyard.engines.docker import parse
from batchyard.engines.docker.build import Options, create_body, gpus_of, labels, parts_in, pause_body, vcpu_milli_of
from batchyard.engines.docker.honoured import unsupported
from batchyard.engines.docker.labels import LABEL_TASK
from batchyard.engines.docker.order import ALONE, parts_of
from batchyard.engines.docker.parse import Daemon, Outage
from batchyard.engines.docker.volumes import file_systems
from batchyard.engines.task import Task, tasks_of
from batchyard.exceptions import CannotLaunchError

INFO: dict[str, Any] = {
    "ID": "d",
    "Architecture": "x86_64",
    "NCPU": 4,
    "MemTotal": 8 * 1024**3,
    "Plugins": {"Log": ["json-file", "local"]},
}


def daemon(**info: Any) -> Daemon:
    return parse.daemon_of({**INFO, **info})


def task_of(**container: Any) -> Task:
    return tasks_of(msgspec.json.encode({"container": {"image": "busybox", **container}}))[0]


def body(options: Options | None = None, info: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    task = task_of(**container)
    launch = Launch("a", ("true",), {}, 1500, 256, task=task)
    return create_body(options or Options("s", "b"), daemon(**(info or {})), launch, task)


def test_a_stored_job_with_all_members_makes_a_body() -> None:
    made = body(
        privileged=True,
        vcpus=1,
        jobRoleArn="arn:role",
        logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "g"}, "secretOptions": []},
        fargatePlatformConfiguration={"platformVersion": "LATEST"},
        networkConfiguration={"assignPublicIp": "ENABLED"},
    )
    assert made["HostConfig"]["Privileged"] is True
    assert made["HostConfig"]["CpuShares"] == 1536
    assert made["HostConfig"]["Memory"] == 256 * 1024 * 1024
    assert made["Cmd"] == ["true"]


def test_each_container_is_told_of_the_server_whatever_it_sets_itself() -> None:
    own = {"environment": [{"name": "WHO", "value": "me"}, {"name": "MINE", "value": "1"}]}
    names = ({"name": "one", "image": "x", **own}, {"name": "two", "image": "x"})
    task = tasks_of(msgspec.json.encode({"ecsProperties": {"taskProperties": [{"containers": names}]}}))[0]
    launch = Launch("a", (), {}, 1000, 256, task=task, told=({"WHO": "first"}, {"WHO": "second"}))
    made = [create_body(Options("s", "b"), daemon(), launch, task, index)["Env"] for index in range(2)]
    assert {"WHO=first", "MINE=1"} <= set(made[0])
    assert "WHO=second" in made[1] and "MINE=1" not in made[1]


@pytest.mark.parametrize("others", [(), ({"name": "two", "image": "x"},)])
def test_a_variable_wins_over_a_secret_of_its_name_in_any_task(others: tuple[dict[str, Any], ...]) -> None:
    own = {"environment": [{"name": "WHO", "value": "me"}], "secrets": [{"name": "WHO", "valueFrom": "cave"}]}
    containers = ({"name": "one", "image": "x", **own}, *others)
    task = tasks_of(msgspec.json.encode({"ecsProperties": {"taskProperties": [{"containers": containers}]}}))[0]
    launch = Launch("a", (), {}, 1000, 256, task=task, secrets={"cave": "sesame"})
    assert "WHO=me" in create_body(Options("s", "b"), daemon(), launch, task)["Env"]


def several(*more: dict[str, Any], **task: Any) -> Task:
    containers = [{"name": "one", "image": "x"}, {"name": "two", "image": "x", "essential": False}, *more]
    return tasks_of(msgspec.json.encode({"ecsProperties": {"taskProperties": [{"containers": containers, **task}]}}))[0]


def shared(options: Options, task: Task, **launch: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """HostConfig of a task's second container, and the whole body of the one that holds what they share."""
    given = Launch("a", (), {}, 1000, 256, task=task, **launch)
    return create_body(options, daemon(), given, task, 1)["HostConfig"], pause_body(options, given, task)


def test_containers_of_a_task_share_the_network_of_one_that_does_nothing_else() -> None:
    config, pause = shared(Options("s", "b"), several())
    assert config["NetworkMode"] == "container:a-pause"
    assert "PidMode" not in config and "IpcMode" not in config
    assert pause is not None
    assert pause["HostConfig"]["NetworkMode"] == "bridge"


def test_the_containers_of_a_node_share_its_address_and_its_name() -> None:
    task = several()
    launch = Launch("a", (), {}, 1000, 256, task=task, address="10.20.0.7", host_name="node-3")
    made = create_body(Options("s", "b", network="host"), daemon(), launch, task)
    assert made["HostConfig"]["NetworkMode"] == "container:a-pause"
    assert "Hostname" not in made
    pause = pause_body(Options("s", "b", network="host"), launch, task)
    assert pause is not None
    assert pause["Hostname"] == "node-3"


def test_on_the_hosts_network_there_is_nothing_to_share_unless_it_is_asked_for() -> None:
    config, pause = shared(Options("s", "b", network="host"), several())
    assert (config["NetworkMode"], pause) == ("host", None)
    config, pause = shared(Options("s", "b", network="host"), several(pidMode="task", ipcMode="task"))
    assert (config["NetworkMode"], config["PidMode"], config["IpcMode"]) == (
        "host",
        "container:a-pause",
        "container:a-pause",
    )
    assert pause is not None
    assert pause["HostConfig"]["NetworkMode"] == "none"


def test_a_task_of_one_container_shares_nothing() -> None:
    task = tasks_of(msgspec.json.encode({"ecsProperties": {"taskProperties": [{"containers": [{"image": "x"}]}]}}))[0]
    launch = Launch("a", (), {}, 1000, 256, task=task)
    assert pause_body(Options("s", "b"), launch, task) is None
    assert LABEL_TASK not in labels(Options("s", "b"), "a", "0", task)


def test_each_container_of_a_task_has_its_own_variables_secrets_and_size() -> None:
    sizes = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "64"}]
    secret = {"secrets": [{"name": "PASSWORD", "valueFrom": "cave"}]}
    third = {"name": "three", "image": "x", "command": ["go"], "resourceRequirements": sizes, **secret}
    task = several(third)
    launch = Launch("a", (), {"SERVICE": "1"}, 9000, 999, task=task, secrets={"cave": "sesame"})
    first, last = (create_body(Options("s", "b"), daemon(), launch, task, place) for place in (0, 2))
    assert "PASSWORD=sesame" in last["Env"] and "PASSWORD=sesame" not in first["Env"]
    assert "SERVICE=1" in first["Env"] and "SERVICE=1" in last["Env"]
    assert last["Cmd"] == ["go"] and "Cmd" not in first
    assert (last["HostConfig"]["CpuShares"], last["HostConfig"]["Memory"]) == (2048, 64 * 1024 * 1024)


def test_the_order_of_a_task_is_found_again_in_the_labels_of_any_of_its_containers() -> None:
    waits = {"dependsOn": [{"containerName": "one", "condition": "HEALTHY"}], "startTimeout": 5, "stopTimeout": 9}
    task = several({"name": "three", "image": "x", **waits})
    found = labels(Options("s", "b"), "a", "1", task)
    assert parts_in(found) == parts_of(task.containers)
    assert parts_in({}) == ALONE


def test_an_efs_volume_is_mounted_by_nfs() -> None:
    efs = {"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/below"}}
    made = body(
        Options("s", "b", region="eu-west-1"),
        volumes=[efs],
        mountPoints=[{"sourceVolume": "data", "containerPath": "/data", "readOnly": True}],
    )
    (mount,) = made["HostConfig"]["Mounts"]
    assert (mount["Type"], mount["Target"], mount["ReadOnly"]) == ("volume", "/data", True)
    driver = mount["VolumeOptions"]["DriverConfig"]
    assert driver["Name"] == "local"
    assert driver["Options"]["type"] == "nfs"
    assert driver["Options"]["device"] == ":/below"
    assert driver["Options"]["o"].startswith("addr=fs-1.efs.eu-west-1.amazonaws.com,nfsvers=4.1,")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "error while mounting volume '/data/volumes/a/_data': failed to mount local volume: mount "
            ":/be:low:/data/volumes/a/_data, data: addr=10.0.0.7,nfsvers=4.1,hard,noresvport: connection refused",
            "ResourceInitializationError: failed to mount the EFS volume: 10.0.0.7:/be:low: connection refused",
        ),
        (
            "error while mounting volume '/data/volumes/a/_data': error resolving passed in network volume address: "
            "lookup fs-1.efs.eu-west-1.amazonaws.com on 10.0.0.2:53: no such host",
            "ResourceInitializationError: failed to mount the EFS volume: lookup fs-1.efs.eu-west-1.amazonaws.com on "
            "10.0.0.2:53: no such host",
        ),
        ("no such runtime", "CannotStartContainerError: Error response from engine: no such runtime"),
    ],
)
def test_what_keeps_a_volume_from_being_mounted_is_the_reason(said: str, reason: str) -> None:
    assert parse.why_not_started(said) == reason


def test_attempts_wait_for_the_same_file_system_alone() -> None:
    def systems(*ids: str) -> frozenset[str]:
        volumes = [{"name": name, "efsVolumeConfiguration": {"fileSystemId": name}} for name in ids]
        mounts = [{"sourceVolume": name, "containerPath": f"/{name}"} for name in ids]
        return file_systems(task_of(volumes=[{"name": "own"}, *volumes], mountPoints=mounts))

    assert systems() == frozenset()
    assert systems("fs-2", "fs-1") == {"fs-1", "fs-2"}


def test_ephemeral_storage_is_a_limit_where_a_setting_says_so() -> None:
    assert "StorageOpt" not in body(ephemeralStorage={"sizeInGiB": 30})["HostConfig"]
    made = body(Options("s", "b", storage_quota=True), ephemeralStorage={"sizeInGiB": 30})
    assert made["HostConfig"]["StorageOpt"] == {"size": "30G"}


def test_without_the_local_driver_docker_keeps_the_log_as_json() -> None:
    made = body(info={"Plugins": {"Log": ["journald", "json-file"]}})
    assert made["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}


def test_a_path_with_a_colon_cannot_be_mounted() -> None:
    with pytest.raises(CannotLaunchError, match="can't contain a colon"):
        body(
            volumes=[{"name": "v", "host": {"sourcePath": "/a:b"}}],
            mountPoints=[{"sourceVolume": "v", "containerPath": "/c"}],
        )


@pytest.mark.parametrize(
    ("subnets", "network"),
    [((), "bridge"), (("s9",), "bridge"), (("s9", "s2", "s1"), "two"), (("s1",), "one")],
)
def test_the_network_is_that_of_the_first_subnet_that_has_one(subnets: tuple[str, ...], network: str) -> None:
    task = task_of()
    options = Options("s", "b", networks={"s1": "one", "s2": "two"})
    launch = Launch("a", (), {}, 1000, 64, task=task, subnets=subnets)
    assert create_body(options, daemon(), launch, task)["HostConfig"]["NetworkMode"] == network


def test_a_node_has_its_address_and_its_name() -> None:
    task = task_of()
    launch = Launch("a", (), {}, 1000, 64, address="10.20.0.7", host_name="node-3", task=task, subnets=("s1",))
    made = create_body(Options("0123456789abcdef", "b", networks={"s1": "one"}), daemon(), launch, task)
    network = made["HostConfig"]["NetworkMode"]
    assert network == "batchyard-nodes-0123456789ab"
    assert made["NetworkingConfig"]["EndpointsConfig"][network]["IPAMConfig"] == {"IPv4Address": "10.20.0.7"}
    assert made["Hostname"] == "node-3"


def test_only_a_container_that_is_alone_without_a_network_has_its_network_disabled() -> None:
    options = Options("s", "b", network="none", networks={"s1": "one"}, hosts_dir="/data/hosts", prefix="p-")

    def made(options: Options, task: Task, **launch: Any) -> tuple[bool, list[Any]]:
        found = create_body(options, daemon(), Launch("a", (), {}, 1000, 64, task=task, **launch), task)
        return found.get("NetworkDisabled", False), found["HostConfig"]["Mounts"]

    mount = {"Type": "bind", "Source": "/data/hosts/p-a", "Target": "/etc/hosts", "ReadOnly": False}
    assert made(options, task_of()) == (True, [mount])
    assert made(options, task_of(readonlyRootFilesystem=True)) == (True, [{**mount, "ReadOnly": True}])
    assert made(msgspec.structs.replace(options, network="bridge"), task_of()) == (False, [])
    assert made(msgspec.structs.replace(options, hosts_dir=""), task_of()) == (False, [])
    assert made(options, task_of(), subnets=("s1",)) == (False, [])
    assert made(options, task_of(), address="10.20.0.7", host_name="node-3") == (False, [])
    assert made(options, several()) == (False, [])
    pause = pause_body(options, Launch("a", (), {}, 1000, 64, task=several()), several())
    assert pause is not None and "NetworkDisabled" not in pause


@pytest.mark.parametrize("target", ["/etc/hosts", "//etc/./hosts/"])
def test_a_task_that_mounts_its_own_hosts_file_gets_no_other(target: str) -> None:
    volume = {"name": "own", "host": {"sourcePath": "/own"}}
    mounts = [{"sourceVolume": "own", "containerPath": target}]
    made = body(Options("s", "b", network="none", hosts_dir="/data/hosts"), volumes=[volume], mountPoints=mounts)
    assert "NetworkDisabled" not in made
    assert made["HostConfig"]["Mounts"] == []


def test_nor_does_one_that_has_a_memory_disk_there() -> None:
    tmpfs = {"tmpfs": [{"containerPath": "/etc/hosts", "size": 1}]}
    made = body(Options("s", "b", network="none", hosts_dir="/data/hosts"), linuxParameters=tmpfs)
    assert "NetworkDisabled" not in made


def test_a_container_asks_for_the_gpus_of_its_attempt() -> None:
    task = task_of(environment=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}])
    launch = Launch("a", (), {}, 1000, 64, task=task, gpus=("GPU-1", "GPU-7"))
    made = create_body(Options("s", "b", has_gpus=True), daemon(), launch, task)
    assert made["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-7"], "Capabilities": [["gpu"]]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-7" in made["Env"]


def test_the_containers_of_a_task_have_the_gpus_that_each_asks_for() -> None:
    def container(name: str, gpus: int) -> dict[str, Any]:
        needs = [{"type": "GPU", "value": str(gpus)}] if gpus else []
        return {"name": name, "image": "busybox", "resourceRequirements": needs}

    tasks = [{"containers": [container("none", 0), container("one", 1), container("two", 2)]}]
    task = tasks_of(msgspec.json.encode({"ecsProperties": {"taskProperties": tasks}}))[0]
    launch = Launch("a", (), {}, 1000, 64, task=task, gpus=("x", "y", "z"))
    assert [gpus_of(launch, task, index) for index in range(3)] == [(), ("x",), ("y", "z")]


@pytest.mark.parametrize(("has_gpus", "own", "seen"), [(False, None, None), (True, None, "void"), (True, "all", "all")])
def test_a_container_without_gpus_sees_none_unless_its_job_says_otherwise(
    has_gpus: bool, own: str | None, seen: str | None
) -> None:
    own_variables = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": own}] if own else []
    made = body(Options("s", "b", has_gpus=has_gpus), environment=own_variables)
    variables = dict(each.split("=", 1) for each in made["Env"])
    assert variables.get("NVIDIA_VISIBLE_DEVICES") == seen
    assert "DeviceRequests" not in made["HostConfig"]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"image": "x", "privileged": True, "volumes": [{}], "user": "me"}, []),
        ({"jobRoleArn": "arn"}, ["jobRoleArn"]),
        ({"logConfiguration": {"options": {"awslogs-multiline-pattern": "^x"}}}, []),
        ({"resourceRequirements": [{"type": "GPU", "value": "1"}]}, []),
        ({"ephemeralStorage": {"sizeInGiB": 30}}, ["ephemeralStorage"]),
    ],
)
def test_what_is_not_honoured_is_named(container: dict[str, object], expected: list[str]) -> None:
    assert unsupported(container, storage_quota=False, roles=False) == expected


@pytest.mark.parametrize("member", ["jobRoleArn", "taskRoleArn"])
def test_a_role_is_honoured_where_containers_reach_the_server(member: str) -> None:
    assert unsupported({member: "arn"}, storage_quota=False, roles=True) == []


def inspected(code: int, started: str, finished: str, **state: Any) -> parse.State:
    members = {"Status": "exited", "ExitCode": code, "StartedAt": started, "FinishedAt": finished, **state}
    return parse.state_of({"Id": "c", "State": members, "Config": {"Labels": {}}})


@pytest.mark.parametrize(
    ("finished_second", "live_restore", "code", "lost"),
    [
        (10, False, 0, False),  # before the daemon went
        (30, False, 0, True),  # while it was away, or as it came back: stopped by it
        (30, True, 0, False),  # the container went on without it
        (30, True, 255, True),  # Docker has no idea
        (50, False, 137, False),  # after it came back
    ],
)
def test_ends_while_the_daemon_was_away(finished_second: int, live_restore: bool, code: int, lost: bool) -> None:
    state = inspected(code, "1970-01-01T00:00:05Z", f"1970-01-01T00:00:{finished_second}Z")
    known = daemon(LiveRestoreEnabled=live_restore)
    assert parse.died_with_the_daemon(state, known, Outage(20_000, 40_000), is_this_boot=True) is lost
    assert parse.died_with_the_daemon(state, known, None, is_this_boot=True) is False


def test_a_container_that_the_machine_took_with_it_is_lost() -> None:
    state = inspected(255, "1970-01-01T00:00:05Z", "0001-01-01T00:00:00Z")
    assert parse.died_with_the_daemon(state, daemon(), None, is_this_boot=False)


def test_a_state_that_is_not_known_is_no_error() -> None:
    state = parse.state_of({"State": {"Status": "levitating"}})
    assert state.has_ended
    assert not state.could_not_start


@pytest.mark.parametrize(
    ("info", "shares"),
    [
        ({}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=cgroupns"]}, True),
        ({"SecurityOptions": ["name=seccomp,profile=default", "name=selinux"]}, False),
        ({"SecurityOptions": ["name=userns"]}, False),
        ({"Plugins": {"Log": ["k8s-file", "journald"]}}, False),
    ],
)
def test_where_containers_use_the_hosts_files_as_they_are(info: dict[str, Any], shares: bool) -> None:
    assert daemon(**info).shares_files is shares


def test_podman_is_known_by_its_data_as_its_id_is_another_each_time() -> None:
    podman = {"Plugins": {"Log": ["k8s-file", "journald"]}, "Name": "host", "DockerRootDir": "/data"}
    assert daemon(**podman, ID="a").daemon_id == daemon(**podman, ID="b").daemon_id == "podman host /data"
    assert daemon(ID="a").daemon_id == "a"


def test_what_podman_says_of_a_container_that_ends_while_it_is_looked_at_is_asked_again() -> None:
    assert parse.is_about_the_daemon("read /proc/20626/cgroup: no such process")
    assert not parse.is_about_the_daemon("No such image: busybox")


@pytest.mark.parametrize("vcpu_milli", [2, 100, 250, 999, 1000, 2750, 96_000])
def test_what_a_container_asked_for_is_known_from_its_shares(vcpu_milli: int) -> None:
    task = task_of()
    made = create_body(Options("s", "b"), daemon(), Launch("a", (), {}, vcpu_milli, 64, task=task), task)
    assert vcpu_milli_of(made["HostConfig"]["CpuShares"]) == vcpu_milli
