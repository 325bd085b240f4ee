from __future__ import annotations

import bisect
import itertools
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchyard.logframes import MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, Frame, frame, log_path, split
from batchyard.telemetry.loglines import FIRST_POSITION, LogPositionError, Position
from batchyard.telemetry.logstore import LogEvent, LogStore, Page
from tests.profiles import examples

ATTEMPT = "attempt-1"


class Log:
    """A log under construction, and the store that reads it."""

    def __init__(self, folder: Path) -> None:
        self.path = log_path(folder, ATTEMPT)
        self.path.parent.mkdir(exist_ok=True)
        self.store = LogStore(folder)

    def write(self, *frames: tuple[int, bytes]) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(frame(at, payload) for at, payload in frames))

    def messages(self, complete: bool = True) -> list[str]:
        return [event.message for event in self.store.read_forward(ATTEMPT, complete=complete).events]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def naive(frames: list[Frame], complete: bool) -> list[tuple[int, str]]:
    """The module docstring of logstore as slowly and plainly as possible."""
    text = b"".join(each.payload for each in frames)
    cuts, total = set(), 0
    begins: list[int] = []
    for left, each in zip([None, *frames], frames, strict=False):
        if left is not None and left.start // 131072 != each.start // 131072:
            skipped = 0
            while skipped < min(3, len(each.payload)) and each.payload[skipped] & 0xC0 == 0x80:
                skipped += 1
            if text[total - 1 : total] != b"\n":
                cuts.add(total + (skipped if skipped < len(each.payload) else 0))
        begins.append(total)
        total += len(each.payload)
    events, begin = [], 0
    while begin < len(text):
        newline = text.find(b"\n", begin)
        end = newline if newline >= 0 else len(text)
        inner = sorted(cut for cut in cuts if begin < cut < end) if end - begin > 256 * 1024 else []
        edges = [begin, *inner, end]
        for low, high in itertools.pairwise(edges):
            if high == end and newline < 0 and not complete:
                continue
            raw = text[low:high]
            raw = raw[:-1] if high == end and raw.endswith(b"\r") else raw
            if raw:
                events.append(
                    (frames[bisect.bisect_right(begins, low) - 1].timestamp_ms, raw.decode("utf-8", "replace"))
                )
        begin = end + 1
    return events


def forward(log: Log, complete: bool, limit: int, max_bytes: int = 1 << 20) -> list[LogEvent]:
    events, position = [], FIRST_POSITION
    while True:
        page = log.store.read_forward(ATTEMPT, position, limit=limit, complete=complete, max_bytes=max_bytes)
        assert len(page.events) <= limit
        events += page.events
        if page.next_position == position:
            return events
        position = Position.parse(page.next_position.token)


def backward(log: Log, complete: bool, limit: int, max_bytes: int = 1 << 20) -> list[LogEvent]:
    events: list[LogEvent] = []
    position = log.store.tail_position(ATTEMPT, complete=complete)
    while True:
        page = log.store.read_backward(ATTEMPT, position, limit=limit, max_bytes=max_bytes)
        assert len(page.events) <= limit
        events = page.events + events
        if page.next_position == position:
            return events
        position = Position.parse(page.next_position.token)


def plain(events: list[LogEvent]) -> list[tuple[int, str]]:
    return [(event.timestamp_ms, event.message) for event in events]


SMALL = st.lists(
    st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bb", "é".encode(), b"\xff", b"\r\n"]), min_size=1).map(b"".join),
    max_size=12,
)
LONG = st.tuples(
    st.sampled_from([b"a", b"a", b"a", "é€".encode(), b"\xa9", b"0123456789\r"]),
    st.sampled_from([1, 7, 5000, 30_000, 65_535, 65_536]),
)
MANY = st.tuples(st.sampled_from([b"line\n", b"\n"]), st.sampled_from([1, 7, 2000]))
"""Lines between the long ones: not so many that they take longer to make than the long ones to cut."""
LARGE = st.lists(
    st.tuples(
        st.one_of(LONG, LONG, LONG, MANY),
        st.sampled_from([b"", b"", b"\n", b"\nx"]),
        st.sampled_from([1, 3, 6]),
    ).map(lambda made: [((made[0][0] * made[0][1])[: made[0][1]] + made[1])[:MAX_PAYLOAD_BYTES]] * made[2]),
    max_size=6,
).map(lambda groups: [payload for group in groups for payload in group])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(300))
@given(SMALL, st.booleans(), st.integers(1, 4))
def test_small_logs_read_alike_from_both_ends(
    tmp_path: Path, payloads: list[bytes], complete: bool, limit: int
) -> None:
    check_both_ends(tmp_path, payloads, complete, limit)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=examples(40))
@given(LARGE, st.booleans())
def test_long_lines_are_cut_alike_from_both_ends(tmp_path: Path, payloads: list[bytes], complete: bool) -> None:
    check_both_ends(tmp_path, payloads, complete, 9999)
    log = Log(tmp_path)
    assert plain(forward(log, complete, 2, 300_000)) == plain(backward(log, complete, 2, 300_000))


