"""A connection's limits, on a clock that the test moves. Over real sockets: tests/acceptance/test_connections.py."""

from __future__ import annotations

import asyncio
import gc
import resource
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from batchyard.clock import CountingIds
from batchyard.wire import connections
from batchyard.wire.connections import Connection, Limits

LIMITS = Limits(request_seconds=10, max_head_bytes=1000, max_request_bytes=2000, max_connections=2)
HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n"


class Wire(asyncio.Transport):
    """What the connection does to its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent = 0
        self.is_closed = self.is_aborted = self.is_paused = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Loop:
    """A clock, and tasks that never run."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def create_task(self, work: Any) -> asyncio.Future[None]:
        work.close()
        return asyncio.Future(loop=self._real)

    def call_later(self, delay: float, callback: Any) -> asyncio.TimerHandle:
        return self._real.call_later(delay, callback)

    def __enter__(self) -> Loop:
        self._real = asyncio.new_event_loop()
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("tasks never run here")


def connect(loop: Loop, state: ServerState | None = None) -> tuple[Connection, Wire]:
    config = uvicorn.Config(application, http="httptools", ws="none", lifespan="off", log_config=None)
    config.load()
    made = connections.factory(LIMITS, CountingIds())(
        config=config, server_state=state or ServerState(), app_state={}, _loop=loop
    )
    wire = Wire()
    made.connection_made(wire)
    return made, wire


def test_a_client_that_says_nothing_is_left_without_a_word(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.look(10)
    assert not wire.is_closed
    connection.look(10.1)
    assert wire.is_closed and wire.sent == b""


@pytest.mark.parametrize("parts", [[HEAD[:9], HEAD[9:20]], [HEAD, b"{"], [b"\r\n", b"\r\n"]])
def test_each_byte_does_not_give_a_client_more_time(loop: Loop, parts: list[bytes]) -> None:
    connection, wire = connect(loop)
    loop.now = 5.0
    connection.data_received(parts[0])
    loop.now = 9.0
    connection.data_received(parts[1])
    connection.look(10.1)
    assert wire.is_closed and wire.sent.startswith(b"HTTP/1.1 408 ")


def test_a_whole_request_waits_for_its_answer_as_long_as_it_takes(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12345")
    connection.look(1000.0)
    assert not wire.is_closed


def test_what_the_server_does_not_read_is_not_the_clients_fault(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12345" + HEAD)
    assert wire.is_paused
    connection.look(1000.0)
    assert not wire.is_closed
    connection.flow.resume_reading()
    connection.look(1009.0)
    assert not wire.is_closed
    connection.look(1011.0)
    assert wire.is_closed


def test_after_a_refusal_in_the_middle_the_time_runs_for_the_next_request(loop: Loop) -> None:
    """uvicorn's timer between requests is stopped by the rest of the body, and is not started again."""
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12")
    connection.cycle.response_started = connection.cycle.response_complete = True
    loop.now = 5.0
    connection.data_received(b"345")
    connection.look(14.0)
    assert not wire.is_closed
    connection.look(16.0)
    assert wire.is_closed


def test_an_answer_that_is_fetched_slowly_is_sent_and_one_that_is_not_is_dropped(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12345")
    for number in range(20):
        wire.unsent = 1000 - number
        connection.look(6.0 * number)
    assert not wire.is_aborted
    wire.is_closed = True  # as after the last answer
    connection.look(123.0)
    assert not wire.is_aborted
    connection.look(130.0)
    assert wire.is_aborted


def test_a_head_is_refused_when_it_is_too_large_whether_it_ends_or_not(loop: Loop) -> None:
    for data in ([HEAD[:-2] + b"x: " + b"y" * 1000 + b"\r\n\r\n"], [HEAD[:-2] + b"x: ", b"y" * 600, b"y" * 600]):
        connection, wire = connect(loop)
        for part in data:
            connection.data_received(part)
        assert wire.is_closed and wire.sent.startswith(b"HTTP/1.1 431 "), data


def test_a_refusal_is_not_written_into_an_answer(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12")
    connection.cycle.response_started = True
    connection.look(11.0)
    assert wire.is_closed and wire.sent == b""


# ---- answers


def answer(connection: Connection, *parts: bytes, length: int = 4) -> None:
    """What an application says, as far as it gets."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]}
    body = [{"type": "http.response.body", "body": part, "more_body": True} for part in parts]
    if sum(map(len, parts)) == length:
        body[-1]["more_body"] = False
    for message in [start, *body]:
        with pytest.raises(StopIteration):
            connection.cycle.send(message).send(None)  # type: ignore[arg-type]


ANSWER_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


def test_an_answers_head_and_body_go_out_together(loop: Loop) -> None:
    connection, wire = connect(loop)
    for _ in range(2):
        connection.data_received(HEAD + b"12345")
        answer(connection, b"abcd")
    assert wire.writes == [ANSWER_HEAD + b"abcd"] * 2


def test_a_body_in_parts_goes_out_as_it_comes(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12345")
    answer(connection, b"ab", b"cd")
    assert wire.writes == [ANSWER_HEAD + b"ab", b"cd"]


def test_a_head_without_a_body_is_not_held_back(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer(connection)
    assert wire.writes == [ANSWER_HEAD]


def test_a_body_that_never_comes_takes_its_head_along(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD + b"12345")
    answer(connection)
    assert wire.writes == []
    connection.cycle.transport.close()
    assert wire.writes == [ANSWER_HEAD] and wire.is_closed


def test_an_answer_that_is_out_is_kept_by_nobody(loop: Loop) -> None:
    connection, _ = connect(loop)
    connection.data_received(HEAD + b"12345")
    answer(connection, b"abcd")
    cycle = weakref.ref(connection.cycle)
    gc.disable()
    try:
        connection.data_received(HEAD + b"12345")
        assert cycle() is None
    finally:
        gc.enable()


def test_a_client_that_asks_whether_to_go_on_is_told_at_once(loop: Loop) -> None:
    connection, wire = connect(loop)
    connection.data_received(HEAD[:-2] + b"expect: 100-continue\r\n\r\n")
    connection.cycle.message_event.set()
    with pytest.raises(StopIteration):
        connection.cycle.receive().send(None)
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    connection.data_received(b"12345")
    answer(connection, b"abcd")
    assert wire.writes[1:] == [ANSWER_HEAD + b"abcd"]


def test_one_more_than_the_places_there_are(loop: Loop) -> None:
    state = ServerState()
    wires = [connect(loop, state)[1] for _ in range(3)]
    assert [wire.is_closed for wire in wires] == [False, False, True]
    assert wires[2].sent.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("files", "asked", "places"),
    [(1024, 0, 768), (1024, 100, 100), (1024, 5000, 768), (100, 0, 50), (resource.RLIM_INFINITY, 0, 65_280)],
)
def test_connections_leave_files_for_others(
    monkeypatch: pytest.MonkeyPatch, files: int, asked: int, places: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (files, files))
    assert connections.max_connections(asked) == places


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [(1024, 4096, [4096]), (1024, 10**9, [65_536]), (1024, resource.RLIM_INFINITY, [65_536]), (10**6, 10**6, [])],
)
def test_the_limit_on_files_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: list[int]
) -> None:
    told: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: told.append(limits[0]))
    assert connections.raise_file_limit() == soft
    assert told == raised
