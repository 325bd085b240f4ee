from __future__ import annotations

import asyncio

from batchyard.engines.docker.client import Client
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.run import ContainerRun


async def _told_of_memory(*, hears: bool) -> bool:
    client = Client("unix:///nowhere")
    try:
        run = ContainerRun(client, Link(), "a", None)
        if hears:
            asyncio.get_running_loop().call_soon(run.heard_out_of_memory)
        return await run.told_out_of_memory(60 if hears else 0.001)
    finally:
        await client.close()


def test_that_memory_ran_out_may_be_told_after_the_end() -> None:
    assert asyncio.run(_told_of_memory(hears=True))


def test_what_is_never_told_is_not_waited_for_for_long() -> None:
    assert not asyncio.run(_told_of_memory(hears=False))
