"""The user guide's tutorials with the real AWS CLI, as it prints them.

The print-color image has the script as its entrypoint; the process engine uses no image, so that the script is the
command here. The JobA…JobE pipeline runs 10,000 copies in the guide and 6 here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchyard.testing import Server, server
from tests.acceptance.aws_cli_cases import AwsCli
from tests.acceptance.job_cases import Queues, fail, sh, succeed
from tests.requirements import require

pytestmark = pytest.mark.acceptance

COLORS = ("red", "orange", "yellow", "green", "blue", "indigo", "violet")
PRINT_COLOR = """#!/bin/sh
LINE=$((AWS_BATCH_JOB_ARRAY_INDEX + 1))
COLOR=$(sed -n ${LINE}p %s/colors.txt)
echo My favorite color of the rainbow is $COLOR.
"""
COPIES = 6
VALIDATION_STEPS = 3


def test_print_color_array_job(yard: Server, aws: AwsCli, queue: str) -> None:
    """Tutorial: Using the Array Job Index to Control Job Differentiation."""
    script = aws.folder / "print-color.sh"
    script.write_text(PRINT_COLOR % aws.folder)
    script.chmod(0o755)
    (aws.folder / "colors.txt").write_text("\n".join(COLORS) + "\n")
    definition = {
        "jobDefinitionName": "print-color",
        "type": "container",
        "containerProperties": {
            "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/print-color",
            "command": [str(script)],
            "vcpus": 1,
            "memory": 250,
        },
    }
    registered = aws("batch", "register-job-definition", "--cli-input-json", aws.file("print-color.json", definition))
    assert registered["revision"] == 1

    job = {"jobName": "print-color", "jobQueue": queue, "arrayProperties": {"size": 7}, "jobDefinition": "print-color"}
    submitted = aws("batch", "submit-job", "--cli-input-json", aws.file("print-color-job-def.json", job))
    job_id = submitted["jobId"]
    succeed(yard, job_id)

    listed = aws("batch", "list-jobs", "--array-job-id", job_id, "--job-status", "SUCCEEDED")["jobSummaryList"]
    assert [child["arrayProperties"]["index"] for child in listed] == list(range(7))
    children = aws("batch", "describe-jobs", "--jobs", *(child["jobId"] for child in listed))["jobs"]
    with ThreadPoolExecutor(4) as pool:
        lines = list(pool.map(lambda child: _log_lines(aws, child["container"]["logStreamName"]), children))
    assert lines == [[f"My favorite color of the rainbow is {color}."] for color in COLORS]


def _log_lines(aws: AwsCli, stream: str) -> list[str]:
    where = ("--log-group-name", "/aws/batch/job", "--log-stream-name", stream)
    return [event["message"] for event in aws("logs", "get-log-events", *where)["events"]]


@pytest.fixture
def prod_queue(yard: Server) -> str:
    """The guide's name for it, and room for two of JobB's children, which ask for 32 vCPUs each."""
    environment = Queues(yard).environment(max_vcpus=64)
    order = [{"order": 1, "computeEnvironment": environment}]
    yard.batch.create_job_queue(jobQueueName="ProdQueue", priority=1, computeEnvironmentOrder=order)
    Queues(yard).until_queue("ProdQueue")
    return "ProdQueue"


def test_pipeline_of_jobs_a_to_e(yard: Server, aws: AwsCli, prod_queue: str) -> None:
    """Example Array Job Workflow: setup, two arrays index by index, validation in sequence, cleanup."""
    bucket = aws.folder / "bucket"
    bucket.mkdir()
    index = "$AWS_BATCH_JOB_ARRAY_INDEX"
    commands = {
        "JobA-list-and-validate": "for i in 0 1 2 3 4 5; do echo object $i > $1/a.$i; done",
        "JobB-CPU-Intensive-Processing": f"sed s/object/processed/ $1/a.{index} > $1/b.{index}",
        "JobC-Memory-Intensive-Processing": f"sed s/processed/stored/ $1/b.{index} > $1/c.{index}",
        "JobD-Sequential-Validation": f"cat $1/c.* | wc -l && echo step {index} >> $1/d",
        "JobE-Cleanup-and-Notification": 'cat $1/d && echo "notify $3: $2"',
    }
    for name, script in commands.items():
        extra = ("Ref::SourceBucket", "Ref::Recipient") if name.startswith("JobE") else ()
        yard.batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": "busybox",
                "vcpus": 1,
                "memory": 128,
                "command": sh(f"set -e; {script}", bucket, *extra),
            },
        )

    def submit(name: str, definition: str, **members: Any) -> str:
        request = {"jobName": name, "jobQueue": "ProdQueue", "jobDefinition": f"{definition}:1", **members}
        job_id: str = aws("batch", "submit-job", "--cli-input-json", aws.file(f"{name}.json", request))["jobId"]
        return job_id

    copies = {"arrayProperties": {"size": COPIES}}
    job_a = submit("JobA", "JobA-list-and-validate")
    job_b = submit(
        "JobB",
        "JobB-CPU-Intensive-Processing",
        containerOverrides={"vcpus": 32, "memory": 4096},
        **copies,
        dependsOn=[{"jobId": job_a}],
    )
    job_c = submit(
        "JobC",
        "JobC-Memory-Intensive-Processing",
        containerOverrides={"vcpus": 1, "memory": 32768},
        **copies,
        dependsOn=[{"jobId": job_b, "type": "N_TO_N"}],
    )
    job_d = submit(
        "JobD",
        "JobD-Sequential-Validation",
        containerOverrides={"vcpus": 1, "memory": 32768},
        arrayProperties={"size": VALIDATION_STEPS},
        dependsOn=[{"jobId": job_c}, {"type": "SEQUENTIAL"}],
    )
    job_e = submit(
        "JobE",
        "JobE-Cleanup-and-Notification",
        parameters={"SourceBucket": "s3://JobD-Output-Bucket", "Recipient": "pipeline-notifications@mycompany.com"},
        dependsOn=[{"jobId": job_d}],
    )
    succeed(yard, job_e)

    described = aws("batch", "describe-jobs", "--jobs", job_a, job_b, job_c, job_d, job_e)["jobs"]
    assert [job["status"] for job in described] == ["SUCCEEDED"] * 5
    assert (described[1]["container"]["vcpus"], described[1]["container"]["memory"]) == (32, 4096)
    assert described[2]["arrayProperties"]["statusSummary"]["SUCCEEDED"] == COPIES
    stored = [(bucket / f"c.{number}").read_text() for number in range(COPIES)]
    assert stored == [f"stored {number}\n" for number in range(COPIES)]
    steps = [f"step {number}" for number in range(VALIDATION_STEPS)]
    notice = "notify pipeline-notifications@mycompany.com: s3://JobD-Output-Bucket"
    assert _log_lines(aws, described[4]["container"]["logStreamName"]) == [*steps, notice]


def test_a_pipeline_ends_where_a_job_fails(yard: Server, aws: AwsCli, queue: str) -> None:
    """JobA's failure reaches JobE through everything between."""
    yard.batch.register_job_definition(
        jobDefinitionName="fails",
        type="container",
        containerProperties={"image": "busybox", "vcpus": 1, "memory": 128, "command": ["false"]},
    )
    job = ("batch", "submit-job", "--job-queue", queue, "--job-definition", "fails", "--job-name")
    first = aws(*job, "JobA")["jobId"]
    array = aws(*job, "JobB", "--array-properties", "size=2", "--depends-on", f"jobId={first}")["jobId"]
    last = aws(*job, "JobE", "--depends-on", f"jobId={array}")["jobId"]
    assert fail(yard, first)["statusReason"] == "Essential container in task exited"
    ended = fail(yard, last)
    assert ended["statusReason"] == "Dependent Job failed"
    assert ended["attempts"] == []


def test_the_cli_shows_the_servers_refusals(aws: AwsCli) -> None:
    nobody = ("--job-name", "x", "--job-queue", "nobody", "--job-definition", "nobody")
    done = aws.run("batch", "submit-job", *nobody)
    assert done.returncode != 0
    assert "An error occurred (ClientException) when calling the SubmitJob operation" in done.stderr
    assert "job-queue/nobody does not exist" in done.stderr


def test_the_cli_follows_a_servers_account_and_region(tmp_path: Path) -> None:
    """`aws sts get-caller-identity` and ARNs say what the server was told."""
    require("aws-cli")
    with server(account_id="210987654321", region="cn-north-1") as yard:
        aws = AwsCli(yard, tmp_path)
        assert aws("sts", "get-caller-identity")["Account"] == "210987654321"
        queue = yard.batch.describe_job_queues(jobQueues=["default"])["jobQueues"][0]
        assert queue["jobQueueArn"] == "arn:aws-cn:batch:cn-north-1:210987654321:job-queue/default"
