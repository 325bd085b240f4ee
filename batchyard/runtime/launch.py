"""From a scheduler's LaunchAttempt to what an engine can run: the command, the environment, the limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from msgspec import Struct, field, structs

from batchyard.core.effects import LaunchAttempt, NodePlacement
from batchyard.core.model import JobTerms
from batchyard.engines.base import Launch
from batchyard.engines.task import Secret, Task, tasks_of
from batchyard.runtime.job_endpoint import JobEndpoint
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
    secrets: list[Secret] = []
    role: str | None = field(name="jobRoleArn", default=None)


class _Task(Struct):
    containers: list[_Container]
    role: str | None = field(name="taskRoleArn", default=None)


class _Ecs(Struct):
    task_properties: list[_Task] = field(name="taskProperties")


class _NodeRange(Struct):
    container: _Container | None = None
    ecs: _Ecs | None = field(name="ecsProperties", default=None)

    @property
    def launched(self) -> _Container:
        """The one container, whichever way it is described; of a range that no node runs, an empty one. An empty one
        stands for several, too: what is theirs is in their task."""
        if self.ecs is None:
            return self.container or _Container()
        containers = self.ecs.task_properties[0].containers
        return containers[0] if len(containers) == 1 else _Container()

    @property
    def role(self) -> str | None:
        return self.ecs.task_properties[0].role if self.ecs else self.container.role if self.container else None


class _Nodes(Struct):
    ranges: list[_NodeRange] = field(name="nodeRangeProperties")


class _Detail(_NodeRange):
    nodes: _Nodes | None = field(name="nodeProperties", default=None)

    @property
    def programs(self) -> list[_NodeRange]:
        """What the job runs, or what each of its node ranges does."""
        return [self] if self.nodes is None else list(self.nodes.ranges)


class _Program(Struct, frozen=True):
    """What one container runs."""

    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: tuple[Secret, ...]
    """The variables whose values a store of secrets has to give."""
    has_role: bool = False


class _Launchable(Struct, frozen=True):
    """One job, ready to make launches from; array children differ from it in a few variables only."""

    queue: str
    array_size: int | None
    terms: JobTerms
    programs: tuple[_Program, ...]
    """What the job runs; of a multi-node job, what each of its node ranges runs."""
    tasks: tuple[Task, ...] = ()
    """For an engine that runs containers: what those programs run in."""

    def range_of(self, index: int | None) -> int:
        """Which of `programs` and `tasks` a launch is of."""
        nodes = self.terms.nodes
        return 0 if nodes is None or index is None else nodes.group_of(index).node_range


_detail = msgspec.json.Decoder(_Detail)
_terms = msgspec.json.Decoder(JobTerms)


class Launcher:
    """Makes launches, and keeps what it read of the last jobs: an array's children all need the same."""

    def __init__(self, database: Database, endpoint: JobEndpoint, *, with_tasks: bool) -> None:
        """`with_tasks`: the engine runs containers."""
        self._endpoint = endpoint
        self._database = database
        self._with_tasks = with_tasks
        self._jobs: OrderedDict[str, _Launchable] = OrderedDict()

    async def prepare(self, job_ids: Sequence[str]) -> None:
        """Read what launches of these jobs need, as far as it isn't known yet."""
        missing = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._jobs]
        if not missing:
            return
        for detail in await self._database.read(lambda connection: read_launch_details(connection, missing)):
            self._jobs[detail.job_id] = _launchable(detail, with_tasks=self._with_tasks)

    def launch(self, effect: LaunchAttempt) -> Launch:
        """The launch for an effect whose job was prepared."""
        job = self._jobs[effect.job_id]
        self._jobs.move_to_end(effect.job_id)
        place = job.range_of(effect.index)
        program = job.programs[place]
        resources = job.terms.resources_of(effect.index)
        told = self._told(job, place, effect)
        return Launch(
            attempt_id=effect.attempt_id,
            command=program.command,
            environment={**program.environment, **({} if job.tasks else told[0]), **_variables(job, effect)},
            vcpu_milli=resources.vcpu_milli,
            memory_mib=resources.memory_mib,
            stop_grace_seconds=job.terms.stop_grace_seconds,
            rooms=effect.rooms,
            address=effect.node.address if effect.node is not None else None,
            host_name=f"node-{effect.index}" if effect.node is not None else None,
            task=job.tasks[place] if job.tasks else None,
            gpus=effect.gpus,
            subnets=effect.subnets if job.tasks else (),
            told=told if job.tasks else (),
        )

    def _told(self, job: _Launchable, place: int, effect: LaunchAttempt) -> tuple[dict[str, str], ...]:
        """What each container is told of the server. A role is the whole task's."""
        program = job.programs[place]
        if not job.tasks:
            own = {*program.environment, *(each.name for each in program.secrets)} if program.has_role else ()
            return (self._endpoint.variables(effect, own, has_role=program.has_role),)
        return tuple(
            self._endpoint.variables(effect, container.variable_names, has_role=program.has_role, container=number)
            for number, container in enumerate(job.tasks[place].containers)
        )

    def secret_sources(self, effect: LaunchAttempt) -> tuple[str, ...]:
        """Where the values come from without which the attempt must not be started."""
        job = self._jobs[effect.job_id]
        place = job.range_of(effect.index)
        if not job.tasks:
            return tuple(each.value_from for each in job.programs[place].secrets)
        return tuple(source for container in job.tasks[place].containers for source in container.secret_sources)

    def with_secrets(self, launch: Launch, secrets: Sequence[Secret], values: dict[str, str]) -> Launch:
        """The launch with what its job is owed. Variables that the service sets win over secrets of their names."""
        variables = {each.name: values[each.value_from] for each in secrets}
        environment = {**variables, **launch.environment}
        return structs.replace(launch, environment=environment, secrets=values if self._with_tasks else {})

    def secrets(self, effect: LaunchAttempt) -> tuple[Secret, ...]:
        """The variables of the attempt's program that are secrets."""
        job = self._jobs[effect.job_id]
        return job.programs[job.range_of(effect.index)].secrets

    def trim(self) -> None:
        """Forget the jobs launched longest ago."""
        while len(self._jobs) > CACHED_JOBS:
            self._jobs.popitem(last=False)


def _launchable(stored: LaunchDetail, *, with_tasks: bool) -> _Launchable:
    containers = _detail.decode(stored.detail).programs
    return _Launchable(
        stored.queue,
        stored.array_size,
        _terms.decode(stored.terms),
        tuple(_program(each.launched, each.role) for each in containers),
        tasks_of(stored.detail) if with_tasks else (),
    )


def _program(container: _Container, role: str | None) -> _Program:
    return _Program(
        tuple(container.command),
        {pair.name: pair.value for pair in container.environment},
        tuple(container.secrets),
        bool(role),
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
