"""The supervisor: `python -m batchyard.engines.process.supervisor --dir <data>/engine --logs <data>/logs`.

A small process with one thread that spawns jobs, reads their output, reaps them, and tells any server that connects.
It belongs to no terminal and to no server: it goes on when the server is killed, and ends by itself when nobody is
connected and nothing has run for a while. There is one per folder, which a lock sees to. SIGTERM stops all jobs, each
with its grace, and then the supervisor; a Ctrl-C in some terminal doesn't reach it, being in its own session.

If it is killed itself, its successor ends what it left running and reports it lost (`strays.py`): nothing that has
ended in the meantime could tell its exit code any more.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from batchyard import collector, crashpoints
from batchyard.engines.process import journal, processes
from batchyard.engines.process.address import LOCK_NAME, SOCKET_NAME, short_address
from batchyard.engines.process.cgroup_paths import places
from batchyard.engines.process.cgroups import NoTree, Tree, make_tree, planned_dirs
from batchyard.engines.process.connection import Connection
from batchyard.engines.process.messages import (
    PROTOCOL_VERSION,
    AskHolding,
    Forget,
    Hello,
    Holding,
    LaunchAll,
    Recall,
    Reports,
    ShutDown,
    Stop,
    ToServer,
    ToSupervisor,
    Welcome,
)
from batchyard.engines.process.poller import Poller
from batchyard.engines.process.promptness import come_first
from batchyard.engines.process.runner import Folders, Runner
from batchyard.engines.process.timers import Timers

IDLE_EXIT_SECONDS = 60.0
TELL_SECONDS = 0.003
"""From one telling to the next: what happens within so short a time is told together."""
BUSY_TELL_SECONDS = 0.01
"""The same while launches wait: nothing stands idle until the server knows, and to tell it of many costs it less."""
LOCK_HELD_EXIT_CODE = 3
"""Another supervisor has the folder."""


def log(text: str) -> None:
    """One line to stderr, which is the supervisor's log file."""
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} [{os.getpid()}] {text}\n"
    # With a full disk there is nowhere left to say anything.
    with contextlib.suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace"))


