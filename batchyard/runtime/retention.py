"""Finished jobs are kept for a while, then removed with their logs, a bounded number at a time."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import structlog

from batchyard import crashpoints
from batchyard.background import going_on
from batchyard.clock import Clock
from batchyard.exceptions import StoreError
from batchyard.settings import Settings
from batchyard.store import logs as log_streams
from batchyard.store import removal
from batchyard.store.database import Database
from batchyard.telemetry.logstore import LogStore

SWEEP_SECONDS = 600
SHORTEST_SWEEP_SECONDS = 1
MAX_JOBS_PER_WRITE = 200
DAY_MS = 24 * 3600 * 1000

log = structlog.get_logger(__name__)


class Retention:
    """Sweeps at the start and every ten minutes, more often where jobs are kept for less than an hour."""

    def __init__(self, settings: Settings, clock: Clock, database: Database, logs: LogStore) -> None:
        self._settings = settings
        self._clock = clock
        self._database = database
        self._logs = logs
        kept_seconds = settings.job_retention_days * DAY_MS / 1000
        self.pause_seconds = max(SHORTEST_SWEEP_SECONDS, min(SWEEP_SECONDS, kept_seconds / 4))

    def running(self) -> AbstractAsyncContextManager[None]:
        return going_on(self._run, "retention")

    async def _run(self) -> None:
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    log.info("retention.removed", jobs=removed)
            except (StoreError, OSError):
                log.exception("retention.failed")
            await asyncio.sleep(self.pause_seconds)

    async def sweep(self) -> int:
        """Remove what is older than the settings allow; returns the number of jobs removed.

        Logs go first: a server that dies in between finds the rows again and removes files that aren't there.
        """
        before_ms = self._clock.now_ms() - int(self._settings.job_retention_days * DAY_MS)
        total = 0
        while True:
            expired = await self._database.read(
                lambda connection: removal.expired(connection, before_ms, MAX_JOBS_PER_WRITE)
            )
            if not expired:
                break
            logs = [log_id for job in expired for log_id in job.log_ids]
            await asyncio.to_thread(self._delete_files, logs)
            if crashpoints.ARMED:
                crashpoints.reach("retention.after_files")
            await self._database.write(lambda connection: removal.remove(connection, expired), is_long=True)  # noqa: B023
            total += len(expired)
        await self._expire_streams()
        return total

    async def _expire_streams(self) -> None:
        """Streams older than their group's own retention period."""
        now_ms = self._clock.now_ms()
        while logs := await self._database.read(lambda connection: log_streams.expired_streams(connection, now_ms)):
            await asyncio.to_thread(self._delete_files, logs)
            await self._database.write(lambda connection: log_streams.delete_streams(connection, logs), is_long=True)

    def _delete_files(self, log_ids: list[str]) -> None:
        for log_id in log_ids:
            self._logs.delete(log_id)
