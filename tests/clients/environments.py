"""Virtual environments for clients of AWS Batch that Batchyard itself does not depend on: one each, made once.

`python -m tests.clients.environments [NAME…]` makes them in `.venv-clients/`, which git ignores. Tests of a client that
isn't there are skipped with a line that says so, unless BATCHYARD_REQUIRE names it.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv-clients"
CLIENTS: dict[str, tuple[str, ...]] = {
    "luigi": ("luigi~=3.8.1", "boto3~=1.43"),
    "redun": ("redun~=0.44.1",),
    "schemathesis": ("schemathesis~=4.32",),
    "snakemake": (
        "snakemake~=9.27",
        "snakemake-executor-plugin-aws-batch~=0.2.1",
        "snakemake-storage-plugin-s3~=0.3.6",
        "moto[s3,server]~=5.2",
    ),
}
"""What to install for each client. Their makers change much between minor versions, so those are held."""


def python_of(client: str) -> Path:
    return FOLDER / client / "bin" / "python"


def is_installed(client: str) -> bool:
    """The requirements are noted once they are all there."""
    stamp = _stamp(client)
    return stamp.exists() and stamp.read_text() == _noted(client)


def install(client: str) -> None:
    """Raises CalledProcessError, after pip has said why."""
    if is_installed(client):
        return
    venv.create(FOLDER / client, with_pip=True, clear=True)
    subprocess.run([python_of(client), "-m", "pip", "install", "--quiet", *CLIENTS[client]], check=True)
    _stamp(client).write_text(_noted(client))


def _stamp(client: str) -> Path:
    return FOLDER / client / "requirements.txt"


def _noted(client: str) -> str:
    return "".join(f"{requirement}\n" for requirement in CLIENTS[client])


def main(names: list[str]) -> None:
    unknown = set(names) - CLIENTS.keys()
    if unknown:
        sys.exit(f"There is no client {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(install, names or CLIENTS):
            pass


if __name__ == "__main__":
    main(sys.argv[1:])
