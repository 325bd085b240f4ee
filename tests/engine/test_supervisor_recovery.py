"""kill -9 of the server, of the supervisor, and of both: nothing is lost silently, nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from batchyard.core.inputs import AttemptExited, AttemptLost, AttemptStarted
from batchyard.engines.process import journal, processes
from tests.engine.bench import Bench, eventually, scenario
from tests.engine.yard import Yard, is_alive

ROOT = Path(__file__).parent.parent.parent

SERVER = """
import asyncio, json, sys
from pathlib import Path
from tests.engine.yard import Yard

async def main():
    bench = Yard(Path(sys.argv[1])).bench(idle_exit_seconds=30)
    await bench.__aenter__()
    for attempt_id, script in json.loads(sys.argv[2]).items():
        bench.launch(attempt_id, "/bin/sh", "-c", script)
    for attempt_id in json.loads(sys.argv[2]):
        await bench.started(attempt_id)
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path / "data")
    yield yard
    yard.clear_away()


@asynccontextmanager
async def server(yard: Yard, **scripts: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process with an engine in it, which has launched these."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(yard.data_dir), json.dumps(scripts), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"up\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def killed_supervisor(yard: Yard) -> int:
    pid = yard.supervisor_pid()
    os.kill(pid, signal.SIGKILL)
    return pid


@scenario
async def test_killing_the_server_stops_no_job_and_loses_no_exit_code(yard: Yard, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"while [ ! -e {gate} ]; do sleep 0.01; done; echo out; exit 5"
    async with server(yard, early="exit 3", late=waits) as process:
        process.kill()
        await process.wait()
    gate.touch()
    async with yard.bench() as bench:
        held = await bench.engine.holding()
        assert {each.attempt_id for each in held} == {"early", "late"}
        assert (await bench.exited("early")).exit_code == 3
        assert (await bench.exited("late")).exit_code == 5
        assert bench.lines("late") == ["out"]
        assert isinstance(bench.of("late")[0], AttemptStarted)


@scenario
async def test_killing_the_supervisor_loses_its_jobs_and_says_so(yard: Yard) -> None:
    async with yard.bench() as bench:
        bench.launch("a", "echo $$; exec sleep 3600")
        await bench.started("a")
        await eventually(lambda: bench.lines("a"), "the job's pid")
        pid = int(bench.lines("a")[0])
        await bench.run("over", "exit 4")
        killed_supervisor(yard)
        await bench.lost("a")
        assert not is_alive(pid)
        assert len(bench.incarnations) == 2
        # The new one goes on with new work, and still knows what had ended.
        assert (await bench.run("b", "exit 6")).exit_code == 6
        assert {each.attempt_id: each.ended for each in await bench.engine.holding()} == {
            "a": True,
            "b": True,
            "over": True,
        }
        ends = [report for report in bench.of("over") if not isinstance(report, AttemptStarted)]
        assert len(set(ends)) == 1
        bench.engine.forget(["a", "b", "over"])
        assert await bench.engine.holding() == []


@scenario
async def test_nothing_of_a_lost_attempt_is_left_alive(yard: Yard) -> None:
    script = "trap '' TERM; setsid sh -c 'echo $$; sleep 3600' & (setsid sleep 3600 & echo $!) ; echo $$; sleep 3600"
    async with yard.bench() as bench:
        bench.launch("a", script)
        await eventually(lambda: len(bench.lines("a")) == 3, "all pids")
        pids = [int(line) for line in bench.lines("a")]
        assert all(is_alive(pid) for pid in pids)
        killed_supervisor(yard)
        await bench.lost("a")
        assert not any(is_alive(pid) for pid in pids)
        assert not any("/a" in marker and is_alive(pid) for pid, marker in mine(bench))


def mine(bench: Bench) -> list[tuple[int, str]]:
    return [(pid, marker) for pid, marker in processes.all_marked() if marker.partition("/")[0] in bench.incarnations]


@scenario
async def test_killing_both_loses_no_ended_exit_code(yard: Yard) -> None:
    async with server(yard, ended="exit 3", runs="sleep 3600") as process:
        await eventually(lambda: "ended" in journal.read(yard.engine_dir / "journal").ended, "the exit is journaled")
        process.kill()
        killed_supervisor(yard)
        await process.wait()
    async with yard.bench() as bench:
        await bench.engine.holding()
        assert (await bench.exited("ended")).exit_code == 3
        await bench.lost("runs")
        assert mine(bench) == []


@scenario
async def test_launches_that_the_dead_supervisor_never_saw_are_asked_again(yard: Yard) -> None:
    async with yard.bench() as bench:
        await bench.run("first", "true")
        pid = yard.supervisor_pid()
        os.kill(pid, signal.SIGSTOP)
        for index in range(20):
            bench.launch(f"a{index}", f"exit {index}")
        bench.launch("stopped", "sleep", "3600")
        bench.engine.stop("stopped", 0)
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        for index in range(20):
            assert (await bench.exited(f"a{index}")).exit_code == index
        await bench.exited("stopped")


@scenario
async def test_an_attempt_is_never_run_twice_whenever_the_supervisor_dies(yard: Yard, tmp_path: Path) -> None:
    """Kills at random moments of a stream of launches: each attempt ends once, and ran at most once."""
    marks = tmp_path / "marks"
    marks.mkdir()
    chance = random.Random(7)
    names = [f"a{index}" for index in range(120)]
    async with yard.bench() as bench:
        for begin in range(0, len(names), 20):
            for name in names[begin : begin + 20]:
                bench.launch(name, f"echo x >> {marks}/{name}; exit 0")
            for _ in range(chance.randrange(1, 30)):
                await asyncio.sleep(0.001)
            killed_supervisor(yard)
            await eventually(lambda wanted=begin // 20 + 2: len(bench.incarnations) == wanted, "another supervisor")
        for name in names:
            await bench.wait_for(lambda name=name: ends(bench, name) or None)
        for name in names:
            assert len({type(end) for end in ends(bench, name)}) == 1
            ran = (marks / name).read_text() if (marks / name).exists() else ""
            assert ran in ("x\n", "") if isinstance(ends(bench, name)[0], AttemptLost) else ran == "x\n"
        assert mine(bench) == []


def ends(bench: Bench, attempt_id: str) -> list[AttemptExited | AttemptLost]:
    return [report for report in bench.of(attempt_id) if not isinstance(report, AttemptStarted)]


@scenario
async def test_a_recovery_that_dies_halfway_is_finished_by_the_next(yard: Yard) -> None:
    async with yard.bench() as bench:
        for index in range(10):
            bench.launch(f"a{index}", "sleep", "3600")
        for index in range(10):
            await bench.started(f"a{index}")
        for _ in range(5):
            pids = yard.supervisors()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            await eventually(lambda old=pids: set(yard.supervisors()) - set(old), "another supervisor")
        for index in range(10):
            await bench.lost(f"a{index}")
        await eventually(lambda: mine(bench) == [], "nothing left")


@scenario
async def test_after_a_restart_of_the_machine_all_is_lost_and_nothing_is_killed(yard: Yard) -> None:
    innocent = await asyncio.create_subprocess_exec("sleep", "3600", start_new_session=True)
    try:
        stat = processes.stat(innocent.pid)
        assert stat is not None
        yard.engine_dir.mkdir(parents=True)
        journal.Journal(
            yard.engine_dir / "journal",
            [
                journal.Opened("old", "another-boot", ()),
                journal.Launching("a"),
                journal.Spawned("a", innocent.pid, stat.start_ticks, stat.start_ticks, 1),
                journal.Launching("b"),
            ],
        ).close()
        async with yard.bench() as bench:
            await bench.engine.holding()
            await bench.lost("a")
            await bench.lost("b")
            assert [type(report) for report in bench.of("a")][:2] == [AttemptStarted, AttemptLost]
            assert is_alive(innocent.pid)
    finally:
        innocent.kill()
        await innocent.wait()


@scenario
async def test_a_pid_that_was_given_to_another_process_is_left_alone(yard: Yard) -> None:
    innocent = await asyncio.create_subprocess_exec("sleep", "3600", start_new_session=True)
    try:
        stat = processes.stat(innocent.pid)
        assert stat is not None
        yard.engine_dir.mkdir(parents=True)
        journal.Journal(
            yard.engine_dir / "journal",
            [
                journal.Opened("old", processes.boot_id(), ()),
                journal.Launching("a"),
                journal.Spawned("a", innocent.pid, stat.start_ticks - 2, stat.start_ticks - 1, 1),
            ],
        ).close()
        async with yard.bench() as bench:
            await bench.engine.holding()
            await bench.lost("a")
            assert is_alive(innocent.pid)
    finally:
        innocent.kill()
        await innocent.wait()


@scenario
async def test_a_torn_journal_tells_what_it_still_can(yard: Yard) -> None:
    async with yard.bench() as first:
        await first.run("a", "exit 3")
    path = yard.engine_dir / "journal"
    with path.open("ab") as file:
        file.write(b"\x20\0\0\0half a rec")
    async with yard.bench() as second:
        assert [each.attempt_id for each in await second.engine.holding()] == ["a"]
        assert (await second.exited("a")).exit_code == 3
        assert "torn record" in yard.supervisor_log()


@scenario
async def test_only_one_supervisor_has_a_folder(yard: Yard) -> None:
    benches = [yard.bench() for _ in range(5)]
    await asyncio.gather(*(bench.__aenter__() for bench in benches))
    assert len({bench.incarnations[0] for bench in benches}) == 1
    await eventually(lambda: len(yard.supervisors()) == 1, "one supervisor")
    for bench in benches:
        await bench.engine.close()
