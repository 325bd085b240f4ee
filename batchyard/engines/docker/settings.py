"""What a server's settings say of the Docker engine."""

from __future__ import annotations

from msgspec import Struct

from batchyard.engines.docker.build import NO_NETWORK
from batchyard.engines.docker.images import PullPolicy


class DockerSettings(Struct, frozen=True):
    """What a server's settings say of the engine."""

    host: str
    pull: PullPolicy = "missing"
    network: str = "bridge"
    networks: dict[str, str] = {}
    """Subnet -> network."""
    private_networks: dict[str, str] = {}
    """The same for private subnets: these networks are internal."""
    cpu_quota: bool = False
    storage_quota: bool = False
    keep_failed: int = 0
    images_max_bytes: int | None = None
    efs_address: str = "{file_system_id}.efs.{region}.amazonaws.com"
    region: str = "us-east-1"
    gpus: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def may_be_offline(self) -> bool:
        """Whether there can be containers without a network."""
        return NO_NETWORK in {self.network, *self.networks.values(), *self.private_networks.values()}
