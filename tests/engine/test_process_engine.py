from __future__ import annotations

import asyncio
import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.engines.process.engine import ProcessEngine
from batchyard.exceptions import EngineError
from batchyard.logframes import log_path
from tests.engine.bench import Bench, BenchMaker, eventually, scenario
from tests.engine.conformance import EngineConformance, LaunchAheadConformance
from tests.engine.yard import Yard, is_alive, rss_kib


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path / "data")
    yield yard
    yard.clear_away()


@pytest.fixture
def make_bench(yard: Yard) -> BenchMaker:
    return yard.bench


class TestProcessEngine(EngineConformance, LaunchAheadConformance):
    """The contract, on the process engine."""


@scenario
async def test_jobs_start_without_the_servers_secrets(yard: Yard) -> None:
    environ = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": "hidden", "LC_ALL": "C", "MINE": "1", "HOME": "/"}
    async with Bench(ProcessEngine(yard.data_dir, environ=environ, pass_environment=["MINE"]), yard.data_dir) as bench:
        await bench.run("a", "env")
        names = {line.partition("=")[0] for line in bench.lines("a")} - {"PWD", "SHLVL", "_", "OLDPWD"}
        assert names == {"PATH", "LC_ALL", "MINE", "HOME", "AWS_EXECUTION_ENV", "BATCHYARD_ATTEMPT"}


