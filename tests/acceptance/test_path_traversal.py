"""Names that look like paths lead nowhere: every one of them is a name that nobody has."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

from batchyard.testing import LOG_GROUP, Server
from tests.acceptance.job_cases import succeed

pytestmark = pytest.mark.acceptance

SECRET = "root:x:0:0"
"""The beginning of /etc/passwd, on any Linux."""
NAMES = (
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "..\\..\\etc\\passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "/etc/passwd\0.log",
    "\0",
    ".",
    "..",
    "/",
    "//",
    "file:///etc/passwd",
    "a" * 5000,
    "\u2025/\u2025/etc/passwd",
    "logs/../../batchyard.db",
    "~/.ssh/id_rsa",
    "$(cat /etc/passwd)",
)


@pytest.fixture
def wire(yard: Server) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(yard.endpoint_url).netloc, timeout=30)
    yield connection
    connection.close()


def ask(wire: http.client.HTTPConnection, method: str, path: str, body: object = None, target: str = "") -> str:
    """What is answered: never a 5xx, never what stands in a file."""
    headers = {"x-amz-target": target} if target else {}
    wire.request(method, path, b"" if body is None else json.dumps(body).encode(), headers)
    response = wire.getresponse()
    text = response.read().decode("utf-8", "replace")
    assert response.status < 500, (method, path, body, text)
    assert SECRET not in text and "SQLite format" not in text and "Traceback" not in text, (method, path, body)
    return text


@pytest.mark.parametrize("name", NAMES)
def test_as_the_id_of_a_job(wire: http.client.HTTPConnection, name: str) -> None:
    assert json.loads(ask(wire, "POST", "/v1/describejobs", {"jobs": [name, f"{name}:0", f"{name}#0"]}))["jobs"] == []
    for operation in ("canceljob", "terminatejob"):
        ask(wire, "POST", f"/v1/{operation}", {"jobId": name, "reason": "none"})
    ask(wire, "POST", "/v1/listjobs", {"arrayJobId": name})
    for what in ("why", "usage", "notes"):
        ask(wire, "GET", f"/batchyard/v1/jobs/{quote(name, safe='')}/{what}")
        ask(wire, "GET", f"/batchyard/v1/jobs/{quote(name, safe='/.')}/{what}")


@pytest.mark.parametrize("name", NAMES)
def test_as_a_log_group_or_stream(wire: http.client.HTTPConnection, yard: Server, name: str) -> None:
    """Deleting them deletes nothing."""
    job_id = yard.submit(["echo", "still here"])
    stream = succeed(yard, job_id)["container"]["logStreamName"]
    for group, each in ((name, stream), (LOG_GROUP, name), (name, name), (LOG_GROUP, f"{stream}/{name}")):
        where = {"logGroupName": group, "logStreamName": each}
        for operation in ("GetLogEvents", "DeleteLogStream"):
            assert "__type" in ask(wire, "POST", "/", where, f"Logs_20140328.{operation}")
        ask(wire, "POST", "/", {"logGroupName": group, "logStreamNames": [each]}, "Logs_20140328.FilterLogEvents")
        ask(wire, "POST", "/", {"logGroupName": group, "logStreamNamePrefix": each}, "Logs_20140328.DescribeLogStreams")
    ask(wire, "POST", "/", {"logGroupName": name}, "Logs_20140328.DeleteLogGroup")
    token = {"logGroupName": LOG_GROUP, "logStreamName": stream, "nextToken": name}
    ask(wire, "POST", "/", token, "Logs_20140328.GetLogEvents")
    assert yard.logs_of(job_id) == ["still here"]


@pytest.mark.parametrize("name", NAMES)
def test_as_a_resource_that_has_tags(wire: http.client.HTTPConnection, name: str) -> None:
    """Its slashes encoded, once and twice, or as they are."""
    once = quote(name, safe="")
    for path in (once, quote(once, safe=""), quote(name, safe="/.")):
        for method, query, body in (
            ("GET", "", None),
            ("POST", "", {"tags": {"a": "b"}}),
            ("DELETE", "?tagKeys=a", None),
        ):
            assert "message" in ask(wire, method, f"/v1/tags/{path}{query}", body)


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/v1/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/batchyard/v1/../../../../etc/passwd",
        "/batchyard/v1/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/health/../etc/passwd",
        "//etc/passwd",
        "/etc/passwd%00.html",
        "/static/../../../../etc/passwd",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_as_the_path_of_a_request(wire: http.client.HTTPConnection, method: str, path: str) -> None:
    assert ask(wire, method, path)


@pytest.mark.parametrize("name", NAMES)
def test_as_the_name_of_something_to_make(wire: http.client.HTTPConnection, name: str) -> None:
    """Such names are refused, so that nothing has to be careful with them later."""
    container = {"image": "busybox", "command": ["true"], "vcpus": 1, "memory": 64}
    job = {"jobName": name, "jobQueue": "default", "jobDefinition": "none"}
    definition = {"jobDefinitionName": name, "type": "container", "containerProperties": container}
    queue = {"jobQueueName": name, "priority": 1, "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": name}]}
    environment = {"computeEnvironmentName": name, "type": "UNMANAGED"}
    for operation, request in (
        ("submitjob", job),
        ("registerjobdefinition", definition),
        ("createjobqueue", queue),
        ("createcomputeenvironment", environment),
        ("createconsumableresource", {"consumableResourceName": name, "totalQuantity": 1}),
        ("createschedulingpolicy", {"name": name}),
    ):
        assert "message" in ask(wire, "POST", f"/v1/{operation}", request), operation
