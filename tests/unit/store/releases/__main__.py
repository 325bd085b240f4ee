"""Write the dump of the current release: a few jobs of every kind, ended, running and waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from batchyard import __version__
from tests.unit.runtime.yardhouse import House, ScriptedEngine, house


async def fill(folder: Path) -> None:
    engine = ScriptedEngine(vcpus=2)
    async with house(folder, engine) as yard:
        await yard.define()
        await yard.call("CreateSchedulingPolicy", name="fair", fairsharePolicy={"shareDecaySeconds": 600})
        await yard.call("CreateConsumableResource", consumableResourceName="licence", totalQuantity=5)
        ended = await yard.submit("ended", tags={"team": "a"})
        await _end(yard, engine, ended, 0)
        failed = await yard.submit("failed", retryStrategy={"attempts": 1})
        await _end(yard, engine, failed, 3)
        running = await yard.submit("running", timeout={"attemptDurationSeconds": 86_400})
        await yard.until(lambda: running in engine.launches)
        array = await yard.submit("array", arrayProperties={"size": 4})
        waiting = await yard.submit("waiting", dependsOn=[{"jobId": array}], retryStrategy={"attempts": 3})
        await yard.until_status(array, "PENDING")
        await yard.until_status(waiting, "PENDING")


async def _end(yard: House, engine: ScriptedEngine, job_id: str, code: int) -> None:
    await yard.until(lambda: job_id in engine.launches)
    engine.start_and_exit(job_id, code)
    await yard.until_status(job_id, "FAILED" if code else "SUCCEEDED")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(fill(folder))
        with closing(sqlite3.connect(folder / "batchyard.db")) as connection:
            lines = "\n".join(connection.iterdump())
    target = Path(__file__).with_name(f"{__version__}.sql")
    target.write_text(f"{lines}\n")
    print(f"{target}: {len(lines)} characters")


if __name__ == "__main__":
    main()
