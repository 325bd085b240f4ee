"""Jobs in containers, through the real API, with a server and a daemon that may die."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard import testing
from tests.engine.dockerd import IMAGE, Dockerd

SECONDS = 60.0


@pytest.fixture
def yard(dockerd: Dockerd) -> Iterator[testing.Server]:
    with server(dockerd) as yard:
        yield yard
    for container in dockerd.containers():
        dockerd.remove(container["Id"])


def server(daemon: Dockerd, **settings: Any) -> Any:
    given = {"docker_host": daemon.host, "docker_network": "none", "overcommit": True, **settings}
    return testing.server("docker", **given)


def submit(
    yard: testing.Server, *command: str, memory_mib: int = 64, job: dict[str, Any] | None = None, **more: Any
) -> str:
    """A job in the tests' image; `more` are members of containerProperties, `job` those of SubmitJob."""
    definition = yard.batch.register_job_definition(
        jobDefinitionName="contained",
        type="container",
        containerProperties={
            "image": IMAGE,
            "command": list(command),
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": str(memory_mib)},
            ],
            **more,
        },
    )
    answer = yard.batch.submit_job(
        jobName="job", jobQueue="default", jobDefinition=definition["jobDefinitionArn"], **(job or {})
    )
    return str(answer["jobId"])


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def test_a_job_runs_in_its_image_and_leaves_nothing_behind(yard: testing.Server, dockerd: Dockerd) -> None:
    assert yard.info.engine == "docker"
    job_id = submit(yard, "sh", "-c", "ls /bin/busybox; echo $AWS_BATCH_JOB_ID; exit 3")
    job = yard.wait_for(job_id)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 3)
    assert job["statusReason"] == "Essential container in task exited"
    assert yard.logs_of(job_id) == ["/bin/busybox", job_id]
    eventually(lambda: not dockerd.containers(), "the container is gone")


def test_too_much_memory_is_exit_code_137_and_the_documented_reason(yard: testing.Server) -> None:
    job = yard.wait_for(submit(yard, "tail", "/dev/zero", memory_mib=16))
    assert job["container"]["exitCode"] == 137
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_an_image_that_is_nowhere_is_said_so(yard: testing.Server) -> None:
    job = yard.wait_for(submit(yard, "true", image="127.0.0.1:1/no/such:image"))
    assert job["statusReason"] == "Task failed to start"
    assert job["container"]["reason"].startswith("CannotPullContainerError: Error response from daemon: ")


def test_a_timeout_stops_the_container(dockerd: Dockerd) -> None:
    with server(dockerd, minimum_timeout_seconds=1) as yard:
        with_init = {"linuxParameters": {"initProcessEnabled": True}}
        job_id = submit(yard, "sleep", "3600", job={"timeout": {"attemptDurationSeconds": 1}}, **with_init)
        job = yard.wait_for(job_id)
        assert job["statusReason"] == "Job attempt duration exceeded timeout"
        assert job["container"]["exitCode"] == 143


def test_a_killed_server_finds_its_containers_and_every_line_again(yard: testing.Server, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    mounts = {
        "volumes": [{"name": "shared", "host": {"sourcePath": str(tmp_path)}}],
        "mountPoints": [{"sourceVolume": "shared", "containerPath": str(tmp_path)}],
    }
    script = f"i=0; while [ ! -e {gate} ]; do echo line $i; sleep 0.01; i=$((i+1)); done; echo $i > {tmp_path}/count"
    runs = submit(yard, "sh", "-c", script, **mounts)
    ends = submit(
        yard, "sh", "-c", "sleep 0.5; echo while nobody looked; exit 5", job={"retryStrategy": {"attempts": 1}}
    )
    for job_id in (runs, ends):
        yard.wait_for(job_id, status="RUNNING")
    eventually(lambda: len(yard.logs_of(runs)) > 20, "there is some output")
    yard.kill()
    time.sleep(1)
    yard.restart()
    before = len(yard.logs_of(runs))
    eventually(lambda: len(yard.logs_of(runs)) > before + 20, "the output goes on")
    gate.touch()
    assert yard.wait_for(runs)["status"] == "SUCCEEDED"
    count = int((tmp_path / "count").read_text())
    assert yard.logs_of(runs) == [f"line {number}" for number in range(count)]
    ended = yard.wait_for(ends)
    assert ended["container"]["exitCode"] == 5
    assert yard.logs_of(ends) == ["while nobody looked"]


def test_a_terminated_job_uses_its_grace(yard: testing.Server) -> None:
    job_id = submit(yard, "sh", "-c", "trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    eventually(lambda: yard.wait_for(job_id, status="RUNNING") and yard.logs_of(job_id) == ["ready"], "it is ready")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    job = yard.wait_for(job_id)
    assert (job["statusReason"], job["container"]["exitCode"]) == ("enough", 7)
    assert yard.logs_of(job_id) == ["ready", "saved"]


def test_an_array_runs_in_as_many_containers(yard: testing.Server) -> None:
    job_id = submit(yard, "sh", "-c", "exit $AWS_BATCH_JOB_ARRAY_INDEX", job={"arrayProperties": {"size": 3}})
    assert yard.wait_for(job_id)["status"] == "FAILED"
    children = yard.batch.describe_jobs(jobs=[f"{job_id}:{index}" for index in range(3)])["jobs"]
    assert [child["container"]["exitCode"] for child in children] == [0, 1, 2]


def test_nodes_of_a_job_reach_each_other_on_a_network_of_their_own(yard: testing.Server, dockerd: Dockerd) -> None:
    own = '[ "$(hostname -i)" = "$BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS" ] && hostname'
    # Its input never ends: at the end of it, nc would tell the other to go, who may not have spoken yet.
    main = f"{own}; mkfifo /tmp/input; exec 3<>/tmp/input; nc -l -p 9000 <&3"
    other = f"{own}; until echo from $AWS_BATCH_JOB_NODE_INDEX | nc $MAIN 9000; do sleep 0.1; done; sleep 60"
    other = f"MAIN=$AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS; {other}"
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
    ranges = [
        {
            "targetNodes": nodes,
            "container": {
                "image": IMAGE,
                "command": ["sh", "-c", script],
                "resourceRequirements": sizes,
                "linuxParameters": {"initProcessEnabled": True},
            },
        }
        for nodes, script in (("0", main), ("1", other))
    ]
    definition = yard.batch.register_job_definition(
        jobDefinitionName="gang",
        type="multinode",
        nodeProperties={"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges},
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="gang", jobQueue="default", jobDefinition=definition)["jobId"]
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED", (job["attempts"], yard.logs_of(f"{job_id}#0"), yard.logs_of(f"{job_id}#1"))
    assert yard.logs_of(f"{job_id}#0") == ["node-0", "from 1"]
    assert yard.logs_of(f"{job_id}#1")[0] == "node-1"
    eventually(lambda: "batchyard-nodes" not in str(dockerd.call("GET", "/networks")), "the network is gone")
