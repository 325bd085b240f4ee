from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.logframes import MAX_PAYLOAD_BYTES, OVERHEAD_BYTES, checked_attempt_id, frame, log_path, split

PAYLOADS = st.lists(st.tuples(st.integers(0, 2**63), st.binary(min_size=1, max_size=300)), max_size=20)


@given(PAYLOADS, st.integers(0, 10**12))
def test_frames_come_back_as_they_were_written(written: list[tuple[int, bytes]], start: int) -> None:
    frames = list(split(b"".join(frame(at, payload) for at, payload in written), start))
    assert [(each.timestamp_ms, each.payload) for each in frames] == written
    ends = [start, *(each.end for each in frames)]
    assert [each.start for each in frames] == ends[:-1]


@given(PAYLOADS.filter(bool), st.data())
def test_a_torn_last_frame_is_left_out(written: list[tuple[int, bytes]], data: st.DataObject) -> None:
    whole = b"".join(frame(at, payload) for at, payload in written)
    lost = data.draw(st.integers(1, OVERHEAD_BYTES + len(written[-1][1])))
    assert [(each.timestamp_ms, each.payload) for each in split(whole[:-lost])] == written[:-1]


def test_damage_ends_the_reading() -> None:
    good = frame(5, b"good")
    assert len(list(split(good + b"\xff" * 100))) == 1
    assert len(list(split(good + good[:-1] + b"\x07" + good))) == 1


@pytest.mark.parametrize("payload", [b"", b"x" * (MAX_PAYLOAD_BYTES + 1)])
def test_a_frame_is_neither_empty_nor_larger_than_readers_accept(payload: bytes) -> None:
    with pytest.raises(ValueError, match="a frame holds"):
        frame(0, payload)


def test_logs_are_spread_over_folders() -> None:
    assert log_path(Path("/logs"), "ab12-x") == Path("/logs/ab/ab12-x.log")


@pytest.mark.parametrize("attempt_id", ["", ".", "..", "../../etc/passwd", "a/b", "a\0b", ".a", "a\n", "x" * 201])
def test_ids_that_are_no_file_names_are_refused(attempt_id: str) -> None:
    with pytest.raises(ValueError, match="not an attempt id"):
        log_path(Path("/logs"), attempt_id)


def test_usual_ids_are_accepted() -> None:
    for attempt_id in ("0b6d-4c", "11111111-2222-4333-8444-555555555555", "a:1", "x.1_2"):
        assert checked_attempt_id(attempt_id) == attempt_id
