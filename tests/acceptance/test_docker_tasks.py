"""Tasks of several containers, through the real API, with a server that may die."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard import testing
from tests.acceptance.test_cli import BATCHYARD, environment
from tests.acceptance.test_docker import eventually, server
from tests.engine.dockerd import IMAGE, Dockerd

Members = dict[str, Any]
TRAP = "trap 'echo stopped; exit 9' TERM;"


@pytest.fixture
def yard(dockerd: Dockerd) -> Iterator[testing.Server]:
    with server(dockerd) as yard:
        make_room(yard)
        yield yard
    for container in dockerd.containers():
        dockerd.remove(container["Id"])


def make_room(yard: testing.Server) -> None:
    """For more containers than the machine has processors."""
    yard.batch.update_compute_environment(computeEnvironment="default", computeResources={"maxvCpus": 16})


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def container(name: str, script: str, *needs: str, **members: Any) -> Members:
    """`needs` are written `other:CONDITION`. $SHARED is a folder of the test's own."""
    return {
        "name": name,
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
        "dependsOn": [dict(zip(("containerName", "condition"), need.split(":"), strict=True)) for need in needs],
        **members,
    }


def task(shared: Path, *containers: Members, **members: Any) -> Members:
    mount = {"sourceVolume": "shared", "containerPath": str(shared)}
    volume = {"name": "shared", "host": {"sourcePath": str(shared)}}
    mounted = [{**each, "mountPoints": [mount]} for each in containers]
    return {"taskProperties": [{"containers": mounted, "volumes": [volume], **members}]}


def submit(yard: testing.Server, properties: Members, **job: Any) -> str:
    yard.batch.register_job_definition(jobDefinitionName="task", type="container", ecsProperties=properties)
    answer = yard.batch.submit_job(jobName="job", jobQueue="default", jobDefinition="task", **job)
    return str(answer["jobId"])


