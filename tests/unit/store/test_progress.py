"""What the runtime reads of jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from batchyard.store.progress import read_launch_details
from tests import databases


def test_the_details_of_more_launches_than_one_statement_takes(tmp_path: Path) -> None:
    database = databases.opened(tmp_path / "x.db")
    try:
        job_ids = [f"job-{number}" for number in range(40_000)]
        assert asyncio.run(database.read(lambda connection: read_launch_details(connection, job_ids))) == []
    finally:
        database.close()
