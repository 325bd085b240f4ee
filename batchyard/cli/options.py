"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="The server to talk to. Default: $AWS_ENDPOINT_URL_BATCH, else the server running on this machine.",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Talk to the server that runs on this data folder.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers it.")]
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job's id, its ARN, the first characters (4 or more) of its id, or its name. ID:7 is an array's child,"
        " ID#7 a node.",
    ),
]
ContainerOption = Annotated[
    str | None,
    typer.Option("--container", metavar="NAME", help="Which container, of a job that runs several (ecsProperties)."),
]
JobsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB",
        help="Jobs by id, ARN, first characters (4 or more) of the id, or name. ID:7 is an array's child, ID#7 a node.",
    ),
]
