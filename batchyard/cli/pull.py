"""`batchyard pull`: images, fetched before any job needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from batchyard import settings as settings_module
from batchyard.cli import client, output
from batchyard.cli.errors import CliError
from batchyard.cli.options import DataDirOption, EndpointOption
from batchyard.cli.resources import newest_revisions
from batchyard.engines.hosts import find_host
from batchyard.exceptions import DaemonRefusedError
from batchyard.settings import Settings

if TYPE_CHECKING:
    from batchyard.engines.docker.blocking import Daemon
    from batchyard.engines.docker.progress import Pull

LINE_EVERY_SECONDS = 5.0
Show = Callable[["Pull"], None]


class Wanted(Struct, frozen=True):
    """An image, and where the login for its registry is kept if a definition says so."""

    image: str
    credentials: str | None = None


def pull(
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE", show_default=False)] = None,
    definition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Also all images of this job definition: of NAME:REVISION, or the newest ACTIVE one."
        ),
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Leave out images that are there.")] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The server's settings: where the daemon is, and its secrets.")
    ] = None,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what became of each image as JSON.")] = False,
) -> None:
    """Pull images into the Docker daemon that jobs run on.

    It talks to the daemon itself. Logins are those of `docker login`; those of a definition's repositoryCredentials
    come from the server's secrets, for which --config or $BATCHYARD_SECRETS_FILE is needed.
    """
    settings = settings_module.load(config)
    wanted = [Wanted(image) for image in images or []]
    if definition:
        with client.connect(endpoint, data_dir) as api:
            wanted += [each for name in definition for each in images_of(api.batch, name)]
    if not wanted:
        raise CliError("name an image, or a job definition with --definition.", exit_code=2)
    host = find_host(settings.docker_host)
    if host is None:
        raise CliError("no Docker daemon was found: set $DOCKER_HOST or $BATCHYARD_DOCKER_HOST.")
    from batchyard.engines.docker.blocking import Daemon

    daemon, outcomes, failed = Daemon(host), [], []
    for each in dict.fromkeys(wanted):
        try:
            outcome = _pulled(daemon, settings, each, missing=missing)
            outcomes.append({"image": each.image, "outcome": outcome})
            output.err.print(f"{each.image}: {outcome}")
        except DaemonRefusedError as error:
            outcomes.append({"image": each.image, "error": str(error)})
            failed.append(f"{each.image} can't be pulled: {error}")
    if as_json:
        output.print_json({"images": outcomes})
    if failed:
        raise CliError("; ".join(failed))


def images_of(batch: Any, name: str) -> list[Wanted]:
    """What a definition's containers are made from. Raises CliError if there is no such ACTIVE definition."""
    base, colon, revision = name.partition(":")
    found = list(
        client.paged(batch.describe_job_definitions, "jobDefinitions", jobDefinitionName=base, status="ACTIVE")
    )
    found = [each for each in found if str(each["revision"]) == revision] if colon else newest_revisions(found)
    if not found:
        raise CliError(f"there is no ACTIVE job definition {name}.")
    return [
        Wanted(each["image"], (each.get("repositoryCredentials") or {}).get("credentialsParameter"))
        for each in _containers(found[0])
        if each.get("image")
    ]


def _containers(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The containers of a definition, or of one of its node ranges."""
    for member in ("containerProperties", "container"):
        if member in definition:
            yield definition[member]
    for task in definition.get("ecsProperties", {}).get("taskProperties", []):
        yield from task["containers"]
    for nodes in definition.get("nodeProperties", {}).get("nodeRangeProperties", []):
        yield from _containers(nodes)


def _pulled(daemon: Daemon, settings: Settings, wanted: Wanted, *, missing: bool) -> str:
    """What became of it. DaemonRefusedError with the daemon's reason if it can't be had."""
    from batchyard.engines.docker.progress import Pull
    from batchyard.engines.docker.registry import auth_header, split_tag

    if missing and _is_there(daemon, wanted.image):
        return "it is there"
    login = _login(settings, wanted)
    auth = auth_header(login or {})
    name, tag = split_tag(wanted.image)
    progress = Pull(wanted.image)
    with _display(wanted.image) as show:
        for message in daemon.lines(
            "POST", "/images/create", {"fromImage": name, "tag": tag}, {"X-Registry-Auth": auth}
        ):
            if "error" in message:
                raise DaemonRefusedError(400, str(message["error"]))
            progress.hear(message)
            show(progress)
    return progress.outcome.removeprefix("Status: ") or "pulled"


def _is_there(daemon: Daemon, image: str) -> bool:
    try:
        daemon.call("GET", f"/images/{image}/json")
    except DaemonRefusedError as error:
        if error.status != 404:
            raise
        return False
    return True


def _login(settings: Settings, wanted: Wanted) -> dict[str, str] | None:
    from batchyard.engines.docker import logins

    if wanted.credentials is None:
        return logins.login_for(wanted.image)
    from batchyard.engines.docker.registry import login_of
    from batchyard.runtime.secrets import Secrets

    values = asyncio.run(Secrets(settings).resolve([wanted.credentials]))
    return login_of(values[wanted.credentials])


@contextmanager
def _display(image: str) -> Iterator[Show]:
    """A bar for each layer on a terminal; a line now and then elsewhere."""
    if not output.err.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeElapsedColumn(), console=output.err, transient=True) as bars:
        whole = bars.add_task(image, total=None)
        tasks: dict[str, TaskID] = {}

        def show(pull: Pull) -> None:
            for name, layer in pull.layers.items():
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=None)
                bars.update(
                    tasks[name],
                    description=f"{name} {layer.status}",
                    completed=layer.downloaded_bytes,
                    total=layer.total_bytes or None,
                )
            bars.update(whole, completed=pull.downloaded_bytes, total=pull.total_bytes or None)

        yield show


def _lines() -> Show:
    said = time.monotonic()

    def show(pull: Pull) -> None:
        nonlocal said
        if time.monotonic() - said > LINE_EVERY_SECONDS:
            said = time.monotonic()
            output.err.print(pull.text)

    return show
