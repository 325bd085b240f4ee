"""Starts a job's command: found on the job's own PATH, in its own session, folder and control group."""

# Run for every attempt, or nearly so: strings and system calls, not Path objects.
# ruff: noqa: PTH116

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import time
from collections.abc import Mapping, Sequence

from batchyard.engines.process.cgroups import Group

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAM_SECONDS = 1.0
MAX_PROGRAMS = 256

_WHO_AND_WHERE = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_WHAT_PATH_NEEDS = ("VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH")

# Python ignores the first two, the supervisor the others, and what is ignored stays so in a child.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD)


class CannotStart(Exception):
    """A job's command can't be started; the text is for the job's owner."""


def base_environment(environ: Mapping[str, str], pass_names: Sequence[str] = ()) -> dict[str, str]:
    """What every job starts from: a few harmless variables of the server's, those named in `pass_names`, and the mark
    of a job on AWS. Never the rest: it may hold the server's own credentials."""
    wanted = {*_WHO_AND_WHERE, *_WHAT_PATH_NEEDS, *pass_names}
    passed = {name: value for name, value in environ.items() if name in wanted or name.startswith("LC_")}
    return {"AWS_EXECUTION_ENV": "AWS_ECS_EC2", **passed}


def find_program(name: str, path: str) -> str:
    """What `name` means to the job, whose folder is the current one. CannotStart says why there is no such thing."""
    if not name:
        raise CannotStart("no command specified")
    if "/" in name:
        if (problem := _problem(name)) is not None:
            raise CannotStart(f'exec: "{name}": {os.strerror(problem).lower()}')
        return name
    denied = False
    for folder in path.split(":"):
        candidate = f"{folder}/{name}" if folder else f"./{name}"
        problem = _problem(candidate)
        if problem is None:
            return candidate
        denied = denied or problem == errno.EACCES
    if denied:
        raise CannotStart(f'exec: "{name}": permission denied')
    raise CannotStart(f'exec: "{name}": executable file not found in $PATH')


def _problem(candidate: str) -> int | None:
    """The errno of what is wrong with running this file, None if nothing seems to be."""
    try:
        mode = os.stat(candidate).st_mode
    except OSError as error:
        return error.errno
    if stat.S_ISDIR(mode):
        return errno.EISDIR
    return None if os.access(candidate, os.X_OK) else errno.EACCES


class Programs:
    """`find_program`, which remembers for a moment what it found on a PATH of absolute folders."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, float]] = {}

    def find(self, name: str, path: str) -> str:
        now = time.monotonic()
        found, until = self._found.get((name, path), ("", 0.0))
        if now < until and _problem(found) is None:
            return found
        program = find_program(name, path)
        if "/" not in name and program.startswith("/"):
            if len(self._found) >= MAX_PROGRAMS:
                self._found.clear()
            self._found[(name, path)] = program, now + PROGRAM_SECONDS
        return program


class Spawner:
    """Spawns from this process, which must be single-threaded: it moves its one thread, and its current folder, into
    the job's and back."""

    def __init__(self) -> None:
        self._programs = Programs()
        soft, self._hard_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Each running job takes two files here; the jobs themselves get the limit that the server was started with.
        self._own_files = (self._hard_files, self._hard_files)
        self._job_files = (soft, self._hard_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._own_files)

    def spawn(
        self, command: tuple[str, ...], environment: Mapping[str, str], folder: str, output_fd: int, group: Group | None
    ) -> int:
        """The pid of the command, started. CannotStart if it could not be, and then nothing is left of it."""
        if not command:
            raise CannotStart("no command specified")
        try:
            os.chdir(folder)
            try:
                program = self._programs.find(command[0], environment.get("PATH", DEFAULT_PATH))
                return self._spawn_inside(program, command, environment, output_fd, group)
            finally:
                os.chdir("/")
        except ValueError as error:
            # A NUL in an argument, "=" in the name of a variable.
            raise CannotStart(f'exec: "{printable(command[0])}": {error}') from error
        except OSError as error:
            raise CannotStart(f'exec: "{printable(command[0])}": {os.strerror(error.errno or 0).lower()}') from error

    def _spawn_inside(
        self,
        program: str,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        output_fd: int,
        group: Group | None,
    ) -> int:
        try:
            if group is not None:
                group.enter()
            resource.setrlimit(resource.RLIMIT_NOFILE, self._job_files)
            return os.posix_spawn(
                program,
                command,
                environment,
                file_actions=((os.POSIX_SPAWN_DUP2, output_fd, 1), (os.POSIX_SPAWN_DUP2, output_fd, 2)),
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, self._own_files)
            if group is not None:
                _leave(group)


def _leave(group: Group) -> None:
    try:
        group.leave()
    except OSError as error:
        # To go on from inside a job's group would mean to die with that job. The next supervisor cleans up.
        raise RuntimeError(f"can't leave a job's control group: {error}") from error


def printable(text: str, limit: int = 120) -> str:
    """`text` without what would break a line of a log or an answer, and not longer than such a line."""
    return "".join(character if character.isprintable() else "?" for character in text[:limit])
