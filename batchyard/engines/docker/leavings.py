"""What Docker has of attempts that are over: removed, or kept for its owner to look into."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Container

import structlog

from batchyard.core.inputs import AttemptExited
from batchyard.engines.docker import build
from batchyard.engines.docker.attempt import Attempt
from batchyard.engines.docker.client import Client
from batchyard.engines.docker.hosts import HostsFiles
from batchyard.engines.docker.labels import LABEL_SERVER, LABEL_VOLUME_OF
from batchyard.engines.docker.link import Link
from batchyard.engines.docker.networks import NodeNetwork
from batchyard.engines.docker.usage import Groups
from batchyard.engines.docker.volumes import own_volumes
from batchyard.exceptions import DaemonRefusedError

KEPT_PREFIX = "failed-"
"""Before the name of a container that is kept after its attempt is over."""

_log = structlog.get_logger(__name__)


class Leavings:
    """The containers, volumes, networks, control groups and files of attempts that are forgotten."""

    def __init__(
        self,
        client: Client,
        link: Link,
        options: build.Options,
        nodes: NodeNetwork,
        groups: Groups,
        hosts: HostsFiles,
        keep_failed: int,
    ) -> None:
        """`keep_failed` is how many failed attempts keep their containers and volumes."""
        self._client = client
        self._link = link
        self._options = options
        self._nodes = nodes
        self._groups = groups
        self._hosts = hosts
        self._keep_failed = keep_failed
        self._kept: dict[str, list[str]] = {}
        """The containers that are kept, by attempt, the oldest first."""

    def found_kept(self, attempt_id: str, name: str) -> None:
        """An earlier server has kept a container."""
        names = self._kept.setdefault(attempt_id, [])
        if name not in names:
            names.append(name)

    def kept(self) -> set[str]:
        """The names that containers which are kept had before."""
        return {name.removeprefix(KEPT_PREFIX) for names in self._kept.values() for name in names}

    async def tidy(self, attempts: Container[str]) -> None:
        """Remove what an earlier server kept, and this one would not; and what one left that died as it removed it.
        `attempts` are those that have not been forgotten: all that were found, and what is launched meanwhile, perhaps
        again by an id of which there is something left: so they are asked last thing before anything goes."""
        await self._keep_no_more_than_asked()
        await self._nodes.tidy()
        for attempt_id in await self._attempts_with_volumes():
            if attempt_id not in attempts and attempt_id not in self._kept:
                await self._remove_volumes(attempt_id, functools.partial(operator.contains, attempts, attempt_id))
        if self._options.cgroup_driver:
            for name in self._groups.names(build.cgroup_folder(self._options)):
                attempt_id = build.attempt_of_group(self._options, name)
                if attempt_id not in attempts:
                    is_needed = functools.partial(operator.contains, attempts, attempt_id)
                    await self._groups.remove(build.cgroup_parent(self._options, attempt_id), is_needed)

    async def _attempts_with_volumes(self) -> set[str]:
        label = f"{LABEL_SERVER}={self._options.server_id}"
        volumes = await self._link.reliably(lambda: self._client.volumes_by_label(label))
        owners = {labels[LABEL_VOLUME_OF] for _, labels in volumes if LABEL_VOLUME_OF in labels}
        return {owner.removeprefix(self._options.prefix) for owner in owners}

    async def clear_away(self, attempt: Attempt) -> None:
        """Remove what there is of an attempt that is over, or keep it."""
        last, attempt_id = attempt.reports[-1], attempt.attempt_id
        failed = not isinstance(last, AttemptExited) or last.exit_code != 0
        names = [run.name for run in attempt.runs]
        is_kept = bool(failed and self._keep_failed and await self._keep(attempt_id, names))
        if not is_kept:
            for name in names:
                await self._remove(name)
        if len(names) > 1:
            await self._remove(build.pause_name(self._options.prefix, attempt_id))
        may_have_volumes = attempt.launch is None or attempt.launch.task is None or own_volumes(attempt.launch.task)
        if may_have_volumes and not is_kept:
            await self._remove_volumes(attempt_id)
        await self._nodes.leave(attempt_id)
        if self._options.cgroup_driver:
            await self._groups.remove(build.cgroup_parent(self._options, attempt_id))

    async def _keep(self, attempt_id: str, names: list[str]) -> bool:
        """Keep an attempt's containers under other names; the oldest attempt's go when there are too many."""
        renamed = [KEPT_PREFIX + name for name in names if await self._rename(name)]
        if not renamed:
            return False
        self._kept[attempt_id] = renamed
        await self._keep_no_more_than_asked()
        return True

    async def _keep_no_more_than_asked(self) -> None:
        while len(self._kept) > self._keep_failed:
            oldest = next(iter(self._kept))
            for name in self._kept.pop(oldest):
                await self._remove(name)
            await self._remove_volumes(oldest)

    async def _rename(self, name: str) -> bool:
        try:
            await self._link.reliably(lambda: self._client.rename(name, KEPT_PREFIX + name))
        except DaemonRefusedError:
            return False
        return True

    async def _remove(self, name: str) -> None:
        try:
            await self._link.reliably(lambda: self._client.remove(name))
        except DaemonRefusedError as error:
            _log.warning("docker.container_stays", container=name, error=str(error))
        else:
            self._hosts.remove(name.removeprefix(KEPT_PREFIX))

    async def _remove_volumes(self, attempt_id: str, is_needed: Callable[[], bool] = lambda: False) -> None:
        label = f"{LABEL_VOLUME_OF}={self._options.prefix}{attempt_id}"
        for volume, _ in await self._link.reliably(lambda: self._client.volumes_by_label(label)):
            if is_needed():
                return
            try:
                await self._link.reliably(functools.partial(self._client.remove_volume, volume))
            except DaemonRefusedError as error:
                _log.warning("docker.volume_stays", volume=volume, error=str(error))