@scenario
async def test_the_program_is_looked_up_on_the_jobs_own_path(yard: Yard, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "mine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    async with yard.bench() as bench:
        denied = await bench.run("denied", "mine", environment={"PATH": str(program.parent)})
        assert denied.reason is not None
        assert denied.reason.endswith('exec: "mine": permission denied')
        program.chmod(0o755)
        assert (await bench.run("a", "mine", environment={"PATH": f"/nowhere:{program.parent}"})).exit_code == 0
        assert bench.lines("a") == ["found"]
        missing = await bench.run("missing", "mine")
        assert missing.reason is not None
        assert missing.reason.endswith('exec: "mine": executable file not found in $PATH')


@pytest.mark.parametrize(
    ("content", "expected"),
    [("no program at all", "exec format error"), ("#!/no/such/interpreter\n", "no such file or directory")],
)
@scenario
async def test_a_file_that_is_no_program_says_so(yard: Yard, tmp_path: Path, content: str, expected: str) -> None:
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(0o755)
    async with yard.bench() as bench:
        exited = await bench.run("a", str(program))
        assert exited.reason is not None
        assert expected in exited.reason


@scenario
async def test_too_many_arguments_say_so(yard: Yard) -> None:
    async with yard.bench() as bench:
        exited = await bench.run("a", "true", "x" * 3_000_000)
        assert exited.reason is not None
        assert "argument list too long" in exited.reason


@scenario
async def test_impossible_variable_names_say_so(yard: Yard) -> None:
    async with yard.bench() as bench:
        assert not (await bench.run("a", "true", environment={"A=B": "c"})).started


@scenario
async def test_jobs_get_usual_signals_files_and_masks(yard: Yard) -> None:
    async with yard.bench() as bench:
        await bench.run("a", "grep -E 'SigBlk|SigIgn' /proc/self/status; umask; ulimit -Sn; ls -l /proc/self/fd")
        lines = bench.lines("a")
        blocked, ignored = (int(line.split()[1], 16) for line in lines[:2])
        assert blocked == 0
        assert ignored & 0x7FFFFFFF == 0  # above are the C library's own, of which it ignores two in every child
        assert lines[2] == "0022"
        assert lines[3] == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        # 0 is /dev/null, 1 and 2 one pipe, 3 the folder that ls lists.
        fds = [line.split() for line in lines if " -> " in line]
        assert [each[-3] for each in fds] == ["0", "1", "2", "3"]
        assert fds[0][-1] == "/dev/null"
        assert fds[1][-1] == fds[2][-1]


@scenario
async def test_jobs_have_the_priority_that_the_server_was_started_with(yard: Yard) -> None:
    """The supervisor itself may come first."""
    async with yard.bench() as bench:
        await bench.run("a", "echo $(nice) $(awk '/^se.slice|^policy/ {print $3}' /proc/self/sched)")
        awk = ("awk", "/^se.slice|^policy/ {print $3}", "/proc/self/sched")
        process = await asyncio.create_subprocess_exec(*awk, stdout=asyncio.subprocess.PIPE)
        printed, _ = await process.communicate()
        assert bench.lines("a") == [" ".join([str(os.getpriority(os.PRIO_PROCESS, 0)), *printed.decode().split()])]


@scenario
async def test_what_the_main_process_leaves_behind_is_killed(yard: Yard) -> None:
    async with yard.bench() as bench:
        await bench.run("a", "sleep 3600 & echo $!")
        pid = int(bench.lines("a")[0])
        assert not is_alive(pid)


@scenario
async def test_a_job_that_closes_its_output_goes_on(yard: Yard) -> None:
    async with yard.bench() as bench:
        assert (await bench.run("a", "exec >&- 2>&-; sleep 0.1; exit 4")).exit_code == 4


@scenario
async def test_output_held_open_by_a_stranger_does_not_delay_the_end(yard: Yard, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with yard.bench() as bench:
        bench.launch("a", f"echo x; echo $$ > {fifo}; sleep 3600")
        pid = int(await asyncio.to_thread(fifo.read_text))
        held = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        try:
            bench.engine.stop("a", 30)
            assert (await bench.exited("a")).exit_code == 128 + signal.SIGTERM
        finally:
            os.close(held)


@scenario
async def test_a_silent_job_makes_no_log_and_a_log_is_private(yard: Yard) -> None:
    async with yard.bench() as bench:
        await bench.run("silent", "true")
        await bench.run("loud", "echo x")
        assert not log_path(yard.logs_dir, "silent").exists()
        path = log_path(yard.logs_dir, "loud")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for folder in (path.parent, yard.logs_dir, yard.engine_dir, yard.engine_dir / "work"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("supervisor.sock", "journal", "supervisor.log", "supervisor.lock"):
            assert stat.S_IMODE((yard.engine_dir / name).stat().st_mode) == 0o600


@scenario
async def test_a_large_writer_neither_grows_the_supervisor_nor_stops_others(yard: Yard) -> None:
    size = 200_000_000
    async with yard.bench() as bench:
        await bench.run("warm", "echo x")
        before_kib = rss_kib(yard.supervisor_pid())
        bench.launch("large", f"yes 0123456789abcde | head -c {size}")
        bench.launch("endless", f"head -c {size} /dev/zero | tr '\\0' x")
        await bench.run("small", "echo quick")
        assert (await bench.exited("large")).exit_code == 0
        assert (await bench.exited("endless")).exit_code == 0
        assert rss_kib(yard.supervisor_pid()) < before_kib + 8 * 1024
        assert bench.logs.size_bytes("large") >= size
        tail = bench.logs.tail_position("large", complete=True)
        assert [event.message for event in bench.logs.read_backward("large", tail, limit=2).events] == [
            "0123456789abcde"
        ] * 2
        page = bench.logs.read_forward("endless", complete=True)
        assert {len(event.message) <= 256 * 1024 for event in page.events} == {True}


@scenario
async def test_a_full_disk_loses_output_and_nothing_else(yard: Yard) -> None:
    async with yard.bench() as bench:
        # A folder where the log's folder should be can't be had: the same path as for a full disk.
        yard.logs_dir.joinpath("fu").write_text("in the way")
        exited = await bench.run("full", "echo lost; exit 6")
        assert exited.exit_code == 6
        assert "5 bytes of output lost" in yard.supervisor_log()


@scenario
async def test_the_folder_of_an_attempt_that_ended_is_deleted_whatever_is_in_it(yard: Yard, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    async with yard.bench() as bench:
        await bench.run(
            "a", f"pwd; ln -s {outside} link; mkdir -p x/y/z; for i in 1 2 3; do echo $i > x/y/$i; done; chmod 0 x/y"
        )
        work = Path(bench.lines("a")[0])
        await eventually(lambda: not work.exists(), "the folder is deleted")
        assert (outside / "kept").exists()


@scenario
async def test_data_folders_with_long_paths_work(tmp_path: Path) -> None:
    yard = Yard(tmp_path / ("x" * 100) / ("y" * 100))
    try:
        async with yard.bench() as bench:
            assert (await bench.run("a", "true")).exit_code == 0
    finally:
        yard.clear_away()


@scenario
async def test_a_supervisor_that_cannot_start_is_an_error_that_says_why(tmp_path: Path) -> None:
    yard = Yard(tmp_path / "data")
    yard.engine_dir.mkdir(parents=True)
    (yard.engine_dir / "work").write_text("in the way")
    with pytest.raises(EngineError, match="FileExistsError"):
        await yard.bench().__aenter__()


@scenario
async def test_an_idle_supervisor_ends_by_itself_and_remembers_what_was_not_forgotten(yard: Yard) -> None:
    first = yard.bench(idle_exit_seconds=0.05)
    await first.__aenter__()
    await first.run("a", "exit 3")
    pid = yard.supervisor_pid()
    await first.engine.close()
    await eventually(lambda: not is_alive(pid), "the supervisor has ended")
    async with yard.bench() as second:
        assert second.incarnations != first.incarnations
        assert len(await second.engine.holding()) == 1
        assert await second.exited("a") == first.of("a")[-1]


@scenario
async def test_sigterm_stops_all_jobs_with_their_grace(yard: Yard) -> None:
    first = yard.bench()
    await first.__aenter__()
    first.launch("a", "trap 'echo saved; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    await first.has_written("a", "ready")
    pid = yard.supervisor_pid()
    await first.engine.close()
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    await eventually(lambda: not is_alive(pid), "the supervisor has ended")
    async with yard.bench() as second:
        await second.engine.holding()
        assert (await second.exited("a")).exit_code == 5
        assert second.lines("a")[-1] == "saved"


@scenario
async def test_two_servers_share_one_supervisor(yard: Yard) -> None:
    async with yard.bench() as first:
        second = yard.bench()
        await second.__aenter__()
        first.launch("a", "true")
        assert (await first.exited("a")).exit_code == 0
        assert (await second.exited("a")).exit_code == 0
        assert first.incarnations == second.incarnations
        await second.engine.close()


@scenario
async def test_garbage_on_the_socket_harms_nobody(yard: Yard) -> None:
    async with yard.bench() as bench:
        for garbage in (b"\xff" * 100, b"\x02\0\0\0\x91\x01", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await yard.connect()
            writer.write(garbage)
            assert await reader.read() == b""
            writer.close()
        assert (await bench.run("a", "true")).exit_code == 0


@scenario
async def test_launches_wait_while_the_journal_cannot_be_written(yard: Yard) -> None:
    """A limit on the size of the supervisor's files stands for a full disk."""
    async with yard.bench() as bench:
        bench.launch("runs", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done")
        await bench.has_written("runs", "ready")
        with yard.file_size_limit():
            bench.launch("waits", "exit 2")
            bench.engine.stop("runs", 5)
            assert (await bench.exited("runs")).exit_code == 4
            held = {each.attempt_id: each.ended for each in await bench.engine.holding()}
            assert held == {"waits": False, "runs": True}
            assert bench.of("waits") == []
        assert (await bench.exited("waits")).exit_code == 2


def test_members_that_are_not_honoured_are_named(tmp_path: Path) -> None:
    engine = ProcessEngine(tmp_path)
    container: dict[str, object] = {
        "image": "busybox",
        "privileged": True,
        "volumes": [{"name": "v"}],
        "linuxParameters": {"sharedMemorySize": 64},
        "logConfiguration": {"logDriver": "json-file"},
        "readonlyRootFilesystem": False,
    }
    assert sorted(engine.unsupported(container)) == [
        "image",
        "linuxParameters",
        "logConfiguration",
        "privileged",
        "volumes",
    ]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("logConfiguration", {"logDriver": "awslogs", "options": {"mode": "non-blocking"}}),
        ("logConfiguration", {"logDriver": "awslogs", "secretOptions": [{"name": "token", "valueFrom": "arn"}]}),
        ("startTimeout", 10),
    ],
)
def test_a_member_that_asks_for_more_than_is_done_is_named(tmp_path: Path, member: str, value: object) -> None:
    assert ProcessEngine(tmp_path).unsupported({member: value}) == [member]
