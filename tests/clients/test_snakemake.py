"""Snakemake's AWS Batch executor: three rules, each job a Batch job. Its files are in S3, which moto stands in for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server
from tests.clients.conftest import Run
from tests.clients.environments import python_of
from tests.requirements import require

STAND_IN = Path(__file__).with_name("s3_stand_in.py")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
SNAKEFILE = """\
rule total:
    input: expand("counts/{name}.txt", name=["a", "b"])
    output: "total.txt"
    shell: "cat {input} | paste -sd+ | sed 's/.*/echo $((&))/' | sh > {output}"

rule count:
    input: "numbers/{name}.txt"
    output: "counts/{name}.txt"
    shell: "wc -l < {input} > {output}"

rule numbers:
    output: "numbers/{name}.txt"
    shell: "for number in 1 2 3; do echo {wildcards.name}$number; done > {output}"
"""

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def _installed() -> None:
    require("snakemake")


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    process = subprocess.Popen(
        [str(python_of("snakemake")), str(STAND_IN)],
        env={**os.environ, **CREDENTIALS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        url = process.stdout.readline().strip()
        assert url, "the stand-in for S3 did not start"
        yield url
        process.stdin.close()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def yard(s3_url: str) -> Iterator[Server]:
    """Its jobs find Snakemake on their PATH, as in its image, and S3. Each installs the storage plugin, as it is."""
    variables = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_S3": s3_url,
        "PATH": f"{python_of('snakemake').parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_DEPS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with server(overcommit=True, check_invariants=True, pass_environment=[*variables, "HOME"]) as started:
            yield started


def test_a_workflow_of_three_rules_runs_on_files_in_s3(yard: Server, s3_url: str, run_in: Run, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    storage = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket"]
    executor = ["--executor", "aws-batch", "--aws-batch-region", "us-east-1", "--aws-batch-job-queue", "default"]
    role = ["--aws-batch-job-role", "arn:aws:iam::123456789012:role/jobs"]
    pace = ["--jobs", "4", "--seconds-between-status-checks", "1"]
    ended = run_in(
        "snakemake",
        *("-m", "snakemake", *executor, *role, *storage, "--storage-s3-endpoint-url", s3_url, *pace),
        AWS_ENDPOINT_URL_S3=s3_url,
    )
    assert ended.returncode == 0, ended.stderr + yard.output
    jobs = yard.batch.list_jobs(jobQueue="default", jobStatus="SUCCEEDED")["jobSummaryList"]
    assert sorted(job["jobName"].split("-")[1] for job in jobs) == ["count", "count", "numbers", "numbers", "total"]
    # The executor registers a definition for each job, and puts it away afterwards.
    assert yard.batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"] == []
    fetched = run_in(
        "snakemake",
        "-c",
        "import boto3; print(boto3.client('s3').get_object(Bucket='bucket', Key='total.txt')['Body'].read().decode())",
        AWS_ENDPOINT_URL_S3=s3_url,
    )
    assert fetched.stdout.strip() == "6"
