"""Bad input over a real socket: what the in-process table cannot show, and a scheduler that has to survive it."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from batchyard.testing import LOG_GROUP, Server, server
from tests.acceptance.bad_input_cases import (
    HttpRequest,
    Key,
    Names,
    Spoiled,
    good_requests,
    http_request,
    places,
    planted,
    with_members_out_of_range,
    with_missing_members,
    with_mistyped_members,
)
from tests.acceptance.crash_cases import dice
from tests.acceptance.job_cases import Queues, sh, succeed, until

pytestmark = pytest.mark.acceptance

SPOILED_REQUESTS = 400
RANDOM_REQUESTS = 600
DESTRUCTIVE = ("DeleteLogGroup", "DeleteLogStream", "DeleteComputeEnvironment", "DeleteJobQueue")
DESTRUCTIVE += ("DeregisterJobDefinition", "DeleteConsumableResource", "DeleteSchedulingPolicy")


@pytest.fixture(scope="module")
def strict_yard() -> Iterator[Server]:
    """A server of its own: what random requests leave behind must disturb no other test."""
    with server(overcommit=True, check_invariants=True) as started:
        yield started


@pytest.fixture(scope="module")
def names(strict_yard: Server) -> Names:
    yard, queues = strict_yard, Queues(strict_yard)
    environment = queues.environment()
    queue = queues.make(environments=[environment])
    job_id = yard.submit(["true"], queue=queue)
    stream = succeed(yard, job_id)["container"]["logStreamName"]
    yard.batch.create_scheduling_policy(name="policy", fairsharePolicy={"shareDecaySeconds": 60})
    yard.batch.create_consumable_resource(consumableResourceName="consumable", totalQuantity=1000)
    return Names(
        environment=environment,
        spare_environment=queues.environment(state="DISABLED"),
        queue=queue,
        spare_queue=queues.make(state="DISABLED"),
        definition="batchyard-testing",
        consumable="consumable",
        policy="policy",
        job_id=job_id,
        array_id=yard.submit(["true"], queue=queue, arrayProperties={"size": 3}),
        log_group=LOG_GROUP,
        log_stream=stream,
    )


class Wire:
    """One connection, kept open as clients do."""

    def __init__(self, yard: Server) -> None:
        self._connection = http.client.HTTPConnection(yard.endpoint_url.rpartition("/")[2], timeout=30)

    def send(self, request: HttpRequest) -> tuple[int, bytes]:
        path = f"{request.path}?{request.query}" if request.query else request.path
        self._connection.request(request.method, path, request.body, request.headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(strict_yard: Server) -> Iterator[Wire]:
    made = Wire(strict_yard)
    yield made
    made.close()


def assert_well(yard: Server) -> None:
    """The scheduler runs jobs."""
    succeed(yard, yard.submit(["true"]))


def test_spoiled_requests_are_refused_by_a_running_server(strict_yard: Server, names: Names, wire: Wire) -> None:
    """A random choice of the table that the in-process tests go through in full."""
    cases: list[tuple[Key, Spoiled]] = [
        (key, spoiled)
        for key, request in good_requests(names).items()
        for ways in (with_missing_members, with_mistyped_members, with_members_out_of_range)
        for spoiled in ways(key, request)
    ]
    for key, spoiled in random.Random(1).sample(cases, SPOILED_REQUESTS):
        status, body = wire.send(http_request(key, spoiled.request))
        assert status == 400, (key, spoiled)
        assert spoiled.member in json.loads(body)["message"]
    assert_well(strict_yard)


def test_random_requests_neither_fail_nor_stop_the_scheduler(strict_yard: Server, names: Names, wire: Wire) -> None:
    """Many of them are taken, and what they ask for is carried out."""
    lot = dice("random requests")
    good = {key: request for key, request in good_requests(names).items() if key[1] not in DESTRUCTIVE and request}
    in_body = {
        key: [place for place in places(key) if place.in_body and place.path[0] in request]
        for key, request in good.items()
    }
    keys = [key for key in good if in_body[key]]
    taken = 0
    for number in range(RANDOM_REQUESTS):
        # Submissions and stops are what the scheduler has to digest.
        key = lot.choice([*keys, *[key for key in keys if key[1] in ("SubmitJob", "TerminateJob", "CancelJob")] * 6])
        request = dict(good[key])
        for name in ("jobName", "jobQueueName", "computeEnvironmentName"):
            if name in request:
                request[name] = f"random-{number}"
        place = lot.choice(in_body[key])
        request = planted(request, key, place.path, random_value(lot, names))
        status, body = wire.send(http_request(key, request))
        assert status < 500, (key, request, body)
        taken += status == 200
    assert taken > RANDOM_REQUESTS // 20
    assert_well(strict_yard)
    strict_yard.restart()
    assert_well(strict_yard)


def random_value(lot: random.Random, names: Names) -> Any:
    texts = ["", " ", "\0", "*", "é" * 300, "-1", "9" * 5000, "arn:aws:batch:::job/", "Ref::x", *names]
    texts += [f"{names.array_id}:{index}" for index in (0, 2, 3, "9" * 5000, "01", "-1", "x", "")]
    values: list[Any] = [lot.choice(texts), lot.choice(texts), lot.randint(-10, 10_000), 2**31 - 1, -(2**31), 0]
    values += [True, None, [], {}, [lot.choice(texts)], {lot.choice(texts): lot.choice(texts)}]
    dependency = {"jobId": lot.choice(texts), "type": lot.choice(["N_TO_N", "SEQUENTIAL"])}
    values += [[dependency], [{"jobId": lot.choice(texts)}], {"size": lot.choice([1, 2, 3])}]
    return lot.choice(values)


def test_a_request_that_is_no_http_is_answered_or_dropped(strict_yard: Server) -> None:
    host, port = strict_yard.endpoint_url.rpartition("/")[2].split(":")
    for garbage in (b"\x00" * 100, b"GET\r\n\r\n", b"POST /v1/submitjob HTTP/1.1\r\n" + b"a: b\r\n" * 20_000):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.settimeout(30)
            try:
                connection.sendall(garbage + b"\r\n\r\n")
                answer = connection.recv(4096)
            except ConnectionError:
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    assert_well(strict_yard)


def test_a_client_that_hangs_up_in_the_middle_changes_nothing(strict_yard: Server, names: Names) -> None:
    host, port = strict_yard.endpoint_url.rpartition("/")[2].split(":")
    body = json.dumps({"jobName": "half", "jobQueue": names.queue, "jobDefinition": names.definition}).encode()
    head = f"POST /v1/submitjob HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head + body[:-1])
    assert_well(strict_yard)
    filters = [{"name": "JOB_NAME", "values": ["half"]}]
    assert strict_yard.batch.list_jobs(jobQueue=names.queue, filters=filters)["jobSummaryList"] == []


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Host": "127.0.0.1.evil.example"}]
)
def test_web_pages_are_kept_out(strict_yard: Server, wire: Wire, headers: dict[str, str]) -> None:
    request = http_request(("batch", "DescribeJobQueues"), {})
    assert wire.send(request)[0] == 200
    assert wire.send(request._replace(headers={**request.headers, **headers}))[0] == 403


def test_boto3_reads_a_refusal_as_the_services_own(strict_yard: Server) -> None:
    """Without the client's own validation, so that the server's is what answers."""
    loose = boto3.client(
        "batch",
        endpoint_url=strict_yard.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(parameter_validation=False, retries={"max_attempts": 0}),
    )
    try:
        with pytest.raises(loose.exceptions.ClientException) as caught:
            loose.submit_job(jobName="x", jobQueue="default", arrayProperties={"size": "many"})
    finally:
        loose.close()
    error = caught.value.response["Error"]
    assert error["Code"] == "ClientException"
    assert "'arrayProperties.size'" in error["Message"]
    assert "'jobDefinition'" in error["Message"]


def test_a_body_over_the_limit_is_refused_and_the_next_request_answered(strict_yard: Server) -> None:
    limit = 1_048_576
    with pytest.raises(ClientError) as caught:
        strict_yard.batch.describe_jobs(jobs=["x" * limit])
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert strict_yard.batch.describe_jobs(jobs=["x" * (limit - 1000)])["jobs"] == []


def test_a_command_with_nul_fails_its_job_alone(strict_yard: Server) -> None:
    """No process can be given such an argument; the request itself is right."""
    job_id = strict_yard.submit(["echo", "a\0b"])
    job = until(lambda: _ended(strict_yard, job_id), "the job has ended")
    assert job["status"] == "FAILED"
    assert job["container"]["reason"].startswith("CannotStartContainerError")
    too_long = strict_yard.submit(sh("true"), environment={"A": "v" * 20_000})
    succeed(strict_yard, too_long)


def _ended(yard: Server, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = yard.batch.describe_jobs(jobs=[job_id])["jobs"][0]
    return job if job["status"] in ("SUCCEEDED", "FAILED") else {}
