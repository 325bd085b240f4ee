"""The daemon, asked without an event loop: for commands, which have nothing else to do meanwhile.

Only the standard library: aiodocker takes longer to import than most of these calls take, and its stream of an exec
can't end standard input and go on reading (ADR 14).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from batchyard.exceptions import DaemonGoneError, DaemonRefusedError, EngineError

CONNECT_SECONDS = 10.0
MOST_HEAD_BYTES = 64 * 1024

Query = Mapping[str, str]


def connect(host: str, seconds: float | None = CONNECT_SECONDS) -> socket.socket:
    """A connection to an address as in $DOCKER_HOST, unix:// or tcp:// without TLS; `seconds` is its timeout.

    OSError if nobody is there, EngineError if it can't be an address.
    """
    kind, _, address = host.partition("://")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    name, _, port = address.rpartition(":")
    if kind != "tcp" or not name or not port.isdecimal():
        raise EngineError(f"docker_host is {host!r}, it must be unix:///path or tcp://name:port")
    return socket.create_connection((name, int(port)), seconds)


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, seconds: float | None) -> None:
        super().__init__("docker")
        self._daemon_host = host
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = connect(self._daemon_host, self._seconds)


class Daemon:
    """One daemon. Every method raises DaemonGoneError or DaemonRefusedError."""

    def __init__(self, host: str) -> None:
        self.host = host

    def call(
        self, method: str, path: str, query: Query | None = None, body: object = None, seconds: float | None = None
    ) -> Any:
        """One request; the answer's JSON, None if it has none. The daemon may be silent for `seconds`, or, without
        them, for as long as it likes."""
        with self._asked(method, path, query, {}, body, seconds) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def lines(self, method: str, path: str, query: Query, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """One request whose answer comes bit by bit: an object a line, as they come."""
        with self._asked(method, path, query, headers, None) as answer:
            for line in answer:
                if line.strip():
                    yield json.loads(line)

    def hijack(self, path: str, body: object) -> tuple[socket.socket, bytes]:
        """The connection itself, which belongs to the caller once the daemon agreed, and what came over it already."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nConnection: Upgrade\r\n"
            f"Upgrade: tcp\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._translated())
            connection = connect(self.host)
            stack.callback(connection.close)
            connection.settimeout(None)
            connection.sendall(head.encode() + content)
            received = b""
            while b"\r\n\r\n" not in received:
                data = connection.recv(4096)
                if not data or len(received) > MOST_HEAD_BYTES:
                    raise ConnectionError("it ended the connection")
                received += data
            answered, _, rest = received.partition(b"\r\n\r\n")
            status = int(answered.split(b" ", 2)[1])
            if status not in (101, 200):
                # It ends the connection, or sends all it has to say at once: either way this is its text.
                connection.settimeout(1.0)
                with contextlib.suppress(TimeoutError):
                    rest += connection.recv(MOST_HEAD_BYTES)
                raise DaemonRefusedError(status, _message(rest))
            stack.pop_all()
        return connection, rest

    @contextlib.contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Query | None,
        headers: Mapping[str, str],
        body: object,
        seconds: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        given = {"Content-Type": "application/json", **headers}
        target = f"{path}?{urlencode(query)}" if query else path
        connection = _Connection(self.host, CONNECT_SECONDS)
        try:
            with self._translated():
                connection.connect()
                connection.sock.settimeout(seconds)
                connection.request(method, target, None if body is None else json.dumps(body).encode(), given)
                answer = connection.getresponse()
                if answer.status >= 400:
                    raise DaemonRefusedError(answer.status, _message(answer.read()))
                yield answer
        finally:
            connection.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise DaemonGoneError(
                f"this user may not talk to the Docker daemon at {self.host}: run as root, or join its group"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)
            raise DaemonGoneError(f"no Docker daemon answers at {self.host}: {said}") from error


def _message(text: bytes) -> str:
    """What a refusal says."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.decode("utf-8", "replace").strip()


def filters(**given: list[str]) -> str:
    """The value of the query's `filters`."""
    return json.dumps(given)
