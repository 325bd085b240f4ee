from __future__ import annotations

from pathlib import Path

import pytest

from batchyard import settings
from batchyard.exceptions import SettingsError
from batchyard.settings import LIMITS, MINIMA, Settings


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_the_service_is_a_number_or_zero_for_none(name: str) -> None:
    assert getattr(settings.load(environment={f"BATCHYARD_{name.upper()}": "7"}), name) == 7
    assert getattr(settings.load(environment={f"BATCHYARD_{name.upper()}": "0"}), name) == 0
    with pytest.raises(SettingsError, match=f"{name} is -1, it must be 0 or more"):
        settings.load(environment={f"BATCHYARD_{name.upper()}": "-1"})


@pytest.mark.parametrize(("name", "least"), MINIMA.items())
def test_what_makes_no_sense_below_a_minimum_is_refused_there(name: str, least: int) -> None:
    assert getattr(settings.load(environment={}, flags={name: least}), name) == least
    with pytest.raises(SettingsError, match=f"{name} must be at least {least}"):
        settings.load(environment={}, flags={name: least - 1})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("docker_pull", "sometimes", "docker_pull is 'sometimes', it must be one of missing, always, never"),
        ("docker_keep_failed", "many", "docker_keep_failed is 'many': expected `int`"),
        ("docker_images_max_gib", "", "docker_images_max_gib is '': expected `float`"),
    ],
)
def test_a_value_of_another_kind_is_told_with_what_is_allowed(name: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(environment={f"BATCHYARD_{name.upper()}": text})
    assert str(caught.value) == f"settings: {said}"


def test_a_setting_that_is_not_known_is_named() -> None:
    with pytest.raises(SettingsError, match="unknown field `docker_pul`"):
        settings.load(environment={}, flags={"docker_pul": "always"})


def test_only_what_clients_count_on_is_limited_by_default() -> None:
    default = Settings()
    assert (default.max_array_size, default.max_dependencies, default.max_queue_environments) == (10_000, 20, 3)
    assert (default.max_compute_environments, default.max_job_queues, default.max_overrides_length) == (0, 0, 0)


def test_tables_come_from_a_file_or_from_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "batchyard.toml"
    file.write_text('[docker_networks]\n"subnet-1" = "public"\n[docker_private_networks]\n"subnet-2" = "private"\n')
    loaded = settings.load(file, environment={})
    assert (loaded.docker_networks, loaded.docker_private_networks) == ({"subnet-1": "public"}, {"subnet-2": "private"})
    loaded = settings.load(environment={"BATCHYARD_DOCKER_NETWORKS": "subnet-1=public, subnet-3=public"})
    assert loaded.docker_networks == {"subnet-1": "public", "subnet-3": "public"}
    assert loaded.docker_private_networks == {}


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"DOCKER_NETWORKS": "subnet-1"}, "BATCHYARD_DOCKER_NETWORKS must be KEY=VALUE, separated by commas"),
        ({"DOCKER_NETWORKS": "subnet-1="}, "BATCHYARD_DOCKER_NETWORKS must be KEY=VALUE, separated by commas"),
        ({"DOCKER_NETWORKS": " =a"}, "need names on both sides"),
        ({"DOCKER_NETWORKS": "s=a", "DOCKER_PRIVATE_NETWORKS": "s=b"}, "the subnet s is in docker_networks and in"),
        ({"DOCKER_NETWORKS": "s=a", "DOCKER_PRIVATE_NETWORKS": "t=a"}, "the network a is in docker_networks and in"),
    ],
)
def test_networks_that_contradict_each_other_are_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        settings.load(environment={f"BATCHYARD_{name}": value for name, value in environment.items()})


def test_actions_of_job_roles_are_listed_and_look_like_actions() -> None:
    assert settings.load(environment={"BATCHYARD_JOB_ROLE_ACTIONS": "batch:SubmitJob,logs:*"}).job_role_actions == (
        "batch:SubmitJob",
        "logs:*",
    )
    assert settings.load(environment={"BATCHYARD_JOB_ROLE_ACTIONS": ""}).job_role_actions == ()
    for wrong in ("SubmitJob", "batch:", ":SubmitJob"):
        with pytest.raises(SettingsError, match="it must be like batch:SubmitJob"):
            settings.load(environment={"BATCHYARD_JOB_ROLE_ACTIONS": f"*,{wrong}"})
