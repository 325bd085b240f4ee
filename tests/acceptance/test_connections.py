"""Clients that hold connections and give nothing for them: others are answered all the same, and they are let go."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from batchyard.testing import Server, server
from tests.acceptance.crash_cases import supervisor_pid
from tests.acceptance.job_cases import sh, succeed, until

pytestmark = pytest.mark.acceptance

TIMEOUT_SECONDS = 3
SLOW_CLIENTS = 200
IDLE_CLIENTS = 10_000
USUAL_FILES = 1024
MIB_PER_THOUSAND_IDLE = 20
HEAD = b"POST /v1/describejobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n"


@pytest.fixture(scope="module")
def impatient_yard() -> Iterator[Server]:
    """A server that waits for no request for long, and takes a few hundred connections."""
    with server(overcommit=True, request_timeout_seconds=TIMEOUT_SECONDS, max_connections=300) as yard:
        yield yard


def connect(yard: Server) -> socket.socket:
    where = urlsplit(yard.endpoint_url)
    return socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=60)


def answer(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def error_of(received: bytes) -> tuple[bytes, str]:
    """The status and the error code of a refusal, which has to be JSON as all others are."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    code = json.loads(body)["code"]
    assert f"x-amzn-errortype: {code}".encode() in head
    return head.split(b" ")[1], code


# ---- slow clients


def test_two_hundred_slow_clients_keep_nobody_waiting_and_are_let_go(impatient_yard: Server) -> None:
    yard = impatient_yard
    slow = threading.Thread(target=lambda: ended.extend(asyncio.run(trickle_all(yard))))
    ended: list[bytes] = []
    slow.start()
    answered = 0
    while slow.is_alive():
        began = time.monotonic()
        assert yard.batch.describe_job_queues()["jobQueues"]
        assert time.monotonic() - began < TIMEOUT_SECONDS
        answered += 1
    slow.join()
    assert answered > 3
    assert len(ended) == SLOW_CLIENTS
    refusals = [error_of(each) for each in ended if each]
    assert refusals and set(refusals) == {(b"408", "RequestTimeoutException")}
    succeed(yard, yard.submit(["true"]))


async def trickle_all(yard: Server) -> list[bytes]:
    """Half of them send a head byte by byte, the others a body. What each was answered."""
    half = SLOW_CLIENTS // 2
    slow = [trickle(yard, b"", HEAD) for _ in range(half)] + [trickle(yard, HEAD, b"{" * 5000) for _ in range(half)]
    return await asyncio.wait_for(asyncio.gather(*slow), 20 * TIMEOUT_SECONDS)


