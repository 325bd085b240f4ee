#!/usr/bin/env python3
"""Price the portfolio on AWS Batch, or on anything that speaks its API: the driver, with boto3 as its only client.

It registers the job definition, puts the inputs in place, submits three jobs tied with dependsOn (split, the array
price, report), shows how they get on, and prints the report. Where the service is and who you are comes from boto3's
usual places: AWS_ENDPOINT_URL_BATCH, AWS_ENDPOINT_URL_CLOUDWATCH_LOGS, AWS_REGION, a profile.

By default a job's command is this folder's program, for engines that run plain processes on this host. With --image
it is the program's name on the PATH of a container image.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

HERE = Path(__file__).resolve().parent
INPUTS = ("index-history.csv.gz", "risk-free.csv")
REQUIREMENTS = ("fsspec", "matplotlib", "numpy", "scipy")
STEPS = ("split", "price", "report")
ENDED = ("SUCCEEDED", "FAILED")
LOG_GROUP = "/aws/batch/job"
LAST_LINES = 15
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
FAILURE, INTERRUPTED = 1, 130


class RunError(Exception):
    """The run cannot go on; the message is for the person at the terminal."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    queue: str
    output: str
    """The base of inputs and results: an absolute folder or `s3://bucket/prefix`."""
    request: Mapping[str, Any]
    image: str | None
    """None: the jobs are plain processes on this host."""
    environment: Mapping[str, str]
    """Of every job."""

    def action(self, step: str) -> str:
        """The program of a step, as the parameter `action` names it."""
        program = f"montecarlo-{step}"
        return program if self.image else str(HERE / "bin" / program)


@dataclass
class Jobs:
    """The jobs of this run, in the order they were submitted."""

    ids: dict[str, str] = field(default_factory=dict)
    """By step."""


# ---- the inputs


def put(base: str, key: str, content: bytes) -> None:
    """Store `content` as `key` under a folder or an S3 prefix."""
    if base.startswith("s3://"):
        where = urlsplit(base)
        name = "/".join(part for part in (where.path.strip("/"), key) if part)
        boto3.client("s3").put_object(Bucket=where.netloc, Key=name, Body=content)
        return
    path = Path(base) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def put_inputs(plan: Plan) -> None:
    """The price history, the rates and the request, where `split` looks for them."""
    for name in INPUTS:
        put(plan.output, f"inputs/{name}", (HERE / "data" / name).read_bytes())
    put(plan.output, "inputs/request.json", json.dumps(plan.request, indent=4).encode())


# ---- the jobs


def register(batch: Any, plan: Plan) -> str:
    """Register the job definition of job-definition.json; its ARN."""
    definition = json.loads((HERE / "job-definition.json").read_text())
    if plan.image:
        definition["containerProperties"] |= {"image": plan.image, **shared_folder(plan)}
    return str(batch.register_job_definition(**definition)["jobDefinitionArn"])


def shared_folder(plan: Plan) -> dict[str, Any]:
    """What a container needs to see the output's folder as this host does, and to write there as whoever runs this."""
    if "://" in plan.output:
        return {}
    return {
        "volumes": [{"name": "output", "host": {"sourcePath": plan.output}}],
        "mountPoints": [{"sourceVolume": "output", "containerPath": plan.output}],
        "user": str(os.getuid()),
    }


def submit(batch: Any, plan: Plan, definition: str, jobs: Jobs) -> None:
    """Submit the three jobs, each depending on the one before; `jobs` knows every one that was accepted."""
    keys = {
        "split": ("inputs/request.json", "shards"),
        "price": ("shards/", "prices"),
        "report": ("prices/", "report"),
    }
    before: str | None = None
    for step in STEPS:
        key, folder = keys[step]
        parameters = {
            "action": plan.action(step),
            "bucket": plan.output,
            "key": key,
            "outputUri": f"{plan.output.rstrip('/')}/{folder}",
        }
        more: dict[str, Any] = {"arrayProperties": {"size": plan.request["shards"]}} if step == "price" else {}
        if before:
            more["dependsOn"] = [{"jobId": before}]
        environment = [{"name": name, "value": value} for name, value in plan.environment.items()]
        answer = batch.submit_job(
            jobName=f"montecarlo-{step}",
            jobQueue=plan.queue,
            jobDefinition=definition,
            parameters=parameters,
            containerOverrides={"environment": environment},
            **more,
        )
        before = jobs.ids[step] = answer["jobId"]


