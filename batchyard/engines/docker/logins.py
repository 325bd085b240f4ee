"""The logins that `docker login` left in this user's Docker configuration."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HUB = "https://index.docker.io/v1/"
"""Under which name the logins for Docker's own registry are kept."""
HELPER_SECONDS = 30.0

Login = dict[str, str]


def registry_of(image: str) -> str:
    """The registry that an image's name leads to, as logins are kept for it."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host and first not in ("docker.io", "index.docker.io") else HUB


def login_for(image: str, environ: Mapping[str, str] = os.environ) -> Login | None:
    """The login for an image's registry; None if there is none, or none that can be read."""
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "/root") / ".docker"
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    registry = registry_of(image)
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        return _asked(str(helper), registry)
    return _kept((config.get("auths") or {}).get(registry) or {})


def _kept(entry: Mapping[str, Any]) -> Login | None:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"])}
    try:
        username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
    except (KeyError, ValueError):
        return None
    return {"username": username, "password": password}


def _asked(helper: str, registry: str) -> Login | None:
    """What a credential helper says (docker-credential-HELPER get)."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(command, input=registry.encode(), capture_output=True, timeout=HELPER_SECONDS, check=True)
        found = json.loads(done.stdout)
        return {"username": str(found["Username"]), "password": str(found["Secret"])}
    except (OSError, ValueError, KeyError, subprocess.SubprocessError):
        return None
