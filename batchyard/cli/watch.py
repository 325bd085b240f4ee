"""Watching a job until it ends. The API has no way to be told, so this asks: soon at first, then once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from batchyard.cli import output
from batchyard.cli.client import Api, describe_one
from batchyard.cli.errors import is_unreachable

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
GROWTH = 1.5
PATIENCE_SECONDS = 60.0
"""For how long a server may be away (jobs survive its restart) before watching gives up."""

Job = dict[str, Any]


def watch(
    api: Api,
    job_id: str,
    on_look: Callable[[Job], bool],
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Job:
    """The job once it has ended. `on_look` sees every state of it, and says whether anything is going on: then the
    next look follows soon. A server that goes away is waited for."""
    pause = FIRST_PAUSE_SECONDS
    away_since: float | None = None
    while True:
        try:
            job = describe_one(api.batch, job_id)
            is_busy = on_look(job)
        except Exception as error:
            if not is_unreachable(error):
                raise
            if away_since is None:
                away_since = monotonic()
                output.err.print("The server is away; waiting for it to come back.")
            elif monotonic() - away_since > PATIENCE_SECONDS:
                raise
            is_busy = False
        else:
            away_since = None
            if job["status"] in output.ENDED:
                return job
        pause = FIRST_PAUSE_SECONDS if is_busy else min(pause * GROWTH, LONGEST_PAUSE_SECONDS)
        sleep(pause)
