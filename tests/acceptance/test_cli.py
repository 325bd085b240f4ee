"""The command line in processes of its own, against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard import serverinfo
from batchyard.testing import Server, server

pytestmark = pytest.mark.acceptance

BATCHYARD = (sys.executable, "-m", "batchyard")
DEADLINE_SECONDS = 60.0
UNTIL_TOLD = 'while [ ! -e "$1" ]; do sleep 0.02; done; echo told'
"""A job's shell script: it runs until the file named appears."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Server]:
    with server(overcommit=True) as yard:
        yield yard


def environment(data_dir: Path) -> dict[str, str]:
    """A shell's environment in which nothing but the data folder leads to a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCHYARD_"))}
    return kept | {"BATCHYARD_DATA_DIR": str(data_dir), "AWS_CONFIG_FILE": os.devnull}


class Shell:
    """Runs `batchyard …` in a folder, with the server on a data folder."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(data_dir)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*BATCHYARD, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def out(self, *arguments: str | Path) -> str:
        """stdout of a command that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.out(*arguments, "--json"))

    def submit(self, *arguments: str | Path) -> str:
        return self.out("submit", *arguments).strip()

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        command = [*BATCHYARD, *map(str, arguments)]
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, text=True, **options)


@pytest.fixture
def shell(yard: Server, tmp_path: Path) -> Shell:
    return Shell(yard.data_dir, tmp_path)


def test_a_one_line_array_runs_a_script_of_the_current_folder_for_every_index(shell: Shell) -> None:
    script = shell.folder / "work.sh"
    script.write_text('#!/bin/sh\necho "$AWS_BATCH_JOB_ARRAY_INDEX" > "out-$1.txt"\n')
    script.chmod(0o755)
    done = shell.run(
        "submit", "--vcpus", "1", "--memory", "16", "--array", "30", "--wait", "--", "./work.sh", "{index}"
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCEEDED" in done.stderr
    written = {path.name: path.read_text() for path in shell.folder.glob("out-*.txt")}
    assert written == {f"out-{index}.txt": f"{index}\n" for index in range(30)}


def test_the_exit_code_reason_and_last_lines_of_a_failed_job(shell: Shell) -> None:
    done = shell.run("submit", "--wait", "--", "sh", "-c", "echo 'all is lost' >&2; exit 23")
    assert (done.returncode, done.stdout) == (23, "")
    assert "FAILED: Essential container in task exited, exit code 23" in done.stderr
    assert "all is lost" in done.stderr


def test_following_prints_the_log_and_nothing_else_on_stdout(shell: Shell) -> None:
    done = shell.run(
        "submit", "--follow", "--env", "WHO=world", "--", "sh", "-c", 'for i in 1 2 3; do echo "$i $WHO"; done'
    )
    assert (done.returncode, done.stdout) == (0, "1 world\n2 world\n3 world\n")


def test_logs_can_be_followed_from_before_the_job_starts_until_it_ends(shell: Shell) -> None:
    go = shell.folder / "go"
    first = shell.submit("--name", "first", "--", "sh", "-c", UNTIL_TOLD, "sh", go)
    second = shell.submit("--depends-on", first, "--", "echo", "at last")
    with shell.start("logs", "-f", second, stdout=subprocess.PIPE) as follower:
        go.touch()
        output, _ = follower.communicate(timeout=DEADLINE_SECONDS)
    assert (follower.returncode, output) == (0, "at last\n")
    assert shell.out("logs", first[:8]) == "told\n"


def test_logs_of_an_array_and_of_one_of_its_children(shell: Shell) -> None:
    array = shell.submit("--array", "3", "--memory", "16", "--", "echo", "I am {index}")
    assert sorted(shell.out("logs", "-f", array).splitlines()) == ["0 | I am 0", "1 | I am 1", "2 | I am 2"]
    assert shell.out("logs", f"{array}:1", "--tail", "1") == "I am 1\n"


def test_describe_tells_the_story_of_retries(shell: Shell) -> None:
    job = shell.submit("--attempts", "2", "--tag", "team=blue", "--", "sh", "-c", "exit 5")
    shell.run("logs", "-f", job)
    described = " ".join(shell.out("describe", job).split())
    for fact in ("status: FAILED", "exit code: 5", "sh -c 'exit 5'", str(shell.folder), "2 of 2", "team=blue"):
        assert fact in described
    (raw,) = shell.json("describe", job)["jobs"]
    assert [attempt["container"]["exitCode"] for attempt in raw["attempts"]] == [5, 5]


def test_jobs_lists_running_and_ended_jobs_with_their_ends(shell: Shell) -> None:
    name = f"listed-{os.getpid()}"
    ended = shell.submit("--name", name, "--", "sh", "-c", "exit 4")
    shell.run("logs", "-f", ended)
    go = shell.folder / "go"
    running = shell.submit("--name", name, "--", "sh", "-c", UNTIL_TOLD, "sh", go)
    lines = [line for line in shell.out("jobs", "--limit", "1000").splitlines() if name in line]
    assert [line.split()[0] for line in lines] == [running, ended]
    assert "FAILED" in lines[1]
    listed = shell.json("jobs", "--name", name, "--status", "FAILED")["jobs"]
    assert [(job["jobId"], job["container"]["exitCode"]) for job in listed] == [(ended, 4)]
    go.touch()
    shell.run("logs", "-f", running)


def test_children_of_an_array_are_listed_by_index(shell: Shell) -> None:
    array = shell.submit("--array", "12", "--memory", "16", "--", "true")
    shell.run("logs", "-f", array)
    children = shell.json("jobs", "--array", array)["jobs"]
    assert [child["jobId"] for child in children] == [f"{array}:{index}" for index in range(12)]


def test_cancel_and_terminate(shell: Shell, yard: Server) -> None:
    never = shell.folder / "never"
    first = shell.submit("--", "sh", "-c", UNTIL_TOLD, "sh", never)
    second = shell.submit("--depends-on", first, "--", "true")
    yard.wait_for(first, status="RUNNING")
    refused = shell.run("cancel", first)
    assert (refused.returncode, "terminate" in refused.stderr) == (1, True)
    assert "is being terminated (it was RUNNING)" in shell.out("terminate", first, "--reason", "enough of it")
    stopped = yard.wait_for(first)
    assert (stopped["statusReason"], stopped["isTerminated"]) == ("enough of it", True)
    yard.wait_for(second)
    assert "has already FAILED" in shell.out("cancel", second)


def test_one_liners_do_not_pile_up_definitions(shell: Shell) -> None:
    shell.submit("--", "true")
    before = shell.json("definitions", "--all")["jobDefinitions"]
    for number in range(3):
        shell.submit("--vcpus", "2", "--env", f"A={number}", "--", "echo", str(number))
    assert shell.json("definitions", "--all")["jobDefinitions"] == before


def test_a_long_command_runs(shell: Shell) -> None:
    done = shell.run("submit", "--follow", "--", "sh", "-c", "echo ${#1}", "sh", "x" * 15_000)
    assert (done.returncode, done.stdout) == (0, "15000\n"), done.stderr


def test_resources_are_listed(shell: Shell) -> None:
    assert shell.out("queues").splitlines()[1].split()[:3] == ["default", "ENABLED", "VALID"]
    assert shell.out("environments").splitlines()[1].split()[0] == "default"
    assert [queue["jobQueueName"] for queue in shell.json("queues")["jobQueues"]] == ["default"]


def test_refusals_are_one_line(shell: Shell) -> None:
    done = shell.run("submit", "--queue", "nowhere", "--", "true")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "job-queue/nowhere does not exist" in done.stderr
    assert "names" in shell.run("describe", "true").stderr or "no job" in shell.run("describe", "no-such").stderr


def test_the_endpoint_can_be_given_in_three_ways(shell: Shell, yard: Server, tmp_path: Path) -> None:
    elsewhere = Shell(tmp_path / "empty", tmp_path)
    assert elsewhere.run("queues").returncode == 2
    assert "default" in elsewhere.out("queues", "--endpoint", yard.endpoint_url)
    assert "default" in elsewhere.out("queues", "--data-dir", yard.data_dir)
    elsewhere.environment["AWS_ENDPOINT_URL_BATCH"] = yard.endpoint_url
    assert "default" in elsewhere.out("queues")


def on_a_terminal(shell: Shell, *arguments: str) -> tuple[int, str]:
    """Run a command on a pseudo terminal: its exit code, and all that it drew."""
    ours, theirs = pty.openpty()
    shell.environment |= {"COLUMNS": "140", "TERM": "xterm-256color"}
    with shell.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                drawn += os.read(ours, 65536)
            except OSError:
                # Linux says so when the other side of a pseudo terminal is closed.
                break
        os.close(ours)
    return process.returncode, drawn.decode()


def test_a_terminal_gets_a_progress_bar_colours_and_tables(shell: Shell) -> None:
    code, drawn = on_a_terminal(shell, "submit", "--array", "20", "--memory", "16", "--wait", "--", "true")
    assert code == 0
    assert "20/20" in drawn
    code, drawn = on_a_terminal(shell, "jobs", "--limit", "5")
    assert (code, "\x1b[32mSUCCEEDED" in drawn) == (0, True)
    job = re.search(r"[0-9a-f]{8}(?=-)", drawn)
    assert job is not None
    code, drawn = on_a_terminal(shell, "describe", job.group())
    assert (code, "╭" in drawn) == (0, True)


def test_ctrl_c_while_waiting_leaves_the_job_alone(shell: Shell, yard: Server) -> None:
    go = shell.folder / "go"
    command = ("submit", "--name", "left", "--wait", "--", "sh", "-c", UNTIL_TOLD, "sh", str(go))
    with shell.start(*command, stderr=subprocess.PIPE) as waiting:
        assert waiting.stderr is not None
        # It says so once the job runs.
        while "RUNNING" not in waiting.stderr.readline():
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=DEADLINE_SECONDS)
    assert waiting.returncode == 130
    job_id = re.search(r"Job (\S+) goes on", told)
    assert job_id is not None
    go.touch()
    assert yard.wait_for(job_id.group(1))["status"] == "SUCCEEDED"


def test_following_a_log_outlives_the_kill_of_the_server(tmp_path: Path) -> None:
    with server(overcommit=True) as yard:
        shell = Shell(yard.data_dir, tmp_path)
        go = tmp_path / "go"
        job_id = shell.submit("--", "sh", "-c", "echo begun; " + UNTIL_TOLD, "sh", go)
        with shell.start("logs", "-f", job_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            assert follower.stdout.readline() == "begun\n"
            yard.kill()
            assert "waiting for it to come back" in follower.stderr.readline()
            go.touch()
            yard.restart()
            rest, _ = follower.communicate(timeout=DEADLINE_SECONDS)
        assert (follower.returncode, rest) == (0, "told\n")


def test_a_reader_that_has_seen_enough_gets_no_traceback(shell: Shell) -> None:
    job_id = shell.submit("--", "sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done")
    shell.run("logs", "-f", job_id)
    with shell.start("logs", job_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert reader.stdout.readline() == "line 0\n"
        reader.stdout.close()
        assert reader.stderr.read() == ""


# ---- up and down


class Foreground:
    """`batchyard up` as somebody at a terminal would have it."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        self.data_dir = data_dir
        self.shell = Shell(data_dir, folder)
        self.process = self.shell.start(
            "up", "--port", "0", "--engine", "process", "--overcommit", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.printed = self.read_until("Your first job")

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        printed = ""
        for line in self.process.stdout:
            printed += line
            if text in line:
                return printed
        raise AssertionError(f"the server never printed {text!r}:\n{printed}")

    def end(self) -> tuple[int, str]:
        """Wait for its end; the exit code and the rest of what it printed."""
        output, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode, output

    def close(self) -> None:
        """Stop it and its jobs, whatever state the test left them in."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR2)
        try:
            self.process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Any]:
    """Start `batchyard up` on the test's data folder, as often as the test calls it."""
    started: list[Foreground] = []

    def start() -> Foreground:
        started.append(Foreground(tmp_path / "data", tmp_path))
        return started[-1]

    yield start
    for foreground in started:
        foreground.close()


def running_job(foreground: Foreground) -> tuple[str, Path]:
    """A job that runs until the file is made."""
    shell = foreground.shell
    go = shell.folder / f"go-{time.monotonic_ns()}"
    job_id = shell.submit("--", "sh", "-c", "trap 'exit 9' TERM; echo running; " + UNTIL_TOLD, "sh", go)
    with shell.start("logs", "-f", job_id, stdout=subprocess.PIPE) as log:
        assert log.stdout is not None
        assert log.stdout.readline() == "running\n"
        log.terminate()
    return job_id, go


def test_up_prints_what_to_paste_and_health_answers(up: Any, tmp_path: Path) -> None:
    foreground = up()
    exports = dict(re.findall(r"^export (\w+)=(\S+)$", foreground.printed, re.MULTILINE))
    assert set(exports) == {"AWS_ENDPOINT_URL_BATCH", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"}
    url = exports["AWS_ENDPOINT_URL_BATCH"]
    with urllib.request.urlopen(f"{url}/health", timeout=DEADLINE_SECONDS) as health:
        assert health.status == 200
    assert "the compute environment `default` and the queue `default`" in foreground.printed
    info = serverinfo.read(tmp_path / "data")
    assert info is not None
    assert (info.endpoint_url, info.pid) == (url, foreground.process.pid)


def test_a_second_server_on_the_folder_is_refused_in_one_line(up: Any) -> None:
    foreground = up()
    second = foreground.shell.run("up", "--port", "0", "--engine", "process")
    assert (second.returncode, len(second.stderr.splitlines())) == (1, 1), second.stderr
    assert "in use by another server" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_server_and_jobs_go_on_into_the_next(
    up: Any, tmp_path: Path, number: signal.Signals
) -> None:
    foreground = up()
    job_id, go = running_job(foreground)
    foreground.process.send_signal(number)
    code, printed = foreground.end()
    assert code == 0, printed
    assert "1 job goes on running; Ctrl-C again stops them." in printed
    assert not (tmp_path / "data" / "server.json").exists()

    go.touch()
    again = up()
    assert "created" not in again.printed
    assert again.shell.out("logs", "-f", job_id) == "running\ntold\n"
    (job,) = again.shell.json("describe", job_id)["jobs"]
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)


def test_a_second_ctrl_c_stops_the_jobs_too(up: Any) -> None:
    foreground = up()
    job_id, _ = running_job(foreground)
    foreground.process.send_signal(signal.SIGINT)
    foreground.read_until("Ctrl-C again")
    foreground.process.send_signal(signal.SIGINT)
    assert foreground.end()[0] == 0
    again = up()
    (job,) = again.shell.json("describe", job_id)["jobs"]
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 9)


def test_down_leaves_the_jobs_and_down_with_stop_jobs_does_not(up: Any) -> None:
    foreground = up()
    shell = foreground.shell
    job_id, _ = running_job(foreground)
    assert "1 job goes on running" in shell.out("down")
    assert foreground.end()[0] == 0
    assert "No server runs" in shell.out("down")
    refused = shell.run("down", "--stop-jobs")
    assert (refused.returncode, "`batchyard up`" in refused.stderr) == (1, True)

    again = up()
    (job,) = shell.json("describe", job_id)["jobs"]
    assert job["status"] == "RUNNING"
    assert "It stopped 1 job" in shell.out("down", "--stop-jobs")
    assert again.end()[0] == 0
    third = up()
    (job,) = third.shell.json("describe", job_id)["jobs"]
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 9)