def watch(batch: Any, jobs: Jobs) -> Iterator[dict[str, dict[str, Any]]]:
    """The jobs' details by step, again and again until all have ended."""
    pause = FIRST_PAUSE_SECONDS
    last = None
    while True:
        found = {job["jobId"]: job for job in batch.describe_jobs(jobs=list(jobs.ids.values()))["jobs"]}
        missing = [step for step, job_id in jobs.ids.items() if job_id not in found]
        if missing:
            raise RunError(f"the service no longer knows the job {missing[0]} ({jobs.ids[missing[0]]})")
        details = {step: found[job_id] for step, job_id in jobs.ids.items()}
        yield details
        if all(job["status"] in ENDED for job in details.values()):
            return
        # quick while things move, slower while they don't
        now = [(job["status"], job.get("arrayProperties", {}).get("statusSummary")) for job in details.values()]
        pause = FIRST_PAUSE_SECONDS if now != last else min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        last = now
        time.sleep(pause)


def terminate(batch: Any, jobs: Jobs, reason: str) -> None:
    """Stop whatever of this run is not over; says so when it cannot."""
    for step, job_id in reversed(jobs.ids.items()):
        try:
            batch.terminate_job(jobId=job_id, reason=reason)
        except (BotoCoreError, ClientError) as error:
            print(f"could not terminate {step} ({job_id}): {error}", file=sys.stderr)


# ---- the logs


def log_lines(logs: Any, job: Mapping[str, Any], last: int | None = None) -> list[str]:
    """What the job's latest attempt wrote: all lines, or the `last` ones."""
    stream = job.get("container", {}).get("logStreamName")
    attempts = job.get("attempts", [])
    if attempts:
        stream = attempts[-1].get("container", {}).get("logStreamName", stream)
    if stream is None:
        return []
    where = {"logGroupName": LOG_GROUP, "logStreamName": stream}
    if last is not None:
        page = logs.get_log_events(**where, startFromHead=False, limit=last)
        return [event["message"] for event in page["events"]]
    lines: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = logs.get_log_events(**where, **token, startFromHead=True)
        lines += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token.get("nextToken"):
            return lines
        token = {"nextToken": page["nextForwardToken"]}


def explain(batch: Any, logs: Any, job: Mapping[str, Any]) -> str:
    """Why `job` failed: for an array, its first failed child; the reason, the exit code and the last lines."""
    if "arrayProperties" in job:
        failed = batch.list_jobs(arrayJobId=job["jobId"], jobStatus="FAILED")["jobSummaryList"]
        if failed:
            job = batch.describe_jobs(jobs=[failed[0]["jobId"]])["jobs"][0]
    text = f"{job['jobName']} ({job['jobId']}) failed: {job.get('statusReason', 'no reason given')}"
    attempts = job.get("attempts", [])
    if attempts:
        code = attempts[-1].get("container", {}).get("exitCode", "none")
        text += f"\n{len(attempts)} attempts, the last with exit code {code}"
    try:
        lines = log_lines(logs, job, LAST_LINES)
    except (BotoCoreError, ClientError) as error:
        lines = [f"(its log cannot be read: {error})"]
    return "\n".join([text, *(f"    {line}" for line in lines)])


# ---- the terminal


