"""A stand-in for a Docker registry: version 2 of its API, as far as a pull goes, over plain HTTP."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import secrets
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.engine.dockerd import root_filesystem

LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

DENIED = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
UNKNOWN = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry:
    """Has one image of its own under every name, of which no daemon knows anything yet; `asked` counts the requests by
    their last word but the digest's.

    With a login every request has to bring it.
    """

    def __init__(self, login: tuple[str, str] | None = None, **config: Any) -> None:
        self.asked: Counter[str] = Counter()
        self.gate = threading.Event()
        """Layers are handed out once it is set."""
        self.gate.set()
        self._blobs: dict[str, bytes] = {}
        self._manifest = b""
        self.push(**config)
        self._login = None if login is None else "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def push(self, **config: Any) -> None:
        """Put another image in the place of the one that was there."""
        tar = root_filesystem(secrets.token_hex())
        layer = gzip.compress(tar, 1)
        settings = {"Env": ["PATH=/bin"], "WorkingDir": "/work", **config}
        image = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
                "history": [{"created_by": "tests"}],
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "size": len(image), "digest": digest(image)},
                "layers": [{"mediaType": LAYER, "size": len(layer), "digest": digest(layer)}],
            }
        ).encode()
        self._blobs |= {digest(each): each for each in (layer, image, manifest)}
        self._manifest = manifest

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                if registry._login is not None and self.headers.get("Authorization") != registry._login:
                    self._send(
                        401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', with_body
                    )
                    return
                what, _, reference = self.path.removeprefix("/v2/").rpartition("/")
                kind = what.rpartition("/")[2]
                registry.asked[f"{self.command} {kind}"] += 1
                if kind == "manifests" and "missing" not in what:
                    content = registry._blobs.get(reference, registry._manifest)
                    self._send(200, content, with_body, MANIFEST)
                elif kind == "blobs" and reference in registry._blobs:
                    registry.gate.wait(30)
                    self._send(200, registry._blobs[reference], with_body, "application/octet-stream")
                elif self.path == "/v2/":
                    self._send(200, b"{}", with_body)
                else:
                    self._send(404, UNKNOWN, with_body)

            def _send(self, status: int, content: bytes, with_body: bool, kind: str = "application/json") -> None:
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="tests"')
                self.send_header("Docker-Distribution-API-Version", "registry/2.0")
                self.send_header("Docker-Content-Digest", digest(content))
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if with_body:
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        return Handler
