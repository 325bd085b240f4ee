"""A client of the API that takes little CPU and gets over the deaths of its server, as the SDKs do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

RETRY_SECONDS = 0.2
GIVE_UP_SECONDS = 60.0


class Refused(Exception):
    """A 4xx: the request itself was wrong."""


class Unreachable(Exception):
    """No answer, or nothing but 5xx, for as long as anybody would wait."""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Api:
    """`note(name, milliseconds)` is told of every answer with 200: how long the request that got it took."""

    def __init__(self, host: str, port: int, note: Callable[[str, float], None]) -> None:
        self._host, self._port, self._note = host, port, note
        self._idle: list[Connection] = []
        self.retries = 0
        """Requests that were sent again, as nobody or a 5xx answered."""

    async def batch(self, operation: str, **params: Any) -> dict[str, Any]:
        return await self._call(operation, f"/v1/{operation.lower()}", "", params)

    async def logs(self, operation: str, **params: Any) -> dict[str, Any]:
        return await self._call(operation, "/", f"X-Amz-Target: Logs_20140328.{operation}\r\n", params)

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _call(self, name: str, path: str, headers: str, params: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(params)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        deadline = time.monotonic() + GIVE_UP_SECONDS
        problem = ""
        while time.monotonic() < deadline:
            try:
                began = time.perf_counter()
                status, answer = await self._exchange(head.encode() + body)
            except (OSError, EOFError) as error:
                problem = repr(error)
            else:
                if status == 200:
                    self._note(name, (time.perf_counter() - began) * 1000)
                    decoded: dict[str, Any] = msgspec.json.decode(answer)
                    return decoded
                problem = f"{status}: {answer[:300].decode('utf-8', 'replace')}"
                if status < 500:
                    raise Refused(f"{name}: {problem}")
            self.retries += 1
            await asyncio.sleep(RETRY_SECONDS)
        raise Unreachable(f"{name} was not answered for {GIVE_UP_SECONDS:g} s; last: {problem}")

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        reader, writer = connection
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status, length = _parsed(head)
            body = await reader.readexactly(length)
        except BaseException:
            with contextlib.suppress(OSError):
                writer.close()
            raise
        self._idle.append(connection)
        return status, body


def _parsed(head: bytes) -> tuple[int, int]:
    """The status and the body's length."""
    first, *fields = head.decode("latin-1").split("\r\n")
    for field in fields:
        name, _, value = field.partition(":")
        if name.lower() == "content-length":
            return int(first.split(" ")[1]), int(value)
    raise EOFError(f"an answer without a length: {first}")
