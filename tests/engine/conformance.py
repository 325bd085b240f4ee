"""The contract of `batchyard/engines/base.py` as tests, run over every engine.

An engine's test module subclasses `EngineConformance` and gives it a fixture `make_bench`, which makes benches over
one data folder, so that a second one stands for the server started again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchyard.core.inputs import AttemptExited, AttemptRecalled, AttemptStarted
from batchyard.core.model import RoomLimit
from tests.engine.bench import BenchMaker, scenario


class AttemptConformance:
    """What becomes of attempts, whatever they are."""

    @scenario
    async def test_success_is_exit_code_zero_after_a_start(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            exited = await bench.run("a", "true")
            assert (exited.exit_code, exited.reason, exited.started) == (0, None, True)
            started, ended = bench.of("a")
            assert isinstance(started, AttemptStarted)
            assert isinstance(ended, AttemptExited)
            assert 0 < started.at_ms <= ended.at_ms

    @scenario
    async def test_the_exit_code_is_the_commands_own(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for code in (1, 3, 127, 255):
                assert (await bench.run(f"a{code}", f"exit {code}")).exit_code == code

    @scenario
    async def test_launching_twice_starts_once(self, make_bench: BenchMaker, tmp_path: Path) -> None:
        marks, gate = tmp_path / "marks", tmp_path / "gate"
        script = f"echo x >> {marks}; while [ ! -e {gate} ]; do sleep 0.01; done"
        async with make_bench() as bench:
            bench.launch("a", script)
            bench.launch("a", script)
            await bench.started("a")
            bench.launch("a", script)
            gate.touch()
            await bench.exited("a")
            bench.launch("a", script)
            await bench.run("b", "true")
            assert marks.read_text() == "x\n"

    @scenario
    async def test_a_job_that_ignores_the_stop_is_killed_after_the_grace(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            bench.launch("a", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
            await bench.has_written("a", "ready")
            bench.engine.stop("a", 1)
            assert (await bench.exited("a")).exit_code == 137

    @scenario
    async def test_a_second_stop_can_shorten_the_grace_but_not_lengthen_it(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for name in ("a", "b"):
                bench.launch(name, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
                await bench.has_written(name, "ready")
            bench.engine.stop("a", 3600)
            bench.engine.stop("a", 0)
            bench.engine.stop("b", 1)
            bench.engine.stop("b", 3600)
            assert (await bench.exited("a")).exit_code == 137
            assert (await bench.exited("b")).exit_code == 137

    @scenario
    async def test_what_is_unknown_or_over_can_be_stopped_and_forgotten(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            bench.engine.stop("nobody", 0)
            bench.engine.forget(["nobody"])
            await bench.run("a", "true")
            bench.engine.stop("a", 0)
            assert (await bench.run("b", "true")).exit_code == 0
            assert len(bench.of("a")) == 2

    @scenario
    async def test_a_stop_right_after_the_launch_ends_the_attempt(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            bench.launch("a", "sleep", "3600")
            bench.engine.stop("a", 0)
            await bench.exited("a")

    @scenario
    async def test_what_is_held_is_listed_until_it_is_forgotten(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            bench.launch("runs", "sleep", "3600")
            await bench.started("runs")
            await bench.run("ended", "true")
            assert {held.attempt_id: held.ended for held in await bench.engine.holding()} == {
                "runs": False,
                "ended": True,
            }
            bench.engine.forget(["ended", "runs"])
            assert [held.attempt_id for held in await bench.engine.holding()] == ["runs"]

    @scenario
    async def test_after_holding_the_reports_come_again(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            await bench.run("a", "exit 5")
            first = bench.of("a")
            assert len(await bench.engine.holding()) == 1
            assert await bench.wait_for(lambda: bench.of("a")[2:] if len(bench.of("a")) == 4 else None) == first

    @scenario
    async def test_closing_leaves_jobs_running_and_the_next_start_finds_them(
        self, make_bench: BenchMaker, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        first = make_bench()
        await first.__aenter__()
        first.launch("runs", f"while [ ! -e {gate} ]; do sleep 0.01; done; exit 9")
        await first.started("runs")
        await first.run("ended", "exit 8")
        await first.engine.close()
        async with make_bench() as second:
            assert second.incarnations == first.incarnations
            assert {held.attempt_id: held.ended for held in await second.engine.holding()} == {
                "runs": False,
                "ended": True,
            }
            assert (await second.exited("ended")).exit_code == 8
            gate.touch()
            assert (await second.exited("runs")).exit_code == 9

    @scenario
    async def test_closing_can_stop_the_jobs_first(self, make_bench: BenchMaker) -> None:
        bench = make_bench()
        await bench.__aenter__()
        for index in range(3):
            bench.launch(f"a{index}", "sleep", "3600")
            await bench.started(f"a{index}")
        await bench.engine.close(stop_jobs=True)
        for index in range(3):
            assert isinstance(bench.of(f"a{index}")[-1], AttemptExited)

    @scenario
    async def test_many_attempts_at_once(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for index in range(60):
                bench.launch(f"a{index}", f"exit {index}")
            for index in range(60):
                assert (await bench.exited(f"a{index}")).exit_code == index
            bench.engine.forget([f"a{index}" for index in range(60)])
            assert await bench.engine.holding() == []

    @scenario
    async def test_an_id_that_could_be_a_path_is_refused(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            with pytest.raises(ValueError, match="attempt id"):
                bench.launch("../a", "true")

    @scenario
    async def test_capacity_is_that_of_a_machine(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            capacity = bench.engine.capacity()
            assert capacity.vcpu_milli >= 1000
            assert capacity.memory_mib >= 64
            assert "enforced" in bench.engine.limits_enforced()

    @scenario
    async def test_where_attempts_reach_a_server_is_known_before_the_first_launch(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            opened = await bench.engine.open_address()
            assert bench.engine.server_address() in (None, "127.0.0.1", opened)
            assert await bench.engine.container_facts("unknown", 0) is None

    @scenario
    async def test_what_every_engine_honours_is_not_listed_as_unsupported(self, make_bench: BenchMaker) -> None:
        engine = make_bench().engine
        honoured: dict[str, object] = {
            "command": ["true"],
            "environment": [{"name": "A", "value": "b"}],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "g", "awslogs-stream-prefix": "p", "awslogs-region": "us-east-1"},
                "secretOptions": [],
            },
            "volumes": [],
            "privileged": False,
            "linuxParameters": {"devices": []},
        }
        assert engine.unsupported(honoured) == []


class EngineConformance(AttemptConformance):
    """Of engines that run programs."""

    killable: dict[str, Any] = {}
    """Options of a launch whose command can kill itself; the first process of a container can't."""
    merges_streams = True
    """Whether standard output and standard error are one pipe, so that what went into both keeps its order."""

    @scenario
    async def test_death_by_a_signal_is_128_and_its_number(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for number in (9, 15):
                assert (await bench.run(f"a{number}", f"kill -{number} $$", **self.killable)).exit_code == 128 + number

    @scenario
    async def test_use_is_measured(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            usage = (await bench.run("a", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).usage
            assert usage is not None
            assert usage.cpu_seconds is not None
            assert usage.cpu_seconds > 0
            assert usage.peak_memory_bytes is not None
            assert usage.peak_memory_bytes > 0

    @scenario
    async def test_stop_lets_a_job_use_its_grace(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            bench.launch("a", "trap 'echo saving; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
            await bench.has_written("a", "ready")
            bench.engine.stop("a", 30)
            assert (await bench.exited("a")).exit_code == 7
            assert bench.lines("a")[-1] == "saving"

    @scenario
    async def test_output_of_both_kinds_is_logged_in_order(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            await bench.run("a", "echo one; echo two >&2; echo; printf three")
            lines = bench.lines("a")
            assert [line for line in lines if line != "two"] == ["one", "three"]
            assert sorted(lines) == ["one", "three", "two"]
            if self.merges_streams:
                assert lines.index("two") == 1

    @scenario
    async def test_all_output_is_there_when_the_exit_is_reported(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for index in range(10):
                await bench.run(f"a{index}", "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done")
                assert bench.lines(f"a{index}") == [f"line {number}" for number in range(500)]

    @scenario
    async def test_each_attempt_has_a_log_of_its_own(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for index in range(60):
                bench.launch(f"a{index}", f"echo {index}")
            for index in range(60):
                await bench.exited(f"a{index}")
                assert bench.lines(f"a{index}") == [str(index)]

    @scenario
    async def test_output_may_be_anything(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            await bench.run("a", r"printf '\377\000\001caf\303\251\n\n\r\nend\r\n'")
            assert bench.lines("a") == ["\ufffd\0\1café", "end"]

    @scenario
    async def test_the_environment_is_the_jobs_own(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            value = "a 'b' \"c\" $HOME $(date)\nsecond line\té"
            await bench.run("a", 'printf %s "$GIVEN"; echo; echo $AWS_EXECUTION_ENV', environment={"GIVEN": value})
            assert "\n".join(bench.lines("a")) == f"{value}\nAWS_ECS_EC2"

    @scenario
    async def test_large_arguments_and_environments_arrive(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            large = {f"LARGE_{index}": str(index) * 100_000 for index in range(3)}
            script = "echo ${#1} ${#LARGE_0} ${#LARGE_1} ${#LARGE_2}"
            await bench.run("a", "/bin/sh", "-c", script, "sh", "x" * 100_000, environment=large)
            assert bench.lines("a") == ["100000 100000 100000 100000"]

    @pytest.mark.parametrize(
        "command", [(), ("",), ("no-such-program-anywhere",), ("/no/such/program",), ("/",), ("true", "a\0b")]
    )
    @scenario
    async def test_what_cannot_start_says_so(self, make_bench: BenchMaker, command: tuple[str, ...]) -> None:
        async with make_bench() as bench:
            exited = await bench.run("a", *command)
            assert not exited.started
            assert exited.exit_code is None
            assert exited.reason is not None
            assert exited.reason.startswith("CannotStartContainerError: ")
            assert [type(report) for report in bench.of("a")] == [AttemptExited]
            assert (await bench.run("b", "true")).exit_code == 0

    @scenario
    async def test_each_attempt_has_a_fresh_folder_to_write_in(self, make_bench: BenchMaker) -> None:
        async with make_bench() as bench:
            for name in ("a", "b"):
                assert (await bench.run(name, '[ -z "$(ls -A)" ] && echo x > file && mkdir d')).exit_code == 0
            assert (await bench.run("c", "chmod 0777 . ; true")).exit_code == 0
            await bench.run("d", '[ -z "$(ls -A)" ] && stat -c %a .')
            assert bench.lines("d") == ["700"]

    @scenario
    async def test_attempts_at_once_have_folders_of_their_own(self, make_bench: BenchMaker, tmp_path: Path) -> None:
        async with make_bench() as bench:
            for name in ("a", "b"):
                bench.launch(name, f"echo {name} > file; while [ ! -e {tmp_path}/gate ]; do sleep 0.01; done; cat file")
                await bench.started(name)
            (tmp_path / "gate").touch()
            for name in ("a", "b"):
                await bench.exited(name)
                assert bench.lines(name) == [name]


class LaunchAheadConformance:
    """Of engines that take launches for which there is no room yet."""

    @scenario
    async def test_launches_wait_for_room_and_start_in_their_order(
        self, make_bench: BenchMaker, tmp_path: Path
    ) -> None:
        room = (RoomLimit("environment e", 2000, None), RoomLimit("host h", None, 4096))
        here = tmp_path / "running"
        here.mkdir()
        running = f"mkdir {here}/$0; ls {here} | wc -l; sleep 0.02; rmdir {here}/$0"
        async with make_bench() as bench:
            names = [f"a{number:02}" for number in range(12)]
            for name in names:
                bench.launch(name, "/bin/sh", "-c", running, name, rooms=room)
            for name in names:
                assert (await bench.exited(name)).exit_code == 0
            assert max(int(bench.lines(name)[0]) for name in names) <= 2
            started = [report.attempt_id for report in bench.reports if isinstance(report, AttemptStarted)]
            assert started == names

    @scenario
    async def test_a_large_launch_is_not_overtaken_and_other_rooms_go_on(
        self, make_bench: BenchMaker, tmp_path: Path
    ) -> None:
        room, other = (RoomLimit("e", 2000, None),), (RoomLimit("f", 1000, None),)
        until_gate = f"while [ ! -e {tmp_path}/gate ]; do sleep 0.01; done"
        async with make_bench() as bench:
            bench.launch("small", until_gate, rooms=room)
            bench.launch("large", "true", rooms=room, vcpu_milli=2000)
            bench.launch("late", "true", rooms=room)
            await bench.run("elsewhere", "true", rooms=other)
            assert [report.attempt_id for report in bench.reports if isinstance(report, AttemptExited)] == ["elsewhere"]
            assert not bench.of("late")
            (tmp_path / "gate").touch()
            await bench.exited("late")
            ends = [report.attempt_id for report in bench.reports if isinstance(report, AttemptExited)]
            assert ends == ["elsewhere", "small", "large", "late"]

    @scenario
    async def test_what_waits_can_be_recalled_and_launched_again(self, make_bench: BenchMaker, tmp_path: Path) -> None:
        room = (RoomLimit("e", 1000, None),)
        async with make_bench() as bench:
            bench.launch("runs", f"while [ ! -e {tmp_path}/gate ]; do sleep 0.01; done", rooms=room)
            await bench.started("runs")
            bench.launch("waits", "true", rooms=room)
            bench.engine.recall(["runs", "waits", "unknown"])
            await bench.wait_for(lambda: bench.of("waits") or None)
            assert [type(report) for report in bench.of("waits")] == [AttemptRecalled]
            assert {held.attempt_id for held in await bench.engine.holding()} == {"runs"}
            bench.launch("waits", "true", rooms=room)
            (tmp_path / "gate").touch()
            assert (await bench.exited("waits")).exit_code == 0
            assert [type(report) for report in bench.of("waits")] == [AttemptRecalled, AttemptStarted, AttemptExited]

    @scenario
    async def test_what_waited_behind_a_recalled_launch_starts(self, make_bench: BenchMaker) -> None:
        room = (RoomLimit("e", 2000, None),)
        async with make_bench() as bench:
            bench.launch("runs", "sleep", "3600", rooms=room)
            await bench.started("runs")
            bench.launch("large", "true", rooms=room, vcpu_milli=2000)
            bench.launch("small", "true", rooms=room)
            assert {held.attempt_id for held in await bench.engine.holding()} == {"runs", "large", "small"}
            bench.engine.recall(["large"])
            await bench.exited("small")
            bench.engine.stop("runs", 0)
            await bench.exited("runs")

    @scenario
    async def test_what_waits_can_be_stopped(self, make_bench: BenchMaker) -> None:
        room = (RoomLimit("e", 1000, None),)
        async with make_bench() as bench:
            bench.launch("runs", "sleep", "3600", rooms=room)
            bench.launch("waits", "true", rooms=room)
            bench.engine.stop("waits", 30)
            assert not (await bench.exited("waits")).started
            bench.engine.stop("runs", 0)
            await bench.exited("runs")

    @scenario
    async def test_what_waits_goes_on_waiting_for_the_next_server(self, make_bench: BenchMaker, tmp_path: Path) -> None:
        room = (RoomLimit("e", 1000, None),)
        first = make_bench()
        await first.__aenter__()
        first.launch("runs", f"while [ ! -e {tmp_path}/gate ]; do sleep 0.01; done", rooms=room)
        first.launch("waits", "true", rooms=room)
        await first.started("runs")
        await first.engine.holding()
        await first.engine.close()
        async with make_bench() as second:
            assert {held.attempt_id for held in await second.engine.holding()} == {"runs", "waits"}
            second.launch("waits", "true", rooms=room)
            (tmp_path / "gate").touch()
            await second.exited("waits")
            assert [type(report) for report in second.of("waits")] == [AttemptStarted, AttemptExited]
