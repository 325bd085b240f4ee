"""redun's AWS Batch executor: array jobs, a script, a task that raises. Its scratch space is a folder, not S3."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.testing import Server, server
from tests.clients.conftest import Run
from tests.clients.environments import python_of
from tests.requirements import require

WORKFLOW = Path(__file__).with_name("redun_workflow.py")
REDUN = ("-c", "from redun.cli import main; main()")
CONFIGURATION = """\
[backend]
db_uri = sqlite:///{folder}/redun.db

[executors.batch]
type = aws_batch
image = any/image
queue = default
s3_scratch = {folder}/scratch
role = none
job_monitor_interval = 0.3
job_stale_time = 0.5
min_array_size = 3
"""

pytestmark = pytest.mark.acceptance


@pytest.fixture(autouse=True)
def _installed() -> None:
    require("redun")


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    """Its jobs find redun on their PATH, as they would in redun's image."""
    path = f"{python_of('redun').parent}{os.pathsep}{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        with server(overcommit=True, check_invariants=True, pass_environment=["PATH"]) as started:
            yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".redun").mkdir()
    (tmp_path / ".redun" / "redun.ini").write_text(CONFIGURATION.format(folder=tmp_path))
    shutil.copy(WORKFLOW, tmp_path / "workflow.py")
    return tmp_path


def test_a_workflow_runs_as_an_array_and_single_jobs(yard: Server, folder: Path, run_in: Run) -> None:
    ended = run_in("redun", *REDUN, "run", "workflow.py", "pi")
    assert ended.returncode == 0, ended.stderr + yard.output
    estimate, greeting = ast.literal_eval(ended.stdout.strip().splitlines()[-1])
    assert 3.0 < estimate < 3.3
    assert "hello batchyard" in str(greeting)
    jobs = yard.batch.list_jobs(jobQueue="default", jobStatus="SUCCEEDED")["jobSummaryList"]
    assert sorted(job.get("arrayProperties", {}).get("size", 1) for job in jobs) == [1, 1, 6]
    assert len(yard.batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]) == 1


def test_an_exception_comes_back_with_its_job(yard: Server, folder: Path, run_in: Run) -> None:
    ended = run_in("redun", *REDUN, "run", "workflow.py", "fail")
    assert ended.returncode != 0
    assert "ZeroDivisionError" in ended.stdout + ended.stderr
    failed = yard.batch.list_jobs(jobQueue="default", jobStatus="FAILED")["jobSummaryList"]
    assert [job["statusReason"] for job in failed] == ["Essential container in task exited"]
