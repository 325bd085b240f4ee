from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import Connection

from batchyard.core.model import EnvironmentState
from batchyard.store import environments
from batchyard.store.environments import EnvironmentRow
from tests.unit.api.harness import World, open_world


def row(name: str, status: str = "CREATING", *, created_at_ms: int = 1, max_vcpus: int | None = 4) -> EnvironmentRow:
    return EnvironmentRow(
        name=name,
        arn=f"arn:aws:batch:us-east-1:123456789012:compute-environment/{name}",
        type="MANAGED",
        state="ENABLED",
        status=status,
        status_reason=None,
        created_at_ms=created_at_ms,
        document={} if max_vcpus is None else {"computeResources": {"type": "EC2", "maxvCpus": max_vcpus}},
        tags={"a": "1"},
    )


def put(world: World, *rows: EnvironmentRow) -> None:
    def write(connection: Connection) -> None:
        for each in rows:
            environments.insert_row(connection, each)

    world.write(write)


def test_a_row_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("a"))
        assert world.read(lambda connection: environments.find(connection, "a")) == row("a")
        assert world.read(lambda connection: environments.find(connection, "b")) is None
        changed = structs.replace(row("a"), state="DISABLED", status_reason="because", tags={})
        world.write(lambda connection: environments.replace_row(connection, changed))
        assert world.read(lambda connection: environments.find(connection, "a")) == changed


def test_unsettled_are_those_that_the_runtime_has_to_take_in(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        statuses = ["CREATING", "VALID", "UPDATING", "INVALID", "DELETING"]
        put(world, *(row(status, status, created_at_ms=9 - age) for age, status in enumerate(statuses)))
        assert [each.name for each in world.read(environments.unsettled)] == ["DELETING", "UPDATING", "CREATING"]
        assert [each.name for each in world.read(environments.all_rows)] == sorted(statuses)


@pytest.mark.parametrize(
    ("status", "settled"),
    [("CREATING", "VALID"), ("UPDATING", "VALID"), ("DELETING", "DELETING"), ("INVALID", "INVALID")],
)
def test_settling_makes_what_was_created_or_updated_valid(tmp_path: Path, status: str, settled: str) -> None:
    with open_world(tmp_path) as world:
        put(world, row("a", status), row("other", status))
        world.write(lambda connection: environments.settle(connection, "a"))
        found = world.read(lambda connection: environments.find(connection, "a"))
        other = world.read(lambda connection: environments.find(connection, "other"))
        assert found is not None
        assert found.status == settled
        assert found.status_reason == ("ComputeEnvironment Healthy" if settled == "VALID" else None)
        assert other == row("other", status)


def test_a_removed_row_is_gone(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("a"), row("b"))
        world.write(lambda connection: environments.remove(connection, "a"))
        assert [each.name for each in world.read(environments.all_rows)] == ["b"]


def test_the_state_for_the_scheduler() -> None:
    assert environments.to_state(row("a")) == EnvironmentState(
        "a", enabled=True, max_vcpu_milli=4000, instance_types=("EC2",)
    )
    assert environments.to_state(row("a", max_vcpus=None)).max_vcpu_milli is None
    assert environments.to_state(row("a", "DELETING")).deleting
    assert not environments.to_state(structs.replace(row("a"), state="DISABLED")).enabled
