"""Consumable resources from the API to the scheduler and back, over restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.runtime.yardhouse import House, ScriptedEngine, house, run


async def level(server: House, name: str = "licence") -> tuple[int, int]:
    """(total, in use)"""
    found = await server.call("DescribeConsumableResource", consumableResource=name)
    return found["totalQuantity"], found["inUseQuantity"]


async def create(server: House, total: int, **params: Any) -> None:
    await server.call("CreateConsumableResource", consumableResourceName="licence", totalQuantity=total, **params)


async def submit(server: House, quantity: int) -> str:
    entries = [{"consumableResource": "licence", "quantity": quantity}]
    return await server.submit(consumableResourcePropertiesOverride={"consumableResourceList": entries})


def test_what_a_job_takes_is_in_use_until_its_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await create(server, 2)
            first, second = await submit(server, 2), await submit(server, 1)
            waiting = await server.until_status(second, "RUNNABLE")
            assert waiting["statusReason"].startswith("CAPACITY:INSUFFICIENT_CONSUMABLE_RESOURCE - ")
            assert await level(server) == (2, 2)
            server.engine.start_and_exit(first)
            await server.until(lambda: second in server.engine.launches)
            await server.until_status(first, "SUCCEEDED")
            assert await level(server) == (2, 1)

    run(scenario())


def test_what_is_spent_is_taken_off_the_total_and_an_update_lets_waiting_jobs_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await create(server, 2, resourceType="NON_REPLENISHABLE")
            first, second = await submit(server, 2), await submit(server, 1)
            await server.until(lambda: first in server.engine.launches)
            await server.call("UpdateConsumableResource", consumableResource="licence", operation="ADD", quantity=0)
            server.engine.start_and_exit(first)
            await server.until_status(first, "SUCCEEDED")
            assert await level(server) == (0, 0)
            assert (await server.job(second))["status"] == "RUNNABLE"
            await server.call("UpdateConsumableResource", consumableResource="licence", operation="ADD", quantity=5)
            await server.until(lambda: second in server.engine.launches)
            server.engine.start_and_exit(second)
            await server.until_status(second, "SUCCEEDED")
            assert await level(server) == (4, 0)

    run(scenario())


def test_after_a_restart_what_was_taken_is_still_taken(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    async def before() -> tuple[str, str]:
        async with house(tmp_path, engine) as server:
            await server.define()
            await create(server, 2, resourceType="NON_REPLENISHABLE")
            first, second = await submit(server, 2), await submit(server, 2)
            await server.until(lambda: first in engine.launches)
            await server.until_status(second, "RUNNABLE")
            return first, second

    async def after(first: str, second: str) -> None:
        async with house(tmp_path, engine) as server:
            assert await level(server) == (2, 2)
            assert second not in engine.launches
            await server.call("UpdateConsumableResource", consumableResource="licence", operation="ADD", quantity=3)
            engine.start_and_exit(first)
            await server.until(lambda: second in engine.launches)
            await server.until_status(first, "SUCCEEDED")
            assert await level(server) == (3, 2)

    run(after(*run(before())))


def test_a_deleted_resource_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with house(tmp_path) as server:
            await server.define()
            await create(server, 2)
            await submit(server, 1)
            await server.call("DeleteConsumableResource", consumableResource="licence")
            await create(server, 1)
            await submit(server, 1)
            assert (await server.call("ListConsumableResources"))["consumableResources"][0]["totalQuantity"] == 1
            await server.call("DeleteConsumableResource", consumableResource="licence")
            assert (await server.call("ListConsumableResources"))["consumableResources"] == []

    run(scenario())
