"""What an attempt's environment says of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    """One whose attempts reach the server at `address`, which is opened unless it is loopback's."""

    runs_containers = True

    def __init__(self, address: str | None, *, opens: str | None = None) -> None:
        super().__init__()
        self.address = address
        self.opens = opens

    async def open_address(self) -> str | None:
        return self.opens

    def server_address(self, subnets: Sequence[str] = (), *, is_node: bool = False) -> str | None:
        return self.address


class Elsewhere(Engine):
    """One whose attempts come to a second address. Every machine has this one; only 127.0.0.1 counts as the first."""

    def __init__(self) -> None:
        super().__init__("127.0.0.2", opens="127.0.0.2")


def opened(folder: Path, engine: Engine, **settings: Any) -> JobEndpoint:
    endpoint = JobEndpoint(Settings(data_dir=str(folder), **settings), Keys(b"k" * 32), OWN_URL)
    asyncio.run(endpoint.open(engine))
    return endpoint


def told(endpoint: JobEndpoint, *own: str, has_role: bool = True) -> dict[str, str]:
    return endpoint.variables(EFFECT, own, has_role=has_role)


def test_attempts_on_loopback_come_to_the_servers_own_address(tmp_path: Path) -> None:
    endpoint = opened(tmp_path, Engine("127.0.0.1"))
    assert endpoint.listener is None
    variables = told(endpoint)
    assert variables.pop("ECS_CONTAINER_METADATA_URI_V4").startswith(f"{OWN_URL}/v4/job..1.")
    assert len(variables.pop("AWS_CONTAINER_AUTHORIZATION_TOKEN")) == 40
    assert variables == {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{OWN_URL}/v2/credentials/job..1",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_BATCH": OWN_URL,
        "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": OWN_URL,
        "AWS_ENDPOINT_URL_STS": OWN_URL,
    }


def test_without_a_role_there_is_the_metadata_alone(tmp_path: Path) -> None:
    assert list(told(opened(tmp_path, Engine("127.0.0.1")), has_role=False)) == ["ECS_CONTAINER_METADATA_URI_V4"]


def test_processes_are_kept_from_the_credentials_of_the_servers_owner(tmp_path: Path) -> None:
    engine = Engine("127.0.0.1")
    engine.runs_containers = False
    variables = told(opened(tmp_path, engine))
    assert (variables["AWS_CONFIG_FILE"], variables["AWS_SHARED_CREDENTIALS_FILE"]) == ("/dev/null", "/dev/null")


@pytest.mark.parametrize("passed", ["AWS_PROFILE", "AWS_CONFIG_FILE"])
def test_what_the_servers_owner_passes_on_to_processes_is_left_to_it(tmp_path: Path, passed: str) -> None:
    engine = Engine("127.0.0.1")
    engine.runs_containers = False
    assert "AWS_CONFIG_FILE" not in told(opened(tmp_path, engine, pass_environment=(passed,)))


def test_attempts_that_reach_no_server_are_told_of_none(tmp_path: Path) -> None:
    assert told(opened(tmp_path, Engine(None))) == {}


@pytest.mark.parametrize(
    ("own", "missing"),
    [
        ("AWS_REGION", {"AWS_REGION", "AWS_DEFAULT_REGION"}),
        ("AWS_ENDPOINT_URL_STS", {"AWS_ENDPOINT_URL_STS"}),
        ("AWS_ENDPOINT_URL", {"AWS_ENDPOINT_URL_BATCH", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_STS"}),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", set()),
    ],
)
def test_what_a_job_chooses_itself_is_left_to_it(tmp_path: Path, own: str, missing: set[str]) -> None:
    endpoint = opened(tmp_path, Engine("127.0.0.1"))
    assert told(endpoint).keys() - told(endpoint, own).keys() == missing


def test_with_a_real_sts_that_one_is_asked_who_one_is(tmp_path: Path) -> None:
    variables = told(opened(tmp_path, Engine("127.0.0.1"), sts_endpoint_url="http://sts"))
    assert "AWS_ENDPOINT_URL_STS" not in variables
    assert variables["AWS_ENDPOINT_URL_BATCH"] == OWN_URL


def test_others_come_to_a_second_address_and_the_next_server_listens_there_again(tmp_path: Path) -> None:
    first = opened(tmp_path, Elsewhere())
    assert first.listener is not None
    variables = told(first)
    port = first.listener.getsockname()[1]
    assert variables["AWS_ENDPOINT_URL_BATCH"] == f"http://127.0.0.2:{port}"
    first.close()
    second = opened(tmp_path, Elsewhere())
    assert told(second) == variables
    third = opened(tmp_path, Elsewhere())
    assert told(third)["AWS_ENDPOINT_URL_BATCH"] != variables["AWS_ENDPOINT_URL_BATCH"]
    second.close()
    third.close()


@pytest.mark.parametrize("port", ["80x", "-1", "99999"])
def test_a_port_that_can_not_be_one_is_chosen_anew(tmp_path: Path, port: str) -> None:
    (tmp_path / "job-endpoint-port").write_text(port)
    endpoint = opened(tmp_path, Elsewhere())
    assert told(endpoint)
    endpoint.close()


def test_an_address_that_can_not_be_had_is_none(tmp_path: Path) -> None:
    # 192.0.2.0/24 is kept for documentation (RFC 5737).
    endpoint = opened(tmp_path, Engine("192.0.2.254", opens="192.0.2.254"))
    assert endpoint.listener is None and told(endpoint) == {}


@pytest.mark.parametrize(("settings", "own"), [({"sts_endpoint_url": "http://sts"}, ()), ({}, ("AWS_ACCESS_KEY_ID",))])
def test_who_signs_with_other_credentials_is_known_by_the_path(
    tmp_path: Path, settings: dict[str, str], own: tuple[str, ...]
) -> None:
    endpoint = opened(tmp_path, Elsewhere(), **settings)
    assert "/attempt/job..1." in told(endpoint, *own)["AWS_ENDPOINT_URL_BATCH"]
    endpoint.close()