def until(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


def containers_of(job: Members) -> list[Members]:
    containers: list[Members] = job["ecsProperties"]["taskProperties"][0]["containers"]
    return containers


def runs(dockerd: Dockerd, name: str) -> bool:
    return any(each["State"] == "running" for each in dockerd.containers() if f"/{name}" in each["Names"])


def test_a_service_a_setup_and_the_work_are_one_job(yard: testing.Server, dockerd: Dockerd, tmp_path: Path) -> None:
    setup = container("setup", f"echo ready; echo hello > {tmp_path}/page", essential=False)
    web = container("web", f"nc -l -p 80 < {tmp_path}/page; sleep 600", "setup:SUCCESS", essential=False, stopTimeout=2)
    work = container("work", "until nc 127.0.0.1 80 </dev/null; do sleep 0.05; done", "web:START")
    job_id = submit(yard, task(tmp_path, work, web, setup))
    job = yard.wait_for(job_id)
    assert (job["status"], job["statusReason"]) == ("SUCCEEDED", "Essential container in task exited")
    assert [each["exitCode"] for each in containers_of(job)] == [0, 137, 0]
    streams = [each["logStreamName"] for each in containers_of(job)]
    assert streams == [f"task/{name}/{job_id}" for name in ("work", "web", "setup")]
    (attempt,) = job["attempts"]
    (ran,) = attempt["taskProperties"]
    assert [(each["name"], each["exitCode"]) for each in ran["containers"]] == [("work", 0), ("web", 137), ("setup", 0)]
    assert ":task/" in ran["taskArn"] and ":container-instance/" in ran["containerInstanceArn"]
    assert (yard.logs_of(job_id, "work"), yard.logs_of(job_id, "setup")) == (["hello"], ["ready"])
    eventually(lambda: not dockerd.containers(), "all containers are gone")


def test_the_job_is_starting_until_its_last_container_has_started(
    yard: testing.Server, dockerd: Dockerd, tmp_path: Path, gate: Path
) -> None:
    setup = container("setup", until(gate), essential=False)
    job_id = submit(yard, task(tmp_path, container("work", until(tmp_path / "end"), "setup:COMPLETE"), setup))
    eventually(lambda: runs(dockerd, f"{job_id}.setup"), "the setup runs")
    assert yard.batch.describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "STARTING"
    gate.touch()
    running = yard.wait_for(job_id, status="RUNNING")
    assert "logStreamName" in containers_of(running)[1]
    (tmp_path / "end").touch()
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"


def test_the_first_failure_of_an_essential_container_is_the_jobs(yard: testing.Server, tmp_path: Path) -> None:
    other = container("other", f"{TRAP} touch {tmp_path}/up; sleep 600 & wait")
    fails = container("fails", f"{until(tmp_path / 'up')}; exit 4")
    retry = {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onExitCode": "4"}]}
    job = yard.wait_for(submit(yard, task(tmp_path, other, fails), retryStrategy=retry))
    assert job["status"] == "FAILED"
    assert len(job["attempts"]) == 1
    assert [each["exitCode"] for each in containers_of(job)] == [9, 4]
    (summary,) = yard.batch.list_jobs(jobQueue="default", jobStatus="FAILED")["jobSummaryList"]
    assert summary["container"]["exitCode"] == 4


def test_what_a_container_waited_for_in_vain_is_its_reason(yard: testing.Server, tmp_path: Path) -> None:
    setup = container("setup", "echo broken; exit 5", essential=False)
    job_id = submit(yard, task(tmp_path, container("work", "true", "setup:SUCCESS"), setup))
    job = yard.wait_for(job_id)
    work, setup = containers_of(job)
    assert job["status"] == "FAILED"
    assert work["reason"].endswith("container 'setup' ended with exit code 5, and was to succeed")
    assert "exitCode" not in work
    assert setup["exitCode"] == 5
    assert yard.logs_of(job_id, "setup") == ["broken"]


def test_overrides_reach_their_containers(yard: testing.Server, tmp_path: Path) -> None:
    limit = "cat memory/memory.limit_in_bytes 2> /dev/null || cat memory.max"
    script = f"echo $WORD; cd /sys/fs/cgroup; echo $(($({limit}) / 1048576))"
    properties = task(tmp_path, container("a", f"{script}; {until(tmp_path / 'b')}"), container("b", "exit 1"))
    changed = [
        {
            "name": "b",
            "command": ["sh", "-c", f"{script}; touch {tmp_path}/b"],
            "environment": [{"name": "WORD", "value": "changed"}],
            "resourceRequirements": [{"type": "MEMORY", "value": "96"}],
        },
        {"name": "a", "environment": [{"name": "WORD", "value": "other"}]},
    ]
    properties["taskProperties"][0]["containers"][1]["essential"] = False
    job_id = submit(yard, properties, ecsPropertiesOverride={"taskProperties": [{"containers": changed}]})
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
    assert (yard.logs_of(job_id, "a"), yard.logs_of(job_id, "b")) == (["other", "64"], ["changed", "96"])


def test_terminating_stops_all_containers(yard: testing.Server, dockerd: Dockerd, tmp_path: Path) -> None:
    names = ("a", "b")
    waits = [container(name, f"{TRAP} touch {tmp_path}/{name}; sleep 600 & wait") for name in names]
    job_id = submit(yard, task(tmp_path, *waits))
    eventually(lambda: all((tmp_path / name).exists() for name in names), "both run")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    job = yard.wait_for(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "enough")
    assert [each["exitCode"] for each in containers_of(job)] == [9, 9]
    assert [yard.logs_of(job_id, name) for name in names] == [["stopped"]] * 2
    eventually(lambda: not dockerd.containers(), "all containers are gone")


def test_the_command_line_tells_containers_apart(yard: testing.Server, tmp_path: Path) -> None:
    main = container("main", f"echo from main; {until(tmp_path / 'end')}; exit 3")
    side = container("side", f"{TRAP} echo from side; sleep 600 & wait", essential=False)
    job_id = submit(yard, task(tmp_path, main, side))
    yard.wait_for(job_id, status="RUNNING")
    command = [*BATCHYARD, "logs", "--follow", job_id]
    follow = subprocess.Popen(command, env=environment(yard.data_dir), stdout=subprocess.PIPE, text=True)
    inside = ["exec", "--container", "side", job_id, "--", "sh", "-c", f"hostname; touch {tmp_path}/end"]
    assert ran(yard, *inside).returncode == 0
    followed, _ = follow.communicate(timeout=60)
    assert sorted(followed.splitlines()) == ["main | from main", "side | from side", "side | stopped"]
    assert ran(yard, "logs", "--container", "side", job_id).stdout == "from side\nstopped\n"
    assert (
        "the job has no container other: it has main, side." in ran(yard, "logs", "--container", "other", job_id).stderr
    )
    assert "container side" in ran(yard, "describe", job_id).stdout


def ran(yard: testing.Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHYARD, *arguments],
        env=environment(yard.data_dir),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_timeout_stops_all_containers(dockerd: Dockerd, tmp_path: Path) -> None:
    with server(dockerd, minimum_timeout_seconds=1) as yard:
        make_room(yard)
        waits = [container(name, f"{TRAP} sleep 600 & wait") for name in ("a", "b")]
        job = yard.wait_for(submit(yard, task(tmp_path, *waits), timeout={"attemptDurationSeconds": 1}))
        assert job["statusReason"] == "Job attempt duration exceeded timeout"
        assert [each["exitCode"] for each in containers_of(job)] == [9, 9]


@pytest.mark.parametrize("killed", ["while the setup runs", "while all run"])
def test_a_killed_server_takes_the_task_up_where_it_is(
    yard: testing.Server, dockerd: Dockerd, tmp_path: Path, gate: Path, killed: str
) -> None:
    setup = container("setup", f"echo setup >> {tmp_path}/order; {until(gate)}; echo set up", essential=False)
    work = container("work", f"echo work >> {tmp_path}/order; {until(tmp_path / 'end')}; echo done", "setup:SUCCESS")
    aside = container("aside", f"{TRAP} echo aside >> {tmp_path}/order; sleep 600 & wait", essential=False)
    job_id = submit(yard, task(tmp_path, work, setup, aside))
    eventually(lambda: runs(dockerd, f"{job_id}.setup"), "the setup runs")
    eventually(lambda: runs(dockerd, f"{job_id}.aside"), "what waits for nothing runs")
    if killed == "while the setup runs":
        yard.kill()
        gate.touch()
        eventually(lambda: not runs(dockerd, f"{job_id}.setup"), "the setup has ended while no server was there")
    else:
        gate.touch()
        yard.wait_for(job_id, status="RUNNING")
        yard.kill()
    yard.restart()
    yard.wait_for(job_id, status="RUNNING")
    (tmp_path / "end").touch()
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED"
    assert len(job["attempts"]) == 1
    assert [each["exitCode"] for each in containers_of(job)] == [0, 0, 9]
    assert sorted((tmp_path / "order").read_text().split()) == ["aside", "setup", "work"]
    assert [yard.logs_of(job_id, name) for name in ("work", "setup", "aside")] == [["done"], ["set up"], ["stopped"]]


def test_containers_of_a_node_share_its_address(yard: testing.Server, dockerd: Dockerd, tmp_path: Path) -> None:
    serve = container("serve", "hostname | nc -l -p 9000; sleep 600", essential=False, stopTimeout=2)
    asks = "until nc 127.0.0.1 9000 </dev/null > /tmp/name; do sleep 0.05; done; cat /tmp/name"
    main = container("main", f'{asks}; [ "$(hostname -i)" = "$BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS" ]', "serve:START")
    ranges = [{"targetNodes": "0:", "ecsProperties": task(tmp_path, main, serve)}]
    definition = yard.batch.register_job_definition(
        jobDefinitionName="gang",
        type="multinode",
        nodeProperties={"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges},
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="gang", jobQueue="default", jobDefinition=definition)["jobId"]
    gang = yard.wait_for(job_id)
    assert gang["status"] == "SUCCEEDED"
    (attempted,) = gang["attempts"][0]["taskProperties"]
    assert [each["name"] for each in attempted["containers"]] == ["main", "serve"]
    node = yard.batch.describe_jobs(jobs=[f"{job_id}#0"])["jobs"][0]
    main, serve = containers_of(node)
    assert main["networkInterfaces"] == serve["networkInterfaces"] != []
    assert yard.logs_of(f"{job_id}#0", "main") == ["node-0"]


def test_an_array_of_tasks(yard: testing.Server, dockerd: Dockerd, tmp_path: Path) -> None:
    index = "$AWS_BATCH_JOB_ARRAY_INDEX"
    first = container("first", f"echo {index} > {tmp_path}/{index}", essential=False)
    second = container("second", f"cat {tmp_path}/{index}; exit {index}", "first:SUCCESS")
    job_id = submit(yard, task(tmp_path, second, first), arrayProperties={"size": 2})
    yard.wait_for(job_id)
    children = yard.batch.describe_jobs(jobs=[f"{job_id}:{index}" for index in range(2)])["jobs"]
    assert [[each["exitCode"] for each in containers_of(child)] for child in children] == [[0, 0], [1, 0]]
    assert [yard.logs_of(child["jobId"]) for child in children] == [["0"], ["1"]]


def test_the_process_engine_refuses_several_containers(tmp_path: Path) -> None:
    with testing.server("process", overcommit=True) as yard:
        make_room(yard)
        properties = task(tmp_path, container("a", "true"), container("b", "true"))
        with pytest.raises(ClientError, match="Running a task of several containers with the process engine is not"):
            submit(yard, properties)
