"""What is removed when an attempt is launched again under the id of which something is left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from batchyard.engines.docker.build import Options
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.hosts import HostsFiles
from batchyard.engines.docker.labels import LABEL_VOLUME_OF
from batchyard.engines.docker.leavings import Leavings
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.networks import NodeNetwork
from batchyard.engines.docker.usage import Groups


class Volumes:
    """A daemon that has a volume of the attempt `a`, which is launched again as soon as its volumes are asked for."""

    def __init__(self, attempts: set[str], *, launched_again: bool) -> None:
        self.removed: list[str] = []
        self._attempts = attempts
        self._launched_again = launched_again

    async def volumes_by_label(self, label: str) -> list[tuple[str, dict[str, str]]]:
        if self._launched_again and label.startswith(LABEL_VOLUME_OF):
            self._attempts.add("a")
        return [("batchyard-a-own", {LABEL_VOLUME_OF: "a"})]

    async def remove_volume(self, name: str) -> None:
        self.removed.append(name)


class NoNodes:
    async def tidy(self) -> None:
        """There are no networks of multi-node jobs."""


def removed(folder: Path, *, launched_again: bool) -> list[str]:
    attempts: set[str] = set()
    daemon, link = Volumes(attempts, launched_again=launched_again), Link()
    client, nodes = cast(Client, daemon), cast(NodeNetwork, NoNodes())
    leavings = Leavings(client, link, Options("server", "boot"), nodes, Groups({}), HostsFiles(folder), 0)

    async def tidy() -> None:
        link.up(0)
        await leavings.tidy(attempts)

    asyncio.run(tidy())
    return daemon.removed


def test_a_volume_of_an_attempt_that_is_launched_again_meanwhile_stays(tmp_path: Path) -> None:
    assert removed(tmp_path, launched_again=True) == []
    assert removed(tmp_path, launched_again=False) == ["batchyard-a-own"]
