"""What real clients depend on beyond the API reference: one test for each expectation that a single-node job can show.

The numbers are those of the list of client expectations in the project's specification; 11 to 13 are about multi-node
parallel jobs, which are not built yet.
"""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from batchyard.testing import LOG_GROUP, Server
from tests.acceptance.job_cases import Gate, Queues, fail, job_of, running, sh, succeed, unique, until
from tests.acceptance.test_boto3 import define

pytestmark = pytest.mark.acceptance


def test_01_arns_stand_for_ids_everywhere(yard: Server, queue: str, gate: Gate) -> None:
    array_id = yard.submit(sh(gate.wait), queue=queue, arrayProperties={"size": 2})
    running(yard, f"{array_id}:1")
    arn = job_of(yard, array_id)["jobArn"]
    assert [job["jobId"] for job in yard.batch.describe_jobs(jobs=[arn, f"{arn}:1"])["jobs"]] == [
        array_id,
        f"{array_id}:1",
    ]
    yard.batch.terminate_job(jobId=f"{arn}:1", reason="by ARN")
    assert fail(yard, f"{array_id}:1")["statusReason"] == "by ARN"
    yard.batch.terminate_job(jobId=arn, reason="by ARN too")
    assert fail(yard, array_id)["isTerminated"]


def test_02_filters_span_all_states_and_without_them_only_running_jobs_are_listed(
    yard: Server, queues: Queues, gate: Gate
) -> None:
    queue = queues.make()
    ended = yard.submit(["true"], queue=queue)
    succeed(yard, ended)
    runs = yard.submit(sh(gate.wait), queue=queue)
    running(yard, runs)

    def listed(**params: Any) -> list[str]:
        return [each["jobId"] for each in yard.batch.list_jobs(jobQueue=queue, **params)["jobSummaryList"]]

    assert listed() == [runs]
    assert listed(filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}]) == [runs, ended]


def test_02_a_page_holds_what_clients_that_never_page_expect(yard: Server, queue: str) -> None:
    array_id = yard.submit(["true"], queue=queue, arrayProperties={"size": 150})
    succeed(yard, array_id)
    answer = yard.batch.list_jobs(arrayJobId=array_id, jobStatus="SUCCEEDED")
    assert len(answer["jobSummaryList"]) == 150
    assert "nextToken" not in answer


def test_03_tags_are_always_there_and_array_parents_have_a_container(yard: Server, queue: str) -> None:
    array_id = yard.submit(["true"], queue=queue, arrayProperties={"size": 2})
    parent = job_of(yard, array_id)
    assert parent["tags"] == {}
    assert parent["container"]["command"] == ["true"]


def test_04_exit_code_zero_is_shown(yard: Server, queue: str) -> None:
    job = succeed(yard, yard.submit(["true"], queue=queue))
    assert job["container"]["exitCode"] == job["attempts"][-1]["container"]["exitCode"] == 0


def test_05_the_end_comes_together_with_its_time(yard: Server, queue: str) -> None:
    job_id = yard.submit(["true"], queue=queue)
    seen: list[dict[str, Any]] = []

    def has_ended() -> bool:
        seen.append(job_of(yard, job_id))
        return seen[-1]["status"] in ("SUCCEEDED", "FAILED")

    until(has_ended, "the job has ended")
    assert [("stoppedAt" in job) for job in seen] == [job["status"] == "SUCCEEDED" for job in seen]


def test_06_the_stream_is_there_as_soon_as_the_job_runs(yard: Server, queue: str, gate: Gate) -> None:
    """Although the job has written nothing."""
    job_id = yard.submit(sh(gate.wait), queue=queue)
    stream = running(yard, job_id)["container"]["logStreamName"]
    assert yard.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream)["events"] == []
    found = yard.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=stream)["logStreams"]
    assert [each["logStreamName"] for each in found] == [stream]


