"""Talks to a Front in the same process, with botocore's own serialiser, signer and parser on the client's side."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, HeadersDict, create_request_object, prepare_request_dict
from botocore.credentials import Credentials
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from batchyard.clock import CountingIds
from batchyard.wire.contract import Contract
from batchyard.wire.front import Front
from batchyard.wire.request import Request
from batchyard.wire.serialise import Response
from batchyard.wire.sigv4 import Caller

REGION = "eu-central-1"
ENDPOINT = "http://localhost:8000"
CONTRACT = Contract.load()


class Handler:
    """Remembers what it was called with and gives the same answer every time."""

    def __init__(self, answer: dict[str, Any] | BaseException | None = None) -> None:
        self.answer = {} if answer is None else answer
        self.calls: list[tuple[Caller, dict[str, Any]]] = []

    async def __call__(self, caller: Caller, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((caller, params))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    @property
    def params(self) -> dict[str, Any]:
        return self.calls[-1][1]


def front(handlers: dict[tuple[str, str], Any] | None = None, contract: Contract = CONTRACT, **options: Any) -> Front:
    return Front(contract, handlers or {}, default_region="us-east-1", ids=CountingIds(), **options)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that never has to wait, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine waits for something")


def exchange(app: Front, scope: dict[str, Any], incoming: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ASGI messages that the app sends in answer to the incoming ones."""
    waiting = iter(incoming)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    drive(app(scope, receive, send))
    return sent


def call(
    app: Front,
    method: str = "POST",
    path: str = "/",
    body: bytes | dict[str, Any] = b"",
    headers: dict[str, str] | None = None,
    query: str = "",
) -> Response:
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": "not read",
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": raw_headers,
    }
    sent = exchange(app, scope, [{"type": "http.request", "body": body, "more_body": False}])
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    response = Response(sent[0]["status"], sent[0]["headers"], sent[1]["body"])
    assert header(response, "content-length") == str(len(response.body))
    return response


def header(response: Response, name: str) -> str | None:
    return {key.decode(): value.decode() for key, value in response.headers}.get(name)


def batch(app: Front, operation: str, body: bytes | dict[str, Any] = b"", **headers: str) -> Response:
    return call(app, "POST", f"/v1/{operation.lower()}", body, headers)


def logs(app: Front, operation: str, body: bytes | dict[str, Any] = b"") -> Response:
    return call(app, body=body, headers={"x-amz-target": f"Logs_20140328.{operation}"})


def sts(app: Front, form: str) -> Response:
    return call(app, body=form.encode(), headers={"content-type": "application/x-www-form-urlencoded"})


def authorization(service: str, region: str = REGION, access_key: str = "AKIDEXAMPLE") -> str:
    scope = f"{access_key}/20250101/{region}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=0123abcd"


def request(
    method: str = "POST", path: str = "/", body: bytes = b"", query: str = "", headers: dict[str, str] | None = None
) -> Request:
    raw_headers = {name.lower().encode(): value.encode("latin-1") for name, value in (headers or {}).items()}
    return Request(method, path, query, raw_headers, body)


def botocore_request(contract: Contract, service: str, operation: str, params: dict[str, Any]) -> AWSRequest:
    """The signed request that a botocore client would send."""
    spoken = contract.services[service]
    model = spoken.model.operation_model(operation)
    prepared = create_serializer(spoken.protocol, include_validation=False).serialize_to_request(params, model)
    prepare_request_dict(prepared, ENDPOINT, user_agent="Boto3/1", context={"client_region": REGION})
    unsigned = create_request_object(prepared)
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), spoken.signing_name, REGION).add_auth(unsigned)
    return unsigned.prepare()


def send(app: Front, prepared: AWSRequest) -> Response:
    url = urlsplit(prepared.url)
    headers = {name: value.decode() if isinstance(value, bytes) else value for name, value in prepared.headers.items()}
    body = prepared.body or b""
    return call(app, prepared.method, url.path, body.encode() if isinstance(body, str) else body, headers, url.query)


def botocore_parsed(contract: Contract, service: str, operation: str, response: Response) -> dict[str, Any]:
    """The response as a botocore client would read it."""
    spoken = contract.services[service]
    headers = HeadersDict({key.decode(): value.decode() for key, value in response.headers})
    shape = spoken.model.operation_model(operation).output_shape
    raw = {"status_code": response.status, "headers": headers, "body": response.body}
    parsed: dict[str, Any] = create_parser(spoken.protocol).parse(raw, shape)
    return parsed
