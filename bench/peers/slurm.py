"""Slurm: one slurmctld, four slurmd, a munged, all started here from the distribution's packages.

Kindly set up: each node says that it has 16 CPUs, so that with `--mem=1` per job up to 64 are under way and no pass of
its scheduler waits for an end; the pauses between its passes are set to none; nothing is accounted, no cgroups, no
output files. Its own list of finished jobs (jobcomp/filetxt) says when all have ended.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import children
from bench.peers import PeerMissing, RunTrue
from bench.ports import free_ports

NODES = 4
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel")
START_SECONDS = 30.0
POLL_SECONDS = 0.05
STILL_SECONDS = 60.0
"""So long without one more finished job, and it is taken to be stuck."""


@contextlib.contextmanager
def running() -> Iterator[RunTrue]:
    """Raises PeerMissing if its packages are not installed or this isn't root."""
    if os.geteuid() != 0:
        raise PeerMissing("Slurm's daemons have to be started by root")
    if missing := [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]:
        raise PeerMissing(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    with contextlib.ExitStack() as stack:
        # munge wants a folder that nobody else can write to on the way to its socket, and all may enter it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="batchyard-bench-slurm-")))
        folder.chmod(0o755)
        cluster = _Cluster(folder, stack)
        cluster.start()
        cluster.run_true(20)
        yield cluster.run_true


def search_path() -> str:
    """Daemons are in sbin, which not everybody has in their PATH."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class _Cluster:
    """The daemons, on free ports, and everything that they write in one folder."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._socket = folder / "munge.socket"
        self._config = folder / "slurm.conf"
        self._finished = folder / "finished"
        self._log = stack.enter_context((folder / "daemons.log").open("ab"))
        self._env = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(self._config)}

    def start(self) -> None:
        """Start all daemons and return when every node is idle."""
        folder = self._folder
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._daemon(
            *("munged", "--foreground", "--force", f"--socket={self._socket}", f"--key-file={key}"),
            *(f"--{name}-file={folder / f'munged.{name}'}" for name in ("log", "pid", "seed")),
        )
        self._until(self._socket.exists, "munged has its socket")
        self._config.write_text(self._configuration())
        (folder / "state").mkdir()
        self._daemon("slurmctld", "-D", "-f", str(self._config))
        for number in range(1, NODES + 1):
            (folder / f"spool-node{number}").mkdir()
            self._daemon("slurmd", "-D", "-N", f"node{number}", "-f", str(self._config))
        # Before its daemons: jobs that are left when the measurement is broken off.
        self._stack.callback(self._cancel_all)
        self._until(lambda: self._ask("sinfo", "-h", "-o", "%t %D") == f"idle {NODES}", "all nodes are idle")

    def run_true(self, count: int) -> float:
        """Seconds from the call of sbatch until the last job of the array is on the list of finished ones."""
        before = self._count_finished()
        began = last_news = time.perf_counter()
        script = ("sbatch", "--parsable", f"--array=1-{count}", "--mem=1", "--output=/dev/null")
        subprocess.run(
            script, input=b"#!/bin/sh\ntrue\n", stdout=subprocess.DEVNULL, env=self._env, cwd=self._folder, check=True
        )
        seen = before
        while (finished := self._count_finished()) < before + count:
            now = time.perf_counter()
            last_news = now if finished > seen else last_news
            seen = finished
            if now - last_news > STILL_SECONDS:
                raise RuntimeError(f"Slurm finished {finished - before} of {count} jobs and no more: {self._story()}")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        lines = self._finished.read_text().splitlines()[before:]
        assert all(" JobState=COMPLETED " in line for line in lines), "not every Slurm job is COMPLETED"
        return seconds

    def _count_finished(self) -> int:
        return self._finished.read_bytes().count(b"\n") if self._finished.exists() else 0

    def _daemon(self, *command: str) -> None:
        self._stack.enter_context(children.running(*command, stdout=self._log, stderr=self._log, env=self._env))

    def _ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self._env, stdout=subprocess.PIPE, stderr=self._log, check=False)
        return done.stdout.decode().strip()

    def _cancel_all(self) -> None:
        self._ask("scancel", "--full", "--user=root")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not so after {START_SECONDS:g} s: {what}: {self._story()}")
            time.sleep(0.1)

    def _story(self) -> str:
        logs = [*self._folder.glob("*.log")]
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in logs)

    def _configuration(self) -> str:
        controller, *nodes = free_ports(NODES + 1)
        folder = self._folder
        lines = {
            "ClusterName": "bench",
            "SlurmctldHost": "localhost(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._socket}",
            "CredType": "cred/munge",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool-%n",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": folder / "slurmd-%n.pid",
            "SlurmctldLogFile": folder / "slurmctld.log",
            "SlurmdLogFile": folder / "slurmd-%n.log",
            "SlurmctldDebug": "error",
            "SlurmdDebug": "error",
            "MailProg": "/bin/true",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "MpiDefault": "none",
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerType": "sched/builtin",
            "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,default_queue_depth=10000",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": self._finished,
            "MaxArraySize": 10_001,
            "MaxJobCount": 20_000,
        }
        node = "NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=16 RealMemory=1024 State=UNKNOWN"
        return "".join(
            [
                *(f"{name}={value}\n" for name, value in lines.items()),
                *(f"NodeName=node{number} Port={port} {node}\n" for number, port in enumerate(nodes, 1)),
                "PartitionName=bench Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n",
            ]
        )
