"""The load generator: answers are counted, also where each comes over a connection of its own."""

from __future__ import annotations

import asyncio

import pytest

from bench.load import Plan, Tally, run

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


def loaded(answer: bytes, *, closes: bool, count: int = 10) -> tuple[Tally, int]:
    """What three connections get from a server that gives the same answer always; how often it was connected to."""

    async def scene() -> tuple[Tally, int]:
        connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(answer)
                    if closes:
                        break
            except asyncio.IncompleteReadError:
                pass  # the client has gone
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            tally = await run(Plan("127.0.0.1", port, REQUEST, connections=3, count=count))
        return tally, connections

    return asyncio.run(scene())


def test_connections_are_kept() -> None:
    tally, connections = loaded(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", closes=False)
    assert (len(tally.latencies_ms), tally.failures, connections) == (10, [], 3)


def test_a_server_that_closes_is_connected_to_again() -> None:
    tally, connections = loaded(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", closes=True)
    assert (len(tally.latencies_ms), tally.failures) == (10, [])
    assert connections >= 10


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "503 Busy"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "closed in the middle"),
    ],
)
def test_what_is_no_answer_is_a_failure(answer: bytes, said: str) -> None:
    tally, _ = loaded(answer, closes=True)
    assert tally.latencies_ms == []
    assert said in tally.failures[0]
