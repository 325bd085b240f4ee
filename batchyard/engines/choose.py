"""Which engine a server runs its jobs with: the one it was told, or the best that is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from batchyard.engines import gpus
from batchyard.engines.base import Engine
from batchyard.engines.docker.blocking import connect
from batchyard.engines.hosts import find_host
from batchyard.engines.process.engine import ProcessEngine
from batchyard.exceptions import EngineError
from batchyard.settings import Settings

PING_SECONDS = 2.0
NAME_FILE = "engine-name"
GIB = 1024**3

IsWanted = Callable[[str], Awaitable[bool]]
EngineName = Literal["process", "docker"]


def choose(settings: Settings, job_files: int | None = None, is_wanted: IsWanted | None = None) -> Engine:
    """The engine of a server on this data folder, not started yet. `job_files` is the soft limit on open files for jobs
    that are processes of this host, if it isn't this process's own; `is_wanted` says of an image whether an unfinished
    job names it.

    `auto` keeps to the engine that the folder's jobs were started with, of which some may still run; in a new folder it
    takes Docker where a daemon answers. EngineError if the chosen one can't be had.
    """
    name = settings.engine
    if name == "auto":
        name = remembered(settings.data_path) or ("docker" if _docker_answers(settings) else "process")
    return _docker(settings, is_wanted) if name == "docker" else _process(settings, job_files)


def _process(settings: Settings, job_files: int | None) -> Engine:
    return ProcessEngine(
        settings.data_path,
        pass_environment=settings.pass_environment,
        job_files=job_files,
        gpus=_gpus(settings, is_local=True),
    )


def _gpus(settings: Settings, *, is_local: bool) -> tuple[str, ...]:
    """The ids that are set, else those found here. What a daemon on another machine has can't be seen from here."""
    if settings.gpu_ids is not None:
        return settings.gpu_ids
    return gpus.find() if is_local else ()


def _docker(settings: Settings, is_wanted: IsWanted | None) -> Engine:
    # Only servers that use it pay for importing it.
    from batchyard.engines.docker.engine import DockerEngine
    from batchyard.engines.docker.settings import DockerSettings

    host = find_host(settings.docker_host)
    if host is None:
        raise EngineError("no Docker daemon was found: set docker_host (or $DOCKER_HOST), or use --engine process")
    return DockerEngine(
        settings.data_path,
        DockerSettings(
            host=host,
            pull=settings.docker_pull,
            network=settings.docker_network,
            networks=settings.docker_networks,
            private_networks=settings.docker_private_networks,
            cpu_quota=settings.docker_cpu_quota,
            storage_quota=settings.docker_storage_quota,
            keep_failed=settings.docker_keep_failed,
            efs_address=settings.efs_address,
            region=settings.region,
            gpus=_gpus(settings, is_local=host.startswith("unix://")),
            images_max_bytes=round(settings.docker_images_max_gib * GIB) or None,
        ),
        is_wanted,
    )


def _docker_answers(settings: Settings) -> bool:
    """Whether a daemon answers, asked without the client library: most servers that ask this find none."""
    host = find_host(settings.docker_host)
    if host is None:
        return False
    try:
        with contextlib.closing(connect(host, PING_SECONDS)) as connection:
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(4096).partition(b"\r\n")[0] + b" "
    except (OSError, EngineError):
        return False


def remembered(data_path: Path) -> EngineName | None:
    """The engine that the folder's jobs were started with; None in a new one."""
    with contextlib.suppress(FileNotFoundError):
        name = (data_path / NAME_FILE).read_text(encoding="ascii").strip()
        if name == "docker" or name == "process":
            return name  # type: ignore[return-value]
    return None


def remember(data_path: Path, name: str) -> None:
    """Let `auto` keep to this engine in the data folder. EngineError if that can't be written down."""
    try:
        temporary = data_path / f"{NAME_FILE}.{os.getpid()}"
        temporary.write_text(name, encoding="ascii")
        temporary.replace(data_path / NAME_FILE)
    except OSError as error:
        raise EngineError(f"cannot write {data_path / NAME_FILE}: {error.strerror}") from error
