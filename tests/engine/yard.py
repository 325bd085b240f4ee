"""A data folder with a process engine in it, and a look at the processes behind it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from batchyard.engines.process import journal, processes
from batchyard.engines.process.address import short_address
from batchyard.engines.process.engine import ProcessEngine
from tests.engine.bench import DEADLINE_SECONDS, Bench


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice does not."""
    found = processes.stat(pid)
    return found is not None and not found.is_gone


def rss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))


class Yard:
    """One data folder. Benches over it are servers, one after another or at once."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.engine_dir = data_dir / "engine"
        self.logs_dir = data_dir / "logs"

    def bench(self, idle_exit_seconds: float = 1.0) -> Bench:
        return Bench(ProcessEngine(self.data_dir, idle_exit_seconds=idle_exit_seconds), self.data_dir)

    def supervisors(self) -> list[int]:
        """The supervisors of this folder that run. A child on its way to its exec still looks like its parent."""
        wanted = f"--dir\0{self.engine_dir}\0".encode()
        parents = {}
        for pid in processes.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if wanted in Path(f"/proc/{pid}/cmdline").read_bytes():
                    parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return [pid for pid, parent in parents.items() if parent not in parents]

    def supervisor_pid(self) -> int:
        (pid,) = self.supervisors()
        return pid

    def supervisor_log(self) -> str:
        return (self.engine_dir / "supervisor.log").read_text()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        with short_address(self.engine_dir) as address:
            return await asyncio.open_unix_connection(address)

    @contextlib.contextmanager
    def file_size_limit(self) -> Iterator[None]:
        """The supervisor's files can't grow in here."""
        pid = self.supervisor_pid()
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)

    def clear_away(self) -> None:
        """End what a test left behind: supervisors, and jobs whose supervisor was killed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while left := self.supervisors():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            assert time.monotonic() < deadline, f"supervisors that don't end: {left}"
            time.sleep(0.01)
        incarnations = {opened.incarnation for opened in journal.read(self.engine_dir / "journal").openings}
        for pid, marker in processes.all_marked():
            if marker.partition("/")[0] in incarnations:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
