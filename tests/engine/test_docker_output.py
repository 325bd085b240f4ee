"""Output of containers: every byte, once, however short they live and whoever dies meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchyard.engines.docker.parse import PART_BYTES, LogDemultiplexer, frames_of
from batchyard.logframes import log_path, split
from tests.engine.bench import eventually, scenario
from tests.engine.docker_yard import DockerYard


def payload_of(path: Path) -> bytes:
    return b"".join(frame.payload for frame in split(path.read_bytes()))


@scenario
async def test_nothing_is_lost_of_containers_that_live_for_a_moment(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        for index in range(12):
            bench.launch(f"a{index}", "printf", "%s\\n%s", "first", "last without a newline")
        for index in range(12):
            await bench.exited(f"a{index}")
            stored = payload_of(log_path(docker_yard.data_dir / "logs", f"a{index}"))
            assert stored == b"first\nlast without a newline"


@scenario
async def test_long_lines_and_any_bytes_come_through(docker_yard: DockerYard, tmp_path: Path) -> None:
    content = ("é" * 50_000).encode() + b"\n" + os.urandom(100_000) + b"\n\n\0end"
    (tmp_path / "content").write_bytes(content)
    async with docker_yard.bench() as bench:
        await bench.run("a", "cat", str(tmp_path / "content"))
        assert payload_of(log_path(docker_yard.data_dir / "logs", "a")) == content


@scenario
async def test_much_output_comes_through(docker_yard: DockerYard) -> None:
    async with docker_yard.bench() as bench:
        await bench.run("a", "seq 1 300000 ;")
        stored = payload_of(log_path(docker_yard.data_dir / "logs", "a"))
        assert stored == b"".join(b"%d\n" % number for number in range(1, 300_001))


@scenario
async def test_output_is_followed_while_it_is_written(docker_yard: DockerYard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with docker_yard.bench() as bench:
        bench.launch("a", f"echo early; while [ ! -e {gate} ]; do sleep 0.01; done; echo late")
        await bench.has_written("a", "early")
        gate.touch()
        await bench.has_written("a", "late")


@scenario
async def test_a_torn_end_is_mended_when_reading_goes_on(docker_yard: DockerYard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = docker_yard.bench()
    await first.__aenter__()
    first.launch("a", f"seq 1 50; while [ ! -e {gate} ]; do sleep 0.01; done; seq 51 100")
    await first.has_written("a", "50")
    await first.engine.close()
    path = log_path(docker_yard.data_dir / "logs", "a")
    with path.open("ab") as file:
        file.write(b"\x10\0\0\0 torn")
    async with docker_yard.bench() as second:
        gate.touch()
        await second.exited("a")
        assert second.lines("a") == [str(number) for number in range(1, 101)]


@scenario
async def test_output_that_ended_while_no_server_ran_is_read(docker_yard: DockerYard) -> None:
    first = docker_yard.bench()
    await first.__aenter__()
    first.launch("a", "sleep 0.2; seq 1 1000")
    await first.started("a")
    await first.engine.close()
    name = docker_yard.prefix + "a"
    await eventually(lambda: not docker_yard.daemon.inspect(name)["State"]["Running"], "it has ended")
    async with docker_yard.bench() as second:
        await second.engine.holding()
        await second.exited("a")
        assert second.lines("a") == [str(number) for number in range(1, 1001)]


def entry(stamp: str, payload: bytes, stream: int = 1) -> bytes:
    body = stamp.encode() + b" " + payload
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_entries_are_found_however_the_stream_is_cut(step: int) -> None:
    stamps = ["1970-01-01T00:00:01.234567891Z", "1970-01-01T01:00:02.000000000+01:00"]
    data = entry(stamps[0], b"one\n") + entry(stamps[1], b"two", 2)
    demultiplexer = LogDemultiplexer()
    found = [each for at in range(0, len(data), step) for each in demultiplexer.feed(data[at : at + step])]
    assert found == [(1234, b"one\n", True), (2000, b"two", True)]


def test_entries_of_a_millisecond_share_a_frame_as_far_as_it_holds() -> None:
    entries = [(1, b"aa"), (1, b"bb"), (1, b"cc"), (2, b"dddddd")]
    assert list(frames_of(entries, 4)) == [(1, b"aabb"), (1, b"cc"), (2, b"dddd"), (2, b"dd")]


def test_a_long_line_gets_back_the_newline_that_docker_forgot() -> None:
    stamp = "1970-01-01T00:00:01.000000000Z"
    part = b"x" * PART_BYTES
    data = b"".join(entry(stamp, payload) for payload in (part, part, b"rest", b"next\n"))
    found = list(LogDemultiplexer().feed(data))
    assert [each.payload for each in found] == [part, part, b"rest\n", b"next\n"]
    assert [each.begins_a_line for each in found] == [True, False, False, True]
