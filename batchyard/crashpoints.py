"""Named places at which a process can be made to die, for tests: BATCHYARD_CRASH_AT=name or name:count.

Dying is SIGKILL: nothing is flushed, no handler runs. Where the variable isn't set, which is always but in tests, a
place costs one look at a constant (`if ARMED`). `POINTS` lists every place; a test kills a server at each of them.
"""

from __future__ import annotations

import os
import signal
from typing import Final

CRASH_AT = "BATCHYARD_CRASH_AT"
"""Where to die; with `:n`, not before the process gets there for the n-th time."""
CRASH_MARK = "BATCHYARD_CRASH_MARK"
"""A file that is made at the crash. Once it is there nobody dies any more."""

POINTS: Final[dict[str, str]] = {
    "store.before_commit": "the writer, with a batch of writes run and not committed",
    "store.after_commit": "the writer, with a batch committed and nobody told",
    "submit.after_commit": "SubmitJob, with the job stored and the client not answered",
    "bootstrap.between": "the first start, with the default compute environment made and not the default queue",
    "runtime.engine_started": "the start, connected to the engine, with nothing loaded",
    "runtime.restored": "the start, with all jobs loaded and the engine not asked what it holds",
    "runtime.surveyed": "the start, with the engine's answer and before the first turn",
    "runtime.before_commit": "a turn, with its step taken and nothing stored",
    "runtime.after_commit": "a turn, with its step stored and nothing of it done",
    "runtime.after_launch": "a turn, with its launches asked for and nothing stopped or forgotten yet",
    "runtime.after_stop": "a turn, with one stop asked for",
    "runtime.before_forget": "a turn, with ends stored and the engine not told to forget them",
    "runtime.after_forget": "a turn, with everything done",
    "retention.after_files": "the removal of old jobs, with their logs deleted and their rows there",
    "supervisor.opened": "a supervisor, with its predecessor's attempts known and before it listens",
    "supervisor.before_journal": "a launch, before the journal says so",
    "supervisor.after_journal": "a launch, in the journal, with nothing spawned",
    "supervisor.after_spawn": "a launch, spawned, and the journal doesn't say so",
    "supervisor.after_exit": "an end, reaped, and the journal doesn't say so",
    "supervisor.before_log_close": "an end, with the last output not read",
    "supervisor.before_report": "an end or a start, in the journal and not reported",
    "supervisor.after_report": "an end or a start, reported",
    "supervisor.before_forget": "an end that is to be forgotten and isn't",
    "supervisor.after_forget": "an end that is forgotten, and the journal doesn't say so",
    "supervisor.before_rename": "a journal, written anew beside the old one",
}
"""Every place, and what has been done and what hasn't when a process dies there."""


def _read(text: str) -> tuple[str, int]:
    name, _, count = text.partition(":")
    if text and name not in POINTS:
        raise ValueError(f"{CRASH_AT}: there is no place {name}; there are {', '.join(POINTS)}")
    return name, int(count or 1)


_name, _count = _read(os.environ.get(CRASH_AT, ""))
ARMED: Final = bool(_name)
"""Whether this process is to die somewhere. Whoever passes a place looks here first."""


def reach(point: str) -> None:
    """This process is at `point`; it dies here if that was asked for."""
    global _count
    if point != _name:
        return
    _count -= 1
    if _count <= 0 and _is_first():
        os.kill(os.getpid(), signal.SIGKILL)


def _is_first() -> bool:
    mark = os.environ.get(CRASH_MARK)
    if not mark:
        return True
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def environment() -> dict[str, str]:
    """What a supervisor must be told to die at its places; nothing where nobody is to."""
    return {name: os.environ[name] for name in (CRASH_AT, CRASH_MARK) if name in os.environ} if ARMED else {}
