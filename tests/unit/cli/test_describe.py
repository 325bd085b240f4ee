from __future__ import annotations

import json
from collections.abc import Callable

from batchyard.cli import command
from batchyard.cli.describe import fields_of
from tests.unit.cli.conftest import Run
from tests.unit.cli.service import JOB_ID, NOW_MS, Service, described, job

Serve = Callable[..., Service]

FINISHED = job(
    status="FAILED",
    statusReason="Essential container in task exited",
    startedAt=NOW_MS + 2_000,
    stoppedAt=NOW_MS + 65_000,
    isTerminated=True,
    container={
        "image": "busybox",
        "command": command.wrap(["./work.sh", "a b"], folder="/home/me", is_array=False),
        "environment": [{"name": "TOKEN", "value": "secret-value"}, {"name": "A", "value": "1"}],
        "resourceRequirements": [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "512"}],
        "exitCode": 3,
        "logStreamName": "work/default/second",
    },
    attempts=[
        {
            "container": {"exitCode": 1, "logStreamName": "work/default/first"},
            "startedAt": NOW_MS + 1_000,
            "stoppedAt": NOW_MS + 2_000,
            "statusReason": "Essential container in task exited",
        },
        {
            "container": {"exitCode": 3, "reason": "worn out", "logStreamName": "work/default/second"},
            "startedAt": NOW_MS + 2_000,
            "stoppedAt": NOW_MS + 65_000,
        },
    ],
    retryStrategy={"attempts": 3, "evaluateOnExit": [{"onExitCode": "3", "action": "exit"}]},
    timeout={"attemptDurationSeconds": 3600},
    dependsOn=[{"jobId": "other"}, {"type": "SEQUENTIAL"}],
    tags={"team": "blue", "batchyard:not-honoured": "volumes"},
)


SIZES = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
WORK = {"name": "work", "image": "busybox", "command": ["./work.sh"], "resourceRequirements": SIZES}
SIDE = {"name": "side", "image": "redis", "essential": False, "resourceRequirements": SIZES, "exitCode": 9}
NEEDS = [{"containerName": "side", "condition": "START"}]
SEVERAL = job(
    status="FAILED",
    container={},
    ecsProperties={
        "taskProperties": [
            {
                "containers": [
                    {**SIDE, "logStreamName": "d/side/x"},
                    {**WORK, "dependsOn": NEEDS, "exitCode": 3, "reason": "worn out", "logStreamName": "d/work/x"},
                ]
            }
        ]
    },
)


def test_each_container_of_a_task_of_several_is_shown() -> None:
    fields = dict(fields_of(SEVERAL))
    assert (fields["exit code"], fields["reason"]) == ("3", "worn out")
    assert fields["container side"] == "redis (1 vCPU, 64 MiB), not essential\nexit code 9"
    assert fields["container work"] == (
        "./work.sh\nbusybox (1 vCPU, 64 MiB)\nwaits for START of side\nexit code 3, worn out"
    )
    assert fields["log streams"] == "d/side/x\nd/work/x"
    assert "command" not in fields


def test_what_there_is_to_say_about_a_finished_job() -> None:
    fields = dict(fields_of(FINISHED))
    assert fields["status"] == "FAILED (terminated)"
    assert fields["why"] == "Essential container in task exited"
    assert fields["exit code"] == "3"
    assert fields["command"] == "./work.sh 'a b'"
    assert fields["in folder"] == "/home/me"
    assert fields["resources"] == "2 vCPU, 512 MiB"
    assert fields["attempts"] == "2 of 3, 1 rule on exit"
    assert fields["timeout"] == "1:00:00 an attempt"
    assert fields["depends on"] == "other, SEQUENTIAL"
    assert fields["log streams"] == "work/default/first\nwork/default/second"
    assert fields["tags"] == "team=blue"
    assert fields["batchyard"] == "not-honoured=volumes"
    assert fields["started"].endswith("(waited 2.0s)")
    assert fields["stopped"].endswith("(ran 1m 03s)")


def test_values_of_the_environment_are_not_shown() -> None:
    fields = dict(fields_of(FINISHED))
    assert fields["environment"] == "A, TOKEN"
    assert "secret-value" not in str(fields)


def test_a_job_that_waits_has_few_fields_and_says_why() -> None:
    fields = dict(fields_of(job(statusReason="MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - too large")))
    assert fields["why"].startswith("MISCONFIGURATION")
    assert not {"exit code", "started", "stopped", "running for", "attempts", "log streams"} & set(fields)


def test_a_running_job_says_for_how_long() -> None:
    fields = dict(fields_of(job(status="RUNNING", startedAt=NOW_MS), NOW_MS + 90_000))
    assert fields["running for"] == "1m 30s"


