"""Finished jobs go when their time is up, with their logs; unfinished ones stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import Connection

from batchyard.clock import FrozenClock, SystemClock
from batchyard.logframes import frame, log_id, log_path
from batchyard.runtime.retention import DAY_MS, Retention
from batchyard.store import removal
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run


async def finished_array(server: House, size: int) -> str:
    job_id = await server.submit(arrayProperties={"size": size})
    for count in range(1, size + 1):
        await server.until(lambda: len(server.engine.launches) >= count)  # noqa: B023
        server.engine.start_and_exit(list(server.engine.launches)[count - 1])
    await server.until_status(job_id, "SUCCEEDED")
    return job_id


def test_a_finished_job_goes_with_its_logs_and_an_unfinished_one_stays(tmp_path: Path) -> None:
    engine = ScriptedEngine(vcpus=1)

    async def scenario() -> None:
        async with house(tmp_path, engine) as server:
            await server.define()
            ended = await finished_array(server, 3)
            logs = [log_path(tmp_path / "logs", attempt_id) for attempt_id in engine.launches]
            for path in logs:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(frame(1, b"hello\n"))
            running = await server.submit()
            clock = FrozenClock(SystemClock().now_ms() + 6 * DAY_MS)
            retention = Retention(server.context.settings, clock, server.context.database, server.context.logs)
            assert await retention.sweep() == 0
            clock.advance(2 * DAY_MS)
            assert await retention.sweep() == 1
            found = (await server.call("DescribeJobs", jobs=[ended, f"{ended}:0", running]))["jobs"]
            assert [job["jobId"] for job in found] == [running]
            assert not any(path.exists() for path in logs)
            assert (await server.call("DescribeLogStreams", "logs", logGroupName="/aws/batch/job"))["logStreams"] == []

    run(scenario())


def test_the_logs_of_all_containers_of_a_task_go_with_their_job(tmp_path: Path) -> None:
    class ContainerEngine(ScriptedEngine):
        runs_containers = True

    async def scenario() -> None:
        async with house(tmp_path, ContainerEngine()) as server:
            sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}]
            containers = [{"name": name, "image": "busybox", "resourceRequirements": sizes} for name in ("a", "b")]
            task = {"taskProperties": [{"containers": containers}]}
            await server.call("RegisterJobDefinition", jobDefinitionName="jd", type="container", ecsProperties=task)
            job_id = await server.submit()
            await server.until(lambda: job_id in server.engine.launches)
            server.engine.start_and_exit(job_id)
            await server.until_status(job_id, "SUCCEEDED")
            logs = [log_path(tmp_path / "logs", log_id(job_id, place)) for place in (0, 1)]
            for path in logs:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(frame(1, b"hello\n"))
            clock = FrozenClock(SystemClock().now_ms() + 8 * DAY_MS)
            assert (
                await Retention(server.context.settings, clock, server.context.database, server.context.logs).sweep()
                == 1
            )
            assert not any(path.exists() for path in logs)
            assert (await server.call("DescribeLogStreams", "logs", logGroupName="/aws/batch/job"))["logStreams"] == []

    run(scenario())


def test_one_transaction_removes_a_bounded_number_of_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "MAX_ATTEMPTS", 2)

    def expired(connection: Connection) -> int:
        return len(removal.expired(connection, SystemClock().now_ms() + DAY_MS, 200))

    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=1)) as server:
            await server.define()
            await finished_array(server, 3)
            server.engine.launches.clear()
            await finished_array(server, 3)
            assert await server.context.database.read(expired) == 1

    run(scenario())


@pytest.mark.parametrize(("days", "seconds"), [(7, 600), (2400 / 86_400, 600), (60 / 86_400, 15), (1e-6, 1)])
def test_what_is_kept_for_a_short_time_is_swept_more_often(tmp_path: Path, days: float, seconds: float) -> None:
    async def scenario() -> None:
        async with house(tmp_path, ScriptedEngine(vcpus=1)) as server:
            settings = structs.replace(server.context.settings, job_retention_days=days)
            retention = Retention(settings, SystemClock(), server.context.database, server.context.logs)
            assert retention.pause_seconds == pytest.approx(seconds)

    run(scenario())
