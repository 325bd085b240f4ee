"""`batchyard backup` and `batchyard restore`: a data folder into one file, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from batchyard.cli import output
from batchyard.settings import default_data_dir

if TYPE_CHECKING:
    from batchyard.upkeep.archive import Manifest
    from batchyard.upkeep.backup import Progress

DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The server's data folder. [default: where `up` puts it]")
]


def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write it; compressed if the name ends in .gz or .tgz.")
    ],
    data_dir: DataDir = None,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="With the logs of the jobs.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Copy the data folder of a server into one file, while the server goes on.

    The copy is of one moment: every job that was accepted before is in it. `batchyard restore` makes a data folder of
    it.
    """
    from batchyard.upkeep.backup import back_up

    folder = (data_dir or default_data_dir()).expanduser().resolve()
    with _progress() as progress:
        manifest = back_up(folder, file.expanduser().absolute(), progress, with_logs=logs)
    if as_json:
        output.print_json({"file": str(file), **_summary(manifest)})
    else:
        size = filesize.decimal(file.expanduser().stat().st_size)
        output.out.print(f"{file}: {size}, the database and {_logs(manifest)}.")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `batchyard backup` wrote.")],
    data_dir: DataDir = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put what is in the folder aside, under a name that is printed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Make a data folder from a backup. No server may be using the folder, nor jobs of one.

    Jobs that ran when the backup was made are taken for lost by the next server: those that have attempts left are
    tried again, also if they have ended since. The backup is checked whole before anything is changed.
    """
    from batchyard.upkeep.restore import restore as restore_folder

    folder = (data_dir or default_data_dir()).expanduser().absolute()
    with _progress() as progress:
        manifest, aside = restore_folder(file.expanduser(), folder, progress, replace=replace)
    if as_json:
        output.print_json({"dataDir": str(folder), "putAside": str(aside) if aside else None, **_summary(manifest)})
        return
    output.out.print(f"{folder} is as it was at {output.format_time(manifest.made_at_ms)}, with {_logs(manifest)}.")
    if aside is not None:
        output.out.print(f"What was there before is in {aside}.")


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "madeAt": manifest.made_at_ms,
        "version": manifest.version,
        "logs": len(manifest.files) - 1,
        "bytes": sum(entry.size_bytes for entry in manifest.files.values()),
    }


def _logs(manifest: Manifest) -> str:
    logs = len(manifest.files) - 1
    return "1 log" if logs == 1 else f"{logs} logs"


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr for each part, where that is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=output.err, disable=not output.err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