class Progress:
    """One line that says where the jobs are: redrawn in place on a terminal, else printed when it changes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._started = time.monotonic()
        self._shown = ""

    def show(self, details: Mapping[str, Mapping[str, Any]]) -> None:
        """Show the state of the jobs."""
        text = " · ".join(_state(step, job) for step, job in details.items())
        if self._live:
            self._stream.write(f"\r\x1b[2K{text} · {time.monotonic() - self._started:.0f} s")
        elif text != self._shown:
            self._stream.write(f"{text}\n")
        self._shown = text
        self._stream.flush()

    def close(self) -> None:
        """Leave the last line where it is."""
        if self._live and self._shown:
            self._stream.write("\n")
            self._stream.flush()
        self._shown = ""


def _state(step: str, job: Mapping[str, Any]) -> str:
    status = job["status"].lower()
    array = job.get("arrayProperties")
    summary = (array or {}).get("statusSummary", {})
    if not array or not any(summary.values()):
        return f"{step} {status}"
    waiting = sum(summary.get(name, 0) for name in ("SUBMITTED", "PENDING", "RUNNABLE"))
    running = summary.get("STARTING", 0) + summary.get("RUNNING", 0)
    counts = [f"{summary.get('SUCCEEDED', 0)}/{array['size']} done"]
    counts += [f"{running} running"] if running else []
    counts += [f"{waiting} waiting"] if waiting else []
    counts += [f"{summary['FAILED']} failed"] if summary.get("FAILED") else []
    return f"{step} {', '.join(counts)}"


# ---- the run


def run(plan: Plan) -> int:
    """The whole of it; the exit status."""
    batch, logs = boto3.client("batch"), boto3.client("logs")
    put_inputs(plan)
    jobs = Jobs()
    progress = Progress(sys.stderr)
    details: dict[str, dict[str, Any]] = {}
    try:
        submit(batch, plan, register(batch, plan), jobs)
        for details in watch(batch, jobs):
            progress.show(details)
        progress.close()
    except KeyboardInterrupt:
        progress.close()
        print("interrupted: terminating the jobs", file=sys.stderr)
        terminate(batch, jobs, "interrupted by the user")
        return INTERRUPTED
    except (BotoCoreError, ClientError, RunError):
        progress.close()
        terminate(batch, jobs, "the driver gave up")
        raise
    for step in STEPS:
        # the first is the cause, those after it only depended on it
        if details[step]["status"] == "FAILED":
            print(explain(batch, logs, details[step]), file=sys.stderr)
            return FAILURE
    print("\n".join(log_lines(logs, details["report"])))
    print(f"\nPicture: {plan.output.rstrip('/')}/report/report.png")
    print(f"Every option: {plan.output.rstrip('/')}/report/options.csv")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Parse the command line and run; the exit status."""
    try:
        return run(parse(arguments))
    except (BotoCoreError, ClientError, RunError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return FAILURE


def parse(arguments: Sequence[str]) -> Plan:
    """The plan that the command line describes."""
    request = json.loads((HERE / "request.json").read_text())
    parser = argparse.ArgumentParser(description="Price the example portfolio as batch jobs.")
    parser.add_argument("--queue", default="default", help="job queue (default: %(default)s)")
    parser.add_argument(
        "--output",
        default="demo-output/montecarlo",
        metavar="URI",
        help="folder or s3://bucket/prefix for inputs and results (default: %(default)s)",
    )
    for name, what in (
        ("shards", "children of the array job"),
        ("paths", "paths for each option, an even number"),
        ("options", "options in the portfolio"),
    ):
        parser.add_argument(f"--{name}", type=int, default=request[name], help=f"{what} (default: %(default)s)")
    parser.add_argument("--image", help="container image with the programs on its PATH, for jobs in containers")
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of jobs on this host (default: this one, %(default)s)"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME",
        help="pass this variable on to the jobs; anyone who may describe the jobs can read it (repeatable)",
    )
    chosen = parser.parse_args(arguments)
    request |= {name: getattr(chosen, name) for name in ("shards", "paths", "options")}
    output = chosen.output if "://" in chosen.output else str(Path(chosen.output).absolute())
    return Plan(chosen.queue, output, request, chosen.image, _environment(chosen))


def _environment(chosen: argparse.Namespace) -> dict[str, str]:
    """The environment of the jobs: one thread each, as they ask for one vCPU."""
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    if not chosen.image:
        environment["MONTECARLO_PYTHON"] = chosen.python
        if chosen.python == sys.executable:
            missing = [name for name in REQUIREMENTS if importlib.util.find_spec(name) is None]
            if missing:
                raise RunError(
                    f"this Python lacks {', '.join(missing)}: pip install -r {HERE / 'requirements.txt'}, "
                    "or name another with --python, or an image with --image"
                )
    if chosen.output.startswith("s3://") and "AWS_ENDPOINT_URL_S3" in os.environ:
        environment["AWS_ENDPOINT_URL_S3"] = os.environ["AWS_ENDPOINT_URL_S3"]
    for name in chosen.env:
        if name not in os.environ:
            raise RunError(f"--env {name}: it is not set here")
        environment[name] = os.environ[name]
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
