"""`batchyard exec`: a shell, or any command, where a job runs.

The server only says where that is: the streams never pass through it (ADR 14).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from batchyard.cli import client, output
from batchyard.cli.container import place_of
from batchyard.cli.errors import CliError
from batchyard.cli.options import ContainerOption, DataDirOption, EndpointOption, JobArgument
from batchyard.cli.refs import resolve
from batchyard.engines.hosts import find_host
from batchyard.exceptions import DaemonRefusedError

CANNOT_RUN, NOT_FOUND = 126, 127
"""Exit codes of shells, and of Docker: the program can't be run, or isn't there."""

NO_SHELL = "the image has no /bin/sh: name a program of its own after `--`."

Members = dict[str, Any]


def execute(
    job: JobArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="What to run, after `--`. Default: a shell.", show_default=False),
    ] = None,
    container: ContainerOption = None,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Run a command where a running job is: a shell, if none is given.

    In its container (of several, the first that runs), or, on the process engine, in its folder with its environment
    and under its limits. On a terminal every key goes to the command; in a pipe, standard input and both outputs are
    joined to it. Ctrl-C is for the command, and its exit code is passed on. It runs on this machine, past the server,
    as whoever may talk to the Docker daemon or look at the job's process.
    """
    with client.connect(endpoint, data_dir) as api:
        job_id = resolve(api.batch, job)
        found = client.describe_one(api.batch, job_id)
        _check(found)
        wanted = None if container is None else place_of(found, container)
        place = api.job_view(job_id, "place")
    if place is None or "attemptId" not in place:
        raise CliError("this server can't say where a job runs: it is not Batchyard, or an older one.")
    if place.get("dockerHost"):
        _in_container(place, command or [], wanted)
    elif place["engine"] == "process":
        _in_folder(place["attemptId"], command or [])
    else:
        raise CliError(f"jobs of the {place['engine']} engine run nowhere that a command could be run in.")


def _check(job: Members) -> None:
    """Raises CliError unless the job runs, as one thing."""
    job_id, status = job["jobId"], job["status"]
    if "size" in job.get("arrayProperties", {}):
        raise CliError(f"{job_id} is an array: name one of its children, {job_id[:8]}:0 for the first.")
    if "numNodes" in job.get("nodeProperties", {}) and "nodeIndex" not in job.get("nodeDetails", {}):
        raise CliError(f"{job_id} is a multi-node job: name one of its nodes, {job_id[:8]}#0 for the first.")
    if status != "RUNNING":
        more = " `batchyard why` says why it waits." if status not in output.ENDED else ""
        raise CliError(f"{job_id} is {status}: commands can be run only where a job is RUNNING.{more}")


def _host(said: str) -> str:
    """The server's daemon. Where the server's socket isn't on this machine, as that of a server in a container, it may
    still be the daemon that is found here: containers are asked for by the attempt's label."""
    path = Path(said.removeprefix("unix://"))
    return find_host() or said if said.startswith("unix://") and not path.exists() else said


def _in_container(place: Members, command: list[str], wanted: int | None) -> None:
    from batchyard.engines.docker.blocking import Daemon
    from batchyard.engines.docker.execute import SHELL, execute, running_containers

    daemon = Daemon(_host(place["dockerHost"]))
    containers = running_containers(daemon, place["attemptId"])
    if not containers:
        raise CliError(f"the daemon at {daemon.host} runs no container of this job: it has ended, or is elsewhere.")
    if wanted is not None and wanted not in containers:
        raise CliError("that container of the job does not run: it has ended, or waits for another one.")
    try:
        code = execute(daemon, containers[min(containers) if wanted is None else wanted], command or SHELL)
    except DaemonRefusedError as error:
        is_absent = any(words in str(error) for words in ("not found", "no such file"))
        text = f"{NO_SHELL} ({error})" if is_absent and not command else str(error)
        raise CliError(text, exit_code=NOT_FOUND if is_absent else CANNOT_RUN) from error
    raise typer.Exit(code)


def _in_folder(attempt_id: str, command: list[str]) -> NoReturn:
    """Become the command."""
    from batchyard.engines.process import enter

    place = enter.find(attempt_id)
    if place is None:
        raise CliError("no process of this job that you may look at runs on this machine.")
    environment = dict(place.environment)
    if sys.stdin.isatty():
        environment.setdefault("TERM", os.environ.get("TERM", "xterm"))
    program = command or [environment.get("SHELL") or "/bin/sh"]
    try:
        closed = place.enter()
    except OSError as error:
        raise CliError(f"the job's folder can't be entered: {error.strerror}.") from error
    if closed:
        output.err.print(f"Outside the job's limits: its control groups ({', '.join(closed)}) can't be entered.")
    try:
        os.execvpe(program[0], program, environment)
    except FileNotFoundError as error:
        raise CliError(f"{program[0]}: no such program.", exit_code=NOT_FOUND) from error
    except (OSError, ValueError) as error:
        raise CliError(f"{program[0]}: {error}.", exit_code=CANNOT_RUN) from error
