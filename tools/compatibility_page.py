"""docs/compatibility.md: which operations and members of the AWS APIs are built.

Operations come from the installed botocore models and from the registry. What is refused comes from the calls of
`refuse_not_built` and `not_built` in `api/`. What is only recorded is listed here, because no code says so: it is what
the code does nothing with. A name that the model does not have, or that is refused as well, stops the generator.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore
from msgspec import Struct

from batchyard.api import batch, log_groups, log_patterns, log_search
from batchyard.api.batch import (
    checks,
    compute_resources,
    container_members,
    ecs_properties,
    job_definitions,
    job_queues,
    job_work,
    jobs,
    node_properties,
    submit_job,
)
from batchyard.api.catalogue import OPERATIONS
from batchyard.engines.docker import honoured
from batchyard.engines.process import host
from batchyard.runtime.launch import OWN_ADDRESS_VARIABLE
from batchyard.wire.contract import Contract, Service
from tools import compatibility_members
from tools.markdown import code, page, table

SUFFIX = "is not built in Batchyard yet"
SOURCES = "".join(path.read_text() for path in sorted(Path(batch.__path__[0]).glob("*.py")))
"""Of all operations of AWS Batch: a member whose name is nowhere in there is ignored."""

RECORDED: dict[str, tuple[str, ...]] = {
    "CreateComputeEnvironment": ("context", "ecsSettings", "serviceRole"),
    "UpdateComputeEnvironment": ("context", "ecsSettings", "serviceRole", "updatePolicy"),
}
"""Members that are checked by the service's rules, kept and described, and change nothing else."""

_PROPAGATION = "honoured as far as it fails jobs with too many tags; there are no ECS tasks that could have them"
SPECIAL: dict[str, dict[str, str]] = {
    "CreateComputeEnvironment": {"computeResources": "see below"},
    "UpdateComputeEnvironment": {"computeResources": "see below"},
    "RegisterJobDefinition": {
        "containerProperties": "see below",
        "ecsProperties": "honoured; SubmitJob refuses tasks of several containers on the process engine",
        "eksProperties": "recorded; SubmitJob refuses them, because no queue here runs pods",
        "propagateTags": _PROPAGATION,
        "nodeProperties": "see below",
        "platformCapabilities": "honoured: `EC2` and `FARGATE` each have the service's rules",
    },
    "SubmitJob": {
        "eksPropertiesOverride": "refused with the job definition that it is for",
        "propagateTags": _PROPAGATION,
        "containerOverrides": "honoured; its `instanceType` is recorded",
        "nodeOverrides": "honoured; `instanceTypes` are recorded, `eksPropertiesOverride` goes with what is refused",
    },
}
"""What one word is not enough for."""

VALUES = """\
These texts come with a value that asks for what is not built, of a member or operation that is. The tag is any whose
key begins with `batchyard:`. DescribeLogGroups refuses `accountIdentifiers` and `includeLinkedAccounts` in the same
way."""

HONOURED_RESOURCES = ("maxvCpus", "type")
"""The members of computeResources that have an effect on a local engine."""

HEAD = """\
# Compatibility

What Batchyard answers of the APIs in botocore {version}. Every operation of these models is routed and its request is
checked against the model; one that is not built answers HTTP 400, `ClientException`, with the text
`<Operation> is not built in Batchyard yet`.

Members of a request are

- **honoured**: they do what they do on AWS;
- **recorded**: they are checked by the service's rules, stored and described, and have no other effect;
- **refused**: a request with them gets a `ClientException`, unless they are empty;
- **ignored**: the model does not have them, or has had them for a shorter time than this version of Batchyard."""

RESOURCES = """\
### computeResources

A compute environment on a local engine is an amount of this machine's vCPUs: {honoured} are honoured.
{refused} are refused, and so is the type `ECS_MANAGED_INSTANCES`.
All other members are recorded: no instance is launched that they could be about. On the Docker engine `subnets` choose
the network of containers, where a setting names one for them ([docker.md](docker.md#subnets))."""

CONTAINER = """\
### containerProperties, and the containers of ecsProperties

The process engine runs a job's command as a plain process group on this machine; the Docker engine runs it in a
container ([docker.md](docker.md)). A member that is *recorded* is accepted, stored and described, and what it asks for
is not done."""

STRUCTURES = f"""\
What becomes of every member of every structure, on the process engine. What is refused with a member gets
`<member> {SUFFIX}`; what is refused with the job gets SubmitJob's text on several containers, which
stands below, or

> {compatibility_members.NO_PODS}"""

