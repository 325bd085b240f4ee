"""What happened: everything that `step` can be told, in the past tense."""

from __future__ import annotations

from msgspec import Struct

from batchyard.core.model import (
    ConsumableState,
    ContainerEnd,
    EnvironmentState,
    FairSharePolicy,
    JobTerms,
    QueueState,
    Usage,
)
from batchyard.core.states import JobStatus


class DependencyOutcome(Struct, frozen=True):
    """How a dependency that already ended came out. `failed_children` are the indices that failed, for N_TO_N."""

    job_id: str
    status: JobStatus
    failed_children: tuple[int, ...] = ()


class JobSubmitted(Struct, frozen=True):
    """A job was stored; `ended_dependencies` are those of its dependencies that had ended before."""

    seq: int
    job_id: str
    terms: JobTerms
    ended_dependencies: tuple[DependencyOutcome, ...] = ()


class CancelRequested(Struct, frozen=True, tag="cancel"):
    """Somebody called CancelJob; `job_id` may name an array child (`ID:3`) or a node (`ID#3`)."""

    job_id: str
    reason: str


class TerminateRequested(Struct, frozen=True, tag="terminate"):
    """Somebody called TerminateJob; `job_id` may name an array child (`ID:3`) or a node (`ID#3`)."""

    job_id: str
    reason: str


class DrainRequested(Struct, frozen=True):
    """The server is to stop together with its running jobs: they are terminated, and nothing more is placed."""

    reason: str


class ClockJumped(Struct, frozen=True):
    """The machine's clock was set by so much (below 0: back), or the machine slept. Comes before what came after it."""

    by_ms: int


class EnvironmentChanged(Struct, frozen=True):
    """A compute environment was created, updated or marked for deletion."""

    environment: EnvironmentState


class PolicyChanged(Struct, frozen=True):
    """A scheduling policy was created or updated. Comes before the queues that use it."""

    policy: FairSharePolicy


class QueueChanged(Struct, frozen=True):
    """A job queue was created, updated or marked for deletion."""

    queue: QueueState


class ConsumableChanged(Struct, frozen=True):
    """A consumable resource was created, updated or deleted. `version` tells one setting of it from the next."""

    consumable: ConsumableState
    version: int
    removed: bool = False


class InstanceRegistered(Struct, frozen=True):
    """An instance joined a compute environment. `host` names the machine whose real size all its instances share."""

    instance_id: str
    environment: str
    host: str


class HostSized(Struct, frozen=True):
    """How large a machine really is; None lifts the bound (--overcommit)."""

    host: str
    vcpu_milli: int | None
    memory_mib: int | None
    address_block: str = "127.64"
    """The first two numbers of the IPv4 addresses that nodes of multi-node jobs get on this machine."""
    launches_ahead: bool = False
    """Whether its engine takes launches for which there is no room yet, and starts each as soon as there is."""
    gpus: tuple[str, ...] = ()
    """The ids of its GPUs. There are never more of them than these, whatever else is lifted."""


class EngineSurveyed(Struct, frozen=True):
    """Everything that the engine on a host holds, asked for after a restart."""

    host: str
    held: frozenset[str]


class AttemptStarted(Struct, frozen=True, tag="started"):
    """The engine has the attempt's container running."""

    attempt_id: str
    at_ms: int


class AttemptExited(Struct, frozen=True, tag="exited"):
    """The attempt's container ended, or (`started` false) could not be started, which `reason` explains.

    Of several containers, it is what the whole attempt came to, and `containers` says how each of them ended."""

    attempt_id: str
    at_ms: int
    exit_code: int | None
    reason: str | None = None
    started: bool = True
    usage: Usage | None = None
    containers: tuple[ContainerEnd, ...] = ()


class AttemptLost(Struct, frozen=True, tag="lost"):
    """The engine knows that the attempt is gone, and not how it ended; none of its processes is left."""

    attempt_id: str
    at_ms: int


class AttemptRecalled(Struct, frozen=True, tag="recalled"):
    """The engine has dropped a launch that it was asked to recall: nothing of it ever began. Told only once."""

    attempt_id: str
    at_ms: int


Report = AttemptStarted | AttemptExited | AttemptLost | AttemptRecalled

Input = (
    JobSubmitted
    | CancelRequested
    | TerminateRequested
    | DrainRequested
    | ClockJumped
    | EnvironmentChanged
    | PolicyChanged
    | QueueChanged
    | ConsumableChanged
    | InstanceRegistered
    | HostSized
    | EngineSurveyed
    | Report
)
