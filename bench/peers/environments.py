"""Virtual environments for peers that come from PyPI: one each in `.venv-bench/`, which git ignores, made once."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from bench.peers import PeerMissing

FOLDER = Path(__file__).resolve().parents[2] / ".venv-bench"
PACKAGES: dict[str, tuple[str, ...]] = {
    "hyperqueue": ("hyperqueue~=0.27.0",),
    "moto": ("moto[server,batch]~=5.2",),
}


def python_of(peer: str) -> Path:
    """The interpreter that has the peer; installs it when it isn't there. Raises PeerMissing, after pip said why."""
    noted = "".join(f"{package}\n" for package in PACKAGES[peer])
    stamp = FOLDER / peer / "requirements.txt"
    python = FOLDER / peer / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == noted):
        venv.create(FOLDER / peer, with_pip=True, clear=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[peer]], check=False)
        if done.returncode:
            raise PeerMissing(f"pip could not install {', '.join(PACKAGES[peer])}")
        stamp.write_text(noted)
    return python


def version_of(peer: str) -> str | None:
    """The installed version of the package that the peer is named after; None if it is not installed."""
    found = sorted((FOLDER / peer).glob(f"lib/python*/site-packages/{peer}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").removeprefix(f"{peer}-") if found else None
