"""boto3 against a running server: what a job can be asked to do, and how it is shown."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from batchyard.testing import Server
from tests.acceptance.crash_cases import is_alive
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, jobs_of, running, sh, succeed, unique, until
from tests.acceptance.test_boto3 import define, refused
from tests.requirements import require

pytestmark = pytest.mark.acceptance

EXITED = "Essential container in task exited"


def timeline(job: dict[str, Any]) -> list[int]:
    return [job["createdAt"], job["startedAt"], job["stoppedAt"]]


# ---- single jobs


def test_a_job_that_succeeds(yard: Server, queue: str) -> None:
    job_id = yard.submit(["echo", "hello"], queue=queue, name="hello")
    job = succeed(yard, job_id)
    assert (job["jobName"], job["jobId"], job["statusReason"]) == ("hello", job_id, EXITED)
    assert (job["container"]["exitCode"], job["container"].get("reason")) == (0, None)
    assert timeline(job) == sorted(timeline(job))
    (attempt,) = job["attempts"]
    assert (attempt["startedAt"], attempt["stoppedAt"]) == (job["startedAt"], job["stoppedAt"])
    assert (attempt["container"]["exitCode"], attempt["statusReason"]) == (0, EXITED)
    assert attempt["container"]["logStreamName"] == job["container"]["logStreamName"]
    assert job["jobQueue"].endswith(f":job-queue/{queue}")
    assert (job["dependsOn"], job["parameters"], job["tags"]) == ([], {}, {})
    assert (job["isCancelled"], job["isTerminated"]) == (False, False)
    assert yard.logs_of(job_id) == ["hello"]


@pytest.mark.parametrize(
    ("script", "exit_code"), [("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_a_job_that_fails_shows_its_exit_code(yard: Server, queue: str, script: str, exit_code: int) -> None:
    job = fail(yard, yard.submit(sh(script), queue=queue))
    assert (job["container"]["exitCode"], job["statusReason"]) == (exit_code, EXITED)
    assert job["attempts"][0]["container"]["exitCode"] == exit_code


@pytest.mark.parametrize("command", [["no-such-program-anywhere"], ["/no/such/path"], ["/etc/passwd"], ["/"], []])
def test_a_command_that_cannot_start(yard: Server, queue: str, command: list[str]) -> None:
    job = fail(yard, yard.submit(command, queue=queue))
    assert job["statusReason"] == "Task failed to start"
    assert job["container"]["reason"].startswith("CannotStartContainerError: ")
    assert "exitCode" not in job["container"]
    assert "startedAt" not in job
    assert job["stoppedAt"] >= job["createdAt"]


def require_memory_limits(yard: Server) -> None:
    """The server says itself whether it enforces them."""
    if "memory limits: enforced" not in yard.info.limits:
        require("cgroup")


def test_a_job_over_its_memory_is_killed(yard: Server, queue: str) -> None:
    require_memory_limits(yard)
    # tail keeps what has no newline, so that it grows until it is stopped.
    job = fail(yard, yard.submit(sh("head -c 300m /dev/zero | tail | wc -c; exit 1"), queue=queue, memory_mib=32))
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_a_command_that_is_itself_killed_for_memory_has_code_137(yard: Server, queue: str) -> None:
    require_memory_limits(yard)
    job = fail(yard, yard.submit(["tail", "/dev/zero"], queue=queue, memory_mib=32))
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"
    assert job["container"]["exitCode"] == 137


def test_what_a_job_leaves_behind_is_ended_and_hinders_no_other(yard: Server, queue: str) -> None:
    job_id = yard.submit(sh("sleep 600 & echo $!; setsid sleep 600 & echo $!"), queue=queue)
    succeed(yard, job_id)
    left_behind = [int(line) for line in yard.logs_of(job_id)]
    assert len(left_behind) == 2
    for _ in range(3):
        succeed(yard, yard.submit(["true"], queue=queue))
    if "memory limits: enforced" not in yard.info.limits:
        # Without control groups a process that makes itself a session of its own gets away.
        del left_behind[1]
    assert not any(is_alive(pid) for pid in left_behind)


# ---- parameters, overrides, variables


def test_parameters_of_the_definition_are_overlaid_by_those_of_the_job(yard: Server, queue: str) -> None:
    definition = define(
        yard,
        unique("definition"),
        parameters={"color": "red", "size": "small", "unused.key-1": "x"},
        container={"command": ["echo", "Ref::color", "pre-Ref::size-post", "$(Ref::color)"]},
    )["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="job", jobQueue=queue, jobDefinition=definition, parameters={"color": "blue", "extra": "y"}
    )
    job = succeed(yard, submitted["jobId"])
    assert yard.logs_of(submitted["jobId"]) == ["blue pre-small-post $(blue)"]
    assert job["parameters"] == {"color": "blue", "size": "small", "unused.key-1": "x", "extra": "y"}
    assert job["container"]["command"] == ["echo", "blue", "pre-small-post", "$(blue)"]


def test_a_reference_without_a_parameter_is_refused(yard: Server, queue: str) -> None:
    with refused("Unable to substitute value. No parameter found for reference color"):
        yard.submit(["echo", "Ref::color"], queue=queue)


def test_container_overrides(yard: Server, queue: str) -> None:
    """The command is replaced, variables merged by name, resources replaced type by type."""
    environment = [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]
    definition = define(
        yard,
        unique("definition"),
        container={"command": ["false"], "environment": environment, "vcpus": 1, "memory": 64},
    )["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="job",
        jobQueue=queue,
        jobDefinition=definition,
        containerOverrides={
            "command": sh('echo "$A $B $C"'),
            "environment": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
            "resourceRequirements": [{"type": "MEMORY", "value": "96"}],
        },
    )
    job = succeed(yard, submitted["jobId"])
    assert yard.logs_of(submitted["jobId"]) == ["1 2 3"]
    container = job["container"]
    assert (container["vcpus"], container["memory"]) == (1, 96)
    assert {each["type"]: each["value"] for each in container["resourceRequirements"]}["MEMORY"] == "96"
    assert {each["name"]: each["value"] for each in container["environment"]} == {"A": "1", "B": "2", "C": "3"}


def test_variables_that_the_service_sets(yard: Server, queues: Queues) -> None:
    environment = queues.environment()
    queue = queues.make(environments=[environment])
    job_id = yard.submit(["env"], queue=queue)
    array_id = yard.submit(["env"], queue=queue, arrayProperties={"size": 2})
    succeed(yard, job_id)
    succeed(yard, array_id)
    common = {"JQ_NAME": queue, "CE_NAME": environment, "JOB_ATTEMPT": "1"}
    assert service_variables(yard.logs_of(job_id)) == {**common, "JOB_ID": job_id}
    assert service_variables(yard.logs_of(f"{array_id}:1")) == {
        **common,
        "JOB_ID": f"{array_id}:1",
        "JOB_ARRAY_INDEX": "1",
        "JOB_ARRAY_SIZE": "2",
    }


def service_variables(lines: list[str]) -> dict[str, str]:
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name[10:]: value for name, value in variables.items() if name.startswith("AWS_BATCH_")}


def test_large_commands_and_variables_arrive_unchanged(yard: Server, queue: str) -> None:
    """Clients put whole programs into them: tens of kB of base64, newlines, quotes."""
    value = json.dumps({"text": "line one\nline two\t'quoted' \"twice\" é $HOME $(date) `id`"}) * 400
    definition = define(yard, unique("definition"))["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="job",
        jobQueue=queue,
        jobDefinition=definition,
        containerOverrides={
            "command": sh('test "$1" = "$VALUE" && printf %s "$VALUE" | wc -c', value),
            "environment": [{"name": "VALUE", "value": value}],
        },
    )
    succeed(yard, submitted["jobId"])
    assert yard.logs_of(submitted["jobId"]) == [str(len(value.encode()))]


# ---- arrays


def test_an_array_job_and_its_children(yard: Server, queue: str, gate: Gate) -> None:
    array_id = yard.submit(
        sh(gate.wait + "echo child $AWS_BATCH_JOB_ARRAY_INDEX"), queue=queue, arrayProperties={"size": 4}
    )
    for index in range(4):
        running(yard, f"{array_id}:{index}")
    parent = job_of(yard, array_id)
    assert parent["status"] == "PENDING"
    summary = dict.fromkeys(("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"), 0)
    assert parent["arrayProperties"]["statusSummary"] == {**summary, "RUNNING": 4}
    assert parent["attempts"] == []
    gate.open()
    parent = succeed(yard, array_id)
    assert parent["arrayProperties"]["size"] == 4
    assert parent["arrayProperties"]["statusSummary"] == {**summary, "SUCCEEDED": 4}
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(4)])
    assert [child["arrayProperties"] for child in children] == [{"index": index} for index in range(4)]
    assert {child["jobName"] for child in children} == {"job"}
    lines = [yard.logs_of(child["jobId"]) for child in children]
    assert lines == [[f"child {index}"] for index in range(4)]


def test_a_failed_child_fails_the_array_once_all_have_ended(yard: Server, queue: str) -> None:
    array_id = yard.submit(sh("test $AWS_BATCH_JOB_ARRAY_INDEX != 1"), queue=queue, arrayProperties={"size": 3})
    parent = fail(yard, array_id)
    assert parent["statusReason"] == "Array Child Job failed"
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(3)])
    assert [child["status"] for child in children] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


# ---- dependencies


def test_a_dependency_is_waited_for(yard: Server, queue: str, gate: Gate) -> None:
    first = yard.submit(sh(gate.wait), queue=queue)
    other = yard.submit(["true"], queue=queue)
    second = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}, {"jobId": other}])
    succeed(yard, other)
    running(yard, first)
    assert job_of(yard, second)["status"] == "PENDING"
    gate.open()
    ended = succeed(yard, second)
    assert ended["startedAt"] >= job_of(yard, first)["stoppedAt"]
    assert [each["jobId"] for each in ended["dependsOn"]] == [first, other]


def test_a_failed_dependency_fails_what_waits_for_it(yard: Server, queue: str) -> None:
    first = yard.submit(["false"], queue=queue)
    second = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}])
    third = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": second}], retryStrategy={"attempts": 3})
    array = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}], arrayProperties={"size": 2})
    for job_id in (second, third, array, f"{array}:1"):
        job = fail(yard, job_id)
        assert job["attempts"] == []
        assert "logStreamName" not in job["container"]
        assert "startedAt" not in job
        assert job["stoppedAt"] >= job["createdAt"]
    assert job_of(yard, second)["statusReason"] == "Dependent Job failed"
    late = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": first}])
    assert fail(yard, late)["statusReason"] == "Dependent Job failed"


def test_depending_on_one_child_of_an_array(yard: Server, queue: str, gate: Gate) -> None:
    script = f"test $AWS_BATCH_JOB_ARRAY_INDEX = 0 || {{ {gate.wait} }}"
    array_id = yard.submit(sh(script), queue=queue, arrayProperties={"size": 2})
    on_first = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": f"{array_id}:0"}])
    on_second = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": f"{array_id}:1"}])
    spelled_as_a_node = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": f"{array_id}#1"}])
    on_all = yard.submit(["true"], queue=queue, dependsOn=[{"jobId": array_id}])
    succeed(yard, on_first)
    assert [job_of(yard, job_id)["status"] for job_id in (on_second, on_all)] == ["PENDING"] * 2
    gate.open()
    succeed(yard, on_second)
    succeed(yard, spelled_as_a_node)
    succeed(yard, on_all)


def test_n_to_n_pairs_children_by_index(yard: Server, queue: str, gate: Gate) -> None:
    """Child 1 of the first array fails and child 2 waits: each decides for its partner alone."""
    script = f"case $AWS_BATCH_JOB_ARRAY_INDEX in 1) exit 1;; 2) {gate.wait};; esac"
    first = yard.submit(sh(script), queue=queue, arrayProperties={"size": 3})
    second = yard.submit(
        ["true"], queue=queue, arrayProperties={"size": 3}, dependsOn=[{"jobId": first, "type": "N_TO_N"}]
    )
    succeed(yard, f"{second}:0")
    assert fail(yard, f"{second}:1")["statusReason"] == "Dependent Job failed"
    assert job_of(yard, f"{second}:2")["status"] == "PENDING"
    gate.open()
    succeed(yard, f"{second}:2")
    assert fail(yard, second)["statusReason"] == "Array Child Job failed"


def test_sequential_children_run_one_after_the_other(yard: Server, queue: str) -> None:
    array_id = yard.submit(["true"], queue=queue, arrayProperties={"size": 4}, dependsOn=[{"type": "SEQUENTIAL"}])
    succeed(yard, array_id)
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(4)])
    for before, after in itertools.pairwise(children):
        assert before["stoppedAt"] <= after["startedAt"]


def test_a_sequential_array_stops_at_a_failure(yard: Server, queue: str) -> None:
    array_id = yard.submit(
        sh("test $AWS_BATCH_JOB_ARRAY_INDEX != 1"),
        queue=queue,
        arrayProperties={"size": 4},
        dependsOn=[{"type": "SEQUENTIAL"}],
    )
    fail(yard, array_id)
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(4)])
    assert [child["status"] for child in children] == ["SUCCEEDED", "FAILED", "FAILED", "FAILED"]
    assert [len(child["attempts"]) for child in children] == [1, 1, 0, 0]
    assert children[3]["statusReason"] == "Dependent Job failed"


# ---- retries and timeouts


def test_failed_attempts_are_retried(yard: Server, queue: str) -> None:
    job_id = yard.submit(
        sh("echo attempt $AWS_BATCH_JOB_ATTEMPT; test $AWS_BATCH_JOB_ATTEMPT = 3"),
        queue=queue,
        retryStrategy={"attempts": 5},
    )
    job = succeed(yard, job_id)
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [1, 1, 0]
    streams = [attempt["container"]["logStreamName"] for attempt in job["attempts"]]
    assert len(set(streams)) == 3
    assert job["container"]["logStreamName"] == streams[-1]
    where = {"logGroupName": "/aws/batch/job", "startFromHead": True}
    pages = [yard.logs.get_log_events(**where, logStreamName=stream) for stream in streams]
    assert [page["events"][0]["message"] for page in pages] == ["attempt 1", "attempt 2", "attempt 3"]


def test_the_last_attempt_decides(yard: Server, queue: str) -> None:
    job = fail(yard, yard.submit(["no-such-program"], queue=queue, retryStrategy={"attempts": 3}))
    assert len(job["attempts"]) == 3
    assert {attempt["statusReason"] for attempt in job["attempts"]} == {"Task failed to start"}


@pytest.mark.parametrize(
    ("rules", "attempts"),
    [
        ([{"action": "EXIT", "onExitCode": "42"}], 1),
        ([{"action": "exit", "onExitCode": "4*"}], 1),
        ([{"action": "EXIT", "onExitCode": "4"}], 3),
        ([{"action": "RETRY", "onExitCode": "42"}, {"action": "EXIT", "onReason": "*"}], 3),
        ([{"action": "RETRY", "onExitCode": "1"}, {"action": "EXIT", "onReason": "*"}], 1),
        ([{"action": "EXIT", "onStatusReason": "Essential*"}], 1),
        ([{"action": "EXIT", "onStatusReason": "Essential"}], 3),
        ([{"action": "EXIT", "onStatusReason": "Host EC2*"}], 3),
        ([{"action": "EXIT", "onExitCode": "42", "onStatusReason": "Host EC2*"}], 3),
    ],
)
def test_evaluate_on_exit_takes_the_first_rule_that_matches(
    yard: Server, queue: str, rules: list[dict[str, str]], attempts: int
) -> None:
    strategy = {"attempts": 3, "evaluateOnExit": rules}
    job = fail(yard, yard.submit(sh("exit 42"), queue=queue, retryStrategy=strategy))
    assert len(job["attempts"]) == attempts


def test_a_start_failure_can_be_told_by_its_reason(yard: Server, queue: str) -> None:
    rules = [{"action": "EXIT", "onReason": "CannotStartContainerError*"}]
    strategy = {"attempts": 3, "evaluateOnExit": rules}
    job = fail(yard, yard.submit(["no-such-program"], queue=queue, retryStrategy=strategy))
    assert len(job["attempts"]) == 1


def test_a_timeout_ends_the_job_for_good(yard: Server, queue: str) -> None:
    job = fail(
        yard,
        yard.submit(
            ["sleep", "600"], queue=queue, timeout={"attemptDurationSeconds": 1}, retryStrategy={"attempts": 3}
        ),
    )
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    assert len(job["attempts"]) == 1
    assert 1000 <= job["stoppedAt"] - job["startedAt"] < 10_000
    assert job["timeout"] == {"attemptDurationSeconds": 1}


def test_the_timeout_counts_for_each_attempt_and_each_child_alone(yard: Server, queue: str) -> None:
    script = "test $AWS_BATCH_JOB_ATTEMPT = 2 || { sleep 0.7; exit 1; }; sleep 0.7"
    array_id = yard.submit(
        sh(script),
        queue=queue,
        arrayProperties={"size": 2},
        retryStrategy={"attempts": 2},
        timeout={"attemptDurationSeconds": 1},
    )
    assert succeed(yard, array_id)["status"] == "SUCCEEDED"


# ---- order


def test_a_queue_starts_jobs_in_the_order_of_submission(yard: Server, queues: Queues, gate: Gate) -> None:
    queue = queues.make(max_vcpus=1)
    first = yard.submit(sh(gate.wait), queue=queue)
    later = [yard.submit(["true"], queue=queue) for _ in range(3)]
    array = yard.submit(["true"], queue=queue, arrayProperties={"size": 2})
    last = yard.submit(["true"], queue=queue)
    gate.open()
    succeed(yard, last)
    order = jobs_of(yard, [first, *later, f"{array}:0", f"{array}:1", last])
    for before, after in itertools.pairwise(order):
        assert before["stoppedAt"] <= after["startedAt"]


def test_the_queue_with_the_higher_priority_goes_first(yard: Server, queues: Queues, gate: Gate) -> None:
    environment = queues.environment(max_vcpus=1)
    low = queues.make(environments=[environment], priority=1)
    high = queues.make(environments=[environment], priority=10)
    blocker = yard.submit(sh(gate.wait), queue=low)
    running(yard, blocker)
    waits_low = yard.submit(["true"], queue=low)
    waits_high = yard.submit(["true"], queue=high)
    for job_id in (waits_low, waits_high):
        yard.wait_for(job_id, status="RUNNABLE")
    gate.open()
    assert succeed(yard, waits_high)["stoppedAt"] <= succeed(yard, waits_low)["startedAt"]


def test_environments_are_filled_in_their_order(yard: Server, queues: Queues, gate: Gate) -> None:
    first, second = queues.environment(max_vcpus=1), queues.environment(max_vcpus=2)
    queue = queues.make(environments=[first, second])
    script = "echo $AWS_BATCH_CE_NAME;" + gate.wait
    job_ids = [yard.submit(sh(script), queue=queue) for _ in range(4)]
    for job_id in job_ids[:3]:
        running(yard, job_id)
        until(lambda job_id=job_id: yard.logs_of(job_id), "the job has written its line")  # type: ignore[misc]
    assert job_of(yard, job_ids[3])["status"] == "RUNNABLE"
    assert [yard.logs_of(job_id) for job_id in job_ids[:3]] == [[first], [second], [second]]
    gate.open()
    succeed(yard, job_ids[3])


def test_a_head_that_does_not_fit_holds_back_what_came_later(yard: Server, queues: Queues, gate: Gate) -> None:
    queue = queues.make(max_vcpus=2)
    blocker = yard.submit(sh(gate.wait), queue=queue)
    running(yard, blocker)
    wide = yard.submit(["true"], queue=queue, vcpus=2)
    narrow = yard.submit(["true"], queue=queue)
    for job_id in (wide, narrow):
        yard.wait_for(job_id, status="RUNNABLE")
    gate.open()
    assert succeed(yard, wide)["stoppedAt"] <= succeed(yard, narrow)["startedAt"]
