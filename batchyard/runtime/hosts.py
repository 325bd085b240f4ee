"""The machine behind the engine, and the instances that stand for it in each compute environment.

On a local engine every environment has one instance: this host, or the slice of it that maxvCpus allows. An instance
lives as long as whatever holds the attempts (the engine's incarnation): when that dies, its jobs' reason names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from batchyard.core.inputs import HostSized, Input, InstanceRegistered
from batchyard.engines.base import Engine

HOST = "local"
ADDRESS_BLOCKS = range(16, 240)
"""The second number of the addresses 127.x.y.z that nodes get; the system's own services stay below."""


def address_block(data_path: Path, network: str = "127") -> str:
    """The addresses that a server's nodes get, as their first two numbers, of which the engine knows the first.

    They follow from the data folder, so that two servers on a machine hand out different ones (all but certainly).
    """
    digest = hashlib.blake2b(str(data_path.resolve()).encode(), digest_size=8).digest()
    return f"{network}.{ADDRESS_BLOCKS[int.from_bytes(digest) % len(ADDRESS_BLOCKS)]}"


class LocalHost:
    """Says what the core must know of this machine."""

    def __init__(self, engine: Engine, data_path: Path, overcommit: bool) -> None:
        self._engine = engine
        self._block = address_block(data_path, engine.node_network)
        self._overcommit = overcommit
        self._incarnation = ""

    def incarnated(self, incarnation: str) -> None:
        self._incarnation = incarnation

    def sized(self) -> HostSized:
        """GPUs are never more than there are: each is somebody's own."""
        capacity = self._engine.capacity()
        vcpu_milli = None if self._overcommit else capacity.vcpu_milli
        memory_mib = None if self._overcommit else capacity.memory_mib
        return HostSized(HOST, vcpu_milli, memory_mib, self._block, self._engine.launches_ahead, capacity.gpus)

    def register(self, environments: Iterable[str]) -> list[Input]:
        """This host as the instance of each environment."""
        return [InstanceRegistered(self._instance_id(name), name, HOST) for name in environments]

    def _instance_id(self, environment: str) -> str:
        digest = hashlib.blake2b(f"{self._incarnation}/{environment}".encode(), digest_size=9).hexdigest()
        return f"i-{digest[:17]}"
