"""Jobs with a role, and what they say of it: programs that run as jobs, and what tests make of their output."""

from __future__ import annotations

import json
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from batchyard import testing

ROLE = "arn:aws:iam::123456789012:role/batch/Caller"

CALLS_BACK = """
import json, os, sys, time
import boto3

session = boto3.session.Session()
credentials = session.get_credentials()
batch = boto3.client("batch")
me = batch.describe_jobs(jobs=[os.environ["AWS_BATCH_JOB_ID"]])["jobs"][0]
other = batch.submit_job(jobName="other", jobQueue=me["jobQueue"], jobDefinition="child")
frozen = credentials.get_frozen_credentials()
print(json.dumps({
    "method": credentials.method,
    "status": me["status"],
    "name": me["jobName"],
    "other": other["jobId"],
    "arn": boto3.client("sts").get_caller_identity()["Arn"],
    "groups": [each["logGroupName"] for each in boto3.client("logs").describe_log_groups()["logGroups"]],
    "expires_in": (credentials._expiry_time.timestamp() - time.time()),
    "keys": [frozen.access_key, frozen.secret_key, frozen.token],
    "environment": {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "ECS_"))},
}), flush=True)
"""

ASKS_FOR_METADATA = """
import json, os, urllib.request
uri = os.environ["ECS_CONTAINER_METADATA_URI_V4"]
documents = [json.load(urllib.request.urlopen(uri + path)) for path in ("", "/task")]
print(json.dumps({"documents": documents, "environment": dict(os.environ)}))
"""

USES_A_REAL_ROLE = """
import json, os, sys, time
import boto3
frozen = boto3.session.Session().get_credentials().get_frozen_credentials()
job = boto3.client("batch").describe_jobs(jobs=[os.environ["AWS_BATCH_JOB_ID"]])["jobs"][0]
print(json.dumps({
    "status": job["status"],
    "keys": [frozen.access_key, frozen.secret_key, frozen.token],
    "environment": {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "ECS_"))},
}), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
"""

WAITS = """
gate = sys.argv[1]
while not os.path.exists(gate):
    time.sleep(0.02)
print(batch.describe_jobs(jobs=[me["jobId"]])["jobs"][0]["status"], flush=True)
"""


def program(folder: Path, *parts: str) -> str:
    """A file with a program, for a job to run."""
    path = folder / "program.py"
    path.write_text("".join(textwrap.dedent(part) for part in parts))
    return str(path)


def define(yard: testing.Server, name: str, command: list[str], **more: Any) -> None:
    """A definition; `more` are members of containerProperties."""
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "256"}]
    properties = {"image": "busybox", "command": command, "resourceRequirements": sizes, **more}
    yard.batch.register_job_definition(jobDefinitionName=name, type="container", containerProperties=properties)


def submit(yard: testing.Server, definition: str, **more: Any) -> str:
    answer = yard.batch.submit_job(jobName=definition, jobQueue="default", jobDefinition=definition, **more)
    return str(answer["jobId"])


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def said(yard: testing.Server, job_id: str) -> dict[str, Any]:
    """The first line of a job's output, which is JSON."""
    lines = yard.logs_of(job_id)
    assert lines, f"{job_id} has said nothing"
    found: dict[str, Any] = json.loads(lines[0])
    return found


def client(service: str, endpoint_url: str, keys: list[str]) -> Any:
    """A client with credentials that were a job's."""
    access_key, secret_key, token = keys
    session = boto3.session.Session(access_key, secret_key, token, region_name=testing.REGION)
    return session.client(service, endpoint_url=endpoint_url, config=Config(retries={"total_max_attempts": 1}))


def fetch(url: str, authorization: str | None = None) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a GET."""
    headers = {} if authorization is None else {"Authorization": authorization.encode().decode("latin-1")}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
