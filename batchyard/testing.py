"""A running Batchyard in one line, for tests: a context manager, and fixtures for pytest.

    with batchyard.testing.server() as yard:
        job_id = yard.submit(["echo", "hello"])
        assert yard.wait_for(job_id)["status"] == "SUCCEEDED"
        assert yard.logs_of(job_id) == ["hello"]

The server is a real one, `batchyard up` in a process of its own on a free port and a fresh data folder. pytest
finds the fixtures `batchyard_server`, `batchyard_batch` and `batchyard_logs` by itself wherever Batchyard is
installed, so importing this module has to stay cheap: boto3 is imported when the first client is asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from batchyard.serverinfo import ServerInfo

REGION = "us-east-1"
LOG_GROUP = "/aws/batch/job"
DEFINITION_NAME = "batchyard-testing"
START_DEADLINE_SECONDS = 30.0
STOP_DEADLINE_SECONDS = 60.0
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS = 0.01, 0.25
_ENDED = ("SUCCEEDED", "FAILED")


class ServerDied(AssertionError):
    """The server did not start, or ended by itself; the text holds what it printed."""


class Server:
    """A server in a process of its own. Made by `server()`; its clients are boto3's, ready to use."""

    def __init__(self, data_dir: Path, log_path: Path, engine: str, settings: Mapping[str, Any]) -> None:
        self.data_dir = data_dir
        self._log_path = log_path
        self._engine = engine
        self._settings = dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._info: ServerInfo | None = None
        self._clients: dict[str, Any] = {}

    # ---- where it is

    @property
    def info(self) -> ServerInfo:
        """What the server wrote about itself when it was ready."""
        if self._info is None:
            raise ServerDied("the server was never ready")
        return self._info

    @property
    def endpoint_url(self) -> str:
        return self.info.endpoint_url

    @property
    def pid(self) -> int:
        return self.info.pid

    @property
    def output(self) -> str:
        """Everything that the server has printed."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def environment(self) -> dict[str, str]:
        """Environment variables that point the AWS CLI, or any SDK in another process, at this server alone."""
        return {
            "AWS_ENDPOINT_URL_BATCH": self.endpoint_url,
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.endpoint_url,
            "AWS_ENDPOINT_URL_STS": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": self.info.region,
            "AWS_REGION": self.info.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }

    # ---- talking to it

    def client(self, service: str) -> Any:
        """A boto3 client of `service` at this server; the same one every time."""
        if service not in self._clients:
            import boto3

            session = boto3.session.Session(
                aws_access_key_id="testing", aws_secret_access_key="testing", region_name=self.info.region
            )
            self._clients[service] = session.client(service, endpoint_url=self.endpoint_url)
        return self._clients[service]

    @property
    def batch(self) -> Any:
        return self.client("batch")

    @property
    def logs(self) -> Any:
        return self.client("logs")

    @property
    def sts(self) -> Any:
        return self.client("sts")

    def submit(
        self,
        command: Sequence[str],
        *,
        queue: str = "default",
        name: str = "job",
        vcpus: float = 1,
        memory_mib: int = 128,
        environment: Mapping[str, str] | None = None,
        **submit_job: Any,
    ) -> str:
        """Register a definition for `command` and submit it; returns the job's id.

        `submit_job` takes any further parameter of SubmitJob: `arrayProperties`, `dependsOn`, `retryStrategy`…
        """
        definition = self.batch.register_job_definition(
            jobDefinitionName=DEFINITION_NAME,
            type="container",
            containerProperties={
                "image": "busybox",
                "command": list(command),
                "environment": [{"name": key, "value": value} for key, value in (environment or {}).items()],
                "resourceRequirements": [
                    {"type": "VCPU", "value": f"{vcpus:g}"},
                    {"type": "MEMORY", "value": str(memory_mib)},
                ],
            },
        )
        answer = self.batch.submit_job(
            jobName=name, jobQueue=queue, jobDefinition=definition["jobDefinitionArn"], **submit_job
        )
        return str(answer["jobId"])

    def wait_for(
        self, job_id: str, timeout_seconds: float = 60.0, status: str | Sequence[str] = _ENDED
    ) -> dict[str, Any]:
        """The job's detail (as DescribeJobs gives it) once it has ended, or has come to `status`.

        Raises TimeoutError with the job's last state after `timeout_seconds`, and AssertionError when the job has
        ended in another state than the wanted one.
        """
        wanted = (status,) if isinstance(status, str) else tuple(status)
        deadline = time.monotonic() + timeout_seconds
        for _ in _polls(deadline):
            jobs = self.batch.describe_jobs(jobs=[job_id])["jobs"]
            job: dict[str, Any] = jobs[0] if jobs else {"status": "unknown to the server"}
            if job["status"] in wanted:
                return job
            if job["status"] in _ENDED:
                raise AssertionError(f"job {job_id} is {job['status']}: {job.get('statusReason', '')}")
        raise TimeoutError(
            f"job {job_id} is {job['status']} after {timeout_seconds} s: {job.get('statusReason', 'no reason given')}"
        )

    def logs_of(self, job_id: str, container_name: str | None = None) -> list[str]:
        """The lines that the job's last attempt has written so far; of several containers, the first or the named one.
        ValueError if there is none of that name."""
        jobs = self.batch.describe_jobs(jobs=[job_id])["jobs"]
        container = _container_of(jobs[0], container_name) if jobs else {}
        stream = container.get("logStreamName")
        if stream is None:
            return []
        options = container.get("logConfiguration", {}).get("options", {})
        where = {"logGroupName": options.get("awslogs-group", LOG_GROUP), "logStreamName": stream}
        lines: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self.logs.get_log_events(**where, **token, startFromHead=True)
            lines += [event["message"] for event in page["events"]]
            if page["nextForwardToken"] == token.get("nextToken"):
                return lines
            token = {"nextToken": page["nextForwardToken"]}

    # ---- its life

    def start(self) -> None:
        """Start the server on its data folder and return when it is ready; on its old port, if it ran before."""
        port = "0" if self._info is None else self._info.endpoint_url.rpartition(":")[2]
        command = [sys.executable, "-m", "batchyard", "up", "--port", port, "--engine", self._engine]
        command += ["--data-dir", str(self.data_dir)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_server_environment(self._settings),
                # A Ctrl-C at the terminal is for the tests; they stop the server in order.
                start_new_session=True,
            )
        self._info = self._wait_until_ready(self._process)

    def stop(self, *, stop_jobs: bool = False) -> None:
        """End the server cleanly. Running jobs go on unless `stop_jobs`. Nothing happens when it isn't running."""
        self._end(signal.SIGUSR2 if stop_jobs else signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the server, as a crash would. Running jobs go on; `restart()` finds them again."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End the server cleanly if it still runs, and start it again on the same data folder and port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server and every job, those that a killed server left running too."""
        try:
            if self._info is not None and not self._is_running():
                self.start()
            self.stop(stop_jobs=True)
        finally:
            self.kill()
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServerDied(f"the server ignored {number.name} and had to be killed:\n{self.output}") from None
        finally:
            self._process = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> ServerInfo:
        from batchyard import serverinfo

        for _ in _polls(time.monotonic() + START_DEADLINE_SECONDS):
            info = serverinfo.read(self.data_dir)
            if info is not None and info.pid == process.pid and _is_healthy(info.endpoint_url):
                return info
            if process.poll() is not None:
                self._process = None
                raise ServerDied(f"the server ended with exit code {process.returncode}:\n{self.output}")
        self._end(signal.SIGKILL)
        raise ServerDied(f"the server was not ready after {START_DEADLINE_SECONDS:g} s:\n{self.output}")


def _container_of(job: dict[str, Any], name: str | None) -> dict[str, Any]:
    """What a job runs: its container, or, of its task's (ecsProperties), the named or the first one."""
    own: dict[str, Any] = job.get("container") or {}
    tasks = job.get("ecsProperties", {}).get("taskProperties", [])
    containers = [own] if own else [container for task in tasks for container in task["containers"]]
    if name is None:
        return next(iter(containers), {})
    named = [container for container in containers if container.get("name") == name]
    if not named:
        raise ValueError(f"job {job['jobId']} has no container {name}")
    return named[0]


@contextlib.contextmanager
def server(
    engine: Literal["process", "docker", "auto"] = "process", *, data_dir: Path | str | None = None, **settings: Any
) -> Iterator[Server]:
    """A running server for the length of a with-block; at its end the server and all its jobs are stopped.

    `settings` are those of `batchyard.settings.Settings` (`overcommit=True`, `account_id="210987654321"`…). Without
    `data_dir` the data folder is a temporary one that is removed at the end.
    """
    home = Path(tempfile.mkdtemp(prefix="batchyard-test-"))
    yard = Server(Path(data_dir) if data_dir else home / "data", home / "server.log", engine, settings)
    try:
        try:
            yard.start()
            yield yard
        finally:
            yard.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _server_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the server: this process's own, but with no setting other than those asked for."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("BATCHYARD_") and name not in ("AWS_REGION", "AWS_DEFAULT_REGION")
    }
    given = {"region": REGION} | dict(settings)
    return kept | {f"BATCHYARD_{name.upper()}": _setting_text(value) for name, value in given.items()}


def _setting_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items())
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


def _is_healthy(endpoint_url: str) -> bool:
    """Whether GET /health answers 200."""
    import http.client

    connection = http.client.HTTPConnection(endpoint_url.rpartition("//")[2], timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _polls(deadline: float) -> Iterator[None]:
    """Yield at once, then at growing intervals until the deadline has passed."""
    pause = _FIRST_POLL_SECONDS
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)


try:
    import pytest
except ImportError:
    # Without pytest the context manager works all the same.
    pass
else:

    @pytest.fixture(scope="session")
    def batchyard_server() -> Iterator[Server]:
        """A running Batchyard with the process engine, shared by all tests of the session."""
        with server() as yard:
            yield yard

    @pytest.fixture(scope="session")
    def batchyard_batch(batchyard_server: Server) -> Any:
        """A boto3 client of AWS Batch at the session's server."""
        return batchyard_server.batch

    @pytest.fixture(scope="session")
    def batchyard_logs(batchyard_server: Server) -> Any:
        """A boto3 client of CloudWatch Logs at the session's server."""
        return batchyard_server.logs
