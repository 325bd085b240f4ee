"""What to do next: everything that `step` can ask for, in the imperative. All are idempotent by attempt id."""

from __future__ import annotations

from msgspec import Struct

from batchyard.core.model import RoomLimit


class NodePlacement(Struct, frozen=True):
    """What a node of a multi-node job is told of itself and the others. The main node has no `main_address`."""

    address: str
    num_nodes: int
    main_node: int
    main_address: str | None


class LaunchAttempt(Struct, frozen=True):
    """Start this attempt's container. `index` is the array or node index, None for a single job."""

    attempt_id: str
    job_id: str
    index: int | None
    number: int
    environment: str
    instance_id: str
    node: NodePlacement | None = None
    rooms: tuple[RoomLimit, ...] = ()
    """Where it runs, for engines that launch ahead: it starts as soon as it fits into all of them."""
    gpus: tuple[str, ...] = ()
    """The ids of the GPUs that are its own."""
    subnets: tuple[str, ...] = ()
    """The ids of its environment's subnets."""


class StopAttempt(Struct, frozen=True):
    """Stop this attempt: SIGTERM, `grace_seconds`, SIGKILL."""

    attempt_id: str
    grace_seconds: int


class RecallAttempt(Struct, frozen=True):
    """Drop this launch if it still waits for room, and say so; if it has begun, let it be."""

    attempt_id: str


class ForgetAttempt(Struct, frozen=True):
    """This attempt's end is stored: the engine may drop what it remembers of it."""

    attempt_id: str


Effect = LaunchAttempt | StopAttempt | RecallAttempt | ForgetAttempt
