"""A data folder with a Docker engine on it, and a daemon that only the tests use."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from batchyard.engines.base import Launch
from batchyard.engines.docker import slices
from batchyard.engines.docker.engine import DockerEngine
from batchyard.engines.docker.settings import DockerSettings
from batchyard.engines.docker.shelf import IsWanted
from batchyard.engines.process import cgroup_paths, cgroups
from batchyard.engines.task import Container, HostPath, MountPoint, RuntimePlatform, Task, Volume
from tests.engine.bench import Bench
from tests.engine.dockerd import IMAGE, Dockerd

_numbers = itertools.count(1)


def _decoded(members: Any, kind: Any) -> Any:
    """As a stored job's are."""
    return msgspec.json.decode(msgspec.json.encode(members), type=kind)


class DockerBench(Bench):
    """Launches commands in containers of the tests' image, which see the test's own folder under its own path."""

    def __init__(self, engine: DockerEngine, data_dir: Path, shared: Path) -> None:
        super().__init__(engine, data_dir)
        self._shared = shared

    def launch(self, attempt_id: str, *command: str, **options: Any) -> None:
        """`container` are members of containerProperties, `task` some of its task."""
        properties = {"image": IMAGE, **options.pop("container", {})}
        more = dict(options.pop("more", {}))
        container = _decoded(properties, Container)
        shared = Volume("shared", HostPath(str(self._shared)))
        volumes = (shared, *_decoded(more.pop("volumes", ()), tuple[Volume, ...]))
        mount = MountPoint(str(self._shared), source_volume="shared")
        container = msgspec.structs.replace(container, mount_points=(mount, *container.mount_points))
        if "runtime_platform" in more:
            more["runtime_platform"] = _decoded(more["runtime_platform"], RuntimePlatform)
        super().launch(attempt_id, *command, task=Task((container,), volumes, **more), **options)

    def launch_task(self, attempt_id: str, task: Task, **options: Any) -> None:
        self.engine.launch([Launch(attempt_id, (), {}, 1000, 256, stop_grace_seconds=1, task=task, **options)])


class DockerYard:
    """One data folder on one daemon. Benches over it are servers, one after another."""

    def __init__(self, daemon: Dockerd, tmp_path: Path) -> None:
        self.daemon = daemon
        self.data_dir = tmp_path / "data"
        self.shared = tmp_path
        self.prefix = f"t{os.getpid()}-{next(_numbers)}-"

    def bench(self, *, is_wanted: IsWanted | None = None, **settings: Any) -> DockerBench:
        given = {"host": self.daemon.host, "network": "none", "prefix": self.prefix, **settings}
        return DockerBench(DockerEngine(self.data_dir, DockerSettings(**given), is_wanted), self.data_dir, self.shared)

    def container(self, attempt_id: str) -> dict[str, Any]:
        return self.daemon.inspect(self.prefix + attempt_id)

    def runs(self, attempt_id: str) -> bool:
        name = f"/{self.prefix}{attempt_id}"
        return any(each["State"] == "running" for each in self.daemon.containers() if name in each["Names"])

    def create(self, attempt_id: str, body: dict[str, Any]) -> None:
        """Make a container beside the engine, as a server does that dies right after it."""
        self.daemon.call(
            "POST", f"/containers/create?name={self.prefix}{attempt_id}", msgspec.json.encode(body), json=True
        )

    def names(self) -> list[str]:
        """The containers of this yard, without its prefix."""
        names = [container["Names"][0].removeprefix("/") for container in self.daemon.containers()]
        return [name.replace(self.prefix, "", 1) for name in names if self.prefix in name]

    def volumes(self) -> list[str]:
        """The volumes of this yard, without its prefix."""
        prefix = f"batchyard-{self.prefix}"
        return [name.removeprefix(prefix) for name in self.daemon.volumes() if name.startswith(prefix)]

    def clear_away(self) -> None:
        for container in self.daemon.containers():
            if self.prefix in container["Names"][0]:
                self.daemon.remove(container["Id"])
        # Those of attempts that nobody has forgotten. On a machine where tests run all day they are thousands.
        for place in cgroup_paths.places().values():
            for group in place.mount.glob(f"batchyard/*/{self.prefix}*"):
                cgroups.remove_dir(str(group))
                if not cgroups.groups_in(str(group.parent)):
                    cgroups.remove_dir(str(group.parent))
        if slices.can_be_stopped():
            pattern = f"batchyard-*-{self.prefix.replace('-', '_')}*.slice"
            subprocess.run([slices.PROGRAM, "stop", "--", pattern], check=True)
        for volume in self.volumes():
            self.daemon.call("DELETE", f"/volumes/batchyard-{self.prefix}{volume}", parse=False)
