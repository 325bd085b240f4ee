from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import Connection

from batchyard.core.model import QueueState
from batchyard.store import queues
from batchyard.store.queues import QueueEnvironment, QueueRow
from tests.unit.api.harness import World, open_world


def row(name: str, status: str = "CREATING", *names: str, created_at_ms: int = 1) -> QueueRow:
    return QueueRow(
        name=name,
        arn=f"arn:aws:batch:us-east-1:123456789012:job-queue/{name}",
        state="ENABLED",
        status=status,
        status_reason=None,
        priority=3,
        created_at_ms=created_at_ms,
        environments=tuple(QueueEnvironment(10 * place, each) for place, each in enumerate(names)),
        document={"jobQueueType": "ECS"},
        tags={"a": "1"},
    )


def put(world: World, *rows: QueueRow) -> None:
    def write(connection: Connection) -> None:
        for each in rows:
            queues.insert_row(connection, each)

    world.write(write)


def test_a_row_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("q", "VALID", "x", "y"))
        assert world.read(lambda connection: queues.find(connection, "q")) == row("q", "VALID", "x", "y")
        assert world.read(lambda connection: queues.find(connection, "r")) is None
        changed = structs.replace(row("q", "UPDATING", "y"), priority=9, tags={})
        world.write(lambda connection: queues.replace_row(connection, changed))
        assert world.read(lambda connection: queues.find(connection, "q")) == changed


def test_an_environment_is_in_use_wherever_it_stands_in_the_order(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        put(world, row("q", "VALID", "x", "y"), row("r", "VALID", "y"), row("s", "DELETING", "z"))
        used = {
            name: world.read(lambda c, name=name: queues.using_environment(c, name)) for name in ("x", "y", "z", "w")
        }
        assert used == {"x": ["q"], "y": ["q", "r"], "z": ["s"], "w": []}


def test_unsettled_are_those_that_the_runtime_has_to_take_in(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        statuses = ["CREATING", "VALID", "UPDATING", "INVALID", "DELETING"]
        put(world, *(row(status, status, created_at_ms=9 - age) for age, status in enumerate(statuses)))
        assert [each.name for each in world.read(queues.unsettled)] == ["DELETING", "UPDATING", "CREATING"]
        assert [each.name for each in world.read(queues.all_rows)] == sorted(statuses)


@pytest.mark.parametrize(
    ("status", "settled"), [("CREATING", "VALID"), ("UPDATING", "VALID"), ("DELETING", "DELETING")]
)
def test_settling_makes_what_was_created_or_updated_valid(tmp_path: Path, status: str, settled: str) -> None:
    with open_world(tmp_path) as world:
        put(world, row("q", status), row("other", status))
        world.write(lambda connection: queues.settle(connection, "q"))
        found = world.read(lambda connection: queues.find(connection, "q"))
        assert found is not None
        assert (found.status, found.status_reason) == (settled, "JobQueue Healthy" if settled == "VALID" else None)
        assert world.read(lambda connection: queues.find(connection, "other")) == row("other", status)
        world.write(lambda connection: queues.remove(connection, "q"))
        assert world.read(lambda connection: queues.find(connection, "q")) is None


def test_the_state_for_the_scheduler() -> None:
    expected = QueueState("q", 3, ("y", "x"), created_at_ms=1, enabled=True, deleting=False)
    assert queues.to_state(row("q", "VALID", "y", "x")) == expected
    assert queues.to_state(row("q", "DELETING")).deleting
    assert not queues.to_state(structs.replace(row("q"), state="DISABLED")).enabled
