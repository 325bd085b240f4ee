"""Killing what runs jobs, at moments drawn by lot, and checking what the jobs themselves wrote against what is told of
them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchyard.testing import Server, ServerDied
from tests.acceptance.job_cases import jobs_of, sh, until

HOST_LOST = re.compile(r"Host EC2 \(instance i-[0-9a-f]{17}\) terminated\.")
SEED_VARIABLE = "BATCHYARD_CRASH_SEED"


def dice(what: str) -> random.Random:
    """A source of random moments. Its seed is printed; BATCHYARD_CRASH_SEED repeats it."""
    seed = os.environ.get(SEED_VARIABLE) or str(random.SystemRandom().randrange(2**32))
    print(f"{what}: {SEED_VARIABLE}={seed}")
    return random.Random(f"{seed}/{what}")


# ---- who there is to kill


def supervisor_pid(yard: Server) -> int | None:
    """The process that runs the jobs of this server's folder."""
    folder = str((yard.data_dir / "engine").resolve()).encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if b"batchyard.engines.process.supervisor" in words and folder in words:
                return int(entry.name)
    return None


def kill_supervisor(yard: Server) -> None:
    """SIGKILL it; one that is just being started is waited for."""
    pid = until(lambda: supervisor_pid(yard), "a supervisor runs", 20)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_while_starting(yard: Server, after_seconds: float) -> None:
    """Start the server and SIGKILL it so long after, ready or not."""
    process = []

    def kill() -> None:
        # Only `start` knows the process before it is ready.
        started = until(lambda: yard._process, "the server's process is there", 20)
        process.append(started)
        deadline = time.monotonic() + after_seconds
        while time.monotonic() < deadline:
            time.sleep(0.005)
        started.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with contextlib.suppress(ServerDied):
        yard.start()
    thread.join()
    yard.kill()


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# ---- what jobs write about themselves


class Diary:
    """Two files that jobs append to, one write a line: `lines`, one line for each child that got through its work, and
    `order`, the begin and the end of each attempt. O_APPEND puts them in the order in which they happened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = folder / "lines"
        self._order = folder / "order"
        self.lines.touch()
        self._order.touch()

    def command(self, work: str = "sleep 0.0$((AWS_BATCH_JOB_ARRAY_INDEX % 5 + 1))") -> list[str]:
        who = "$AWS_BATCH_JOB_ARRAY_INDEX $AWS_BATCH_JOB_ATTEMPT"
        script = f'echo begin {who} >> "$1/order"; {work}; echo {who} >> "$1/lines"; echo end {who} >> "$1/order"'
        return sh(script, self.folder)

    @property
    def size(self) -> int:
        """How many lines there are."""
        return self.lines.read_bytes().count(b"\n")

    def lines_of(self) -> Counter[int]:
        """The number of lines of each child."""
        return Counter(int(line.split()[0]) for line in self.lines.read_text().splitlines())

    def order_of(self) -> dict[int, list[tuple[str, int]]]:
        """What each child's attempts wrote, in order: ("begin", attempt), ("end", attempt)."""
        found: dict[int, list[tuple[str, int]]] = {}
        for line in self._order.read_text().splitlines():
            what, index, attempt = line.split()
            found.setdefault(int(index), []).append((what, int(attempt)))
        return found


def lost_attempts(job: dict[str, Any]) -> list[int]:
    """The numbers of the attempts that ended with their host."""
    reasons = [attempt.get("statusReason", "") for attempt in job["attempts"]]
    return [number for number, reason in enumerate(reasons, 1) if HOST_LOST.fullmatch(reason)]


def check_children(yard: Server, array_id: str, size: int, diary: Diary) -> int:
    """Every child succeeded, and ran exactly as often as its attempts say. Returns how many attempts were lost."""
    children = jobs_of(yard, [f"{array_id}:{index}" for index in range(size)])
    assert len(children) == size
    lines, order = diary.lines_of(), diary.order_of()
    assert sum(lines.values()) == sum(lines[index] for index in range(size))
    total = 0
    for index, child in enumerate(children):
        story = (child["attempts"], lines[index], order.get(index))
        assert child["status"] == "SUCCEEDED", story
        lost = lost_attempts(child)
        total += len(lost)
        # Nothing failed but what was lost, and the last attempt got through.
        codes = [attempt["container"].get("exitCode") for attempt in child["attempts"]]
        assert codes == [None] * len(lost) + [0], story
        assert lost == list(range(1, len(lost) + 1)), story
        if lost:
            assert 1 <= lines[index] <= len(lost) + 1, story
        else:
            assert lines[index] == 1, story
        check_order(order.get(index, []), len(child["attempts"]))
    return total


def check_order(events: Sequence[tuple[str, int]], attempts: int) -> None:
    """No attempt began twice, and none while an earlier one was still at work."""
    assert len(set(events)) == len(events), f"something ran twice: {events}"
    numbers = [number for _, number in events]
    assert numbers == sorted(numbers), f"two attempts ran at once: {events}"
    assert set(numbers) <= set(range(1, attempts + 1)), f"an attempt that nobody knows: {events}"
    assert events[-2:] == [("begin", attempts), ("end", attempts)], f"the last attempt is not whole: {events}"
