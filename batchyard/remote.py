"""AWS services elsewhere, which the server asks for what jobs need: secrets, and credentials of roles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from botocore.config import Config

CONNECT_SECONDS = 5
READ_SECONDS = 10
ATTEMPTS = 2

T = TypeVar("T")


class Line:
    """One question at a time, in a thread of its own: a service that does not answer keeps nobody but those who ask it
    waiting. (The threads of `asyncio.to_thread` are few, and logs are read in them.)"""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turn = asyncio.Lock()

    async def ask(self, question: Callable[[], T]) -> T:
        """What `question()` gives, which may block. Who gives up before its turn has asked nothing."""
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question)


def client(service: str, endpoint_url: str, region: str) -> Any:
    """A boto3 client with the server's own AWS credentials, which gives up before long. ValueError for an address that
    can't be one."""
    import boto3

    limits = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    return boto3.session.Session().client(service, endpoint_url=endpoint_url, region_name=region, config=limits)