def check_both_ends(folder: Path, payloads: list[bytes], complete: bool, limit: int) -> None:
    log = Log(folder)
    log.path.unlink(missing_ok=True)
    log.write(*[(1000 + index // 2, payload) for index, payload in enumerate(payloads)])
    expected = naive(list(split(log.path.read_bytes())) if payloads else [], complete)
    events = forward(log, complete, limit)
    assert plain(events) == expected
    assert backward(log, complete, limit) == events
    assert all(len(event.message.encode("utf-8", "replace")) <= 3 * 256 * 1024 for event in events)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SMALL, st.integers(998, 1010), st.integers(998, 1010), st.integers(1, 3))
def test_times_bound_the_events_from_both_ends(
    tmp_path: Path, payloads: list[bytes], start_ms: int, end_ms: int, limit: int
) -> None:
    log = Log(tmp_path)
    log.path.unlink(missing_ok=True)
    log.write(*[(1000 + index // 2, payload) for index, payload in enumerate(payloads)])
    expected = [event for event in forward(log, True, 9999) if start_ms <= event.timestamp_ms < end_ms]
    got: list[LogEvent] = []
    position, page = FIRST_POSITION, None
    while page is None or page.next_position != position:
        position = page.next_position if page else position
        page = log.store.read_forward(ATTEMPT, position, start_ms=start_ms, end_ms=end_ms, complete=True, limit=limit)
        got += page.events
    assert got == expected
    position = log.store.tail_position(ATTEMPT, complete=True)
    tail = log.store.read_backward(ATTEMPT, position, start_ms=start_ms, end_ms=end_ms, limit=limit)
    assert tail.events == expected[-limit:]


def test_an_unfinished_line_is_withheld_until_the_writer_is_done(log: Log) -> None:
    log.write((1, b"one\ntw"))
    page = log.store.read_forward(ATTEMPT, complete=False)
    assert [event.message for event in page.events] == ["one"]
    assert log.store.tail_position(ATTEMPT, complete=False) == page.next_position
    log.write((2, b"o\n"))
    page = log.store.read_forward(ATTEMPT, page.next_position, complete=False)
    assert plain(page.events) == [(1, "two")]
    log.write((3, b"three"))
    assert log.messages(complete=False) == ["one", "two"]
    assert log.messages(complete=True) == ["one", "two", "three"]


def test_the_end_repeats_its_position_and_goes_on_when_the_log_grows(log: Log) -> None:
    log.write((1, b"one\n"))
    page = log.store.read_forward(ATTEMPT, complete=False)
    again = log.store.read_forward(ATTEMPT, page.next_position, complete=False)
    assert again == Page([], page.next_position)
    log.write((2, b"two\n"))
    assert plain(log.store.read_forward(ATTEMPT, page.next_position, complete=False).events) == [(2, "two")]


def test_a_line_up_to_the_limit_is_one_event_and_a_longer_one_is_cut(log: Log) -> None:
    log.write(*[(1, b"x" * MAX_PAYLOAD_BYTES)] * 4, (2, b"\n"))
    assert log.messages() == ["x" * 4 * MAX_PAYLOAD_BYTES]
    log.write(*[(3, b"y" * MAX_PAYLOAD_BYTES)] * 4, (4, b"z\n"))
    pieces = log.messages()[1:]
    assert "".join(pieces) == "y" * 4 * MAX_PAYLOAD_BYTES + "z"
    assert max(map(len, pieces)) <= 256 * 1024


def test_characters_survive_the_cutting(log: Log) -> None:
    text = ("€" * 300_000).encode()
    log.write(*[(1, text[low : low + 65_000]) for low in range(0, len(text), 65_000)])
    assert "".join(log.messages()) == "€" * 300_000


def test_a_torn_tail_is_ignored_from_both_ends(log: Log) -> None:
    log.write((1, b"one\n"), (2, b"two\n"))
    with log.path.open("ab") as file:
        file.write(frame(3, b"three\n")[:-3])
    assert log.messages() == ["one", "two"]
    assert [event.message for event in backward(log, True, 10)] == ["one", "two"]
    assert log.store.timestamps_ms(ATTEMPT) == (1, 2)


def test_a_missing_log_is_empty(log: Log) -> None:
    assert log.store.read_forward(ATTEMPT, complete=False) == Page([], FIRST_POSITION)
    assert log.store.tail_position(ATTEMPT, complete=True) == FIRST_POSITION
    assert log.store.size_bytes(ATTEMPT) == 0
    assert log.store.timestamps_ms(ATTEMPT) is None
    log.store.delete(ATTEMPT)


def test_a_deleted_log_is_gone(log: Log) -> None:
    log.write((1, b"one\n"))
    assert log.store.size_bytes(ATTEMPT) == OVERHEAD_BYTES + 4
    log.store.delete(ATTEMPT)
    assert not log.path.exists()


@pytest.mark.parametrize("token", ["", "1", "1.2.3", "-1.0", "1.-1", "01.0", "1.65536", "a.b", "1.0 ", "٣.0", "9" * 30])
def test_malformed_positions_are_refused(token: str) -> None:
    with pytest.raises(LogPositionError):
        Position.parse(token)


@pytest.mark.parametrize("token", ["1.0", "20.1", "20.4", "99999.0", "99999.3", "0.4", "21.0"])
def test_positions_outside_the_log_are_refused(log: Log, token: str) -> None:
    log.write((1, b"one\n"))
    with pytest.raises(LogPositionError):
        log.store.read_forward(ATTEMPT, Position.parse(token), complete=True)
    with pytest.raises(LogPositionError):
        log.store.read_backward(ATTEMPT, Position.parse(token))


def test_the_tail_of_a_large_log_is_read_without_the_rest(log: Log) -> None:
    chunk = (b"0123456789abcdef" * 4095 + b"\n") * 1
    block = b"".join(frame(7, chunk) for _ in range(100))
    with log.path.open("wb") as file:
        file.truncate(3 << 30)  # a hole that would be damage if anything read it
        file.seek(0, 2)
        file.write(block)
    began = time.perf_counter()
    page = log.store.read_backward(ATTEMPT, log.store.tail_position(ATTEMPT, complete=True), limit=5)
    assert len(page.events) == 5
    assert time.perf_counter() - began < 1
