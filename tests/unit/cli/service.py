"""AWS Batch and CloudWatch Logs as functions: a real botocore client, whose requests are answered here.

Requests are validated and answers parsed by botocore as ever; only the network is missing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.session import Session

from batchyard.cli.client import Api, Endpoint

SESSION = Session()
"""Shared, because it keeps the service models that it has read."""
ENDPOINT = Endpoint("http://127.0.0.1:1", "http://127.0.0.1:1", "us-east-1", is_own_server=True)
NOW_MS = 1_700_000_000_000

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Service:
    """Answers operations with the handlers given, and remembers what was asked."""

    def __init__(self, **handlers: Handler) -> None:
        self.handlers = handlers
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.views: dict[tuple[str, str], dict[str, Any]] = {}
        """What Batchyard's own endpoints answer, by job id and name; without any it is some other server."""
        self.api = OfflineApi(self)
        self.api.__dict__["_session"] = SESSION
        for client in (self.api.batch, self.api.logs):
            client.meta.events.register("before-send.*.*", self._answer)

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name == operation]

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rpartition(".")[2]
        params = json.loads(request.body or b"{}")
        self.calls.append((operation, params))
        headers: dict[str, str] = {}
        try:
            body, status = self.handlers[operation](params), 200
        except Refused as refusal:
            body, status = {"message": str(refusal), "__type": refusal.code}, 400
            headers["x-amzn-ErrorType"] = refusal.code
        return AWSResponse(request.url, status, headers, Raw(json.dumps(body).encode()))


class OfflineApi(Api):
    def __init__(self, service: Service) -> None:
        super().__init__(ENDPOINT)
        self._service = service

    def job_view(self, job_id: str, name: str) -> dict[str, Any] | None:
        return self._service.views.get((job_id, name))


class Raw(io.BytesIO):
    def stream(self, **_: Any) -> list[bytes]:
        return [self.read()]


JOB_ID = "0f4e2a7c-1111-4222-8333-444455556666"


def job(job_id: str = JOB_ID, status: str = "RUNNABLE", **members: Any) -> dict[str, Any]:
    """A JobDetail (or JobSummary: botocore leaves out what a shape doesn't have)."""
    return {
        "jobArn": f"arn:aws:batch:us-east-1:123456789012:job/{job_id}",
        "jobId": job_id,
        "jobName": "work",
        "jobQueue": "arn:aws:batch:us-east-1:123456789012:job-queue/default",
        "jobDefinition": "arn:aws:batch:us-east-1:123456789012:job-definition/work:1",
        "status": status,
        "createdAt": NOW_MS,
        "attempts": [],
        "tags": {},
        **members,
    }


def queues(*names: str) -> Handler:
    listed = [
        {"jobQueueName": name, "jobQueueArn": f"arn:q/{name}", "state": "ENABLED", "status": "VALID", "priority": 1}
        for name in names
    ]
    return lambda _params: {"jobQueues": listed}


def described(*jobs: dict[str, Any]) -> Handler:
    """DescribeJobs over these jobs."""
    known = {each["jobId"]: each for each in jobs}
    return lambda params: {"jobs": [known[each] for each in params["jobs"] if each in known]}


def log_of(streams: dict[str, list[str]]) -> Handler:
    """GetLogEvents over lists that may grow; tokens are positions."""

    def get_log_events(params: dict[str, Any]) -> dict[str, Any]:
        if params["logStreamName"] not in streams:
            raise Refused("ResourceNotFoundException", "The specified log stream does not exist.")
        lines = streams[params["logStreamName"]]
        if "nextToken" in params:
            start = int(params["nextToken"])
        else:
            start = 0 if params["startFromHead"] else max(0, len(lines) - params["limit"])
        events = [{"timestamp": NOW_MS, "message": line, "ingestionTime": NOW_MS} for line in lines[start:]]
        return {"events": events, "nextForwardToken": str(len(lines)), "nextBackwardToken": "0"}

    return get_log_events
