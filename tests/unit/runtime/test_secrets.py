from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from batchyard.exceptions import SecretError, SettingsError
from batchyard.runtime.secrets import SecretName, Secrets, check, parse
from batchyard.settings import Settings
from tests.serving import serving

MANAGED = "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf"
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter"


class Stores:
    """Secrets Manager and the Parameter Store as an endpoint; `asked` is what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object]]] = []
        stores = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                stores.asked.append((operation, body))
                if "missing" in str(body):
                    self._answer(400, {"__type": "ResourceNotFoundException", "message": "no such secret"})
                elif operation == "GetParameter":
                    self._answer(200, {"Parameter": {"Name": body["Name"], "Value": "of the parameter"}})
                else:
                    self._answer(200, {"SecretString": '{"user": "me", "port": 5432}'})

            def _answer(self, status: int, body: dict[str, object]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    stores = Stores()
    with serving(stores.server):
        yield stores


def resolve(settings: Settings, *sources: str) -> dict[str, str]:
    return asyncio.run(Secrets(settings).resolve(sources))


@pytest.mark.parametrize(
    ("value_from", "expected"),
    [
        (MANAGED, SecretName("secretsmanager", MANAGED)),
        (f"{MANAGED}:user::", SecretName("secretsmanager", MANAGED, "user")),
        (f"{MANAGED}::AWSPREVIOUS:", SecretName("secretsmanager", MANAGED, None, "AWSPREVIOUS")),
        (f"{MANAGED}:user:stage:id", SecretName("secretsmanager", MANAGED, "user", "stage", "id")),
        (f"{PARAMETER}/token", SecretName("ssm", "token")),
        (f"{PARAMETER}/prod/token", SecretName("ssm", "/prod/token")),
        ("token", SecretName("ssm", "token")),
        ("/prod/token", SecretName("ssm", "/prod/token")),
    ],
)
def test_a_value_from_says_which_service_and_what(value_from: str, expected: SecretName) -> None:
    assert parse(value_from) == expected


def test_the_file_is_asked_first_by_arn_or_by_name(tmp_path: Path, stores: Stores) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text(f'"{MANAGED}" = {{user = "local"}}\ntoken = "short"\n')
    settings = Settings(secrets_file=str(file), secrets_endpoint_url=stores.url)
    assert resolve(settings, f"{MANAGED}:user::", "token", f"{PARAMETER}/token") == {
        f"{MANAGED}:user::": "local",
        "token": "short",
        f"{PARAMETER}/token": "short",
    }
    assert stores.asked == []


def test_the_services_are_asked_for_the_rest(stores: Stores) -> None:
    settings = Settings(secrets_endpoint_url=stores.url)
    sources = (f"{MANAGED}:user::", f"{MANAGED}:port:stage:", "/prod/token")
    assert resolve(settings, *sources) == dict(zip(sources, ("me", "5432", "of the parameter"), strict=True))
    assert stores.asked == [
        ("GetSecretValue", {"SecretId": MANAGED}),
        ("GetSecretValue", {"SecretId": MANAGED, "VersionStage": "stage"}),
        ("GetParameter", {"Name": "/prod/token", "WithDecryption": True}),
    ]


def test_many_jobs_ask_a_service_once(stores: Stores) -> None:
    secrets = Secrets(Settings(secrets_endpoint_url=stores.url))

    async def many() -> None:
        await asyncio.gather(*(secrets.resolve(["token"]) for _ in range(20)))

    asyncio.run(many())
    assert len(stores.asked) == 1


@pytest.mark.parametrize(
    ("source", "problem"),
    [("missing", "no such secret"), (f"{MANAGED}:absent::", "the secret has no member absent")],
)
def test_what_cannot_be_had_is_said_without_any_value(stores: Stores, source: str, problem: str) -> None:
    with pytest.raises(SecretError) as raised:
        resolve(Settings(secrets_endpoint_url=stores.url), source)
    assert problem in str(raised.value)
    assert "5432" not in str(raised.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text("")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="can be read by others: chmod 600"):
        check(Settings(secrets_file=str(file)))
    file.chmod(0o600)
    check(Settings(secrets_file=str(file)))
    with pytest.raises(SettingsError, match="No such file"):
        check(Settings(secrets_file=str(tmp_path / "absent")))