def test_07_the_reason_is_kept_verbatim_and_late_requests_are_answered(yard: Server, queue: str, gate: Gate) -> None:
    definition = define(yard, unique("definition"), container={"command": sh(gate.wait)})["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)["jobId"]
    running(yard, job_id)
    reason = "  because: 'é' \"quoted\" {} %s "
    yard.batch.terminate_job(jobId=job_id, reason=reason)
    assert fail(yard, job_id)["statusReason"] == reason
    yard.batch.terminate_job(jobId=job_id, reason="again")
    yard.batch.deregister_job_definition(jobDefinition=definition)
    yard.batch.deregister_job_definition(jobDefinition=definition)


def test_08_a_terminated_job_has_time_for_its_exit_trap(yard: Server, queue: str) -> None:
    script = "trap 'sleep 0.5; echo uploaded' EXIT; trap 'exit 1' TERM; echo ready; while :; do sleep 0.03; done"
    job_id = yard.submit(sh(script), queue=queue)
    until(lambda: yard.logs_of(job_id) == ["ready"], "the traps are set")
    yard.batch.terminate_job(jobId=job_id, reason="enough")
    fail(yard, job_id)
    assert yard.logs_of(job_id)[-1] == "uploaded"


def test_09_a_star_matches_a_job_without_a_reason(yard: Server, queue: str) -> None:
    strategy = {"attempts": 3, "evaluateOnExit": [{"action": "EXIT", "onReason": "*"}]}
    job = fail(yard, yard.submit(["false"], queue=queue, retryStrategy=strategy))
    assert len(job["attempts"]) == 1
    assert "reason" not in job["container"]


def test_10_the_text_of_a_timeout_is_exact(yard: Server, queue: str) -> None:
    job_id = yard.submit(["sleep", "600"], queue=queue, timeout={"attemptDurationSeconds": 1})
    job = fail(yard, job_id)
    assert job["statusReason"] == job["attempts"][-1]["statusReason"] == "Job attempt duration exceeded timeout"


def test_14_a_definition_is_echoed_as_it_was_registered(yard: Server) -> None:
    container: dict[str, Any] = {
        "image": "busybox:1",
        "command": [],
        "environment": [{"name": "A", "value": "1"}],
        "mountPoints": [],
        "volumes": [],
        "ulimits": [],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
        "privileged": False,
        "readonlyRootFilesystem": False,
        "jobRoleArn": "arn:aws:iam::123456789012:role/job",
        "linuxParameters": {"devices": [], "sharedMemorySize": 64},
    }
    members = {"parameters": {}, "retryStrategy": {"attempts": 3, "evaluateOnExit": []}, "propagateTags": False}
    members |= {"timeout": {"attemptDurationSeconds": 600}, "tags": {"a": "b"}, "platformCapabilities": ["EC2"]}
    name = unique("definition")
    yard.batch.register_job_definition(
        jobDefinitionName=name, type="container", containerProperties=container, **members
    )
    (described,) = yard.batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    for member, value in members.items():
        assert described[member] == value, member
    for member, value in container.items():
        if member == "linuxParameters":
            assert described["containerProperties"][member].items() >= container["linuxParameters"].items()
        else:
            assert described["containerProperties"][member] == value, member


def test_15_unused_parameters_and_odd_tag_keys_are_taken(yard: Server, queue: str) -> None:
    definition = define(yard, unique("definition"), parameters={"never-used.at.all": "x"})["jobDefinitionArn"]
    submitted = yard.batch.submit_job(
        jobName="job", jobQueue=queue, jobDefinition=definition, parameters={"other-one.too": "y"}, tags={"a.b/c": "d"}
    )
    assert succeed(yard, submitted["jobId"])["tags"] == {"a.b/c": "d"}


@pytest.mark.parametrize("safe", ["", ":/"], ids=["encoded", "raw"])
def test_15_tag_arns_are_taken_encoded_and_raw(yard: Server, safe: str) -> None:
    arn = "arn:aws:batch:us-east-1:123456789012:job-queue/default"
    connection = http.client.HTTPConnection(yard.endpoint_url.rpartition("/")[2], timeout=10)
    try:
        connection.request("GET", f"/v1/tags/{quote(arn, safe=safe)}")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b'{"tags":{}}')
    finally:
        connection.close()


def test_16_members_that_change_nothing_here_are_taken(yard: Server, queue: str) -> None:
    definition = define(
        yard,
        unique("definition"),
        container={
            "privileged": True,
            "volumes": [{"name": "data", "host": {"sourcePath": "/no/such/path"}}],
            "mountPoints": [{"sourceVolume": "data", "containerPath": "/data", "readOnly": True}],
            "linuxParameters": {"devices": []},
            "ulimits": [{"name": "nofile", "hardLimit": 1024, "softLimit": 1024}],
        },
        timeout={"attemptDurationSeconds": 5 * 24 * 3600},
    )["jobDefinitionArn"]
    job_id = yard.batch.submit_job(jobName="job", jobQueue=queue, jobDefinition=definition)["jobId"]
    assert succeed(yard, job_id)["container"]["privileged"] is True


def test_17_deregistering_a_definition_leaves_its_jobs_alone(yard: Server, queue: str, gate: Gate) -> None:
    definition = define(yard, unique("definition"), container={"command": sh(gate.wait)})["jobDefinitionArn"]
    submit = {"jobName": "job", "jobQueue": queue, "jobDefinition": definition}
    runs = yard.batch.submit_job(**submit)["jobId"]
    waits = yard.batch.submit_job(**submit, dependsOn=[{"jobId": runs}])["jobId"]
    running(yard, runs)
    yard.batch.deregister_job_definition(jobDefinition=definition)
    gate.open()
    succeed(yard, runs)
    succeed(yard, waits)


