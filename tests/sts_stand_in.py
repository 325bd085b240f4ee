"""An STS of the tests' own: AssumeRole over HTTP, which remembers what it was asked for."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.serving import serving

ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAREAL{number}</AccessKeyId><SecretAccessKey>real-secret</SecretAccessKey>
<SessionToken>real-token</SessionToken><Expiration>{expiration}</Expiration></Credentials></AssumeRoleResult>
<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"""
REFUSAL = """<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not this role</Message></Error>
<RequestId>1</RequestId></ErrorResponse>"""


class StsStandIn:
    """`asked` are the roles and session names so far. Roles with `forbidden` in their name are refused."""

    def __init__(self, lifetime_seconds: int = 3600) -> None:
        self.asked: list[tuple[str, str]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                role, session = form["RoleArn"][0], form["RoleSessionName"][0]
                stand_in.asked.append((role, session))
                expiration = datetime.now(UTC) + timedelta(seconds=lifetime_seconds)
                text = ANSWER.format(number=len(stand_in.asked), expiration=f"{expiration:%Y-%m-%dT%H:%M:%SZ}")
                status, content = (403, REFUSAL) if "forbidden" in role else (200, text)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextlib.contextmanager
def sts_stand_in(lifetime_seconds: int = 3600) -> Iterator[StsStandIn]:
    stand_in = StsStandIn(lifetime_seconds)
    with serving(stand_in.server):
        yield stand_in
