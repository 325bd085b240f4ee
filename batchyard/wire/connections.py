"""What one connection may take of the server: time, bytes of a head, and one of a bounded number of places.

uvicorn's HTTP protocol limits none of these: its one timer runs between requests, every byte stops it, and an ASGI
application is called only when a head is complete. So the limits stand here, below it. A request must be complete in
head and body a set time after its first byte (or after the connection was made); an answer must be fetched; a head must
not be larger than a limit; and there are never more connections than the limit on open files leaves room for, as a
server that can open no file can read no log and start no supervisor.

One pass over all connections every few seconds looks at the clock, instead of a timer for each request.
"""

from __future__ import annotations

import asyncio
import functools
import resource
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from batchyard.background import going_on
from batchyard.clock import Ids
from batchyard.exceptions import ApiError
from batchyard.wire import errors
from batchyard.wire.serialise import dialect, error_response

FILES_FOR_OTHERS = 256
"""Open files that connections leave to the database, to logs and to the engine, where the limit is large enough."""
MAX_FILE_LIMIT = 65_536
"""As far as the server raises its own limit on open files."""
BODIES_PER_REQUEST = 8
"""How many times the largest body a request may send over the wire: chunks have heads, and what is refused is read on
for a while, so that a client that reads only after it has written everything sees the refusal."""
LONGEST_PAUSE_SECONDS = 5.0


class Limits(Struct, frozen=True):
    """What the settings say of connections."""

    request_seconds: float
    max_head_bytes: int
    max_request_bytes: int
    max_connections: int


class _Answer:
    """Where one answer is written to: its head goes out together with the beginning of its body, in one packet.

    uvicorn writes them one after the other, and each write to a socket wakes the client, which for the head alone has
    nothing to do. On a machine that both share it also takes the CPU from the server, before the body is written.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle: RequestResponseCycle | None = cycle
        self._transport = cycle.transport
        self._head = b""
        """What is held back."""

    def write(self, data: bytes) -> None:
        if self._cycle is None or not self._cycle.response_started:  # then it is a `100 Continue`
            self._transport.write(data)
        elif not self._head:
            self._head = data
        else:
            self._transport.writelines((self._head, data))
            self._let_go()

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        """The two know each other, and nobody should have to find that out to be rid of them."""
        self._head, self._cycle = b"", None

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol within limits."""

    def __init__(self, *, limits: Limits, ids: Ids, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._limits = limits
        self._ids = ids
        self._owes_since: float | None = self.loop.time()
        """Since when the client owes the rest of a request; None while it waits for an answer, or between requests."""
        self._received = 0
        """Bytes after the read in which the request began."""
        self._is_silent = True
        """Nothing was ever received."""
        self._in_head = True
        self._refusal: ApiError | None = None
        self._unsent = 0
        self._unsent_since = 0.0

    # ---- what uvicorn and its parser call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        if len(self.connections) > self._limits.max_connections:
            self._refuse(errors.server_exception("The server has too many connections", 503))

    def data_received(self, data: bytes) -> None:
        if self._owes_since is None:
            self._owes_since = self.loop.time()
        self._is_silent = False
        self._received += len(data)
        super().data_received(data)
        limits = self._limits
        most = limits.max_head_bytes
        if not self._in_head:
            most += BODIES_PER_REQUEST * limits.max_request_bytes
        if self._received > most and not self.transport.is_closing():
            self._refuse(_head_too_large(limits) if self._in_head else errors.too_large(limits.max_request_bytes))

    def on_message_begin(self) -> None:
        self._received = 0
        self._in_head = True
        if self._owes_since is None:
            self._owes_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_head_bytes:
            self._refusal = _head_too_large(self._limits)
            raise ValueError("head too large")  # which the parser takes as the end of parsing
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":  # an answer to which is a head alone
            self.cycle.transport = cast(asyncio.Transport, _Answer(self.cycle))

    def on_message_complete(self) -> None:
        # One that was refused before its end leaves uvicorn's timer between requests stopped.
        is_answered = self.cycle is not None and self.cycle.response_complete
        self._owes_since = self.loop.time() if is_answered else None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """In the shape of every other refusal, instead of uvicorn's plain text."""
        self._refuse(self._refusal or errors.malformed("The request is not valid HTTP"))

    # ---- limits

    def look(self, now: float) -> None:
        """End the connection if its client has kept the server waiting for too long."""
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        if self._is_not_fetched(now):
            self.transport.abort()
        elif self._owes_since is not None and self.flow.read_paused:
            self._owes_since = now  # it is the server that makes it wait
        elif self._owes_since is not None and now - self._owes_since > self._limits.request_seconds:
            self._owes_since = None
            self._refuse(None if self._is_silent else _too_slow(self._limits))

    def _is_not_fetched(self, now: float) -> bool:
        """Whether an answer waits and the client has taken nothing of it for as long as a request may take."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
            return False
        return now - self._unsent_since > self._limits.request_seconds

    def _refuse(self, error: ApiError | None) -> None:
        """Say why, unless an answer is under way, and close the connection."""
        is_under_way = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if error is not None and not is_under_way and not self.transport.is_closing():
            response = error_response(dialect("rest-json"), error, self._ids.new())
            lines = [b"HTTP/1.1 %d %s" % (response.status, _REASONS.get(response.status, b"Bad Request"))]
            lines += [b"%s: %s" % header for header in response.headers]
            lines.append(b"connection: close\r\n\r\n")
            self.transport.write(b"\r\n".join(lines) + response.body)
        self.transport.close()


_REASONS = {
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


def _head_too_large(limits: Limits) -> ApiError:
    text = f"The request's head is larger than {limits.max_head_bytes} bytes"
    return ApiError("RequestHeaderSectionTooLargeException", text, 431)


def _too_slow(limits: Limits) -> ApiError:
    return ApiError("RequestTimeoutException", f"The request took longer than {limits.request_seconds:g} seconds", 408)


def factory(limits: Limits, ids: Ids) -> Callable[..., Connection]:
    """What uvicorn makes its connections with."""

    def make(**of_uvicorn: Any) -> Connection:
        return Connection(limits=limits, ids=ids, **of_uvicorn)

    return make


def watched(connections: set[Any], limits: Limits) -> AbstractAsyncContextManager[None]:
    """Look at all of uvicorn's connections every now and then, while the with-block lasts."""
    return going_on(functools.partial(_watch, connections, limits), "connections")


async def _watch(connections: set[Any], limits: Limits) -> None:
    loop = asyncio.get_running_loop()
    pause = min(LONGEST_PAUSE_SECONDS, limits.request_seconds / 4)
    while True:
        await asyncio.sleep(pause)
        now = loop.time()
        for connection in list(connections):
            connection.look(now)


def raise_file_limit() -> int:
    """Let this process open as many files as it may; returns the limit that it had before, which is for its jobs."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILE_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MAX_FILE_LIMIT)
    if before != resource.RLIM_INFINITY and before < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return before


def max_connections(asked: int) -> int:
    """How many connections there may be at once: what is asked for (0: any number), if there are files for so many."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    files = MAX_FILE_LIMIT if limit == resource.RLIM_INFINITY else limit
    possible = files - min(FILES_FOR_OTHERS, files // 2)
    return min(asked, possible) if asked else possible
