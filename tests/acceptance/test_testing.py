"""`batchyard.testing`: what a project that tests against Batchyard gets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard import serverinfo
from batchyard.testing import Server, ServerDied, server

pytestmark = pytest.mark.acceptance

DEADLINE_SECONDS = 120.0
UNTIL_TOLD = ["sh", "-c", 'echo begun; while [ ! -e "$1" ]; do sleep 0.02; done; echo told', "sh"]


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server(overcommit=True) as yard:
        yield yard


def test_a_job_in_three_lines(yard: Server) -> None:
    job_id = yard.submit(["sh", "-c", "echo hello; echo $WHO"], environment={"WHO": "world"})
    assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
    assert yard.logs_of(job_id) == ["hello", "world"]


def test_submit_takes_any_parameter_of_submit_job(yard: Server) -> None:
    first = yard.submit(["true"], name="first")
    second = yard.submit(["false"], arrayProperties={"size": 2}, dependsOn=[{"jobId": first}], tags={"a": "b"})
    job = yard.wait_for(second)
    assert (job["status"], job["arrayProperties"]["size"], job["tags"]) == ("FAILED", 2, {"a": "b"})
    assert yard.wait_for(f"{second}:1")["container"]["exitCode"] == 1


def test_waiting_ends_with_what_the_job_is_instead(yard: Server, tmp_path: Path) -> None:
    job_id = yard.submit([*UNTIL_TOLD, str(tmp_path / "go")])
    with pytest.raises(TimeoutError, match=f"job {job_id} is "):
        yard.wait_for(job_id, timeout_seconds=0.1)
    (tmp_path / "go").touch()
    yard.wait_for(job_id)
    with pytest.raises(AssertionError, match="is SUCCEEDED"):
        yard.wait_for(job_id, status="FAILED")


def test_the_clients_know_where_to_go(yard: Server) -> None:
    assert yard.sts.get_caller_identity()["Account"] == "123456789012"
    assert yard.batch.describe_job_queues()["jobQueues"][0]["jobQueueName"] == "default"
    assert "logGroups" in yard.logs.describe_log_groups()
    assert yard.batch is yard.batch


def test_the_environment_leads_the_aws_cli_here(yard: Server) -> None:
    aws = Path(sys.executable).parent / "aws"
    if not aws.exists():
        pytest.skip("the AWS CLI is not installed")
    command = [str(aws), "batch", "describe-job-queues", "--query", "jobQueues[].jobQueueName", "--output", "text"]
    variables = {"PATH": os.environ["PATH"]} | yard.environment()
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "default"), done.stderr


def test_a_killed_server_finds_its_job_again_when_restarted(tmp_path: Path) -> None:
    with server(overcommit=True) as yard:
        job_id = yard.submit([*UNTIL_TOLD, str(tmp_path / "go")])
        yard.wait_for(job_id, status="RUNNING")
        url, pid = yard.endpoint_url, yard.pid
        yard.kill()
        assert serverinfo.read(yard.data_dir) is None
        (tmp_path / "go").touch()
        yard.restart()
        assert (yard.endpoint_url, yard.pid != pid) == (url, True)
        job = yard.wait_for(job_id)
        assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)
        assert yard.logs_of(job_id) == ["begun", "told"]


def test_no_job_is_left_even_of_a_killed_server() -> None:
    with server(overcommit=True) as yard:
        job_id = yard.submit(["sh", "-c", "echo $$; exec sleep 600"])
        yard.wait_for(job_id, status="RUNNING")
        lines: list[str] = []
        while not lines:
            # Each look is a request to the server; a job that has ended would raise.
            yard.wait_for(job_id, status="RUNNING")
            lines = yard.logs_of(job_id)
        yard.kill()
        assert Path(f"/proc/{lines[0]}").exists()
    assert not Path(f"/proc/{lines[0]}").exists()
    assert not yard.data_dir.exists()


def test_a_data_folder_of_ones_own_is_kept(tmp_path: Path) -> None:
    with server(data_dir=tmp_path / "mine", account_id="210987654321") as yard:
        job_id = yard.submit(["true"])
        assert ":210987654321:" in yard.wait_for(job_id)["jobArn"]
    with server(data_dir=tmp_path / "mine", account_id="210987654321") as yard:
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED"


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerDied, match="account_id is '1'"), server(account_id="1"):
        pass


def test_the_fixtures_are_there_without_any_import(tmp_path: Path) -> None:
    test_file = tmp_path / "test_project.py"
    test_file.write_text(
        "def test_it(batchyard_server, batchyard_batch, batchyard_logs):\n"
        "    job_id = batchyard_server.submit(['echo', 'hello'])\n"
        "    assert batchyard_server.wait_for(job_id)['status'] == 'SUCCEEDED'\n"
        "    assert batchyard_batch.describe_jobs(jobs=[job_id])['jobs'][0]['jobId'] == job_id\n"
        "    assert 'logGroups' in batchyard_logs.describe_log_groups()\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(test_file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_works_without_pytest(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "from batchyard.testing import server\n"
        "with server() as yard: print(yard.wait_for(yard.submit(['true']))['status'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.stdout == "SUCCEEDED\n", done.stderr