def test_an_array_is_summed_up() -> None:
    summary = {"SUCCEEDED": 7, "RUNNING": 3, "FAILED": 0}
    fields = dict(fields_of(job(status="PENDING", arrayProperties={"size": 10, "statusSummary": summary})))
    assert fields["children"] == "10: 7 SUCCEEDED, 3 RUNNING"
    assert dict(fields_of(job(arrayProperties={"index": 0})))["children"] == "this is child 0"


def test_a_multi_node_job_is_summed_up_and_its_main_nodes_exit_code_is_its_own() -> None:
    sizes = [{"type": "VCPU", "value": "2"}, {"type": "MEMORY", "value": "64"}]
    ranges = [
        {"targetNodes": "0", "container": {"command": ["lead"], "resourceRequirements": sizes}},
        {"targetNodes": "1:", "container": {"command": ["follow", "me"], "resourceRequirements": sizes}},
    ]
    fields = dict(
        fields_of(
            job(
                status="FAILED",
                nodeProperties={"numNodes": 3, "mainNode": 0, "nodeRangeProperties": ranges},
                attempts=[{"container": {"exitCode": 7, "logStreamName": "s"}}],
            )
        )
    )
    assert fields["nodes"] == "3, main node 0"
    assert fields["runs"] == "0 (2 vCPU, 64 MiB): lead\n1: (2 vCPU, 64 MiB): follow me"
    assert (fields["exit code"], fields["log streams"]) == ("7", "s")


def test_a_node_says_which_it_is_and_where() -> None:
    container = {"command": ["x"], "networkInterfaces": [{"privateIpv4Address": "127.20.0.2"}]}
    fields = dict(fields_of(job(nodeDetails={"nodeIndex": 1, "isMainNode": True}, container=container)))
    assert (fields["node"], fields["address"]) == ("this is node 1, the main node", "127.20.0.2")


def test_several_attempts_get_a_table(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(FINISHED))
    lines = run("describe", JOB_ID).stdout.splitlines()
    assert lines[0] == f"work {JOB_ID}"
    attempts = lines[lines.index(next(line for line in lines if line.startswith("ATTEMPT"))) :]
    assert [line.split()[0] for line in attempts] == ["ATTEMPT", "1", "2"]
    assert attempts[2].endswith("worn out")


def test_json_is_the_answer_of_the_api(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(FINISHED))
    (answered,) = json.loads(run("describe", JOB_ID, "--json").stdout)["jobs"]
    assert answered["container"]["environment"] == FINISHED["container"]["environment"]


def test_the_jobs_that_are_there_are_shown_though_one_is_missing(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(FINISHED))
    missing = "a" + JOB_ID[1:]
    result = run("describe", JOB_ID, missing)
    assert result.exit_code == 1
    assert "status:" in result.stdout
    assert f"there is no job {missing}" in result.stderr


def test_what_the_attempts_used_and_what_was_not_honoured_comes_from_batchyard_itself(run: Run, serve: Serve) -> None:
    service = serve(DescribeJobs=described(FINISHED))
    used = {"number": 2, "attemptId": "b", "wallSeconds": 63.0, "cpuSeconds": 1.5, "peakMemoryBytes": 3 << 20}
    total = {"attempts": 2, "wallSeconds": 64.0, "cpuSeconds": 2.5, "peakMemoryBytes": 3 << 20}
    service.views[(JOB_ID, "usage")] = {"jobId": JOB_ID, "attempts": [used], "total": total}
    service.views[(JOB_ID, "notes")] = {"jobId": JOB_ID, "engine": "process", "notHonoured": ["image", "user"]}
    lines = run("describe", JOB_ID).stdout.splitlines()
    fields = dict(line.strip().split(":", 1) for line in lines if ":" in line)
    assert fields["CPU time"].strip() == "2.5s"
    assert fields["peak memory"].strip() == "3.0 MiB"
    assert fields["not honoured"].strip() == "image, user (by the process engine)"
    assert "1.5s" in lines[-1] and "3.0 MiB" in lines[-1] and "3.0 MiB" not in lines[-2]
    answer = json.loads(run("describe", JOB_ID, "--json").stdout)
    assert answer["usage"] == {JOB_ID: service.views[(JOB_ID, "usage")]}
    assert answer["notes"][JOB_ID]["engine"] == "process"


def test_another_server_has_no_usage_and_no_notes(run: Run, serve: Serve) -> None:
    serve(DescribeJobs=described(FINISHED))
    assert "CPU time" not in run("describe", JOB_ID).stdout
    assert json.loads(run("describe", JOB_ID, "--json").stdout).keys() == {"jobs"}
