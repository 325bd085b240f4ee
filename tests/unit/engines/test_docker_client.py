"""What the daemon is asked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from batchyard.engines.docker.client import Client
from tests.serving import serving


class Daemon:
    """Answers every pull with two messages. `pulls` are the queries and the logins so far, `asked` all paths."""

    def __init__(self) -> None:
        self.pulls: list[tuple[dict[str, list[str]], Any]] = []
        self.asked: list[str] = []
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                daemon.asked.append(urlsplit(self.path).path)
                self._send(b'{"ApiVersion": "1.41"}\n')

            def do_POST(self) -> None:
                auth = self.headers.get("X-Registry-Auth")
                login = None if auth is None else json.loads(base64.urlsafe_b64decode(auth))
                daemon.pulls.append((parse_qs(urlsplit(self.path).query), login))
                self._send(b'{"status": "Pulling"}\r\n{"status": "Pulled"}\r\n')

            def _send(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"tcp://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    daemon = Daemon()
    with serving(daemon.server):
        yield daemon


DIGEST = "sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("busybox", "busybox", "latest"),
        ("busybox:1", "busybox", "1"),
        ("localhost:5000/me/tool", "localhost:5000/me/tool", "latest"),
        ("localhost:5000/me/tool:2", "localhost:5000/me/tool", "2"),
        (f"me/tool@{DIGEST}", "me/tool", DIGEST),
    ],
)
@pytest.mark.parametrize("login", [None, {"username": "me", "password": "secret"}])
def test_a_pull_asks_for_one_tag_with_the_login_that_there_is(
    daemon: Daemon, image: str, name: str, tag: str, login: dict[str, str] | None
) -> None:
    async def pull() -> list[dict[str, Any]]:
        client = Client(daemon.host)
        try:
            return [message async for message in client.pull(image, login)]
        finally:
            await client.close()

    assert asyncio.run(pull()) == [{"status": "Pulling"}, {"status": "Pulled"}]
    assert daemon.pulls == [({"fromImage": [name], "tag": [tag]}, login)]


def test_events_are_heard_from_the_first_item_on(daemon: Daemon) -> None:
    async def listen() -> list[tuple[dict[str, Any], bool]]:
        client = Client(daemon.host)
        try:
            return [(event, "/v1.41/events" in daemon.asked) async for event in client.events("a=b")]
        finally:
            await client.close()

    assert asyncio.run(listen()) == [({}, True), ({"ApiVersion": "1.41"}, True)]
