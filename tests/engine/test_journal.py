from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.core.inputs import AttemptExited, AttemptLost
from batchyard.core.model import Usage
from batchyard.engines.process import journal
from batchyard.engines.process.appendfile import AppendFile
from batchyard.engines.process.journal import Ended, Forgotten, Journal, Launching, Opened, Record, Spawned

OPENED = Opened("incarnation", "boot", ("/a", "/b"))
EXITED = AttemptExited("a", 5, 3, "why", usage=Usage(1, 2.5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def written(path: Path, *records: Record) -> journal.Story:
    book = Journal(path, [OPENED])
    for record in records:
        book.add(record)
    book.flush()
    book.close()
    return journal.read(path)


def test_no_journal_tells_nothing(path: Path) -> None:
    story = journal.read(path)
    assert (story.open, story.ended, story.damage) == ({}, {}, None)


def test_what_was_launched_is_open_until_it_ends(path: Path) -> None:
    spawned = Spawned("a", 12, 33, 34, 56)
    story = written(path, Launching("a"), spawned, Launching("b"))
    assert story.open["a"].spawned == spawned
    assert story.open["a"].opened == OPENED
    assert story.open["b"].spawned is None


def test_what_ended_is_remembered_until_it_is_forgotten(path: Path) -> None:
    story = written(path, Launching("a"), Launching("b"), Ended(EXITED, 4), Ended(AttemptLost("b", 6)))
    assert story.open == {}
    assert story.ended == {"a": Ended(EXITED, 4), "b": Ended(AttemptLost("b", 6))}
    assert written(path, Launching("a"), Ended(EXITED), Forgotten(["a", "unknown"])).ended == {}


def test_records_belong_to_the_supervisor_that_wrote_them(path: Path) -> None:
    later = Opened("later", "boot", ())
    story = written(path, Launching("a"), later, Launching("b"))
    assert [story.open[name].opened for name in ("a", "b")] == [OPENED, later]
    assert story.openings == [OPENED, later]


@given(st.integers(0, 10_000), st.binary(max_size=40))
def test_a_torn_or_damaged_end_loses_no_more_than_itself(
    tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal"
    written(path, *[Launching(f"a{index}", f"group-{index:02}") for index in range(20)])
    whole = path.read_bytes()
    cut %= len(whole)
    path.write_bytes(whole[:cut] + garbage)
    names = list(journal.read(path).open)
    ends = [whole.index(f"group-{index:02}".encode()) + len("group-00") for index in range(20)]
    sure = [f"a{index}" for index, end in enumerate(ends) if end <= cut]
    assert names[: len(sure)] == sure


def test_compacting_keeps_what_it_is_given_and_goes_on(path: Path) -> None:
    book = Journal(path, [OPENED])
    for index in range(20_000):
        book.add(Launching(f"attempt-number-{index:08}"))
        book.add(Ended(AttemptExited(f"attempt-number-{index:08}", 1, 0)))
        book.add(Forgotten([f"attempt-number-{index:08}"]))
        book.flush()
    assert book.is_bloated
    book.compact([OPENED, Launching("kept")])
    assert not book.is_bloated
    book.add(Launching("later"))
    book.flush()
    book.close()
    assert list(journal.read(path).open) == ["kept", "later"]
    assert [each.name for each in path.parent.iterdir()] == ["journal"]


def test_what_could_not_be_written_waits_and_what_was_refused_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Journal(path, [OPENED])
    append = AppendFile.append

    def full(self: AppendFile, buffers: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AppendFile, "append", full)
    book.add(Ended(EXITED))
    with pytest.raises(OSError, match="No space"):
        book.flush()
    with pytest.raises(OSError, match="No space"):
        book.write([Launching("refused")])
    assert book.has_waiting
    monkeypatch.setattr(AppendFile, "append", append)
    book.flush()
    book.close()
    story = journal.read(path)
    assert list(story.ended) == ["a"]
    assert story.open == {}


def test_a_record_that_was_written_in_part_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = AppendFile(str(path))
    file.append([b"one"])
    write = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: write(fd, [buffers[0][:2]], offset))
    with pytest.raises(OSError, match="only a part"):
        file.append([b"two"])
    monkeypatch.setattr(os, "pwritev", write)
    assert path.read_bytes() == b"one"
    file.append([b"three"])
    file.close()
    assert path.read_bytes() == b"onethree"