CONTAINER_VALUES = """\
A job that asks for more GPUs than this machine has stays RUNNABLE and says so, whatever instance types its compute
environment names. A job whose secrets can't be had does not run without them, but fails to
start, with a container reason that begins with `ResourceInitializationError`. Of a task of `ecsProperties`,
`stopTimeout` and `taskRoleArn` are honoured, and on Docker `dependsOn` (with the condition HEALTHY beside the service's
own), `essential`, `startTimeout`, `ipcMode` and `pidMode`; `platformVersion` asks for what is not done."""

EXECUTE = compatibility_members.EXECUTE
ENGINE_NOTES: dict[str, dict[str, str]] = {
    "process": {
        "enableExecuteCommand": EXECUTE,
        "logConfiguration": "honoured for the driver `awslogs`: group, stream prefix, events of several lines;"
        " `awsfirelens` is refused",
        "resourceRequirements": "honoured; GPUs by `CUDA_VISIBLE_DEVICES` and `NVIDIA_VISIBLE_DEVICES`",
    },
    "docker": {
        "jobRoleArn": "honoured where containers reach the server ([job-roles.md](job-roles.md))",
        "enableExecuteCommand": EXECUTE,
        "resourceRequirements": "honoured; GPUs by a device request, which needs NVIDIA's container toolkit",
        "volumes": "honoured; EFS without encryption in transit or access points, S3 Files refused",
        "ephemeralStorage": "honoured with the setting `docker_storage_quota`",
        "logConfiguration": "honoured; `awsfirelens` is refused",
    },
}
"""What one word is not enough for."""

NODES = """\
### nodeProperties

Multi-node parallel jobs run on every local engine; `numNodes`, `mainNode`, `targetNodes`, `container` and
`consumableResourceProperties` are honoured, `instanceTypes` is recorded. `ecsProperties` of a range are honoured, a
task of several containers on Docker alone; `eksProperties` are recorded, and SubmitJob refuses them. Environments of
any kind take multi-node jobs, Spot and UNMANAGED ones too.

A gang is placed when there are enough consumable resources for all its nodes and for what the job itself asks for
(its own `consumableResourceProperties`, which the main node takes). Each node gives back what it took when it ends.

Each node has an address of its own, which connections from the other nodes reach: `127.x.y.z` on the process engine,
`10.x.y.z` on Docker. Besides the service's variables it finds it in `{own_address}`. On the
process engine a program that listens on all addresses (`0.0.0.0`) takes the port from the other nodes on this machine:
listen on the node's own address.

TerminateJob on one node that is STARTING or RUNNING ends that node alone; on the main node it ends the job."""


class Refusals(Struct, frozen=True):
    """What one module of `api/` refuses as not built yet."""

    members: frozenset[str]
    nested: frozenset[str]
    """Those of them that belong to a member of the request, not to the request itself."""
    values: tuple[str, ...]
    """The texts about single values of what is honoured otherwise."""


def render() -> str:
    contract = Contract.load()
    parts = [HEAD.format(version=botocore.__version__)]
    for service in contract.services.values():
        parts += [f"## {_title(service)}", _operations(service)]
    service = contract.services["batch"]
    tables = {name: _words(service, name) for name in built(service)}
    plain = [name for name, words in tables.items() if set(words.values()) <= {"honoured"}]
    parts += ["## Members of the requests of AWS Batch", f"Of {_and(plain)} all members are honoured."]
    for name, words in tables.items():
        if name not in plain:
            rows = [(code(member), word) for member, word in words.items()]
            parts += [f"### {name}", table(("Member", ""), rows)]
    parts += [_resources(), _nodes(), CONTAINER, _container(service), CONTAINER_VALUES]
    parts += [
        "## Members of the structures in these requests",
        STRUCTURES,
        compatibility_members.render(structures(service), SOURCES),
    ]
    return page(*parts, "## Values that are refused", VALUES, _values())


def built(service: Service) -> list[str]:
    """The names of the service's operations that are built."""
    return sorted(name for each, name in OPERATIONS if each == service.name)


# ---- operations


def _title(service: Service) -> str:
    full = str(service.model.metadata["serviceFullName"])
    return f"{full}: {len(built(service))} of {len(service.operation_names)} operations"


