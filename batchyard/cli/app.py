"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from batchyard import __version__
from batchyard.cli import backup, describe, doctor, down, execute, jobs, logs, pull, resources, stop, submit, up, why
from batchyard.cli.errors import ReportingGroup

app = typer.Typer(
    name="batchyard",
    cls=ReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"batchyard {__version__}")
        raise typer.Exit


@app.callback()
def batchyard(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """AWS Batch on your own machines.

    `batchyard up` starts the server; the other commands talk to it, or to any server that speaks the API of AWS Batch.
    They find it by --endpoint, else by $AWS_ENDPOINT_URL_BATCH, else they take the server that runs on this machine.
    """


# Options of `submit` end where the job's own command begins, so that `submit ./work.sh --fast` needs no `--`.
_COMMAND_FOLLOWS = {"allow_interspersed_args": False}

app.command(rich_help_panel="Server")(up.up)
app.command(rich_help_panel="Server")(down.down)
app.command(rich_help_panel="Server")(pull.pull)
app.command(rich_help_panel="Server")(doctor.doctor)
app.command(rich_help_panel="Server")(backup.backup)
app.command(rich_help_panel="Server")(backup.restore)
app.command(rich_help_panel="Jobs", context_settings=_COMMAND_FOLLOWS)(submit.submit)
app.command(rich_help_panel="Jobs")(jobs.jobs)
app.command(rich_help_panel="Jobs")(describe.describe)
app.command(rich_help_panel="Jobs")(why.why)
app.command(rich_help_panel="Jobs")(logs.logs)
app.command("exec", rich_help_panel="Jobs")(execute.execute)
app.command(rich_help_panel="Jobs")(stop.cancel)
app.command(rich_help_panel="Jobs")(stop.terminate)
app.command(rich_help_panel="Resources")(resources.queues)
app.command(rich_help_panel="Resources")(resources.environments)
app.command(rich_help_panel="Resources")(resources.definitions)
