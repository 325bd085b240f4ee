"""An image with Python and pip, made from this machine's own: what `FROM python:3.12-slim` stands for where there is no
registry to pull that from. Commands are busybox's.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

from tests.engine.dockerd import Dockerd, root_filesystem

BASE = "batchyard-test/python:1"
_BARE = "batchyard-test/python-without-pip"
_LEFT_OUT = {"__pycache__", "test", "tests", "site-packages", "dist-packages", "idlelib", "tkinter", "turtledemo"}
_WHEELS_NEED = (
    *("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"),
    *("libutil.so.1", "libnss_dns.so.2", "libresolv.so.2"),
)
"""Of the system; wheels bring all else, and the C library loads the last two by name."""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON = ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


def make_python_image(daemon: Dockerd, name: str = BASE) -> None:
    """Make the image on a daemon."""
    python = Path(sys.executable).resolve()
    names = {f"usr/local/bin/{each}": str(python) for each in ("python", "python3")}
    packed = io.BytesIO(root_filesystem())
    with tarfile.open(fileobj=packed, mode="a") as tar:
        for path in _files(python):
            tar.add(path.resolve(), arcname=str(path).lstrip("/"), recursive=False)
        for link, target in names.items():
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment = {
        "PATH": f"/usr/local/bin:{python.parent}:/bin",
        "SSL_CERT_FILE": str(_CERTIFICATES),
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        **own,
    }
    changes = [("changes", f"ENV {key}={value}") for key, value in environment.items()]
    query = urllib.parse.urlencode([("fromSrc", "-"), ("repo", _BARE), ("tag", "1"), *changes])
    daemon.call("POST", f"/images/create?{query}", packed.getvalue(), parse=False)
    build(daemon, name, f"FROM {_BARE}:1\nRUN python3 -m ensurepip --default-pip\n")


def build(daemon: Dockerd, name: str, dockerfile: str | Path, **arguments: str) -> None:
    """`docker build`, of a text or of a folder with a Dockerfile, on the host's network."""
    command = ["docker", "--host", daemon.host, "build", "--quiet", "--network", "host", "--tag", name]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    where = ["-"] if isinstance(dockerfile, str) else [str(dockerfile)]
    given = dockerfile if isinstance(dockerfile, str) else None
    done = subprocess.run(
        [*command, *where],
        input=given,
        env=os.environ | {"DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def _files(python: Path) -> list[Path]:
    """The interpreter, its library, and every library of the system's that these need."""
    library = [path for path in _below(Path(sysconfig.get_path("stdlib"))) if path.is_file()]
    binaries = [python, *(path for path in library if path.suffix == ".so" or ".so." in path.name)]
    found = {*library, python, *_linked(binaries), *_by_name(_WHEELS_NEED)}
    return sorted(path for path in (*found, _CERTIFICATES) if path.exists())


def _below(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _LEFT_OUT and not path.name.startswith("config-"):
            yield from _below(path)
        elif path.is_file():
            yield path


def _linked(binaries: Iterable[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    return {Path(each) for each in re.findall(r"(?:=> |^\s+)(/\S+)(?= \()", said, re.MULTILINE)}


def _by_name(names: Iterable[str]) -> set[Path]:
    said = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^\s+(\S+) \([^)]*x86-64[^)]*\) => (\S+)", said, re.MULTILINE))
    return {Path(found[name]) for name in names if name in found}
