"""Events of several lines: what belongs together, what is withheld, and that all of it reads alike from both ends."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.logframes import frame, log_path
from batchyard.logpatterns import compiled
from batchyard.telemetry.loglines import FIRST_POSITION, Position
from batchyard.telemetry.logstore import LogEvent, LogStore
from batchyard.telemetry.multiline import Joining
from tests.profiles import examples

ATTEMPT = "attempt-1"
LONG_AFTER_MS = 10**9


class Log:
    """A log under construction, whose events begin with S."""

    def __init__(self, folder: Path) -> None:
        self.path = log_path(folder, ATTEMPT)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.store = LogStore(folder)

    def write(self, *frames: tuple[int, bytes]) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(frame(at_ms, payload) for at_ms, payload in frames))

    def forward(
        self, *, complete: bool = True, now_ms: int = LONG_AFTER_MS, limit: int = 9999, start_ms: int = 0
    ) -> list[LogEvent]:
        joining, position, events = Joining(compiled("^S"), now_ms), FIRST_POSITION, []
        while True:
            page = self.store.read_forward(
                ATTEMPT, position, complete=complete, joining=joining, limit=limit, start_ms=start_ms
            )
            events += page.events
            if page.next_position == position:
                return events
            position = Position.parse(page.next_position.token)

    def backward(self, *, complete: bool = True, now_ms: int = LONG_AFTER_MS, limit: int = 9999) -> list[LogEvent]:
        joining, events = Joining(compiled("^S"), now_ms), list[LogEvent]()
        position = self.store.tail_position(ATTEMPT, complete=complete, joining=joining)
        while True:
            page = self.store.read_backward(ATTEMPT, position, joining=joining, limit=limit, complete=complete)
            events = page.events + events
            if page.next_position == position:
                return events
            position = Position.parse(page.next_position.token)

    def messages(self, *, complete: bool = True, now_ms: int = LONG_AFTER_MS) -> list[str]:
        """Read from both ends, whole and piece by piece, which must come to the same."""
        found = self.forward(complete=complete, now_ms=now_ms)
        for limit in (1, 9999):
            assert self.forward(complete=complete, now_ms=now_ms, limit=limit) == found
            assert self.backward(complete=complete, now_ms=now_ms, limit=limit) == found
        return [event.message for event in found]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_an_event_goes_on_to_the_next_line_that_matches(log: Log) -> None:
    log.write((1, b"S one\n  more\n"), (2, b"  and more\nS two\nS three\n"), (3, b"  end\n"))
    assert log.messages() == ["S one\n  more\n  and more", "S two", "S three\n  end"]
    assert [event.timestamp_ms for event in log.forward()] == [1, 2, 2]


def test_what_comes_before_the_first_match_is_an_event_too(log: Log) -> None:
    log.write((1, b"a\nb\nS one\n"))
    assert log.messages() == ["a\nb", "S one"]


def test_empty_lines_belong_to_the_event_they_stand_in_and_make_none_of_their_own(log: Log) -> None:
    log.write((1, b"\n\nS one\n\n\nx\n\nS two\r\n\r\ny\r\n"))
    assert log.messages() == ["S one\n\n\nx\n", "S two\n\ny"]


def test_a_last_event_is_withheld_until_it_is_over(log: Log) -> None:
    log.write((1000, b"S one\nx\nS two\n"))
    assert log.messages(complete=False, now_ms=1500) == ["S one\nx"]
    log.write((2000, b"y\n"))
    assert log.messages(complete=False, now_ms=6999) == ["S one\nx"]
    assert log.messages(complete=False, now_ms=7001) == ["S one\nx", "S two\ny"]
    assert log.messages(complete=True, now_ms=2000) == ["S one\nx", "S two\ny"]


def test_what_comes_after_a_pause_is_an_event_of_its_own(log: Log) -> None:
    log.write((1000, b"S one\n"), (6000, b"x\n"), (11_001, b"y\nz\n"))
    assert log.messages() == ["S one\nx", "y\nz"]


def test_whoever_follows_a_log_gets_every_line_once(log: Log) -> None:
    joining = Joining(compiled("^S"), 0)
    position, seen = FIRST_POSITION, []
    for now_ms, payload in [
        (1000, b"S one\nx"),
        (1100, b"y\n"),
        (7000, b"late\nlater\n"),
        (7100, b"S t"),
        (7200, b"wo\n"),
    ]:
        log.write((now_ms, payload))
        for wait_ms in (0, 5500 if payload.endswith(b"y\n") else 0):
            joining = Joining(compiled("^S"), now_ms + wait_ms)
            page = log.store.read_forward(ATTEMPT, position, complete=False, joining=joining)
            seen += [event.message for event in page.events]
            position = page.next_position
    page = log.store.read_forward(ATTEMPT, position, complete=True, joining=joining)
    assert [*seen, *(event.message for event in page.events)] == ["S one\nxy", "late\nlater", "S two"]


def test_an_event_that_goes_on_and_on_is_shown_in_pieces(log: Log) -> None:
    """Nobody who follows it waits for its end, and all readers see the same pieces."""
    log.write((0, b"S one\n"), *((second * 1000, b"line %d\n" % second) for second in range(1, 13)))
    assert log.messages() == [
        "\n".join(["S one", *(f"line {second}" for second in range(1, 5))]),
        "\n".join(f"line {second}" for second in range(5, 10)),
        "\n".join(f"line {second}" for second in range(10, 13)),
    ]
    assert log.messages(complete=False, now_ms=12_500) == log.messages()[:2]


def test_a_large_event_is_cut_between_lines(log: Log) -> None:
    line = b"x" * 1000
    log.write((1, b"S\n"), *((1, line + b"\n") for _ in range(600)))
    found = log.messages()
    assert "\n".join(found) == "\n".join(["S", *[line.decode()] * 600])
    assert 4 <= len(found) <= 6
    assert max(map(len, found)) < 256 * 1024


def test_a_long_line_is_cut_whatever_its_pieces_look_like(log: Log) -> None:
    """They are no lines: a piece in which the pattern is found begins no event."""
    log.write((1, b"S one\n"), *((1, b"S" * 65_000) for _ in range(6)), (1, b"\nS two\nx\n"))
    found = log.messages()
    assert found[0] == "S one"
    assert "".join(found[1:-1]) == "S" * 390_000
    assert found[-1] == "S two\nx"


def test_pieces_of_a_long_line_that_goes_on_stay_pieces(log: Log) -> None:
    """Nothing is put between them, however much of the line is there."""
    log.write((1, b"S one\n"), *((1, b"x" * 65_000) for _ in range(6)))
    found = log.messages(complete=False, now_ms=6002)
    assert (len(found), found[0]) == (3, "S one")
    assert not any("\n" in message for message in found)
    assert "".join(log.messages()) == "S one" + "x" * 390_000


def test_an_unfinished_line_is_no_part_of_an_event_yet(log: Log) -> None:
    log.write((1000, b"S one\n" + b"x" * 60_000), (1000, b"x" * 60_000 + b"\n"), (4000, b"y" * 65_000))
    assert log.messages(complete=False, now_ms=6500) == ["S one\n" + "x" * 120_000]
    assert log.messages(complete=False, now_ms=5500) == []


def test_events_that_began_before_the_time_asked_for_are_left_out(log: Log) -> None:
    log.write((1000, b"S old\n"), (2000, b"  its end\nS new\n"), (2500, b"  more\n"))
    assert [event.message for event in log.forward(start_ms=1500)] == ["S new\n  more"]
    assert [event.message for event in log.forward(start_ms=1000)] == ["S old\n  its end", "S new\n  more"]
    log.write((90_000, b"S much later\n"), (90_001, b"x\n"))
    assert [event.message for event in log.forward(start_ms=80_000)] == ["S much later\nx"]


PAYLOADS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 100, 2000, 4999, 5000, 5001, 7000]),
        st.sampled_from([b"S a\n", b"b\n", b"\n", b"S", b"c", b"d\r\n", b"S e\nf\nS g\nh", b"\xff\n", b"y\n" * 200]),
        st.sampled_from([1, 1, 1, 2, 9]),
    ),
    max_size=15,
)
MIXED = b"S e\nf\nS g\nh" + "é".encode() * 20_000
LONG = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 3000, 6000]),
        st.sampled_from(
            [b"S a\n", b"x" * 65_000, b"S" * 60_000, b"\n", b"m" * 30_000 + b"\n", b"z" * 65_400 + b"\n", MIXED]
        ),
        st.sampled_from([1, 2, 4]),
    ),
    max_size=8,
)


def check(writes: list[tuple[int, bytes, int]], complete: bool, wait_ms: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, now_ms, text = Log(Path(folder)), 1_700_000_000_000, b""
        for pause_ms, payload, times in writes:
            for _ in range(times):
                now_ms += pause_ms
                log.write((now_ms, payload))
                text += payload
        messages = log.messages(complete=complete, now_ms=now_ms + wait_ms)
        shown = "".join(messages).replace("\n", "")
        written = text.decode("utf-8", "replace").replace("\n", "").replace("\r", "")
        assert shown == written if complete else written.startswith(shown)
        for left, right in itertools.pairwise(messages):
            assert left.strip("\n") or right.strip("\n")


@settings(deadline=None, max_examples=examples(150))
@given(PAYLOADS, st.booleans(), st.sampled_from([0, 4000, 6000]))
def test_any_log_reads_alike_from_both_ends(writes: list[tuple[int, bytes, int]], complete: bool, wait_ms: int) -> None:
    check(writes, complete, wait_ms)


@settings(deadline=None, max_examples=examples(60))
@given(LONG, st.booleans(), st.sampled_from([0, 6000]))
def test_long_events_and_lines_are_cut_alike_from_both_ends(
    writes: list[tuple[int, bytes, int]], complete: bool, wait_ms: int
) -> None:
    check(writes, complete, wait_ms)
