"""/etc/hosts of containers that have no network.

Docker takes a container on its network `none` through all of its network library, whose hook, before Docker 28, starts
the daemon's own program once more for each container: nearly half of what a short container costs. A container whose
network is *disabled* is in a network namespace of its own just the same, with nothing in it but the loopback interface,
and is spared that. What it lacks is /etc/hosts, without which nothing finds `localhost`; so each gets one from here, a
file of its own that it may change, like Docker's.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import structlog

from batchyard.core.reasons import cannot_start
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.parse import Daemon
from batchyard.exceptions import CannotLaunchError, DaemonGoneError, EngineError

CONTENT = b"""127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
"""Docker's own, of a container without an address."""

_log = structlog.get_logger(__name__)


class HostsFiles:
    """A folder of them, each called as its container is. A file stands from before its container is made until it is
    removed; what a server leaves that dies between the two is removed by the next one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def can_be_used(self, client: Client, daemon: Daemon, server_id: str) -> bool:
        """Whether the daemon finds the files where this process has them, and containers can read and write them.
        EngineError if none can be written, or the daemon goes."""
        if not client.is_local or not daemon.shares_files:
            return False
        # No other folder has a file of this name, should the daemon see another one under the path.
        probe = self.folder / f"probe-{server_id}"
        try:
            self.remove(probe.name)
            self._write(probe)
            try:
                return await client.sees(str(probe)) and not await client.sees(f"{probe}-absent")
            finally:
                self.remove(probe.name)
        except OSError as error:
            raise EngineError(f"the docker engine can't use {self.folder}: {error}") from error
        except DaemonGoneError as error:
            raise EngineError(f"the Docker daemon went as the engine started: {error}") from error

    def make(self, name: str) -> None:
        """Make a container's, unless it is there. CannotLaunchError if it can't be written."""
        path = self.folder / name
        try:
            if not path.exists():
                self._write(path)
        except OSError as error:
            raise CannotLaunchError(cannot_start(f"its /etc/hosts can't be written: {error}")) from error

    def _write(self, path: Path) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            os.write(descriptor, CONTENT)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        """Remove a container's, if it has one. One that can't be removed stays for the next server."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("docker.hosts_file_stays", name=name, error=str(error))

    def keep_only(self, names: Collection[str]) -> None:
        """Remove what earlier servers have left, but for containers that are there."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in names:
                    self.remove(path.name)