async def trickle(yard: Server, at_once: bytes, slowly: bytes) -> bytes:
    """What it was told when it was let go: nothing, if its next byte crossed that on the way."""
    where = urlsplit(yard.endpoint_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    told = asyncio.create_task(reader.read())
    writer.write(at_once)
    for number in range(len(slowly)):
        writer.write(slowly[number : number + 1])
        await asyncio.wait([told], timeout=0.2)
        if told.done():
            break
    writer.close()
    try:
        return await told
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_client_that_never_begins_a_request_is_let_go(impatient_yard: Server, sent: bytes) -> None:
    with connect(impatient_yard) as connection:
        connection.sendall(sent)
        assert answer(connection) == b"" if not sent else answer(connection).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_fetches_no_answer_is_let_go(impatient_yard: Server) -> None:
    """Its answers are many times what the system keeps for a connection."""
    yard = impatient_yard
    container = {"image": "busybox", "command": ["x" * 20_000], "vcpus": 1, "memory": 64}
    for number in range(30):
        yard.batch.register_job_definition(
            jobDefinitionName=f"large-{number}", type="container", containerProperties=container
        )
    request = b"POST /v1/describejobdefinitions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
    before = files_of(yard.pid)
    with connect(yard) as connection:
        connection.sendall(request * 40)
        until(lambda: files_of(yard.pid) > before, "the connection is there")
        until(lambda: files_of(yard.pid) <= before, "the connection is closed")
        assert len(answer(connection)) < 40 * 600_000


def test_a_head_without_end_is_refused(impatient_yard: Server) -> None:
    with connect(impatient_yard) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST /v1/describejobs HTTP/1.1\r\n")
        for _ in range(1000):
            connection.sendall(b"x-more: " + b"y" * 1000 + b"\r\n")
    with connect(impatient_yard) as connection:
        connection.sendall(b"POST /v1/describejobs HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 66_000 + b"\r\n\r\n")
        assert error_of(answer(connection)) == (b"431", "RequestHeaderSectionTooLargeException")


def test_a_body_without_end_is_cut_off(impatient_yard: Server) -> None:
    """In chunks, so that it announces no length. It is answered at the limit, and not read for ever."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with connect(impatient_yard) as connection:
        connection.sendall(b"POST /v1/describejobs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            while sent < 1 << 30:
                connection.sendall(chunk)
                sent += len(chunk)
    assert sent < 64 * 1024 * 1024


# ---- many clients


def test_more_connections_than_allowed_are_told_so_and_later_served(impatient_yard: Server) -> None:
    with ExitStack() as held:
        many = [held.enter_context(connect(impatient_yard)) for _ in range(320)]
        assert error_of(answer(many[-1])) == (b"503", "ServerException")
    until(lambda: health(impatient_yard) == 200, "there is room again")


def health(yard: Server) -> int:
    connection = http.client.HTTPConnection(urlsplit(yard.endpoint_url).netloc, timeout=30)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def test_ten_thousand_idle_connections_leave_the_server_answering() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CLIENTS, hard - 500)
    if count < IDLE_CLIENTS:
        print(f"only {count} idle connections: the hard limit on open files is {hard}")
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        # The server and its jobs begin with the limit of most shells.
        resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL_FILES, hard))
        yard = held.enter_context(server(overcommit=True))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        succeed(yard, yard.submit(["true"]))
        before = resident_mib(yard.pid)
        for _ in range(count):
            held.enter_context(connect(yard))
        until(lambda: files_of(yard.pid) >= count, "the server has accepted all of them")
        grown = resident_mib(yard.pid) - before
        print(f"{count} idle connections take {grown:.0f} MiB")
        assert grown < MIB_PER_THOUSAND_IDLE * count / 1000
        job_id = yard.submit(sh("ulimit -Sn; ulimit -Hn"))
        succeed(yard, job_id)
        assert yard.logs_of(job_id) == [str(USUAL_FILES), str(hard)]
        supervisor = supervisor_pid(yard)
        assert supervisor is not None and files_of(supervisor) < 100


def test_a_server_without_free_files_does_not_spin_and_recovers() -> None:
    """What the limit on connections keeps from happening, made to happen by lowering the limit of a running server."""
    with server(overcommit=True) as yard, ExitStack() as held:
        assert yard.batch.describe_job_queues()["jobQueues"]  # over a connection that is kept
        before = resource.prlimit(yard.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(yard.pid, resource.RLIMIT_NOFILE, (files_of(yard.pid) + 10, before[1]))
        many = [held.enter_context(connect(yard)) for _ in range(100)]
        assert answer(many[-1]) == b""
        began, cpu = time.monotonic(), cpu_seconds(yard.pid)
        until(lambda: time.monotonic() - began > 1.5, "a while has passed")
        busy = (cpu_seconds(yard.pid) - cpu) / (time.monotonic() - began)
        assert busy < 0.5
        assert yard.batch.describe_job_queues()["jobQueues"]
        held.close()
        resource.prlimit(yard.pid, resource.RLIMIT_NOFILE, before)
        until(lambda: health(yard) == 200, "new clients are served again")
        succeed(yard, yard.submit(["true"]))


def files_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
