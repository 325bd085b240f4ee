"""`batchyard doctor`: is everything in order, and what to do where it isn't."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from batchyard import settings as settings_module
from batchyard.cli import output
from batchyard.upkeep.findings import Finding, Health

MARKS = {Health.OK: ("ok", "green"), Health.WARNING: ("warning", "yellow"), Health.PROBLEM: ("problem", "bold red")}


def doctor(
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The server's data folder. [default: where `up` puts it]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The server's settings, for what it expects of Docker.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look whether everything is in order: folder, disk, database, server, engine, clock, what jobs left over.

    It changes nothing, and works whether the server runs or not. The exit code is 1 if there is a problem.
    """
    from batchyard.upkeep.doctor import examine

    settings = settings_module.load(config, flags={"data_dir": None if data_dir is None else str(data_dir)})
    folder = settings.data_path
    findings: list[Finding] = []
    with output.err.status("Looking…"):
        for finding in examine(folder, settings):
            findings.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        output.print_json({"dataDir": str(folder), "findings": msgspec.to_builtins(findings)})
    if any(finding.health is Health.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    word, style = MARKS[finding.health]
    output.out.print(Text.assemble((f"{word:<8}", style), f" {finding.check:<9} {finding.text}"))
    if finding.advice:
        output.out.print(Text.assemble(" " * 19, (f"→ {finding.advice}", "italic")))
