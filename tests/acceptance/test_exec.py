"""`batchyard exec`: commands where a job runs, in its container or its folder, with pipes and on a terminal."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchyard import testing
from batchyard.engines.docker import interrupts
from batchyard.engines.docker.blocking import Daemon
from batchyard.engines.docker.execute import running_containers
from batchyard.exceptions import CommandLeftError
from tests.acceptance import test_docker
from tests.acceptance.terminal import Terminal
from tests.acceptance.test_cli import BATCHYARD, environment
from tests.engine.dockerd import Dockerd
from tests.requirements import require

pytestmark = pytest.mark.acceptance

WAITS = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
Start = Callable[..., str]


class Commands:
    """Runs `batchyard exec` against one server."""

    def __init__(self, yard: testing.Server) -> None:
        self.environment = environment(yard.data_dir) | {"SHELL": "/bin/sh"}

    def run(self, *arguments: str, given: bytes = b"") -> tuple[int, bytes, str]:
        """Exit code, standard output, standard error."""
        done = subprocess.run(
            [*BATCHYARD, "exec", *arguments], env=self.environment, input=given, capture_output=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr.decode()

    @contextlib.contextmanager
    def going(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """It has a process group of its own, as what a shell with a terminal starts. It is killed at the latest when
        the with-block ends: what fails there may have left it going for ever."""
        command = [*BATCHYARD, "exec", *arguments]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=self.environment, stdin=pipe, stdout=pipe, start_new_session=True) as going:
            try:
                yield going
            finally:
                going.kill()

    def on_a_terminal(self, *arguments: str) -> Terminal:
        return Terminal([*BATCHYARD, "exec", *arguments], self.environment | {"TERM": "vt100"}, 33, 111)


@pytest.fixture(scope="module")
def processes() -> Iterator[testing.Server]:
    with testing.server(overcommit=True) as yard:
        yield yard


@pytest.fixture(params=["docker", "process"])
def yard(request: pytest.FixtureRequest) -> Iterator[testing.Server]:
    if request.param == "process":
        yield request.getfixturevalue("processes")
        return
    with test_docker.server(request.getfixturevalue("dockerd")) as started:
        yield started


@pytest.fixture
def start(yard: testing.Server) -> Iterator[Start]:
    """Submit a job and wait until it runs; it is terminated after the test."""
    started: list[str] = []

    def submit(*command: str, **job: object) -> str:
        job_id = test_docker.submit(yard, *(command or WAITS), job=job)
        started.append(job_id)
        if not job:
            yard.wait_for(job_id, status="RUNNING")
        return job_id

    yield submit
    for job_id in started:
        yard.batch.terminate_job(jobId=job_id, reason="the test is over")
        yard.wait_for(job_id)


def test_a_pipe_goes_through_the_command_byte_by_byte(yard: testing.Server, start: Start) -> None:
    job_id, commands = start(), Commands(yard)
    assert commands.run(job_id, "--", "cat", given=b"x\n") == (0, b"x\n", "")
    much = random.Random(1).randbytes(3_000_000)
    assert commands.run(job_id[:8], "--", "cat", given=much)[:2] == (0, much)


def test_both_outputs_and_the_exit_code_are_the_commands_own(yard: testing.Server, start: Start) -> None:
    script = "echo out; echo err >&2; exit 7"
    assert Commands(yard).run(start(), "--", "sh", "-c", script) == (7, b"out\n", "err\n")


def test_it_is_where_the_job_is(yard: testing.Server, start: Start) -> None:
    job_id = start("sh", "-c", "echo hello > note; trap 'exit 0' TERM; while :; do sleep 0.05; done")
    test_docker.eventually(lambda: Commands(yard).run(job_id, "--", "cat", "note")[1] == b"hello\n", "the job's file")
    assert Commands(yard).run(job_id, "--", "sh", "-c", "echo $AWS_BATCH_JOB_ID")[1] == f"{job_id}\n".encode()


def test_a_terminal_is_the_commands_own(yard: testing.Server, start: Start) -> None:
    terminal = Commands(yard).on_a_terminal(start(), "--", "sh")
    try:
        terminal.press("until stty size | grep '33 111'; do sleep 0.05; done; echo $TERM\r")
        terminal.read_until("33 111\r")
        terminal.read_until("vt100")
        terminal.resize(44, 99)
        terminal.press("until [ \"$(stty size)\" = '44 99' ]; do sleep 0.05; done; echo a''live\r")
        terminal.read_until("alive")
        # Ctrl-C is for what runs in the shell, and not for what joins it to this terminal.
        terminal.press("sh -c 'echo sle\"\"eps; exec sleep 1000'\r")
        terminal.read_until("sleeps\r\n")
        terminal.press("\x03")
        terminal.press("echo st''ill\r")
        terminal.read_until("still")
        terminal.press("exit 5\r")
        assert terminal.end() == 5
    finally:
        terminal.close()


def is_running(*words: str) -> bool:
    """Whether a process with this command runs on this machine, in a container or not."""
    wanted = "".join(f"{word}\0" for word in words).encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append((folder / "cmdline").read_bytes())
    return wanted in found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_for_the_command_and_what_it_started(
    yard: testing.Server, start: Start, number: signal.Signals
) -> None:
    seconds = str(1_000_000 + os.getpid())
    script = f"trap 'echo told; exit 9' INT TERM HUP; echo ready; sleep {seconds}"
    with Commands(yard).going(start(), "--", "sh", "-c", script) as going:
        assert going.stdout is not None
        assert going.stdout.readline() == b"ready\n"
        test_docker.eventually(lambda: is_running("sleep", seconds), "it sleeps")
        os.killpg(going.pid, number)
        assert (going.stdout.read(), going.wait(60)) == (b"told\n", 9)
    assert not is_running("sleep", seconds)


def test_ctrl_c_ends_a_command_that_does_nothing_about_it(yard: testing.Server, start: Start) -> None:
    with Commands(yard).going(start(), "--", "sh", "-c", "echo ready; while :; do :; done") as going:
        assert going.stdout is not None
        assert going.stdout.readline() == b"ready\n"
        os.killpg(going.pid, signal.SIGINT)
        assert going.wait(60) in (128 + signal.SIGINT, -signal.SIGINT)


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT] * 3, [signal.SIGTERM, signal.SIGTERM, signal.SIGINT], [signal.SIGHUP] * 3],
    ids=["ctrl-c", "timeout, and then ctrl-c", "hang-ups"],
)
def test_the_third_signal_ends_a_command_that_ignores_them(dockerd: Dockerd, signals: list[signal.Signals]) -> None:
    with test_docker.server(dockerd) as yard:
        job_id = test_docker.submit(yard, *WAITS)
        yard.wait_for(job_id, status="RUNNING")
        script = "trap 'echo no' INT TERM HUP; echo ready; while :; do :; done"
        with Commands(yard).going(job_id, "--", "sh", "-c", script) as going:
            assert going.stdout is not None
            for said, number in zip((b"ready\n", b"no\n", b"no\n"), signals, strict=True):
                assert going.stdout.readline() == said
                os.killpg(going.pid, number)
            assert going.wait(60) == 137


def test_what_goes_on_after_ctrl_c_is_told(dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but root may send a signal to a container's process from outside, and `kill` is not everywhere."""
    script = "trap 'exit 0' TERM; while :; do /bin/busybox sleep 0.05; done"
    with test_docker.server(dockerd) as yard:
        job_id = test_docker.submit(yard, "sh", "-c", script)
        yard.wait_for(job_id, status="RUNNING")
        daemon = Daemon(dockerd.host)
        (container,) = running_containers(daemon, job_id).values()

        def started() -> str:
            body = {"Cmd": ["/bin/busybox", "sleep", "1000"]}
            made = str(daemon.call("POST", f"/containers/{container}/exec", body=body)["Id"])
            daemon.call("POST", f"/exec/{made}/start", body={"Detach": True})
            return made

        def refuse(group: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "killpg", refuse)
        made = started()
        interrupts.send(daemon, container, made, signal.SIGINT)
        test_docker.eventually(lambda: _ended(daemon, made) == 130, "`kill` in the container has told it")
        interrupts.send(daemon, container, made, signal.SIGINT)  # nobody is there any more, and that is no fault

        made = started()
        assert Commands(yard).run(job_id, "--", "/bin/busybox", "rm", "/bin/sh")[0] == 0
        with interrupts.passed_on(daemon, container, made), pytest.raises(CommandLeftError, match="goes on") as caught:
            signal.raise_signal(signal.SIGINT)
        assert caught.value.exit_code == 130
        assert "this user may not send it a signal, and the container has no /bin/sh" in str(caught.value)
        monkeypatch.setattr(interrupts, "_control_groups", lambda pid: "/")
        with pytest.raises(interrupts.CannotSendError, match="its daemon is not on this machine"):
            interrupts.send(daemon, container, made, signal.SIGINT)
        assert _ended(daemon, made) is None


