"""A server that may die at a named place, started again whenever it has, and work that shows whether promises held."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from batchyard.testing import Server, ServerDied
from tests.acceptance.crash_cases import HOST_LOST, Diary, check_children, kill_supervisor
from tests.acceptance.job_cases import DEADLINE_SECONDS, ENDED, sh, until

T = TypeVar("T")

CHILDREN = 24
TIMED_OUT = "Job attempt duration exceeded timeout"


class Phoenix:
    """A server with a place to die at. `is_safe` until `arm()`; whoever talks to it finds it risen again."""

    def __init__(self, folder: Path, crash_at: str, **settings: Any) -> None:
        self._mark = folder / "crashed"
        self._mark.touch()
        settings = {"overcommit": True, "check_invariants": True, "minimum_timeout_seconds": 1, **settings}
        place = {"crash_at": crash_at, "crash_mark": self._mark}
        self.server = Server(folder / "data", folder / "server.log", "process", settings | place)

    def arm(self) -> None:
        self._mark.unlink()

    @property
    def has_crashed(self) -> bool:
        return self._mark.exists()

    def start(self) -> None:
        """Start it; if it dies of that, once more."""
        try:
            self.server.start()
        except ServerDied:
            if not self.has_crashed:
                raise
            self.server.kill()
            self.server.start()

    def restart(self, *, with_supervisor: bool = False) -> None:
        """SIGKILL, and a new start."""
        self.server.kill()
        if with_supervisor:
            kill_supervisor(self.server)
        self.start()

    def ask(self, request: Callable[[Any], T]) -> T:
        """The answer to a request that is made again when the server is gone before it gives one."""
        while True:
            try:
                return request(self._client())
            except (HTTPClientError, ConnectionError):
                # A process that was killed may be there a little longer than its connections.
                until(lambda: not self.server._is_running(), "the server that doesn't answer is dead", 5)
                self.start()

    def _client(self) -> Any:
        # The SDK's own retries would hide whether a request was answered.
        return boto3.client(
            "batch",
            endpoint_url=self.server.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30),
        )

    def submit(self, command: list[str], **params: Any) -> str:
        """Submit until it is acknowledged; what wasn't may run as well, as on AWS."""
        container = {"image": "busybox", "command": command, "vcpus": 1, "memory": 64}
        definition = self.ask(
            lambda batch: batch.register_job_definition(
                jobDefinitionName="crash", type="container", containerProperties=container
            )
        )["jobDefinitionArn"]
        answer = self.ask(
            lambda batch: batch.submit_job(jobName="job", jobQueue="wide", jobDefinition=definition, **params)
        )
        return str(answer["jobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(lambda batch: batch.describe_jobs(jobs=[job_id]))["jobs"][0]
        return found

    def until_ended(self, job_id: str, timeout_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in ENDED else None

        return until(ended, f"{job_id} has ended", timeout_seconds)

    def make_queue(self) -> None:
        """The queue `wide`, VALID, whoever dies meanwhile."""
        resources = {"type": "EC2", "minvCpus": 0, "maxvCpus": 8, "instanceTypes": ["optimal"]}
        resources |= {"instanceRole": "ecsInstanceRole", "subnets": ["subnet-1"]}
        environment = {"computeEnvironmentName": "wide", "type": "MANAGED", "computeResources": resources}
        self._make(lambda batch: batch.create_compute_environment(**environment))
        until(lambda: self._is_valid("compute_environments", "computeEnvironments"), "the environment is VALID")
        order = [{"order": 1, "computeEnvironment": "wide"}]
        self._make(lambda batch: batch.create_job_queue(jobQueueName="wide", priority=1, computeEnvironmentOrder=order))
        until(lambda: self._is_valid("job_queues", "jobQueues"), "the queue is VALID")

    def _make(self, request: Callable[[Any], object]) -> None:
        # Made before the crash, and not answered: then it exists already.
        with contextlib.suppress(ClientError):
            self.ask(request)

    def _is_valid(self, kind: str, member: str) -> bool:
        found = self.ask(lambda batch: getattr(batch, f"describe_{kind}")(**{member: ["wide"]}))[member]
        return bool(found) and found[0]["status"] == "VALID"


@contextmanager
def phoenix(folder: Path, crash_at: str, **settings: Any) -> Iterator[Phoenix]:
    made = Phoenix(folder, crash_at, **settings)
    try:
        yield made
    finally:
        made.server.close()


class Work:
    """Jobs of all kinds at once, each of which writes down what it does in a file of its own."""

    def __init__(self, yard: Phoenix, folder: Path) -> None:
        self._yard = yard
        self._folder = folder
        folder.mkdir()
        self._arrays = 0
        retries = {"retryStrategy": {"attempts": 10}}
        self.array = self._submit_array(**retries)
        after = f'wc -l < "{self.diary.lines}" >> "{folder}/after"'
        self.after = yard.submit(sh(after), dependsOn=[{"jobId": self.array}], **retries)
        note = f'echo $AWS_BATCH_JOB_ATTEMPT >> "{folder}/$AWS_BATCH_JOB_ID"'
        self.fails = yard.submit(sh(f"{note}; exit 3"), **retries)
        self.times_out = yard.submit(["sleep", "600"], timeout={"attemptDurationSeconds": 1}, **retries)
        self.stopped = yard.submit(sh(f"{note}; exec sleep 600"), **retries)
        until(lambda: yard.job(self.stopped)["status"] in ("RUNNING", *ENDED), "the job to be stopped runs")
        yard.ask(lambda batch: batch.terminate_job(jobId=self.stopped, reason="enough"))

    def _submit_array(self, **params: Any) -> str:
        """An array that wasn't acknowledged may run as well: each try has a diary of its own."""

        def submit(batch: Any) -> str:
            self._arrays += 1
            folder = self._folder / f"array-{self._arrays}"
            folder.mkdir()
            self.diary = Diary(folder)
            container = {"image": "busybox", "command": self.diary.command(), "vcpus": 1, "memory": 64}
            definition = batch.register_job_definition(
                jobDefinitionName="array", type="container", containerProperties=container
            )["jobDefinitionArn"]
            answer = batch.submit_job(
                jobName="array",
                jobQueue="wide",
                jobDefinition=definition,
                arrayProperties={"size": CHILDREN},
                **params,
            )
            return str(answer["jobId"])

        return self._yard.ask(submit)

    def check(self) -> int:
        """Everything has come to its right end. Returns how many attempts were lost with their host."""
        yard = self._yard
        assert yard.until_ended(self.array)["status"] == "SUCCEEDED"
        assert yard.until_ended(self.after)["status"] == "SUCCEEDED"
        seen = (self._folder / "after").read_text().split()
        assert seen and all(int(count) >= CHILDREN for count in seen), f"started too early: {seen}"
        lost = self._check_failure() + self._check_ends()
        return lost + check_children(yard.server, self.array, CHILDREN, self.diary)

    def _check_failure(self) -> int:
        """Ten attempts, each of which ran once, unless it was lost."""
        job = self._yard.until_ended(self.fails)
        lost = [number for number, each in enumerate(job["attempts"], 1) if HOST_LOST.fullmatch(each["statusReason"])]
        codes = [each["container"].get("exitCode") for each in job["attempts"]]
        assert (job["status"], len(codes)) == ("FAILED", 10)
        assert codes == [None if number in lost else 3 for number in range(1, 11)]
        ran = self._attempts_of(self.fails)
        assert set(range(1, 11)) - set(ran) <= set(lost)
        return len(lost)

    def _check_ends(self) -> int:
        """What was stopped or timed out is over, and was retried only for want of its host."""
        lost = 0
        for job_id, reason in ((self.times_out, TIMED_OUT), (self.stopped, "enough")):
            job = self._yard.until_ended(job_id)
            assert (job["status"], job["statusReason"]) == ("FAILED", reason)
            earlier = job["attempts"][:-1]
            assert all(HOST_LOST.fullmatch(each["statusReason"]) for each in earlier), job["attempts"]
            lost += len(earlier)
        self._attempts_of(self.stopped)
        return lost

    def _attempts_of(self, job_id: str) -> list[int]:
        """The attempts that a job wrote down itself, each once and in order."""
        ran = [int(line) for line in (self._folder / job_id).read_text().split()]
        assert ran == sorted(set(ran)), f"an attempt ran twice: {ran}"
        return ran