def _operations(service: Service) -> str:
    done = built(service)
    missing = sorted(service.operation_names - set(done))
    if service.name == "batch":
        rows = [(code(name), "built" if name in done else "not built") for name in sorted(service.operation_names)]
        return table(("Operation", ""), rows)
    listed = "\n".join(f"- {code(name)}" for name in done)
    return f"{listed}\n\nNot built: {', '.join(map(code, missing))}."


# ---- members of requests


def _words(service: Service, name: str) -> dict[str, str]:
    """What becomes of each member of the operation's request."""
    members = service.model.operation_model(name).input_shape.members
    module = inspect.getmodule(OPERATIONS[(service.name, name)])
    assert module is not None
    refused = refusals(module).members - refusals(module).nested
    recorded = RECORDED.get(name, ())
    _check(name, members, recorded, refused)
    words = {}
    for member in members:
        if member in refused:
            word = f"refused: `{member} {SUFFIX}`"
        elif f'"{member}"' not in SOURCES:
            word = "ignored"
        else:
            word = "recorded" if member in recorded else "honoured"
        words[member] = SPECIAL.get(name, {}).get(member, word)
    return words


def _check(name: str, members: Sequence[str], recorded: Sequence[str], refused: frozenset[str]) -> None:
    """Raise ValueError for a name in this file's own tables that the code or the model contradicts."""
    for known in (recorded, SPECIAL.get(name, {})):
        unknown = set(known) - set(members)
        if unknown or set(known) & refused:
            raise ValueError(f"{name}: {sorted(unknown or set(known) & refused)} is no such member, or is refused")


def _resources() -> str:
    refused = sorted(refusals(compute_resources).members)
    return RESOURCES.format(honoured=_and(HONOURED_RESOURCES), refused=_and(refused))


def _nodes() -> str:
    return NODES.format(own_address=OWN_ADDRESS_VARIABLE)


def structures(service: Service) -> dict[str, Any]:
    """All structures that the requests of built operations can hold, by name."""
    found: dict[str, Any] = {}
    for name in built(service):
        for member in service.model.operation_model(name).input_shape.members.values():
            compatibility_members.structures(member, found)
    return found


def _and(names: Sequence[str]) -> str:
    *first, last = map(code, names)
    return f"{', '.join(first)} and {last}" if first else last


def _container(service: Service) -> str:
    """What becomes of each member on each engine, which is asked with a container that has them all."""
    members = service.model.shape_for("ContainerProperties").members
    everything: dict[str, object] = dict.fromkeys(members, True)
    unused = {
        "process": host.unsupported(everything),
        "docker": honoured.unsupported(everything, storage_quota=False, roles=True),
    }
    rows = [(code(member), *(_on(engine, member, unused[engine]) for engine in unused)) for member in members]
    return table(("Member", "process", "Docker"), rows)


def _on(engine: str, member: str, unused: Sequence[str]) -> str:
    word = "recorded" if member in unused else "honoured"
    return ENGINE_NOTES[engine].get(member, word)


# ---- what the code refuses


def refusals(module: ModuleType) -> Refusals:
    """Found in the module's source: the arguments of `refuse_not_built`, and the texts that end as all of them do."""
    members: set[str] = set()
    nested: set[str] = set()
    values: list[str] = []
    for call in _calls(module):
        if _name(call.func) == "refuse_not_built":
            names = set(_evaluated(call.args[1], module))
            members |= names
            nested |= names if len(call.args) > 2 else set()
        elif _name(call.func) == "not_built":
            values.append(f"{_text(call.args[0])} {SUFFIX}")
        elif call.args and "not built in Batchyard yet" in (text := _text(call.args[0])):
            values.append(text)
    return Refusals(frozenset(members), frozenset(nested), tuple(values))


def _values() -> str:
    modules = (
        checks,
        compute_resources,
        job_definitions,
        container_members,
        ecs_properties,
        job_queues,
        job_work,
        jobs,
        node_properties,
        submit_job,
        log_groups,
        log_patterns,
        log_search,
    )
    texts = [text for module in modules for text in refusals(module).values if not text.startswith("…")]
    return "\n".join(f"- `{text}`" for text in dict.fromkeys(texts))


def _calls(module: ModuleType) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call):
            yield node


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _evaluated(argument: ast.expr, module: ModuleType) -> Sequence[str]:
    """A list of names, written out or by the constant that holds it."""
    value: Any = getattr(module, argument.id) if isinstance(argument, ast.Name) else ast.literal_eval(argument)
    return tuple(value)


def _text(argument: ast.expr) -> str:
    """A text as its readers see it; an ellipsis where a value is put in."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    if isinstance(argument, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in argument.values)
    return ""
