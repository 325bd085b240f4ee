"""Finding the server, and the two AWS clients that every command uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from batchyard import serverinfo
from batchyard.cli import native
from batchyard.cli.errors import CliError
from batchyard.settings import default_data_dir

NO_SERVER = "no server found: start one with `batchyard up`, or name one with --endpoint or $AWS_ENDPOINT_URL_BATCH."
DEFAULT_REGION = "us-east-1"
NO_CREDENTIALS = ("batchyard", "batchyard")
"""Sent when no AWS credentials are configured: a request must be signed with something."""
MAX_JOBS_PER_DESCRIBE = 100


class Endpoint(Struct, frozen=True):
    """Where to send requests, and as whom."""

    batch_url: str
    logs_url: str
    region: str
    is_own_server: bool = False
    """Found by its `server.json`, so the user's own AWS credentials are not needed (nor looked for)."""


def find_endpoint(option: str | None, data_dir: Path | None, environment: Mapping[str, str]) -> Endpoint:
    """--endpoint, else $AWS_ENDPOINT_URL_BATCH, else the server that runs on the data folder."""
    region = _region(environment)
    if option:
        return Endpoint(batch_url=_checked(option), logs_url=_checked(option), region=region)
    batch_url = environment.get("AWS_ENDPOINT_URL_BATCH")
    if batch_url and data_dir is None:
        logs_url = environment.get("AWS_ENDPOINT_URL_CLOUDWATCH_LOGS") or batch_url
        return Endpoint(batch_url=_checked(batch_url), logs_url=_checked(logs_url), region=region)
    info = serverinfo.read(data_dir or default_data_dir())
    if info is None and data_dir is not None:
        raise CliError(f"no server runs on the data folder {data_dir}: start one with `batchyard up`.", exit_code=2)
    if info is None:
        raise CliError(NO_SERVER, exit_code=2)
    return Endpoint(batch_url=info.endpoint_url, logs_url=info.endpoint_url, region=info.region, is_own_server=True)


class Api:
    """The server's API: `batch` and `logs` are botocore's clients, made when first used. A context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._opened: list[Any] = []

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._opened:
            client.close()

    @cached_property
    def batch(self) -> Any:
        return self._open("batch", self.endpoint.batch_url)

    @cached_property
    def logs(self) -> Any:
        return self._open("logs", self.endpoint.logs_url)

    def job_view(self, job_id: str, name: str) -> dict[str, Any] | None:
        """What Batchyard itself says about a job (docs/http.md); None from any other server."""
        url = self.endpoint.batch_url
        return native.job_view(url, job_id, name, use_proxy=not _is_loopback(url))

    @cached_property
    def _session(self) -> Any:
        from botocore.session import get_session

        return get_session()

    @cached_property
    def _credentials(self) -> tuple[str, str, str | None]:
        return (*NO_CREDENTIALS, None) if self.endpoint.is_own_server else _credentials(self._session)

    def _open(self, service: str, url: str) -> Any:
        from botocore.config import Config

        key, secret, token = self._credentials
        client = self._session.create_client(
            service,
            region_name=self.endpoint.region,
            endpoint_url=url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 2},
                connect_timeout=5,
                # A proxy can't reach this machine's loopback addresses; elsewhere the environment's settings hold.
                proxies={} if _is_loopback(url) else None,
            ),
        )
        self._opened.append(client)
        return client


def connect(option: str | None, data_dir: Path | None) -> Api:
    """The API of the server that the user means. Raises CliError when there is none."""
    return Api(find_endpoint(option, data_dir, os.environ))


def paged(operation: Any, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """All items `key` of a list or describe operation, page after page, as they are consumed."""
    while True:
        answer = operation(**parameters)
        yield from answer[key]
        token = answer.get("nextToken")
        if not token:
            return
        parameters["nextToken"] = token


def describe_all(batch: Any, job_ids: list[str]) -> list[dict[str, Any]]:
    """DescribeJobs for any number of jobs; those that the server doesn't know are left out."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(job_ids), MAX_JOBS_PER_DESCRIBE):
        found += batch.describe_jobs(jobs=job_ids[start : start + MAX_JOBS_PER_DESCRIBE])["jobs"]
    return found


def describe_one(batch: Any, job_id: str) -> dict[str, Any]:
    """One job in detail. Raises CliError when the server doesn't know it."""
    found = describe_all(batch, [job_id])
    if not found:
        raise CliError(f"there is no job {job_id}; finished ones are removed after a while.")
    return found[0]


def _region(environment: Mapping[str, str]) -> str:
    names = ("BATCHYARD_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    return next((environment[name] for name in names if environment.get(name)), DEFAULT_REGION)


def _checked(url: str) -> str:
    """`url`, when it can be one. Raises CliError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(f"the endpoint {url!r} is not a URL like http://127.0.0.1:8000", exit_code=2)
    return url


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _credentials(session: Any) -> tuple[str, str, str | None]:
    """The user's AWS credentials if any are configured, else made-up ones. Never asks an EC2 instance for its role."""
    from botocore.exceptions import BotoCoreError

    try:
        session.get_component("credential_provider").remove("iam-role")
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except BotoCoreError:
        frozen = None
    if frozen is None or not frozen.access_key:
        return (*NO_CREDENTIALS, None)
    return frozen.access_key, frozen.secret_key, frozen.token
