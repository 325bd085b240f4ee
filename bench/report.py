"""What `--json` writes, and what docs/performance.md is made of."""

from __future__ import annotations

from msgspec import Struct

from bench.figures import Figure, Skipped


class Machine(Struct, frozen=True):
    """Where it was measured."""

    cpu: str
    cores: int
    """So many were used."""
    kernel: str
    memory_mib: int
    versions: dict[str, str]


class Measured(Struct, frozen=True):
    """One measurement: its figures, how long it took, and how busy others kept the CPUs (0 to 1) when it began."""

    name: str
    busy_share: float
    seconds: float
    results: tuple[Figure | Skipped, ...]


class Report(Struct, frozen=True):
    """One run of the measurements."""

    at: str
    quick: bool
    machine: Machine
    measured: tuple[Measured, ...]
