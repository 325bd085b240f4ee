"""What jobs write down themselves, and whether what the API says of them agrees."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HOST_LOST = re.compile(r"Host EC2 \(instance i-[0-9a-f]{17}\) terminated\.")
TIMED_OUT = "Job attempt duration exceeded timeout"
KILLED_BY_SIGNAL = (130, 137, 143)
LATEST_LOSS_SECONDS = 90.0
"""So long after the death of a supervisor its successor may tell that an attempt is lost."""

SCRIPT = (
    'me="$AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT"; echo "$me begin" >> "$1"; echo "$me says hello"; '
    'eval "$2"; code=$?; echo "$me end $code" >> "$1"; exit $code'
)
"""A job's program: `$1` is the file, `$2` its work. Lines this short are appended whole."""


class Line(NamedTuple):
    attempt: int
    code: int | None
    """The exit code that an attempt was about to end with; None for its begin."""


class Records:
    """The file that all jobs append to, read as it grows. What is taken out is forgotten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self._lines: dict[str, list[Line]] = {}
        self.begun = 0
        """Attempts that have begun so far."""

    def read(self) -> None:
        """Take in what was written since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            job_id, attempt, what, *code = line.decode().split(" ")
            self._lines.setdefault(job_id, []).append(Line(int(attempt), int(code[0]) if what == "end" else None))
            self.begun += what == "begin"

    def take(self, job_id: str) -> list[Line]:
        return self._lines.pop(job_id, [])

    @property
    def left(self) -> list[str]:
        """The jobs of which lines are left."""
        return list(self._lines)

    def close(self) -> None:
        self._file.close()


class Lost(NamedTuple):
    """When supervisors were killed, in seconds since the epoch."""

    at: list[float]

    def explains(self, stopped_ms: int) -> bool:
        return any(-1 <= stopped_ms / 1000 - each <= LATEST_LOSS_SECONDS for each in self.at)


def complaint(job: dict[str, Any], lines: Sequence[Line], kills: Lost) -> str | None:
    """What is wrong with an ended job, by its own record; None if nothing is."""
    begins = [line.attempt for line in lines if line.code is None]
    ends = {line.attempt: line.code for line in lines if line.code is not None}
    attempts = job["attempts"]
    if len(set(begins)) != len(begins) or begins != sorted(begins):
        return f"attempts began as {begins}"
    if begins and begins[-1] > len(attempts):
        return f"attempt {begins[-1]} began and the API knows of {len(attempts)}"
    for number, attempt in enumerate(attempts, 1):
        if wrong := _attempt_complaint(number, attempt, number in begins, ends.get(number), kills):
            return wrong
    if job["status"] == "SUCCEEDED" and ends.get(len(attempts)) != 0:
        return f"SUCCEEDED, and its last attempt wrote {ends.get(len(attempts))}"
    if job["status"] == "FAILED" and attempts and attempts[-1]["container"].get("exitCode") == 0:
        return f"FAILED after an attempt with exit code 0: {job.get('statusReason')}"
    return None


def _attempt_complaint(number: int, attempt: dict[str, Any], began: bool, wrote: int | None, kills: Lost) -> str | None:
    told = attempt["container"].get("exitCode")
    reason = attempt.get("statusReason", "")
    if HOST_LOST.fullmatch(reason):
        explained = kills.explains(attempt.get("stoppedAt", 0))
        return None if explained else f"attempt {number} is told to be lost, and no supervisor was killed"
    if wrote is not None and wrote != told and told not in KILLED_BY_SIGNAL:
        return f"attempt {number} wrote {wrote}, and the API says {told}: {reason}"
    if told == 0 and wrote is None:
        return f"attempt {number} has exit code 0 and wrote no end"
    if told is not None and not began and told not in KILLED_BY_SIGNAL:
        return f"attempt {number} has exit code {told} and wrote no begin"
    return None


def is_lost(job: dict[str, Any]) -> bool:
    """Whether an attempt of the job was told to be lost."""
    return any(HOST_LOST.fullmatch(attempt.get("statusReason", "")) for attempt in job["attempts"])
