"""The Monte Carlo example against a real server, with each of its two clients."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server

MONTECARLO = Path(__file__).resolve().parents[2] / "examples" / "montecarlo"
TIMEOUT_SECONDS = 120.0
NEEDED = ("fsspec", "matplotlib", "numpy", "scipy")

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason="needs batchyard[montecarlo]"
    ),
]


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server() as running:
        yield running


def drive(yard: Server, *arguments: str) -> subprocess.Popen[str]:
    """Start the driver in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(MONTECARLO / "run.py"), *arguments],
        env=os.environ | yard.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, out, err


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def latest(yard: Server, name: str) -> dict[str, object]:
    """The newest job with that name."""
    found = yard.batch.list_jobs(jobQueue="default", filters=[{"name": "JOB_NAME", "values": [name]}])["jobSummaryList"]
    newest = max(found, key=lambda job: job["createdAt"])
    job: dict[str, object] = yard.batch.describe_jobs(jobs=[newest["jobId"]])["jobs"][0]
    return job


def test_the_driver_prices_the_whole_portfolio(yard: Server, tmp_path: Path) -> None:
    status, out, err = finish(drive(yard, "--output", str(tmp_path / "out")))
    assert status == 0, err
    assert "700 of 700 within 4 standard errors" in out
    assert str(tmp_path / "out" / "report" / "report.png") in out
    summary = json.loads((tmp_path / "out" / "report" / "summary.json").read_text())
    assert summary["options"] == 2100
    assert summary["failures"] == []
    assert 0 < summary["risk"]["interval_low"] < summary["risk"]["value_at_risk"] < summary["risk"]["interval_high"]
    assert (tmp_path / "out" / "report" / "report.png").read_bytes().startswith(b"\x89PNG")
    split, price, report = (latest(yard, f"montecarlo-{step}") for step in ("split", "price", "report"))
    assert [job["status"] for job in (split, price, report)] == ["SUCCEEDED"] * 3
    assert [depended["jobId"] for depended in price["dependsOn"]] == [split["jobId"]]  # type: ignore[attr-defined]
    assert [depended["jobId"] for depended in report["dependsOn"]] == [price["jobId"]]  # type: ignore[attr-defined]
    assert price["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 20  # type: ignore[index]


def test_the_job_definition_is_the_guides_own(yard: Server, tmp_path: Path) -> None:
    status, _, err = finish(
        drive(yard, "--output", str(tmp_path), "--options", "60", "--paths", "512", "--shards", "2")
    )
    assert status == 0, err
    definition = yard.batch.describe_job_definitions(jobDefinitionName="MonteCarloJobDefinition")["jobDefinitions"][-1]
    command = ["Ref::action", "-b", "Ref::bucket", "-k", "Ref::key", "-o", "Ref::outputUri"]
    assert definition["type"] == "container"
    assert definition["containerProperties"]["command"] == command
    assert definition["retryStrategy"]["attempts"] == 3
    assert definition["platformCapabilities"] == ["EC2"]


def test_the_aws_cli_does_the_same_to_the_last_byte(yard: Server, tmp_path: Path) -> None:
    aws = Path(sys.executable).parent / "aws"
    if not aws.exists():
        pytest.skip("needs the AWS CLI beside this Python")
    # the script takes sizes from the request that lies beside it
    example = tmp_path / "example, copied"
    shutil.copytree(MONTECARLO, example, ignore=shutil.ignore_patterns("__pycache__", "demo-output"))
    sizes = {"options": 60, "shards": 3, "paths": 512}
    request = json.loads((example / "request.json").read_text()) | sizes
    (example / "request.json").write_text(json.dumps(request))
    environment = os.environ | yard.environment()
    environment |= {"PATH": f"{aws.parent}{os.pathsep}{os.environ['PATH']}", "PYTHON": sys.executable}
    done = subprocess.run(
        [str(example / "run-with-aws-cli.sh"), str(tmp_path / "cli, out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "20 of 20 within 4 standard errors" in done.stdout
    options = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    status, _, err = finish(drive(yard, "--output", str(tmp_path / "boto3"), *options))
    assert status == 0, err
    for folder in ("shards", "report"):
        assert files(tmp_path / "cli, out" / folder) == files(tmp_path / "boto3" / folder)
    assert len(files(tmp_path / "boto3" / "prices")) == 3


def test_a_failing_step_is_explained(yard: Server, tmp_path: Path) -> None:
    status, _, err = finish(drive(yard, "--output", str(tmp_path), "--paths", "7"))
    assert status == 1
    assert "montecarlo-split" in err
    assert "3 attempts, the last with exit code 1" in err
    assert "7 paths: antithetic paths come in pairs" in err
    assert latest(yard, "montecarlo-report")["status"] == "FAILED"


def test_a_container_sees_the_output_folder_under_its_own_path(yard: Server, tmp_path: Path) -> None:
    # On an engine without containers the image's programs are not on the PATH.
    status, _, err = finish(drive(yard, "--output", str(tmp_path), "--image", "montecarlo"))
    assert (status, "montecarlo-split" in err) == (1, True)
    definitions = yard.batch.describe_job_definitions(jobDefinitionName="MonteCarloJobDefinition", status="ACTIVE")
    newest = max(definitions["jobDefinitions"], key=lambda each: each["revision"])["containerProperties"]
    assert newest["image"] == "montecarlo"
    assert newest["user"] == str(os.getuid())
    assert newest["volumes"] == [{"name": "output", "host": {"sourcePath": str(tmp_path)}}]
    assert newest["mountPoints"] == [{"sourceVolume": "output", "containerPath": str(tmp_path)}]


def test_an_unknown_queue_ends_the_run(yard: Server, tmp_path: Path) -> None:
    status, _, err = finish(drive(yard, "--output", str(tmp_path), "--queue", "nowhere"))
    assert status == 1
    assert "does not exist" in err


def test_an_interrupt_terminates_the_jobs(yard: Server, tmp_path: Path) -> None:
    # far more paths than could be priced in time
    process = drive(yard, "--output", str(tmp_path), "--paths", "4000000", "--shards", "4")
    assert process.stderr is not None
    for line in process.stderr:
        if "running" in line and "split succeeded" in line:
            break
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert status == 130
    assert "terminating the jobs" in err
    price = latest(yard, "montecarlo-price")
    assert yard.wait_for(str(price["jobId"]), timeout_seconds=60.0, status=("FAILED",))["status"] == "FAILED"
    report = latest(yard, "montecarlo-report")
    assert yard.wait_for(str(report["jobId"]), timeout_seconds=60.0, status=("FAILED",))["status"] == "FAILED"
