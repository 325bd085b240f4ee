"""`batchyard up`: the server, in the foreground."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO, cast

import msgspec
import typer
from rich.text import Text

from batchyard import settings as settings_module
from batchyard.cli import output
from batchyard.cli.errors import CliError
from batchyard.exceptions import StoreError
from batchyard.serverinfo import ServerInfo
from batchyard.settings import Settings

DEFAULTS = Settings()
FIRST_JOB = "batchyard submit --wait --follow -- echo 'Hello from Batchyard'"
FIRST_CONTAINER = "batchyard submit --image busybox --wait --follow -- echo 'Hello from Batchyard'"


class Engine(StrEnum):
    """The engines to choose from on the command line."""

    PROCESS = "process"
    DOCKER = "docker"
    AUTO = "auto"


def up(
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help=f"Address to listen on. [default: {DEFAULTS.host}]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help=f"TCP port; 0 takes a free one. [default: {DEFAULTS.port}]"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the database, the logs and the engine's journal; made when it is not there. "
            "[default: $XDG_DATA_HOME/batchyard]",
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help=f"What runs the jobs; auto takes the best found. [default: {DEFAULTS.engine}]"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings as TOML; $BATCHYARD_* and these options win over it."),
    ] = None,
    overcommit: Annotated[
        bool | None,
        typer.Option(
            "--overcommit",
            help="Trust the declared size of compute environments beyond the real size of this machine.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when the server is ready.")] = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Running jobs go on when it stops, and the next `batchyard up` finds them again. A second Ctrl-C, or
    `batchyard down --stop-jobs`, stops them too.
    """
    settings = settings_module.load(
        config,
        flags={
            "host": host,
            "port": port,
            "data_dir": None if data_dir is None else str(data_dir),
            "engine": None if engine is None else engine.value,
            "overcommit": overcommit,
        },
    )
    is_new = not settings.data_path.is_dir() or not any(settings.data_path.iterdir())

    def on_ready(info: ServerInfo) -> None:
        if as_json:
            print(msgspec.json.encode(info).decode(), flush=True)
        else:
            print_ready(info, is_new=is_new)

    # The server's parts (SQLAlchemy, uvicorn…) take longer to import than any other command takes to run.
    from batchyard.app import serve

    _log_to_stderr()
    try:
        serve(settings, on_ready, print_stopping)
    except StoreError as error:
        if error.__cause__ is None:
            raise
        folder = shlex.quote(str(settings.data_path))
        raise CliError(f"{error}. `batchyard doctor --data-dir {folder}` may say more.") from error


class _Stderr:
    """Where nothing that can't be written is missed: a full disk, or a reader that has gone, must not end what goes on
    and says so."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _log_to_stderr() -> None:
    """Keep stdout for what `up` prints. Somebody at a terminal sees only what went wrong; a service logs it all."""
    import structlog

    level = logging.WARNING if sys.stderr.isatty() else logging.INFO
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Stderr())),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            # A plain traceback: with the values of variables it would show credentials and secrets.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
    )


def print_ready(info: ServerInfo, *, is_new: bool) -> None:
    """Where the server is and how to use it; the two export lines stand alone, to be pasted or grepped."""
    title = Text.assemble(
        (f"Batchyard {info.version}", "bold"), " is ready at ", (info.endpoint_url, "bold green"), " (Ctrl-C stops it)"
    )
    output.out.print(title)
    facts = [("data", info.data_dir), ("engine", info.engine), ("limits", info.limits)]
    if info.gpus:
        facts.append(("GPUs", str(info.gpus)))
    if is_new:
        facts.append(("created", "the compute environment `default` and the queue `default`"))
    for name, value in facts:
        output.out.print(Text.assemble((f"  {name:8}", "dim"), value))
    output.out.print()
    for service in ("BATCH", "CLOUDWATCH_LOGS"):
        output.out.print(Text(f"export AWS_ENDPOINT_URL_{service}={info.endpoint_url}", style="cyan"))
    output.out.print()
    first_job = FIRST_CONTAINER if info.engine == "docker" else FIRST_JOB
    output.out.print(Text.assemble(("Your first job:  ", "dim"), first_job))


def print_stopping(running_jobs: int) -> None:
    """What a first Ctrl-C leaves behind."""
    if running_jobs:
        jobs = "1 job goes on" if running_jobs == 1 else f"{running_jobs} jobs go on"
        output.err.print(f"\nStopping. {jobs} running; Ctrl-C again stops them.")
    else:
        output.err.print("\nStopping. No job is running.")
