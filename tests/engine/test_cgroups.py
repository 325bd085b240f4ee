"""Limits and clean kills by control group: where they can be made, and on paper where they can't."""

from __future__ import annotations

import errno
import functools
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.core.reasons import OUT_OF_MEMORY
from batchyard.engines.process import cgroup_paths, cgroups
from batchyard.engines.process.cgroup_paths import UNIFIED, Place
from batchyard.engines.process.cgroup_v1 import MAX_SPARE_SLOTS, born_in, most_keepers
from batchyard.engines.process.cgroup_v2 import GroupV2, TreeV2
from batchyard.engines.process.processes import all_marked
from tests.engine.bench import Bench, eventually, scenario
from tests.engine.yard import Yard, is_alive
from tests.requirements import require


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    yard = Yard(tmp_path / "data")
    yield yard
    yard.clear_away()


@pytest.fixture
def limited() -> None:
    require("cgroup")


@pytest.fixture
def grouped() -> None:
    require("cgroup-kill")


HUNGRY = "x = bytearray(1)\nwhile True: x += bytearray(1 << 20)"


@pytest.mark.usefixtures("limited")
class TestLimits:
    @scenario
    async def test_a_job_over_its_memory_is_killed_and_says_so(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            assert "memory limits: enforced" in bench.engine.limits_enforced()
            exited = await bench.run("a", "python3", "-S", "-c", HUNGRY, memory_mib=32)
            assert (exited.exit_code, exited.reason) == (137, OUT_OF_MEMORY)
            assert exited.usage is not None
            assert exited.usage.peak_memory_bytes is not None
            assert 16 << 20 < exited.usage.peak_memory_bytes <= 32 << 20
            assert (await bench.run("b", "true")).reason is None

    @scenario
    async def test_a_shell_whose_child_is_killed_keeps_its_exit_code(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            script = f"python3 -S -c '{HUNGRY}' 2>/dev/null; exit 9"
            exited = await bench.run("a", script, memory_mib=32)
            assert (exited.exit_code, exited.reason) == (9, OUT_OF_MEMORY)
            exited = await bench.run("b", script.replace("exit 9", "exit 0"), memory_mib=32)
            assert (exited.exit_code, exited.reason) == (0, None)

    @scenario
    async def test_the_smallest_memory_harms_the_job_alone(self, yard: Yard) -> None:
        """The supervisor is larger than this limit, and was in the group a moment before."""
        async with yard.bench() as bench:
            for index in range(30):
                bench.launch(f"a{index}", "python3", "-S", "-c", HUNGRY, memory_mib=4)
            for index in range(30):
                exited = await bench.exited(f"a{index}")
                assert (exited.exit_code, exited.reason) == (137, OUT_OF_MEMORY)
            assert len(bench.incarnations) == 1

    @scenario
    async def test_one_jobs_output_in_memory_counts_for_it(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            exited = await bench.run("a", "python3", "-S", "-c", "x = bytearray(60 << 20)", memory_mib=128)
            assert exited.exit_code == 0
            assert exited.usage is not None
            assert exited.usage.peak_memory_bytes is not None
            assert 60 << 20 <= exited.usage.peak_memory_bytes <= 128 << 20


def groups_of(pid: int) -> str:
    """The control groups that a process is in, as the kernel says it."""
    return Path(f"/proc/{pid}/cgroup").read_text()


def shares_of(pid: int) -> int | None:
    """The CPU shares of the group that a process is in, None without such groups."""
    place = cgroup_paths.parse(Path("/proc/self/mountinfo").read_text(), groups_of(pid)).get("cpu")
    return int((place.own / "cpu.shares").read_text()) if place is not None else None


@pytest.mark.usefixtures("limited")
class TestSharesOfTheCpus:
    @pytest.fixture(autouse=True)
    def version_1(self) -> None:
        if "cpu" not in cgroup_paths.places():
            pytest.skip("no cpu controller of version 1")

    @scenario
    async def test_a_job_is_born_with_its_share(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            for name, vcpu_milli in (("a", 250), ("b", 4000)):
                bench.launch(name, "echo $$; exec sleep 3600", vcpu_milli=vcpu_milli)
                await eventually(lambda name=name: bench.lines(name), "it runs")
            # Its group is its own from the beginning, and is weighed at once.
            for name, shares in (("a", 256), ("b", 4096)):
                pid = int(bench.lines(name)[0])
                assert groups_of(pid).count("/slot-") == len(cgroup_paths.places().keys() & {*cgroups.CONTROLLERS})
                await eventually(lambda pid=pid, shares=shares: shares_of(pid) == shares, "it is weighed")

    @scenario
    async def test_all_that_a_lasting_job_among_brief_ones_runs_gets_its_share_soon(self, yard: Yard) -> None:
        """What it was born as, what it forks early and late, in its session and outside."""
        script = "echo $$; setsid sh -c 'echo $$; exec sleep 3600' & sh -c 'echo $$; exec sleep 3600' & exec sleep 3600"
        async with yard.bench() as bench:
            for index in range(50):
                await bench.run(f"brief{index}", "true")
            for name, vcpu_milli in (("a", 250), ("b", 4000)):
                bench.launch(name, script, vcpu_milli=vcpu_milli)
            for name, shares in (("a", 256), ("b", 4096)):
                await eventually(lambda name=name: len(bench.lines(name)) == 3, "all of it runs")
                for pid in map(int, bench.lines(name)):
                    await eventually(lambda pid=pid, shares=shares: shares_of(pid) == shares, "it has its share")
            bench.engine.stop("a", 0)
            bench.engine.stop("b", 0)
            for name in ("a", "b"):
                await bench.exited(name)
                assert not any(map(is_alive, map(int, bench.lines(name))))

    @scenario
    async def test_the_supervisor_stays_where_it_is(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            bench.launch("a", "echo $PPID; exec sleep 3600")
            await eventually(lambda: bench.lines("a"), "it runs")
            supervisor = int(bench.lines("a")[0])
            before = groups_of(supervisor)
            for index in range(60):
                await bench.run(f"brief{index}", "true", vcpu_milli=250)
            for index in range(60):
                bench.launch(f"lasting{index}", "sleep 0.06", vcpu_milli=250)
            for index in range(60):
                await bench.exited(f"lasting{index}")
            assert groups_of(supervisor) == before


def folders_of_groups(bench: Bench) -> list[Path]:
    """The folders in which this bench's supervisor makes groups."""
    name = f"batchyard-{bench.incarnations[0][:12]}"
    planned = map(Path, cgroups.planned_dirs(cgroup_paths.places(), name))
    return [tree for tree in planned if tree.exists()]


@pytest.mark.usefixtures("limited")
class TestOneAfterAnother:
    """Groups may be used again: nothing of one attempt is to be found in the next."""

    @scenario
    async def test_an_attempt_is_not_blamed_for_what_the_one_before_used(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            exited = await bench.run("a", "python3", "-S", "-c", HUNGRY, memory_mib=64)
            assert exited.reason == OUT_OF_MEMORY
            exited = await bench.run("b", "true; exit 9", memory_mib=64)
            assert (exited.exit_code, exited.reason) == (9, None)
            assert exited.usage is not None
            assert exited.usage.peak_memory_bytes is not None
            assert exited.usage.peak_memory_bytes < 32 << 20

    @scenario
    async def test_an_attempt_has_its_own_limit(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            takes_100_mib = ("python3", "-S", "-c", "x = bytearray(100 << 20)")
            for name, memory_mib, code in (("a", 256, 0), ("b", 32, 137), ("c", 256, 0), ("d", 4, 137), ("e", 512, 0)):
                assert (await bench.run(name, *takes_100_mib, memory_mib=memory_mib)).exit_code == code

    @scenario
    async def test_what_was_killed_leaves_room_for_forks(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            bench.launch("a", "trap '' TERM; sleep 3600 & echo up; wait")
            await bench.has_written("a", "up")
            bench.engine.stop("a", 0)
            await bench.exited("a")
            assert (await bench.run("b", "(exit 3) & wait $!")).exit_code == 3

    @scenario
    async def test_a_group_that_somebody_has_removed_is_made_again(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            for name in ("a", "b"):
                await bench.run(name, "true")
            for slot in [path for tree in folders_of_groups(bench) for path in tree.iterdir() if path.is_dir()]:
                await eventually(functools.partial(cgroups.remove_dir, str(slot)), "the group is empty")
            for name in ("c", "d"):
                assert (await bench.run(name, "python3", "-S", "-c", HUNGRY, memory_mib=32)).reason == OUT_OF_MEMORY

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("cpu.cfs_quota_us", "20000"),
            ("cpu.shares", "2"),
            ("memory.oom_control", "1"),
            ("memory.swappiness", "7"),
            ("pids.max", "9"),
        ],
    )
    def test_what_a_job_has_set_in_its_own_group_holds_for_no_other(self, yard: Yard, name: str, value: str) -> None:
        @scenario
        async def run() -> None:
            async with yard.bench() as bench:
                await bench.run("a", "true")
                found = [file for tree in folders_of_groups(bench) for file in tree.glob(f"slot-*/{name}")]
                if not found:
                    pytest.skip("no control groups of version 1, or an older kernel's")
                before = found[0].read_text().splitlines()
                assert (await bench.run("b", f"echo {value} > {found[0]}; cat {found[0]}")).exit_code == 0
                changed = set(bench.lines("b")).difference(before)
                assert changed
                await bench.run("c", f"cat {found[0].parent.parent}/slot-*/{name}")
                assert bench.lines("c")
                assert changed.isdisjoint(bench.lines("c"))

        run()

    @scenario
    async def test_groups_that_a_job_has_made_end_with_it(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            await bench.run("a", "true")
            slots = [slot for tree in folders_of_groups(bench) for slot in tree.glob("slot-*")]
            if not slots:
                pytest.skip("no control groups of version 1")
            moves = " ".join(f"mkdir {slot}/inner; echo $$ > {slot}/inner/cgroup.procs;" for slot in slots)
            await bench.run(
                "b", f"env -i setsid sh -c '{moves} echo $$ | tee f; exec sleep 3600' & while [ ! -s f ]; do :; done"
            )
            assert not is_alive(int(bench.lines("b")[0]))
            await bench.run("c", "true")
            assert not [slot for slot in slots if (slot / "inner").exists()]

    @scenario
    async def test_few_groups_serve_many_attempts(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            for index in range(20):
                await bench.run(f"a{index}", "true")
            for tree in folders_of_groups(bench):
                assert len([path for path in tree.iterdir() if path.is_dir()]) <= 3


@pytest.mark.usefixtures("grouped")
class TestKills:
    @scenario
    async def test_those_that_leave_the_session_are_killed_at_the_end(self, yard: Yard) -> None:
        script = (
            "env -i setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done' & while [ ! -s f ]; do :; done"
        )
        async with yard.bench() as bench:
            exited = await bench.run("a", script.replace("echo $$", "echo $$ | tee f"))
            assert exited.exit_code == 0
            assert not is_alive(int(bench.lines("a")[0]))

    @scenario
    async def test_attempts_after_one_that_left_something_behind_can_start(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            await bench.run("a", "setsid sleep 3600 & exit 0")
            assert (await bench.run("b", "true; exit 4")).exit_code == 4

    @scenario
    async def test_those_that_leave_the_session_are_killed_by_a_stop(self, yard: Yard) -> None:
        script = "trap '' TERM; env -i setsid sh -c 'trap \"\" TERM; echo $$; sleep 3600' & sleep 3600"
        async with yard.bench() as bench:
            bench.launch("a", script)
            await eventually(lambda: bench.lines("a"), "the pid")
            bench.engine.stop("a", 0)
            assert (await bench.exited("a")).exit_code == 137
            assert not is_alive(int(bench.lines("a")[0]))

    @scenario
    async def test_a_fork_bomb_is_stopped(self, yard: Yard) -> None:
        bomb = (
            "import os, time\n"
            "for _ in range(7):\n if os.fork() == 0: os.setsid()\n"
            "print('up', flush=True)\ntime.sleep(3600)"
        )
        async with yard.bench() as bench:
            bench.launch("a", "python3", "-S", "-c", bomb, memory_mib=2048)
            await eventually(lambda: bench.lines("a").count("up") == 128, "all are up")
            bench.engine.stop("a", 0)
            await bench.exited("a")
            marker = f"{bench.incarnations[0]}/a"
            assert [pid for pid, found in all_marked() if found == marker and is_alive(pid)] == []

    @scenario
    async def test_the_groups_are_removed(self, yard: Yard) -> None:
        async with yard.bench() as bench:
            await bench.run("a", "true")
            made = folders_of_groups(bench)
            assert made
        await eventually(lambda: not any(tree.exists() for tree in made), "all groups are gone")


RUNNER = """
import errno, os, sys
from pathlib import Path
from batchyard.engines.base import Launch
from batchyard.engines.process import journal, processes
from batchyard.engines.process.poller import Poller
from batchyard.engines.process.runner import Folders, Runner
from batchyard.engines.process.timers import Timers

class Group:
    name = "g"
    def enter(self): pass
    def leave(self): pass
    def limit(self, memory_mib, vcpu_milli): pass
    def join_all(self): pass
    def kill(self): return True
    def remove(self): return True
    def oom_kills(self): raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    peak_memory_bytes = oom_kills

class Tree:
    limits = ""
    def create(self, attempt_id, *, is_brief): return Group()

folders = Folders(Path(sys.argv[1]) / "engine", Path(sys.argv[1]) / "logs")
folders.work.mkdir(parents=True)
opened = journal.Opened("0" * 32, processes.boot_id(), ())
runner = Runner(folders, opened, journal.Story(), Tree, Poller(), Timers(), print)
runner.launch(Launch("a", ("/bin/sh", "-c", "exit 3"), {}, 1000, 64, stop_grace_seconds=1))
runner.spawn_some()
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
runner.reap()
runner.finish_gone()
print("exit code", runner.reports[-1].exit_code)
"""


def test_a_group_that_cannot_be_read_harms_nobody(tmp_path: Path) -> None:
    """The supervisor may have as many files open as it may, and goes on, as do the jobs that it holds."""
    found = subprocess.run([sys.executable, "-c", RUNNER, str(tmp_path)], capture_output=True, text=True, check=False)
    assert found.stdout.splitlines() == [
        f"attempt a: its control group can't be read: [Errno {errno.EMFILE}] {os.strerror(errno.EMFILE)}",
        "exit code 3",
    ], found.stderr


def test_what_can_never_be_moved_whole_is_said(tmp_path: Path) -> None:
    """No kernel's files: what comes into this group drives another out."""
    for name, members in (("source", "17\n18\n"), ("target", "18\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text(members)
    with pytest.raises(BlockingIOError, match="ends before it can be moved"):
        cgroups.move_members(str(tmp_path / "source"), str(tmp_path / "target"))


@pytest.mark.parametrize(
    ("controllers", "first"),
    [(("memory", "cpu", "pids"), ("memory", "pids")), (("memory", "cpu"), ("memory",)), (("cpu",), ("cpu",))],
)
def test_a_brief_attempt_is_born_in_the_groups_that_it_must_not_escape(
    controllers: tuple[str, ...], first: tuple[str, ...]
) -> None:
    assert born_in(controllers, is_brief=True) == first
    assert born_in(controllers, is_brief=False) == controllers


@pytest.mark.parametrize(
    ("files", "keepers"), [(256, 2), (1024, 8), (1 << 20, MAX_SPARE_SLOTS), (resource.RLIM_INFINITY, MAX_SPARE_SLOTS)]
)
def test_what_is_kept_open_leaves_files_for_jobs(files: int, keepers: int) -> None:
    assert most_keepers(files) == keepers


def unified() -> Path | None:
    """A folder of a real version 2 tree that groups can be made in, without controllers perhaps."""
    place = cgroup_paths.places().get(UNIFIED)
    return place.own if place is not None and os.access(place.own, os.W_OK) else None


@pytest.mark.skipif(unified() is None, reason="no writable cgroup v2 tree")
def test_version_2_kills_all_of_a_group_at_once() -> None:
    parent = unified()
    assert parent is not None
    name = f"batchyard-test-{os.getpid()}"
    home = next(line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[0] == "0")
    tree = TreeV2(parent, name)
    try:
        group = tree.create("a", is_brief=False)
        group.enter()
        try:
            pids = [os.posix_spawn("/bin/sleep", ["sleep", "3600"], {}, setsid=True) for _ in range(3)]
        finally:
            group.leave()
        assert not group.kill()
        for pid in pids:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
        assert group.kill()
        assert group.oom_kills() == 0
        assert group.remove()
        assert cgroups.kill_left([str(parent / name)], "a")
    finally:
        tree.close()
    assert not (parent / name).exists()
    assert home in Path("/proc/self/cgroup").read_text()


def test_version_2_writes_the_limits_in_its_own_terms(tmp_path: Path) -> None:
    class Tree:
        controllers = frozenset(("memory", "cpu", "pids"))

    for name in ("memory.max", "memory.swap.max", "cpu.weight", "pids.max", "memory.peak"):
        (tmp_path / name).write_text("")
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    group = GroupV2(Tree(), str(tmp_path), "a")  # type: ignore[arg-type]
    group.limit(memory_mib=64, vcpu_milli=2500)
    assert {name: (tmp_path / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.weight")} == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "cpu.weight": "250",
    }
    assert group.oom_kills() == 2
    assert group.peak_memory_bytes() is None


MOUNTS_V1 = """\
25 30 0:22 / /sys rw - sysfs sysfs rw
33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct
34 32 0:30 /docker/abc /sys/fs/cgroup/memory rw master:2 - cgroup cgroup rw,memory
35 32 0:31 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
36 32 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""

OWN_V1 = """\
7:pids:/elsewhere
5:memory:/docker/abc/child
3:cpuacct,cpu:/user.slice
1:name=systemd:/x
0::/user.slice/session-1.scope
"""


def test_the_places_of_this_process_are_found_in_every_layout() -> None:
    root = Path("/sys/fs/cgroup")
    assert cgroup_paths.parse(MOUNTS_V1, OWN_V1) == {
        "cpu": Place(root / "cpu,cpuacct", root / "cpu,cpuacct/user.slice"),
        "cpuacct": Place(root / "cpu,cpuacct", root / "cpu,cpuacct/user.slice"),
        "memory": Place(root / "memory", root / "memory/child"),
        "pids": Place(root / "pids", root / "pids"),
        UNIFIED: Place(root / "unified", root / "unified/user.slice/session-1.scope"),
    }
    v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    assert cgroup_paths.parse(v2, "0::/\n") == {UNIFIED: Place(root, root)}
    assert cgroup_paths.parse("", "0::/\n") == {}


def test_without_any_tree_the_line_says_what_to_do() -> None:
    tree, failures = cgroups.make_tree({}, "x")
    assert tree.limits == "not enforced: no writable cgroup (run as root or in a delegated scope)"
    assert failures


def test_a_tree_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = Place(tmp_path / "file", tmp_path / "file")
    for places in ({"memory": place}, {UNIFIED: place}):
        tree, failures = cgroups.make_tree(places, "x")
        assert isinstance(tree, cgroups.NoTree)
        assert failures