def _ended(daemon: Daemon, made: str) -> int | None:
    found = daemon.call("GET", f"/exec/{made}/json")
    return None if found["Running"] else int(found["ExitCode"])


def test_without_a_command_it_is_a_shell(yard: testing.Server, start: Start) -> None:
    assert Commands(yard).run(start(), given=b"echo $((40 + 2))\nexit 3\n")[:2] == (3, b"42\n")


def test_a_child_of_an_array_is_named_by_its_index(yard: testing.Server, start: Start) -> None:
    job_id = start(arrayProperties={"size": 2})
    yard.wait_for(f"{job_id}:1", status="RUNNING")
    assert Commands(yard).run(f"{job_id}:1", "--", "sh", "-c", "exit $AWS_BATCH_JOB_ARRAY_INDEX")[0] == 1
    code, _, said = Commands(yard).run(job_id)
    assert (code, said) == (
        1,
        f"batchyard: {job_id} is an array: name one of its children, {job_id[:8]}:0 for the first.\n",
    )


def test_where_no_command_can_be_run_it_says_why(yard: testing.Server, start: Start) -> None:
    commands = Commands(yard)
    ended = test_docker.submit(yard, "true")
    yard.wait_for(ended)
    assert (
        f"{ended} is SUCCEEDED: commands can be run only where a job is RUNNING." in commands.run(ended, "--", "ls")[2]
    )
    code, _, said = commands.run("00000000-0000-0000-0000-000000000000", "--", "ls")
    assert (code, "there is no job" in said) == (1, True)
    code, _, said = commands.run(start(), "--", "no-such-program")
    assert code == 127
    assert "no-such-program" in said