class Supervisor:
    """The loop, and what the messages of servers mean."""

    def __init__(self, folders: Folders, idle_exit_seconds: float) -> None:
        self._poller = Poller()
        self._timers = Timers()
        self._idle_exit_seconds = idle_exit_seconds
        self._connections: list[Connection] = []
        self._is_stopping = False
        self._idle_since: float | None = None
        self._tell_at = 0.0
        self._watch_signals()
        self._incarnation = secrets.token_hex(16)
        groups = f"batchyard-{self._incarnation[:12]}"
        found = places()
        opened = journal.Opened(self._incarnation, processes.boot_id(), planned_dirs(found, groups))
        story = journal.read(folders.journal)
        if story.damage is not None:
            log(f"the journal ends with {story.damage}")

        def make() -> Tree | NoTree:
            tree, failures = make_tree(found, groups)
            for failure in failures:
                log(f"control groups: {failure}")
            return tree

        self._runner = Runner(folders, opened, story, make, self._poller, self._timers, log)
        if crashpoints.ARMED:
            crashpoints.reach("supervisor.opened")
        self._listener = _listen(folders.engine)
        self._poller.watch(self._listener.fileno(), lambda _events: self._accept())
        log(f"{self._incarnation} began; {len(story.open)} attempts to clear away; {self._runner.limits}")

    # ---- signals

    def _watch_signals(self) -> None:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self._poller.watch(read_fd, lambda _events: self._signalled(read_fd))

    def _signalled(self, fd: int) -> None:
        numbers = os.read(fd, 4096)
        if signal.SIGCHLD in numbers:
            self._runner.reap()
        if signal.SIGTERM in numbers:
            log("SIGTERM: stopping all jobs")
            self._stop_all(report_queued=False)

    def _stop_all(self, *, report_queued: bool) -> None:
        self._is_stopping = True
        self._runner.stop_all(report_queued=report_queued)

    # ---- servers

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            log(f"a server could not connect: {error}")
            return
        self._connections.append(Connection(sock, self._poller, self._messages, self._closed))

    def _closed(self, connection: Connection, why: str) -> None:
        self._connections.remove(connection)
        if why:
            log(f"a server's connection is closed: {why}")

    def _messages(self, connection: Connection, messages: Sequence[ToSupervisor]) -> None:
        for message in messages:
            match message:
                case LaunchAll(launches):
                    for launch in launches:
                        self._runner.launch(launch)
                case Recall(attempt_ids):
                    self._runner.recall(attempt_ids)
                case Stop(attempt_id, grace_seconds):
                    self._runner.stop(attempt_id, grace_seconds)
                case Forget(attempt_ids):
                    self._runner.forget(attempt_ids)
                case Hello(_, environment):
                    self._runner.base_environment = environment
                    connection.greeted = True
                    connection.send([Welcome(PROTOCOL_VERSION, self._incarnation, self._runner.limits)])
                case AskHolding():
                    self._tell_holding(connection)
                case ShutDown():
                    log("a server asked for the end: stopping all jobs")
                    self._stop_all(report_queued=True)

    def _tell_holding(self, connection: Connection) -> None:
        # What is still to be told goes first, so that nothing is told to this server before what came before it.
        self._tell()
        answer: list[ToServer] = [Holding(self._runner.holding())]
        if reports := self._runner.reports_of_held():
            answer.append(Reports(reports))
        connection.send(answer)

    def _tell(self) -> None:
        """Journal what happened, then tell it to every server."""
        runner = self._runner
        runner.settle()
        self._tell_at = time.monotonic() + (BUSY_TELL_SECONDS if runner.has_queued else TELL_SECONDS)
        if runner.reports:
            if crashpoints.ARMED:
                crashpoints.reach("supervisor.before_report")
            reports, runner.reports = runner.reports, []
            for connection in list(self._connections):
                if connection.greeted:
                    connection.send([Reports(reports)])
            if crashpoints.ARMED:
                crashpoints.reach("supervisor.after_report")

    # ---- the loop

    def run(self) -> None:
        while not self._is_done():
            self._poller.turn(self._timeout_seconds())
            self._timers.run_due()
            if self._runner.has_launches:
                self._runner.spawn_some()
            self._runner.finish_gone()
            if self._runner.sweeper.is_busy:
                self._runner.sweeper.step()
            if self._seconds_to_telling() == 0:
                self._tell()
        self._tell()
        self._runner.close()
        for connection in list(self._connections):
            connection.close("")

    def _seconds_to_telling(self) -> float | None:
        """None when there is nothing to tell."""
        return max(0.0, self._tell_at - time.monotonic()) if self._runner.has_news else None

    def _timeout_seconds(self) -> float | None:
        if self._runner.has_launches or self._runner.sweeper.is_busy:
            return 0.0
        waits = [wait for wait in (self._timers.seconds_to_next(), self._seconds_to_telling()) if wait is not None]
        if self._idle_since is not None:
            waits.append(max(0.0, self._idle_since + self._idle_exit_seconds - time.monotonic()))
        return min(waits, default=None)

    def _is_done(self) -> bool:
        if self._runner.is_busy:
            self._idle_since = None
            return False
        if self._is_stopping:
            return not any(connection.has_unsent for connection in self._connections)
        if self._connections:
            self._idle_since = None
            return False
        now = time.monotonic()
        if self._idle_since is None:
            self._idle_since = now
        return now - self._idle_since >= self._idle_exit_seconds


def _listen(engine_dir: Path) -> socket.socket:
    """The socket for servers. Whoever holds the lock may take the place of a socket that is there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (engine_dir / SOCKET_NAME).unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        with short_address(engine_dir) as address:
            listener.bind(address)
    finally:
        os.umask(mask)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _lock(engine_dir: Path) -> int | None:
    """The folder's lock, held until this process and any child that has not got to its exec are gone."""
    fd = os.open(engine_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="batchyard-supervisor", description="Runs Batchyard's jobs on this host.")
    parser.add_argument("--dir", required=True, type=Path, help="the folder of the process engine")
    parser.add_argument("--logs", required=True, type=Path, help="the folder for the logs of jobs")
    parser.add_argument("--idle-exit-seconds", type=float, default=IDLE_EXIT_SECONDS)
    parser.add_argument("--job-files", type=int, help="the jobs' soft limit on open files (default: this process's)")
    options = parser.parse_args(arguments)
    if options.job_files is not None:
        # Before the spawner looks at it. The server has raised its own limit; programs that use select() need the old.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.job_files, hard))
    # A listening socket of the server's, inherited by mistake, would keep its port taken after the server's death.
    os.closerange(3, 65536)
    folders = Folders(options.dir.resolve(), options.logs.resolve())
    os.chdir("/")
    os.umask(0o022)  # what jobs start with; the supervisor's own files are made with their modes
    folders.work.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_fd = _lock(folders.engine)
    if lock_fd is None:
        log("another supervisor has this folder")
        return LOCK_HELD_EXIT_CODE
    come_first()
    supervisor = Supervisor(folders, options.idle_exit_seconds)
    collector.spare()
    supervisor.run()
    (folders.engine / SOCKET_NAME).unlink(missing_ok=True)
    log("the supervisor has ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