def test_18_shell_syntax_passes_through_untouched(yard: Server, queue: str) -> None:
    texts = ["$(date)", "$((1+1))", "$HOME", "`id`", 'it\'s "quoted"', "a\\b", "*", "~", "%d", "{}", "Ref:name", ""]
    job_id = yard.submit(["printf", "[%s]\n", *texts], queue=queue)
    job = succeed(yard, job_id)
    assert yard.logs_of(job_id) == [f"[{text}]" for text in texts]
    assert job["container"]["command"] == ["printf", "[%s]\n", *texts]


def test_19_the_service_variables_are_always_set(yard: Server, queue: str) -> None:
    names = ("AWS_BATCH_JOB_ATTEMPT", "AWS_BATCH_CE_NAME", "AWS_BATCH_JQ_NAME", "AWS_EXECUTION_ENV")
    job_id = yard.submit(sh("; ".join(f"echo ${{{name}:?}}" for name in names)), queue=queue)
    succeed(yard, job_id)
    lines = yard.logs_of(job_id)
    assert (lines[0], lines[2], len(lines)) == ("1", queue, 4)


def test_20_each_attempt_has_a_fresh_writable_folder(yard: Server, queue: str) -> None:
    script = 'test -z "$(ls -A)" && touch left-behind && pwd && test $AWS_BATCH_JOB_ATTEMPT = 2'
    array_id = yard.submit(sh(script), queue=queue, arrayProperties={"size": 2}, retryStrategy={"attempts": 2})
    succeed(yard, array_id)
    folders = {yard.logs_of(f"{array_id}:{index}")[0] for index in range(2)}
    assert len(folders) == 2


def test_20_the_program_is_looked_up_on_the_jobs_own_path(yard: Server, queue: str, tmp_path: Any) -> None:
    program = tmp_path / "my-own-program"
    program.write_text("#!/bin/sh\necho found me\n")
    program.chmod(0o755)
    fail(yard, yard.submit(["my-own-program"], queue=queue))
    job_id = yard.submit(["my-own-program"], queue=queue, environment={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    succeed(yard, job_id)
    assert yard.logs_of(job_id) == ["found me"]


def test_21_commands_and_variables_may_be_large(yard: Server, queue: str) -> None:
    """Larger than a definition may be: they come as overrides."""
    text = "line\n" * 16_000
    definition = define(yard, unique("definition"))["jobDefinitionArn"]
    overrides = {
        "command": sh('printf %s "$1" | wc -c; printf %s "$TEXT" | wc -l', text),
        "environment": [{"name": "TEXT", "value": text}],
    }
    job_id = yard.batch.submit_job(
        jobName="job", jobQueue=queue, jobDefinition=definition, containerOverrides=overrides
    )["jobId"]
    succeed(yard, job_id)
    assert yard.logs_of(job_id) == ["80000", "16000"]


def test_22_the_ends_of_a_stream(yard: Server, queue: str) -> None:
    job_id = yard.submit(["seq", "1", "3"], queue=queue)
    stream = succeed(yard, job_id)["container"]["logStreamName"]
    where = {"logGroupName": LOG_GROUP, "logStreamName": stream}
    first = yard.logs.get_log_events(**where, startFromHead=True)
    end = yard.logs.get_log_events(**where, nextToken=first["nextForwardToken"])
    assert (end["events"], end["nextForwardToken"]) == ([], first["nextForwardToken"])
    tail = yard.logs.get_log_events(**where, limit=1)
    assert [event["message"] for event in tail["events"]] == ["3"]
    before = yard.logs.get_log_events(**where, nextToken=tail["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == ["1", "2"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        yard.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=f"{stream}-not")


def test_23_a_disabled_resource_comes_back_to_valid_and_a_deleted_one_goes_away(yard: Server, queues: Queues) -> None:
    environment = queues.environment()
    queue = queues.make(environments=[environment])
    yard.batch.update_job_queue(jobQueue=queue, state="DISABLED")
    assert queues.until_queue(queue)["state"] == "DISABLED"
    yard.batch.delete_job_queue(jobQueue=queue)
    until(lambda: queues.describe_queue(queue) is None, "the queue is gone")
    yard.batch.update_compute_environment(computeEnvironment=environment, state="DISABLED")
    assert queues.until_environment(environment)["state"] == "DISABLED"
    yard.batch.delete_compute_environment(computeEnvironment=environment)
    until(lambda: queues.describe_environment(environment) is None, "the environment is gone")
