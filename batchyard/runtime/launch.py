"""From a scheduler's LaunchAttempt to what an engine can run: the command, the environment, the limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from batchyard.core import reasons
from batchyard.core.effects import LaunchAttempt, NodePlacement
from batchyard.core.model import JobTerms
from batchyard.engines.base import Launch
from batchyard.store.database import Database
from batchyard.store.progress import LaunchDetail, read_launch_details

CACHED_JOBS = 4096
OWN_ADDRESS_VARIABLE = "BATCHYARD_NODE_PRIVATE_IPV4_ADDRESS"
"""A node's own address. On AWS a node asks its network interface; nodes on one machine share those."""


class _Pair(Struct):
    name: str = ""
    value: str = ""


class _Container(Struct):
    """What a launch takes of a job's container."""

    command: list[str] = []
    environment: list[_Pair] = []
    secrets: list[_Pair] = []


class _Task(Struct):
    containers: list[_Container]


class _Ecs(Struct):
    task_properties: list[_Task] = field(name="taskProperties")


class _NodeRange(Struct):
    container: _Container | None = None
    ecs: _Ecs | None = field(name="ecsProperties", default=None)

    @property
    def launched(self) -> _Container:
        """The one container, whichever way it is described; of a range that no node runs, an empty one."""
        return self.ecs.task_properties[0].containers[0] if self.ecs else self.container or _Container()


class _Nodes(Struct):
    ranges: list[_NodeRange] = field(name="nodeRangeProperties")


class _Detail(_NodeRange):
    nodes: _Nodes | None = field(name="nodeProperties", default=None)

    @property
    def programs(self) -> list[_Container]:
        """What the job runs, or what each of its node ranges does."""
        return [self.launched] if self.nodes is None else [each.launched for each in self.nodes.ranges]


class _Program(Struct, frozen=True):
    """What one container runs."""

    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: tuple[str, ...]
    """The names of the variables whose values a secret store would have to give."""


class _Launchable(Struct, frozen=True):
    """One job, ready to make launches from; array children differ from it in a few variables only."""

    queue: str
    array_size: int | None
    terms: JobTerms
    programs: tuple[_Program, ...]
    """What the job runs; of a multi-node job, what each of its node ranges runs."""

    def program_of(self, index: int | None) -> _Program:
        nodes = self.terms.nodes
        return self.programs[0 if nodes is None or index is None else nodes.group_of(index).node_range]


_detail = msgspec.json.Decoder(_Detail)
_terms = msgspec.json.Decoder(JobTerms)


class Launcher:
    """Makes launches, and keeps what it read of the last jobs: an array's children all need the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: OrderedDict[str, _Launchable] = OrderedDict()

    async def prepare(self, job_ids: Sequence[str]) -> None:
        """Read what launches of these jobs need, as far as it isn't known yet."""
        missing = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._jobs]
        if not missing:
            return
        for detail in await self._database.read(lambda connection: read_launch_details(connection, missing)):
            self._jobs[detail.job_id] = _launchable(detail)

    def launch(self, effect: LaunchAttempt) -> Launch:
        """The launch for an effect whose job was prepared."""
        job = self._jobs[effect.job_id]
        self._jobs.move_to_end(effect.job_id)
        program = job.program_of(effect.index)
        resources = job.terms.resources_of(effect.index)
        return Launch(
            attempt_id=effect.attempt_id,
            command=program.command,
            environment={**program.environment, **_variables(job, effect)},
            vcpu_milli=resources.vcpu_milli,
            memory_mib=resources.memory_mib,
            stop_grace_seconds=job.terms.stop_grace_seconds,
            rooms=effect.rooms,
        )

    def obstacle(self, effect: LaunchAttempt) -> str | None:
        """Why the attempt must not be started: its container would run without the secrets it is owed."""
        secrets = self._jobs[effect.job_id].program_of(effect.index).secrets
        return reasons.secrets_missing(secrets) if secrets else None

    def trim(self) -> None:
        """Forget the jobs launched longest ago."""
        while len(self._jobs) > CACHED_JOBS:
            self._jobs.popitem(last=False)


def _launchable(stored: LaunchDetail) -> _Launchable:
    containers = _detail.decode(stored.detail).programs
    return _Launchable(
        stored.queue, stored.array_size, _terms.decode(stored.terms), tuple(_program(each) for each in containers)
    )


def _program(container: _Container) -> _Program:
    return _Program(
        tuple(container.command),
        {pair.name: pair.value for pair in container.environment},
        tuple(pair.name for pair in container.secrets),
    )


def _variables(job: _Launchable, effect: LaunchAttempt) -> dict[str, str]:
    """The variables that the service sets (user guide, "AWS Batch Job Environment Variables")."""
    mark = ":" if effect.node is None else "#"
    variables = {
        "AWS_BATCH_JOB_ID": effect.job_id if effect.index is None else f"{effect.job_id}{mark}{effect.index}",
        "AWS_BATCH_JQ_NAME": job.queue,
        "AWS_BATCH_CE_NAME": effect.environment,
        "AWS_BATCH_JOB_ATTEMPT": str(effect.number),
    }
    if effect.node is not None:
        variables.update(_node_variables(effect.index, effect.node))
    elif effect.index is not None:
        variables["AWS_BATCH_JOB_ARRAY_INDEX"] = str(effect.index)
        variables["AWS_BATCH_JOB_ARRAY_SIZE"] = str(job.array_size)
    return variables


def _node_variables(index: int | None, node: NodePlacement) -> dict[str, str]:
    """A node's variables; only the other nodes are told the main node's address (the multi-node pages)."""
    variables = {
        "AWS_BATCH_JOB_NODE_INDEX": str(index),
        "AWS_BATCH_JOB_NUM_NODES": str(node.num_nodes),
        "AWS_BATCH_JOB_MAIN_NODE_INDEX": str(node.main_node),
        OWN_ADDRESS_VARIABLE: node.address,
    }
    if node.main_address is not None:
        variables["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = node.main_address
    return variables
