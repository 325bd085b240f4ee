"""A job with a role calls Batchyard back, with real boto3 and nothing configured, as long as it runs."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from batchyard import testing
from tests.acceptance.job_cases import Gate, until
from tests.acceptance.role_cases import (
    ASKS_FOR_METADATA,
    CALLS_BACK,
    ROLE,
    USES_A_REAL_ROLE,
    WAITS,
    client,
    define,
    fetch,
    program,
    python,
    said,
    submit,
)
from tests.sts_stand_in import sts_stand_in


@pytest.fixture(scope="module")
def yard() -> Iterator[testing.Server]:
    with testing.server(overcommit=True) as started:
        define(started, "child", ["true"])
        yield started


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_boto3_in_a_job_finds_credentials_and_the_server_by_itself(yard: testing.Server, tmp_path: Path) -> None:
    define(yard, "caller", python(program(tmp_path, CALLS_BACK)), jobRoleArn=ROLE)
    job_id = submit(yard, "caller")
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED", yard.logs_of(job_id)
    it = said(yard, job_id)
    assert (it["method"], it["status"], it["name"]) == ("container-role", "RUNNING", "caller")
    assert it["arn"] == f"arn:aws:sts::123456789012:assumed-role/Caller/{job_id}"
    assert testing.LOG_GROUP in it["groups"]
    # boto3 renews 15 minutes before the end, so there must be more left than that.
    assert 900 < it["expires_in"] <= 3600
    assert yard.wait_for(it["other"])["status"] == "SUCCEEDED"


def test_credentials_outlive_the_server_and_end_with_the_attempt(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    define(yard, "waits", python(program(tmp_path, CALLS_BACK, WAITS), str(gate.path)), jobRoleArn=ROLE)
    job_id = submit(yard, "waits")
    until(lambda: yard.logs_of(job_id), "the job has called once")
    it = said(yard, job_id)
    batch, sts = (client(service, yard.endpoint_url, it["keys"]) for service in ("batch", "sts"))
    logs = client("logs", yard.endpoint_url, it["keys"])
    assert batch.describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "RUNNING"
    yard.kill()
    yard.restart()
    assert batch.describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "RUNNING"
    token = it["environment"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    url = it["environment"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert fetch(url, token)[0] == 200
    gate.open()
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
    assert yard.logs_of(job_id)[1:] == ["RUNNING"]
    for call, expected in (
        (lambda: batch.describe_jobs(jobs=[job_id]), ("ExpiredTokenException", 403)),
        (
            lambda: batch.submit_job(jobName="x", jobQueue="default", jobDefinition="child"),
            ("ExpiredTokenException", 403),
        ),
        (lambda: logs.describe_log_groups(), ("ExpiredTokenException", 400)),
        (lambda: sts.get_caller_identity(), ("ExpiredToken", 403)),
    ):
        with pytest.raises(ClientError, match="The security token included in the request is expired") as refused:
            call()
        assert code_of(refused) == expected
    assert fetch(url, token)[0] == 404
    assert fetch(it["environment"]["ECS_CONTAINER_METADATA_URI_V4"])[0] == 404


def test_credentials_are_given_for_the_attempts_own_token_alone(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    define(yard, "two", python(program(tmp_path, CALLS_BACK, WAITS), str(gate.path)), jobRoleArn=ROLE)
    jobs = [submit(yard, "two"), submit(yard, "two")]
    for job_id in jobs:
        until(lambda job_id=job_id: yard.logs_of(job_id), "the job has called once")
    mine, other = (said(yard, job_id)["environment"] for job_id in jobs)
    url = mine["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    status, credentials = fetch(url, mine["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    assert status == 200
    assert set(credentials) == {"RoleArn", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert credentials["RoleArn"] == ROLE
    for shown in (None, other["AWS_CONTAINER_AUTHORIZATION_TOKEN"], "garbage", "\u00e9" * 40):
        assert fetch(url, shown)[0] == 403
    for wrong in (url + "x", url[:-2] + ".9", url.rpartition("/")[0] + "/garbage"):
        assert fetch(wrong, mine["AWS_CONTAINER_AUTHORIZATION_TOKEN"])[0] == 403
    metadata = mine["ECS_CONTAINER_METADATA_URI_V4"]
    assert fetch(metadata)[0] == 200
    for wrong in (metadata[:-1], metadata[:-1] + "z", metadata.rpartition(".")[0]):
        assert fetch(wrong)[0] == 404
    gate.open()


def test_stolen_halves_of_credentials_are_of_no_use(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    define(yard, "robbed", python(program(tmp_path, CALLS_BACK, WAITS), str(gate.path)), jobRoleArn=ROLE)
    jobs = [submit(yard, "robbed"), submit(yard, "robbed")]
    for job_id in jobs:
        until(lambda job_id=job_id: yard.logs_of(job_id), "the job has called once")
    (access_key, secret_key, token), others = (said(yard, job_id)["keys"] for job_id in jobs)
    for keys, expected in (
        ([access_key, "guessed", token], "InvalidSignatureException"),
        ([access_key, others[1], token], "InvalidSignatureException"),
        ([access_key, secret_key, others[2]], "UnrecognizedClientException"),
        ([access_key, secret_key, None], "UnrecognizedClientException"),
        ([access_key, secret_key, token[:-1] + "z"], "UnrecognizedClientException"),
        (["ASIA0" + "A" * 15, secret_key, "garbage"], "UnrecognizedClientException"),
    ):
        with pytest.raises(ClientError) as refused:
            client("batch", yard.endpoint_url, keys).describe_job_queues()
        assert code_of(refused) == (expected, 403)
    gate.open()


def test_a_retried_jobs_first_attempt_has_lost_its_credentials(yard: testing.Server, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    again = "\nif os.environ['AWS_BATCH_JOB_ATTEMPT'] == '1': sys.exit(1)\n"
    define(yard, "retried", python(program(tmp_path, CALLS_BACK, again, WAITS), str(gate.path)), jobRoleArn=ROLE)
    job_id = submit(yard, "retried", retryStrategy={"attempts": 2})
    attempts = until(lambda: yard.wait_for(job_id, status="RUNNING")["attempts"][1:], "it runs again")
    until(lambda: yard.logs_of(job_id), "the second attempt has called")
    assert len(attempts) == 1
    first = yard.batch.describe_jobs(jobs=[job_id])["jobs"][0]["attempts"][0]["container"]["logStreamName"]
    lines = yard.logs.get_log_events(logGroupName=testing.LOG_GROUP, logStreamName=first)["events"]
    keys = json.loads(lines[0]["message"])["keys"]
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        client("batch", yard.endpoint_url, keys).describe_job_queues()
    second = client("batch", yard.endpoint_url, said(yard, job_id)["keys"])
    assert second.describe_job_queues()["jobQueues"]
    gate.open()


def test_an_arrays_child_and_a_node_have_credentials_of_their_own(yard: testing.Server, tmp_path: Path) -> None:
    script = python(program(tmp_path, CALLS_BACK))
    define(yard, "children", script, jobRoleArn=ROLE)
    array = submit(yard, "children", arrayProperties={"size": 2})
    # The other nodes end with the main one: it has to wait until its neighbour has spoken.
    spoken = tmp_path / "spoken"
    main = f"{shlex.join(script)}; while [ ! -e {spoken} ]; do sleep 0.05; done"
    commands = {"0": ["sh", "-c", main], "1": ["sh", "-c", f"{shlex.join(script)}; touch {spoken}"]}
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "256"}]
    container = {"name": "main", "image": "busybox", "resourceRequirements": sizes}
    tasks = {
        node: {"taskRoleArn": ROLE, "containers": [{**container, "command": command}]}
        for node, command in commands.items()
    }
    ranges = [{"targetNodes": node, "ecsProperties": {"taskProperties": [task]}} for node, task in tasks.items()]
    nodes = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges}
    yard.batch.register_job_definition(jobDefinitionName="gang", type="multinode", nodeProperties=nodes)
    gang = submit(yard, "gang")
    for parent in (array, gang):
        assert yard.wait_for(parent)["status"] == "SUCCEEDED"
    arns = [said(yard, unit)["arn"] for unit in (f"{array}:0", f"{array}:1", f"{gang}#0", f"{gang}#1")]
    assert len(set(arns)) == 4 and all(":assumed-role/Caller/" in arn for arn in arns)


def test_a_jobs_own_variables_win_where_it_chooses_and_not_where_it_is_told_who_it_is(
    yard: testing.Server, tmp_path: Path
) -> None:
    own = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_BATCH": "http://127.0.0.1:1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/mine",
        "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/v4/mine",
    }
    tell = "import json, os\nprint(json.dumps(dict(os.environ)))\n"
    environment = [{"name": name, "value": value} for name, value in own.items()]
    define(yard, "chooses", python(program(tmp_path, tell)), environment=environment, jobRoleArn=ROLE)
    job_id = submit(yard, "chooses")
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
    it = said(yard, job_id)
    assert (it["AWS_DEFAULT_REGION"], it["AWS_ENDPOINT_URL_BATCH"]) == ("eu-west-1", "http://127.0.0.1:1")
    assert "AWS_REGION" not in it
    assert it["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"] == yard.endpoint_url
    assert it["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith(f"{yard.endpoint_url}/v2/credentials/")
    assert it["ECS_CONTAINER_METADATA_URI_V4"].startswith(f"{yard.endpoint_url}/v4/")


def test_a_job_without_a_role_has_metadata_and_no_credentials(yard: testing.Server, tmp_path: Path) -> None:
    define(yard, "plain", python(program(tmp_path, ASKS_FOR_METADATA)))
    job_id = submit(yard, "plain")
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED", yard.logs_of(job_id)
    it = said(yard, job_id)
    (container, task), environment = it["documents"], it["environment"]
    assert not [name for name in environment if name.startswith("AWS_CONTAINER") or name.startswith("AWS_ENDPOINT")]
    assert task["TaskARN"] == job["container"]["taskArn"] == container["Labels"]["com.amazonaws.ecs.task-arn"]
    assert (task["Family"], task["KnownStatus"], task["LaunchType"]) == ("plain", "RUNNING", "EC2")
    assert task["Limits"] == {"CPU": 1, "Memory": 256}
    assert task["Containers"] == [container]
    assert (container["Name"], container["Image"]) == ("default", "busybox")
    assert container["Limits"] == {"CPU": 1024, "Memory": 256}
    assert container["LogOptions"]["awslogs-stream"] == job["container"]["logStreamName"]


def test_no_token_is_in_an_answer_a_log_or_a_file_of_the_servers(yard: testing.Server, tmp_path: Path) -> None:
    out = tmp_path / "keys.json"
    quiet = CALLS_BACK.replace("print(json.dumps(", f"open({str(out)!r}, 'w').write(json.dumps(").replace(
        "}), flush=True)", "}))"
    )
    define(yard, "quiet", python(program(tmp_path, quiet)), jobRoleArn=ROLE)
    job_id = submit(yard, "quiet")
    job = yard.wait_for(job_id)
    assert job["status"] == "SUCCEEDED", yard.logs_of(job_id)
    it = json.loads(out.read_text())
    variables = it["environment"]
    proofs = [*it["keys"], variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]]
    proofs.append(variables["ECS_CONTAINER_METADATA_URI_V4"].rpartition(".")[2])
    stored = b"".join(path.read_bytes() for path in yard.data_dir.rglob("*") if path.is_file())
    answers = json.dumps(job, default=str) + yard.output + stored.decode("latin-1")
    assert [proof for proof in proofs if proof in answers] == []
    assert os.stat(yard.data_dir / "attempt-key").st_mode & 0o777 == 0o600


def test_a_job_has_the_credentials_of_a_real_role_if_there_is_an_sts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "servers")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    gate = Gate(tmp_path / "gate")
    gate.open()
    with sts_stand_in() as sts, testing.server(overcommit=True, sts_endpoint_url=sts.url) as yard:
        define(yard, "real", python(program(tmp_path, USES_A_REAL_ROLE), str(gate.path)), jobRoleArn=ROLE)
        job_id = submit(yard, "real")
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED", yard.logs_of(job_id)
        it = said(yard, job_id)
        assert (it["status"], it["keys"]) == ("RUNNING", ["ASIAREAL1", "real-secret", "real-token"])
        assert sts.asked == [(ROLE, job_id)]


def test_what_roles_may_do_here_is_a_setting(tmp_path: Path) -> None:
    allowed = ["batch:Describe*", "sts:GetCallerIdentity"]
    tell = """
    import boto3
    from botocore.exceptions import ClientError
    batch = boto3.client("batch")
    print(len(batch.describe_job_queues()["jobQueues"]))
    for call in (lambda: batch.submit_job(jobName="x", jobQueue="default", jobDefinition="meek"),
                 lambda: boto3.client("logs").describe_log_groups()):
        try:
            call()
        except ClientError as error:
            print(error)
    """
    with testing.server(overcommit=True, job_role_actions=allowed) as yard:
        define(yard, "meek", python(program(tmp_path, tell)), jobRoleArn=ROLE)
        job_id = submit(yard, "meek")
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED", yard.logs_of(job_id)
        who = f"User: arn:aws:sts::123456789012:assumed-role/Caller/{job_id} is not authorized to perform: "
        refusals = [
            f"An error occurred (AccessDeniedException) when calling the {operation} operation: {who}{action}"
            for operation, action in (("SubmitJob", "batch:SubmitJob"), ("DescribeLogGroups", "logs:DescribeLogGroups"))
        ]
        assert yard.logs_of(job_id) == ["1", *refusals]
        assert yard.submit(["true"])
