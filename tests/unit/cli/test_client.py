from __future__ import annotations

import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

from batchyard import serverinfo
from batchyard.cli import client
from batchyard.cli.client import find_endpoint
from batchyard.cli.errors import CliError, explain
from batchyard.serverinfo import ServerInfo
from tests.unit.cli.conftest import Run

ENVIRONMENT = {"AWS_ENDPOINT_URL_BATCH": "http://env:1", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": "http://logs:2"}


@pytest.fixture
def own_server(tmp_path: Path) -> Path:
    """A data folder on which a server (this process) seems to run."""
    info = ServerInfo(
        endpoint_url="http://127.0.0.1:9",
        pid=os.getpid(),
        data_dir=str(tmp_path),
        region="eu-west-1",
        account_id="123456789012",
        engine="process",
        limits="",
        version="0",
    )
    serverinfo.write(tmp_path, info)
    return tmp_path


def test_the_option_wins_and_serves_the_logs_too() -> None:
    found = find_endpoint("http://option:3", None, ENVIRONMENT)
    assert (found.batch_url, found.logs_url) == ("http://option:3", "http://option:3")


def test_the_environment_comes_next() -> None:
    found = find_endpoint(None, None, ENVIRONMENT | {"AWS_DEFAULT_REGION": "us-west-2"})
    assert (found.batch_url, found.logs_url, found.region) == ("http://env:1", "http://logs:2", "us-west-2")
    only_batch = find_endpoint(None, None, {"AWS_ENDPOINT_URL_BATCH": "http://env:1"})
    assert (only_batch.logs_url, only_batch.region) == ("http://env:1", "us-east-1")


def test_a_running_server_is_found_by_its_data_folder(own_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHYARD_DATA_DIR", str(own_server))
    found = find_endpoint(None, None, {})
    assert (found.batch_url, found.logs_url, found.region) == ("http://127.0.0.1:9", "http://127.0.0.1:9", "eu-west-1")
    assert find_endpoint(None, own_server, ENVIRONMENT).batch_url == "http://127.0.0.1:9"


def test_without_a_server_it_says_what_to_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHYARD_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("AWS_ENDPOINT_URL_BATCH", raising=False)
    result = run("jobs")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "batchyard up" in result.stderr
    named = run("jobs", "--data-dir", str(tmp_path))
    assert (named.exit_code, str(tmp_path) in named.stderr) == (2, True)


def test_a_server_that_does_not_answer_is_one_line(run: Run) -> None:
    result = run("jobs", "--endpoint", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr == (
        "batchyard: no server answers at http://127.0.0.1:1. Is it running? `batchyard up` starts one.\n"
    )


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Job queue job-queue/q does not exist", "Job queue job-queue/q does not exist (ClientException)"),
        (
            "Error executing request, Exception : Job name should match valid pattern, RequestId: 1e5a-13",
            "Job name should match valid pattern (ClientException)",
        ),
    ],
)
def test_what_the_service_refuses_is_said_without_its_envelope(message: str, line: str) -> None:
    error = ClientError({"Error": {"Message": message, "Code": "ClientException"}}, "SubmitJob")
    assert explain(error) == line


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "nonsense"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(CliError, match="is not a URL"):
        find_endpoint(url, None, {})


def test_missing_credentials_are_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    assert client._credentials(Session()) == ("batchyard", "batchyard", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert client._credentials(Session()) == ("mine", "secret", None)
