"""What some tests need of the machine. Without it they are skipped with a line that says how to get it.

`BATCHYARD_REQUIRE=name,name` turns the skip into a failure, so that CI runs what it claims to run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from batchyard.engines.process import cgroup_paths
from batchyard.engines.process.cgroup_paths import UNIFIED
from tests.clients import environments
from tests.engine import dockerd


def _has_module(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _has_aws_cli() -> bool:
    return (Path(sys.executable).parent / "aws").exists() or shutil.which("aws") is not None


def _can_limit_memory() -> bool:
    return cgroup_paths.can_limit(cgroup_paths.places())


def _can_kill_by_cgroup() -> bool:
    found = cgroup_paths.places()
    names = [name for name in ("memory", "pids") if name in found] or [UNIFIED]
    return any(name in found and os.access(found[name].own, os.W_OK) for name in names)


def _can_mount() -> bool:
    """Whether a new mount can be made, tried where nobody sees it."""
    command = ("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    return all(map(shutil.which, command[:1])) and subprocess.run(command, capture_output=True).returncode == 0


def _serves_nfs() -> bool:
    """Whether this machine's own NFS server runs."""
    threads = Path("/proc/fs/nfsd/threads")
    return (
        dockerd.can_run() and shutil.which("exportfs") is not None and threads.exists() and int(threads.read_text()) > 0
    )


def faketime_library() -> str | None:
    """libfaketime (Debian's package faketime), by its path."""
    return next((str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


def _has_client(name: str) -> Callable[[], bool]:
    return lambda: environments.is_installed(name)


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "aws-cli": (_has_aws_cli, "pip install awscli"),
    "cgroup": (_can_limit_memory, "run as root, or delegate a cgroup subtree with the memory controller"),
    "cgroup-kill": (_can_kill_by_cgroup, "run as root, or delegate a cgroup subtree"),
    "torch": (_has_module("torch"), "pip install 'batchyard[torch]'"),
    "docker": (dockerd.can_run, "run as root, with docker.io and busybox-static installed"),
    "cc": (lambda: shutil.which("cc") is not None, "apt install gcc"),
    "faketime": (lambda: faketime_library() is not None, "apt install faketime"),
    "mount": (_can_mount, "run as root, with the privilege to mount"),
    "nfs": (_serves_nfs, "run as root, with nfs-kernel-server running, and what Docker needs"),
    "montecarlo": (_has_module("scipy"), "pip install 'batchyard[montecarlo]'"),
    **{
        name: (_has_client(name), f"make clients, or python -m tests.clients.environments {name}")
        for name in environments.CLIENTS
    },
}


def require(name: str) -> None:
    """Skip the calling test (or fail it, if BATCHYARD_REQUIRE names it) when this machine lacks `name`."""
    present, how = NEEDS[name]
    if present():
        return
    text = f"needs {name}: {how}"
    if name in os.environ.get("BATCHYARD_REQUIRE", "").split(","):
        pytest.fail(text)
    pytest.skip(text)
