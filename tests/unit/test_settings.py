from __future__ import annotations

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


def test_only_what_clients_count_on_is_limited_by_default() -> None:
    default = Settings()
    assert (default.max_array_size, default.max_dependencies, default.max_queue_environments) == (10_000, 20, 3)
    assert (default.max_compute_environments, default.max_job_queues, default.max_overrides_length) == (0, 0, 0)
