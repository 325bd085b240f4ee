"""What an attempt's environment says of the server."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from batchyard.api.roles.keys import Keys
from batchyard.core.effects import LaunchAttempt
from batchyard.runtime.job_endpoint import JobEndpoint
from batchyard.settings import Settings
from tests.unit.runtime.yardhouse import ScriptedEngine

EFFECT = LaunchAttempt("job", "job", None, 1, "default", "i-1")
OWN_URL = "http://127.0.0.1:8000"


class Engine(ScriptedEngine):
    """One whose attempts reach the server at `address`."""

    def __init__(self, address: str | None, *, runs_containers: bool = True) -> None:
        super().__init__()
        self.address = address
        self.runs_containers = runs_containers

    async def server_address(self) -> str | None:
        return self.address


def opened(folder: Path, engine: Engine, **settings: Any) -> JobEndpoint:
    endpoint = JobEndpoint(Settings(data_dir=str(folder), **settings), Keys(b"k" * 32), OWN_URL)
    asyncio.run(endpoint.open(engine))
    return endpoint


def test_attempts_on_loopback_come_to_the_servers_own_address(tmp_path: Path) -> None:
    endpoint = opened(tmp_path, Engine("127.0.0.1"))
    assert endpoint.listener is None
    assert endpoint.role_defaults(EFFECT, {}) == {
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_BATCH": OWN_URL,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": OWN_URL,
        "AWS_ENDPOINT_URL_STS": OWN_URL,
    }
    assert endpoint.role_variables(EFFECT)["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == f"{OWN_URL}/v2/credentials/job..1"


def test_processes_are_kept_from_the_servers_owners_credentials(tmp_path: Path) -> None:
    defaults = opened(tmp_path, Engine("127.0.0.1", runs_containers=False)).role_defaults(EFFECT, {})
    assert (defaults["AWS_CONFIG_FILE"], defaults["AWS_SHARED_CREDENTIALS_FILE"]) == ("/dev/null", "/dev/null")


def test_attempts_that_reach_no_server_are_told_of_none(tmp_path: Path) -> None:
    endpoint = opened(tmp_path, Engine(None))
    assert endpoint.variables(EFFECT) == endpoint.role_variables(EFFECT) == endpoint.role_defaults(EFFECT, {}) == {}


@pytest.mark.parametrize(
    ("own", "missing"),
    [
        ({"AWS_REGION"}, {"AWS_REGION", "AWS_DEFAULT_REGION"}),
        ({"AWS_ENDPOINT_URL_STS"}, {"AWS_ENDPOINT_URL_STS"}),
        (
            {"AWS_ENDPOINT_URL"},
            {"AWS_ENDPOINT_URL_BATCH", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_STS"},
        ),
    ],
)
def test_what_a_job_chooses_itself_is_left_to_it(tmp_path: Path, own: set[str], missing: set[str]) -> None:
    endpoint = opened(tmp_path, Engine("127.0.0.1"))
    assert endpoint.role_defaults(EFFECT, {}).keys() - endpoint.role_defaults(EFFECT, own).keys() == missing


def test_with_a_real_sts_that_one_is_asked_who_one_is(tmp_path: Path) -> None:
    defaults = opened(tmp_path, Engine("127.0.0.1"), sts_endpoint_url="http://sts").role_defaults(EFFECT, {})
    assert "AWS_ENDPOINT_URL_STS" not in defaults
    assert defaults["AWS_ENDPOINT_URL_BATCH"] == OWN_URL


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address that counts as none of loopback's, and that every machine can listen on."""
    monkeypatch.setattr("batchyard.runtime.job_endpoint._is_loopback", lambda address: False)
    return "127.0.0.1"


def test_others_come_to_a_second_address_and_the_next_server_listens_there_again(
    tmp_path: Path, elsewhere: str
) -> None:
    first = opened(tmp_path, Engine(elsewhere))
    assert first.listener is not None
    uri = first.variables(EFFECT)["ECS_CONTAINER_METADATA_URI_V4"]
    first.close()
    second = opened(tmp_path, Engine(elsewhere))
    assert second.variables(EFFECT)["ECS_CONTAINER_METADATA_URI_V4"] == uri
    third = opened(tmp_path, Engine(elsewhere))
    assert third.variables(EFFECT)["ECS_CONTAINER_METADATA_URI_V4"] != uri
    second.close()
    third.close()


def test_a_port_that_was_not_written_whole_is_chosen_anew(tmp_path: Path, elsewhere: str) -> None:
    (tmp_path / "job-endpoint-port").write_text("80x")
    endpoint = opened(tmp_path, Engine(elsewhere))
    assert isinstance(endpoint.listener, socket.socket)
    endpoint.close()


def test_an_address_that_can_not_be_had_is_none(tmp_path: Path) -> None:
    # 192.0.2.0/24 is kept for documentation (RFC 5737).
    endpoint = opened(tmp_path, Engine("192.0.2.254"))
    assert endpoint.listener is None and endpoint.variables(EFFECT) == {}


@pytest.mark.parametrize(("settings", "own"), [({"sts_endpoint_url": "http://sts"}, {}), ({}, {"AWS_ACCESS_KEY_ID"})])
def test_who_signs_with_other_credentials_is_known_by_the_path(
    tmp_path: Path, elsewhere: str, settings: dict[str, str], own: set[str]
) -> None:
    endpoint = opened(tmp_path, Engine(elsewhere), **settings)
    assert "/attempt/job..1." in endpoint.role_defaults(EFFECT, own)["AWS_ENDPOINT_URL_BATCH"]
    endpoint.close()
