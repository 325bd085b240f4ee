"""Where a container daemon listens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def find_host(setting: str = "", environ: Mapping[str, str] = os.environ) -> str | None:
    """The daemon's address: the setting, $DOCKER_HOST, or the first socket found among Docker's and Podman's."""
    if setting or environ.get("DOCKER_HOST"):
        return setting or environ["DOCKER_HOST"]
    runtime_dir = environ.get("XDG_RUNTIME_DIR")
    candidates = [Path("/run/docker.sock"), Path("/var/run/docker.sock")]
    if runtime_dir:
        candidates += [Path(runtime_dir) / "docker.sock", Path(runtime_dir) / "podman" / "podman.sock"]
    candidates.append(Path("/run/podman/podman.sock"))
    return next((f"unix://{path}" for path in candidates if path.is_socket()), None)