def test_an_image_without_a_shell_is_told(dockerd: Dockerd) -> None:
    with test_docker.server(dockerd) as yard:
        script = "trap 'exit 0' TERM; /bin/busybox rm /bin/sh; while :; do /bin/busybox sleep 0.05; done"
        job_id = test_docker.submit(yard, "sh", "-c", script)
        yard.wait_for(job_id, status="RUNNING")
        commands = Commands(yard)
        test_docker.eventually(lambda: commands.run(job_id)[0] == 127, "there is no shell")
        assert "the image has no /bin/sh" in commands.run(job_id)[2]
        assert commands.run(job_id, "--", "/bin/busybox", "echo", "all the same")[1] == b"all the same\n"


def test_the_command_ends_with_the_container(dockerd: Dockerd) -> None:
    with test_docker.server(dockerd) as yard:
        job_id = test_docker.submit(yard, *WAITS)
        yard.wait_for(job_id, status="RUNNING")
        command = [*BATCHYARD, "exec", job_id, "--", "sh", "-c", "echo ready; sleep 1000"]
        with subprocess.Popen(command, env=environment(yard.data_dir), stdout=subprocess.PIPE) as going:
            assert going.stdout is not None
            assert going.stdout.readline() == b"ready\n"
            yard.batch.terminate_job(jobId=job_id, reason="enough")
            assert going.wait(60) == 137


def test_beside_a_process_it_is_under_the_jobs_limits(processes: testing.Server, tmp_path: Path) -> None:
    require("cgroup-kill")
    job_id = processes.submit(["sh", "-c", "cat /proc/self/cgroup; sleep 1000"])
    processes.wait_for(job_id, status="RUNNING")
    commands = Commands(processes)
    try:
        test_docker.eventually(lambda: bool(processes.logs_of(job_id)), "the job has said where it is")
        code, said, _ = commands.run(job_id, "--", "cat", "/proc/self/cgroup")
        assert (code, said.decode().splitlines()) == (0, processes.logs_of(job_id))
        with subprocess.Popen([*BATCHYARD, "exec", job_id, "--", "sleep", "1000"], env=commands.environment) as going:
            in_group = [sys.executable, "-c", "import sys; print(open(f'/proc/{sys.argv[1]}/cgroup').read(), end='')"]
            test_docker.eventually(
                lambda: subprocess.check_output([*in_group, str(going.pid)]) == said, "it is in the job's group"
            )
            processes.batch.terminate_job(jobId=job_id, reason="enough")
            assert going.wait(60) == -9
    finally:
        processes.batch.terminate_job(jobId=job_id, reason="the test is over")
