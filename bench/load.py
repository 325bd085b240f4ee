"""A load generator that leaves the CPU to the server: `python -m bench.load < PLAN`, in a process of its own.

It sends one prebuilt request again and again over kept-alive connections, each waiting for its answer before it sends
the next; a server that closes after each answer is connected to again. boto3 would take more CPU to sign and parse than
the server takes to answer, and on two cores that would be measured too. The answer's status and length are all that is
read of it.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "
CLOSES = b"\r\nconnection: close"


class Plan(Struct, frozen=True):
    """What to send, over how many connections, and until when: after `seconds`, or after `count` answers."""

    host: str
    port: int
    request: bytes
    connections: int
    seconds: float | None = None
    count: int | None = None


class Tally(Struct):
    """What came of it. `latencies_ms` are of the answers with status 200, in the order in which they came."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies_ms: list[float] = []
    failures: list[str] = []


class _Client(asyncio.Protocol):
    """One connection: a request out, its answer in, and again until the load is done."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._answer = b""
        self._sent_at = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        if not self._load.take():
            self._answer = b""
            self._transport.close()
            return
        self._answer = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.plan.request)

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer + data if self._answer else data
        if not _is_whole(self._answer):
            return
        self._load.answered(self._answer, time.perf_counter() - self._sent_at)
        if CLOSES in self._answer.partition(HEAD_END)[0].lower():
            self._answer = b""
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._load.tally.failures.append(repr(exc))
        elif self._answer:
            self._load.tally.failures.append("the connection was closed in the middle of an answer")
        self.closed.set_result(None)


class _Load:
    """What the connections share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self._left = plan.count
        self._until = None if plan.seconds is None else time.perf_counter() + plan.seconds

    @property
    def goes_on(self) -> bool:
        if self.tally.failures:
            return False
        return self._left > 0 if self._left is not None else time.perf_counter() < (self._until or 0.0)

    def take(self) -> bool:
        """Whether one more request is to be sent."""
        if self._left is not None:
            self._left -= 1
            return self._left >= 0
        return self._until is not None and time.perf_counter() < self._until

    def answered(self, answer: bytes, seconds: float) -> None:
        if answer.startswith(b"HTTP/1.1 200 "):
            self.tally.latencies_ms.append(seconds * 1000)
        else:
            self.tally.failures.append(answer[:500].decode("latin-1"))


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(HEAD_END)
    if not end:
        return False
    _, found, rest = head.lower().partition(LENGTH)
    if not found:
        raise ValueError(f"an answer without a length: {answer[:200]!r}")
    return len(body) >= int(rest.partition(b"\r\n")[0])


async def run(plan: Plan) -> Tally:
    """Carry out the plan."""
    loop = asyncio.get_running_loop()
    cpu_before, began = _cpu_seconds(), time.perf_counter()
    load = _Load(plan)

    async def connection() -> None:
        while load.goes_on:
            _, client = await loop.create_connection(lambda: _Client(load), plan.host, plan.port)
            await client.closed

    await asyncio.gather(*(connection() for _ in range(plan.connections)))
    load.tally.seconds = time.perf_counter() - began
    load.tally.cpu_seconds = _cpu_seconds() - cpu_before
    return load.tally


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    result = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)))
    sys.stdout.buffer.write(msgspec.json.encode(result))
