"""GPUs through boto3, with real processes: who gets which, over servers and a supervisor that are killed."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from batchyard.testing import Server, server
from tests.acceptance.crash_cases import kill_supervisor
from tests.acceptance.job_cases import until

pytestmark = pytest.mark.acceptance

TAKE = """
test "$NVIDIA_VISIBLE_DEVICES" = "$CUDA_VISIBLE_DEVICES" || exit 98
number=5
for gpu in $(echo "$CUDA_VISIBLE_DEVICES" | tr , ' '); do
    eval "exec $number>>$LOCKS/$gpu"
    flock -n $number || exit 99
    number=$((number + 1))
done
test $((number - 5)) = $WANTED || exit 97
echo $WANTED >>$LOCKS/diary
sleep 0.1
"""
"""Holds a lock for each GPU that it sees while it runs: 99 if somebody else has one of them."""
RETRY = {"attempts": 10, "evaluateOnExit": [{"onStatusReason": "Host EC2*", "action": "RETRY"}]}
RETRY["evaluateOnExit"].append({"onReason": "*", "action": "EXIT"})  # type: ignore[attr-defined]


def needs(gpus: int) -> dict[str, Any]:
    return {"resourceRequirements": [{"type": "GPU", "value": str(gpus)}]}


def native(yard: Server, job_id: str, view: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{yard.endpoint_url}/batchyard/v1/jobs/{job_id}/{view}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_no_gpu_is_given_twice_while_servers_and_the_supervisor_are_killed(tmp_path: Path) -> None:
    with server(gpus=4, overcommit=True, check_invariants=True) as yard:
        terms = {"retryStrategy": RETRY, "arrayProperties": {"size": 20}}

        def submit(gpus: int) -> str:
            told = {"WANTED": str(gpus), "LOCKS": str(tmp_path)}
            return yard.submit(["sh", "-c", TAKE], environment=told, containerOverrides=needs(gpus), **terms)

        jobs = [submit(1), submit(2), submit(3), submit(1)]
        diary = tmp_path / "diary"
        for number in range(3):
            count = 6 * (number + 1)
            until(lambda: diary.exists() and len(diary.read_text().split()) >= count, f"{count} have begun")  # noqa: B023
            if number == 1:
                kill_supervisor(yard)
            yard.kill()
            yard.start()
        for job in jobs:
            assert yard.wait_for(job)["status"] == "SUCCEEDED"


def test_a_job_sees_its_own_gpus_and_one_without_sees_none() -> None:
    with server(gpus="GPU-a,GPU-b", overcommit=True) as yard:
        script = 'echo "$CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES"; exec sleep 600'
        first = yard.submit(["sh", "-c", script], containerOverrides=needs(1))
        second = yard.submit(["sh", "-c", script], containerOverrides=needs(1))
        third = yard.submit(["sh", "-c", script], containerOverrides=needs(1))
        until(lambda: yard.logs_of(first) and yard.logs_of(second), "both have written")
        assert [yard.logs_of(first), yard.logs_of(second)] == [["GPU-a GPU-a"], ["GPU-b GPU-b"]]
        assert native(yard, second, "usage")["attempts"][0]["gpus"] == ["GPU-b"]
        assert native(yard, second, "notes")["notHonoured"] == ["image"]
        assert "of the 2 GPUs that this machine has 0 GPUs are free" in native(yard, third, "why")["summary"]
        yard.batch.terminate_job(jobId=first, reason="seen")
        until(lambda: yard.logs_of(third), "the third has written")
        assert yard.logs_of(third) == ["GPU-a GPU-a"]
        for job in (second, third):
            yard.batch.terminate_job(jobId=job, reason="seen")
        without = yard.submit(["sh", "-c", 'echo "[$CUDA_VISIBLE_DEVICES] $NVIDIA_VISIBLE_DEVICES"'])
        yard.wait_for(without)
        assert yard.logs_of(without) == ["[] void"]


def test_a_machine_without_gpus_says_so() -> None:
    with server(gpus=0) as yard:
        job = yard.submit(["true"], containerOverrides=needs(1))
        until(lambda: "statusReason" in yard.wait_for(job, status="RUNNABLE"), "it says why it waits")
        reason = yard.wait_for(job, status="RUNNABLE")["statusReason"]
        assert reason.startswith("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/")
        assert "it needs 1 GPU, and this machine has none" in native(yard, job, "why")["summary"]
        without = yard.submit(["sh", "-c", 'echo "${CUDA_VISIBLE_DEVICES-unset}"'], queue=_other_queue(yard))
        yard.wait_for(without)
        assert yard.logs_of(without) == ["unset"]


def _other_queue(yard: Server) -> str:
    """The GPU job blocks its own queue, and no other."""
    order = [{"order": 1, "computeEnvironment": "default"}]
    yard.batch.create_job_queue(jobQueueName="other", priority=1, computeEnvironmentOrder=order)
    until(lambda: yard.batch.describe_job_queues(jobQueues=["other"])["jobQueues"][0]["status"] == "VALID", "a queue")
    return "other"
