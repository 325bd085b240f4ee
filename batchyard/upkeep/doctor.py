"""Is everything in order? The checks behind `batchyard doctor`, on a data folder whose server runs or doesn't.

They only look. Each is a function from the folder to its findings; one that can't look at all says so as a problem.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import sqlite3
import stat
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich import filesize

from batchyard import serverinfo
from batchyard.engines.choose import remembered
from batchyard.engines.process import cgroup_paths, journal, processes
from batchyard.engines.process.address import LOCK_NAME
from batchyard.settings import Settings
from batchyard.store import schema
from batchyard.upkeep.archive import DATABASE
from batchyard.upkeep.findings import Finding, ok, problem, warning

LOW_DISK_BYTES, NO_DISK_BYTES = 1024**3, 64 * 1024**2
LOW_INODES = 1000
LARGE_WAL_BYTES = 1024**3
CLOCK_TOLERANCE_SECONDS = 2.0
HEALTH_TIMEOUT_SECONDS = 5.0
ORPHAN_RECHECK_SECONDS = 1.0

_STRAY_ROWS = {
    "children of no job": "SELECT count(*) FROM children WHERE parent_seq NOT IN (SELECT seq FROM jobs)",
    "unfinished jobs of no queue": (
        "SELECT count(*) FROM jobs WHERE stopped_at_ms IS NULL AND queue NOT IN (SELECT name FROM job_queues)"
    ),
    "ended jobs that have no end": (
        "SELECT count(*) FROM jobs WHERE stopped_at_ms IS NULL AND status IN ('SUCCEEDED', 'FAILED')"
    ),
}


def examine(data_dir: Path, settings: Settings | None = None) -> Iterator[Finding]:
    """All findings, as they come. The settings say where a Docker daemon is, and what is expected of it."""
    if not data_dir.is_dir():
        yield problem("folder", f"{data_dir} is no folder", "`batchyard up` makes it, or name another with --data-dir")
        return
    checks: list[Callable[[Path], Iterable[Finding]]] = [_folder, _disk, _database, _server]
    if remembered(data_dir) == "docker":
        checks += [_clock, functools.partial(_docker, settings=settings or Settings())]
    else:
        checks += [_engine, _clock, _orphans]
    for check in checks:
        name = getattr(check, "__name__", "docker").removeprefix("_")
        try:
            yield from check(data_dir)
        except (OSError, sqlite3.Error) as error:
            yield problem(name, f"it can't be looked at: {error}", "see to that first")


def _folder(data_dir: Path) -> Iterator[Finding]:
    found = data_dir.stat()
    if not os.access(data_dir, os.W_OK | os.X_OK):
        yield problem("folder", f"{data_dir} can't be written", f"it belongs to user {found.st_uid}: run as that user")
    elif stat.S_IMODE(found.st_mode) & 0o077:
        yield warning("folder", f"others than its owner can look into {data_dir}", f"chmod 700 {data_dir}")
    else:
        yield ok("folder", str(data_dir))


def _disk(data_dir: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(data_dir).free
    text = f"{filesize.decimal(free)} free"
    advice = "free some: without room nothing is accepted and nothing starts; the setting job_retention_days keeps less"
    if free < NO_DISK_BYTES:
        yield problem("disk", text, advice)
    elif free < LOW_DISK_BYTES:
        yield warning("disk", text, advice)
    else:
        yield ok("disk", text)
    found = os.statvfs(data_dir)
    if found.f_files and found.f_favail < LOW_INODES:
        yield problem("disk", f"room for {found.f_favail} more files", "delete small files: each job's log is one")


def _database(data_dir: Path) -> Iterator[Finding]:
    path = data_dir / DATABASE
    if not path.exists():
        yield warning("database", "there is none yet", "`batchyard up` makes it")
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield warning("database", "others than its owner can read it", f"chmod 600 {path}")
    with _reading(path) as connection:
        damage = _damage(connection)
        if damage:
            advice = "stop the server and restore the last backup: batchyard restore FILE --replace"
            yield problem("database", f"it is damaged: {damage}", advice)
            return
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        if revision not in schema.known_revisions():
            yield problem("database", f"its schema {revision} is a newer Batchyard's", "use that version")
            return
        stray = {name: connection.execute(query).fetchone()[0] for name, query in _STRAY_ROWS.items()}
        for name, count in stray.items():
            if count:
                yield problem("database", f"{count} {name}", "a bug of Batchyard: please report it, with a backup")
        if not any(stray.values()):
            counted = connection.execute("SELECT count(*), count(*) - count(stopped_at_ms) FROM jobs")
            total, unfinished = counted.fetchone()
            size = filesize.decimal(path.stat().st_size)
            yield ok("database", f"sound, {size}, {total} jobs, {unfinished} of them unfinished")
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size > LARGE_WAL_BYTES:
        yield warning(
            "database",
            f"its log of changes has {filesize.decimal(wal.stat().st_size)}",
            "some program has been reading the database for long: end it",
        )


def _damage(connection: sqlite3.Connection) -> str:
    """What is wrong with the pages of the database; empty if nothing is."""
    try:
        said = [row[0] for row in connection.execute("PRAGMA quick_check(3)") if row[0] != "ok"]
    except sqlite3.OperationalError:  # it can't be looked at now: locked, or not to be opened
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return "; ".join(said).replace("\n", "; ")


def _server(data_dir: Path) -> Iterator[Finding]:
    info = serverinfo.read(data_dir)
    if info is None:
        if _is_locked(data_dir / "lock"):
            advice = f"fuser {data_dir / 'lock'} names it"
            yield problem("server", "a process holds the folder and says nothing", advice)
        else:
            yield ok("server", "none is running")
        return
    try:
        with urllib.request.urlopen(f"{info.endpoint_url}/health", timeout=HEALTH_TIMEOUT_SECONDS) as answer:
            said = json.load(answer)
    except (OSError, ValueError) as error:
        yield problem(
            "server",
            f"process {info.pid} doesn't answer at {info.endpoint_url}: {error}",
            "its log may say why; jobs go on without it: batchyard down, batchyard up",
        )
        return
    yield ok("server", f"{said['version']} answers at {info.endpoint_url} (process {info.pid}); {info.limits}")


def _engine(data_dir: Path) -> Iterator[Finding]:
    runs = _is_locked(data_dir / "engine" / LOCK_NAME)
    if runs:
        yield ok("engine", "the supervisor of jobs is running")
    elif serverinfo.read(data_dir) is not None:
        yield problem(
            "engine",
            "the server has no supervisor to run jobs",
            f"the end of {data_dir / 'engine' / 'supervisor.log'} says why",
        )
    else:
        yield ok("engine", "no job of this folder is running")
    info = serverinfo.read(data_dir)
    # A server that runs has tried, perhaps from another place than this one.
    limits = cgroup_paths.can_limit(cgroup_paths.places()) if info is None else "memory limits: enforced" in info.limits
    if not limits:
        yield warning(
            "engine",
            "jobs' memory can't be limited: no control group that could do so is writable here",
            "run as root, or in a delegated scope: systemd-run --user --scope -p Delegate=yes batchyard up",
        )


def _docker(data_dir: Path, settings: Settings) -> Iterator[Finding]:
    # Who has no containers need not wait for its import.
    from batchyard.upkeep import docker

    yield from docker.examine(data_dir, settings)


def _clock(data_dir: Path) -> Iterator[Finding]:
    now = time.time()
    probe = data_dir / f".doctor-{os.getpid()}"
    if os.access(data_dir, os.W_OK):
        probe.touch()
        skew = probe.stat().st_mtime - now
        probe.unlink()
        if abs(skew) > CLOCK_TOLERANCE_SECONDS:
            advice = "synchronise the clocks of this machine and of the disk's"
            yield warning("clock", f"the disk's clock differs by {skew:+.0f} s", advice)
    path = data_dir / DATABASE
    try:
        newest = _newest_ms(path) / 1000 if path.exists() else 0.0
    except sqlite3.DatabaseError:
        yield ok("clock", f"{_told(now)}; the database can't be read, so not compared with what is stored")
        return
    if newest > now + CLOCK_TOLERANCE_SECONDS:
        yield problem(
            "clock",
            f"the newest job is from {newest - now:.0f} s in the future: the clock has been set back",
            "set it right; until then the times of jobs, and so their order by time, are wrong",
        )
    else:
        yield ok("clock", f"{_told(now)}, after all that is stored")


def _told(at_seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at_seconds))


def _newest_ms(path: Path) -> int:
    with _reading(path) as connection:
        newest = connection.execute("SELECT max(created_at_ms), max(stopped_at_ms) FROM jobs").fetchone()
        return max(value or 0 for value in newest)


def _orphans(data_dir: Path) -> Iterator[Finding]:
    """Processes of jobs that the supervisor doesn't know any more. Looked for twice: one may be about to be ended."""
    found = _unknown_processes(data_dir)
    if found:
        time.sleep(ORPHAN_RECHECK_SECONDS)
        again = _unknown_processes(data_dir)
        found = {pid: attempt_id for pid, attempt_id in found.items() if again.get(pid) == attempt_id}
    if not found:
        yield ok("orphans", "no process of an ended job is left")
        return
    pids = " ".join(map(str, sorted(found)))
    advice = f"kill -9 {pids}"
    if not _is_locked(data_dir / "engine" / LOCK_NAME):
        advice = f"the next `batchyard up` ends them; or {advice}"
    yield warning("orphans", f"{len(found)} processes of jobs that have ended are running: {pids}", advice)


def _unknown_processes(data_dir: Path) -> dict[int, str]:
    """Those of this folder's attempts that the supervisor's journal has as ended or doesn't have: pid and attempt."""
    story = journal.read(data_dir / "engine" / "journal")
    incarnations = {opened.incarnation for opened in story.openings}
    supervised = _is_locked(data_dir / "engine" / LOCK_NAME)
    live = set(story.open) if supervised else set()
    unknown = {}
    for pid, marker in processes.all_marked():
        incarnation, _, attempt_id = marker.partition("/")
        found = processes.stat(pid)
        if incarnation in incarnations and attempt_id not in live and found is not None and not found.is_gone:
            unknown[pid] = attempt_id
    return unknown


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        yield connection
