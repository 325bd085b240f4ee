"""Requests that are right, and the ways to spoil them that the service model knows of.

The in-process table (`tests/unit/api/test_bad_input_table.py`) goes through all of them; the acceptance tests send a
random choice to a running server.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from batchyard.wire.contract import Contract
from batchyard.wire.validate import compile_pattern
from tests.profiles import IS_QUICK
from tests.unit.wire.samples import Sampler

Key = tuple[str, str]
"""(service, operation)."""

CONTRACT = Contract.load()

WRONG_TYPES: dict[str, tuple[Any, ...]] = {
    "string": (1, 1.5, True, [], {}, ["text"], {"text": "text"}),
    "integer": ("1", 1.5, True, [], {}, 2**31, -(2**31) - 1),
    "long": ("1", 1.5, True, [], {}, 2**63, -(2**63) - 1),
    "float": ("1", True, [], {}),
    "double": ("1", True, [], {}),
    "timestamp": ("now", True, [], {}),
    "boolean": ("true", 0, 1, [], {}),
    "list": ("text", 1, True, {}, [None]),
    "map": ("text", 1, True, []),
    "structure": ("text", 1, True, []),
}
QUICK_TYPES = 2
NO_TEXT_OF_THE_MODEL = ("\x01 :*", "a b", "a:b*", "*", "!")
"""Each pattern in the models refuses one of these."""

TAKEN_EMPTY = frozenset({"TagrisTagsMap"})
"""The service takes these empty, though the model wants one entry: Airflow submits every job with `tags: {}`."""
ENUMS_OF_ANY_CASE = frozenset({"RetryAction"})
"""The guide: evaluateOnExit's action is not case sensitive."""

UNKNOWN = "aMemberThatNoModelHas"


class Names(NamedTuple):
    """What the good requests are about; all of it is there when they are sent."""

    environment: str
    """Used by `queue`."""
    spare_environment: str
    """DISABLED and used by no queue."""
    queue: str
    spare_queue: str
    """DISABLED."""
    definition: str
    consumable: str
    policy: str
    """Used by no queue."""
    job_id: str
    array_id: str
    log_group: str
    log_stream: str

    @property
    def policy_arn(self) -> str:
        return f"arn:aws:batch:us-east-1:123456789012:scheduling-policy/{self.policy}"

    @property
    def queue_arn(self) -> str:
        return f"arn:aws:batch:us-east-1:123456789012:job-queue/{self.queue}"


class HttpRequest(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


def good_requests(names: Names) -> dict[Key, dict[str, Any]]:
    """One request for each operation, which is answered with 200."""
    return {
        **_resource_requests(names),
        **_consumable_requests(names),
        **_policy_requests(names),
        **_job_requests(names),
        **_log_requests(names),
    }


def _resource_requests(names: Names) -> dict[Key, dict[str, Any]]:
    return {
        ("batch", "CreateComputeEnvironment"): {
            "computeEnvironmentName": "new-environment",
            "type": "MANAGED",
            "state": "ENABLED",
            "computeResources": {
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": 4,
                "desiredvCpus": 0,
                "instanceTypes": ["optimal"],
                "subnets": ["subnet-1"],
                "securityGroupIds": ["sg-1"],
                "instanceRole": "ecsInstanceRole",
            },
            "serviceRole": "",
            "tags": {"team": "a"},
        },
        ("batch", "DescribeComputeEnvironments"): {"computeEnvironments": [names.environment], "maxResults": 10},
        ("batch", "UpdateComputeEnvironment"): {
            "computeEnvironment": names.environment,
            "state": "ENABLED",
            "computeResources": {"maxvCpus": 8},
        },
        ("batch", "DeleteComputeEnvironment"): {"computeEnvironment": names.spare_environment},
        ("batch", "CreateJobQueue"): {
            "jobQueueName": "new-queue",
            "state": "ENABLED",
            "priority": 10,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": names.environment}],
            "jobQueueType": "ECS",
            "tags": {"team": "a"},
        },
        ("batch", "DescribeJobQueues"): {"jobQueues": [names.queue], "maxResults": 10},
        ("batch", "UpdateJobQueue"): {
            "jobQueue": names.queue,
            "state": "ENABLED",
            "priority": 2,
            "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": names.environment}],
        },
        ("batch", "DeleteJobQueue"): {"jobQueue": names.spare_queue},
        ("batch", "GetJobQueueSnapshot"): {"jobQueue": names.queue},
        ("batch", "TagResource"): {"resourceArn": names.queue_arn, "tags": {"team": "b"}},
        ("batch", "UntagResource"): {"resourceArn": names.queue_arn, "tagKeys": ["team"]},
        ("batch", "ListTagsForResource"): {"resourceArn": names.queue_arn},
        ("sts", "GetCallerIdentity"): {},
    }


def _consumable_requests(names: Names) -> dict[Key, dict[str, Any]]:
    resource = {"consumableResource": names.consumable}
    return {
        ("batch", "CreateConsumableResource"): {
            "consumableResourceName": "new-consumable",
            "totalQuantity": 3,
            "resourceType": "REPLENISHABLE",
            "tags": {"team": "a"},
        },
        ("batch", "UpdateConsumableResource"): {**resource, "operation": "ADD", "quantity": 1, "clientToken": "token"},
        ("batch", "DeleteConsumableResource"): resource,
        ("batch", "DescribeConsumableResource"): resource,
        ("batch", "ListConsumableResources"): {
            "filters": [{"name": "CONSUMABLE_RESOURCE_NAME", "values": ["c*"]}],
            "maxResults": 10,
        },
        ("batch", "ListJobsByConsumableResource"): {
            **resource,
            "filters": [{"name": "JOB_NAME", "values": ["x*"]}],
            "maxResults": 10,
        },
    }


def _policy_requests(names: Names) -> dict[Key, dict[str, Any]]:
    policy = {
        "shareDecaySeconds": 60,
        "computeReservation": 10,
        "shareDistribution": [{"shareIdentifier": "a*", "weightFactor": 0.5}],
    }
    return {
        ("batch", "CreateSchedulingPolicy"): {"name": "new-policy", "fairsharePolicy": policy, "tags": {"team": "a"}},
        ("batch", "UpdateSchedulingPolicy"): {"arn": names.policy_arn, "fairsharePolicy": policy},
        ("batch", "DeleteSchedulingPolicy"): {"arn": names.policy_arn},
        ("batch", "DescribeSchedulingPolicies"): {"arns": [names.policy_arn]},
        ("batch", "ListSchedulingPolicies"): {"maxResults": 10},
    }


def _job_requests(names: Names) -> dict[Key, dict[str, Any]]:
    return {
        ("batch", "RegisterJobDefinition"): {
            "jobDefinitionName": names.definition,
            "type": "container",
            "parameters": {"color": "red"},
            "containerProperties": {
                "image": "busybox",
                "command": ["true", "Ref::color"],
                "environment": [{"name": "A", "value": "1"}],
                "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "64"}],
            },
            "retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT", "onExitCode": "1*"}]},
            "timeout": {"attemptDurationSeconds": 60},
            "propagateTags": False,
            "schedulingPriority": 1,
            "consumableResourceProperties": {
                "consumableResourceList": [{"consumableResource": names.consumable, "quantity": 1}]
            },
            "platformCapabilities": ["EC2"],
            "tags": {"team": "a"},
        },
        ("batch", "DescribeJobDefinitions"): {"jobDefinitionName": names.definition, "maxResults": 10},
        ("batch", "DeregisterJobDefinition"): {"jobDefinition": f"{names.definition}:1"},
        ("batch", "SubmitJob"): {
            "jobName": "new-job",
            "jobQueue": names.queue,
            "jobDefinition": names.definition,
            "arrayProperties": {"size": 3},
            "dependsOn": [{"jobId": names.job_id}, {"jobId": names.array_id, "type": "N_TO_N"}],
            "parameters": {"color": "blue"},
            "containerOverrides": {
                "command": ["true"],
                "environment": [{"name": "B", "value": "2"}],
                "resourceRequirements": [{"type": "MEMORY", "value": "32"}],
            },
            "retryStrategy": {"attempts": 1},
            "timeout": {"attemptDurationSeconds": 60},
            "consumableResourcePropertiesOverride": {
                "consumableResourceList": [{"consumableResource": names.consumable, "quantity": 1}]
            },
            "propagateTags": False,
            "tags": {"team": "a"},
        },
        ("batch", "DescribeJobs"): {"jobs": [names.job_id, f"{names.array_id}:1"]},
        ("batch", "ListJobs"): {"jobQueue": names.queue, "jobStatus": "SUBMITTED", "maxResults": 10},
        ("batch", "CancelJob"): {"jobId": names.job_id, "reason": "no longer needed"},
        ("batch", "TerminateJob"): {"jobId": names.job_id, "reason": "no longer needed"},
        ("batch", "CancelJobs"): {"jobs": [names.job_id], "reason": "no longer needed"},
        ("batch", "TerminateJobs"): {"jobs": [names.job_id], "reason": "no longer needed"},
    }


def _log_requests(names: Names) -> dict[Key, dict[str, Any]]:
    group, stream = {"logGroupName": names.log_group}, {"logStreamName": names.log_stream}
    return {
        ("logs", "GetLogEvents"): {**group, **stream, "limit": 10, "startFromHead": True},
        ("logs", "FilterLogEvents"): {**group, "filterPattern": "ERROR", "limit": 10},
        ("logs", "DescribeLogGroups"): {"logGroupNamePrefix": "/aws", "limit": 10},
        ("logs", "DescribeLogStreams"): {**group, "orderBy": "LogStreamName", "limit": 10},
        ("logs", "PutRetentionPolicy"): {**group, "retentionInDays": 7},
        ("logs", "DeleteRetentionPolicy"): group,
        ("logs", "DeleteLogStream"): {**group, **stream},
        ("logs", "DeleteLogGroup"): group,
    }


# ---- members, wherever they are


class Place(NamedTuple):
    """A member of an operation's input, or an item of one of its lists or maps: `path` leads to it."""

    path: tuple[str | int, ...]
    shape: Any
    required: bool
    in_body: bool

    @property
    def name(self) -> str:
        """As a refusal writes it: `environment.1.member.name`."""
        parts = (f"{step + 1}.member" if isinstance(step, int) else step for step in self.path)
        return ".".join(parts)


def input_shape(key: Key) -> Any:
    """The structure of an operation's parameters; None when it takes none."""
    service, operation = key
    return CONTRACT.services[service].model.operation_model(operation).input_shape


def places(key: Key) -> list[Place]:
    """Every member of an operation's input at any depth; a structure inside itself is not entered again."""
    shape = input_shape(key)
    return [] if shape is None else list(_places(shape, (), frozenset()))


def _places(shape: Any, path: tuple[str | int, ...], within: frozenset[str]) -> Iterator[Place]:
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if member.name not in within:
                in_body = "location" not in member.serialization
                yield Place((*path, name), member, name in shape.required_members, in_body)
                yield from _places(member, (*path, name), within | {shape.name}) if in_body else ()
    elif shape.type_name in ("list", "map"):
        step, inner = (0, shape.member) if shape.type_name == "list" else ("key", shape.value)
        yield Place((*path, step), inner, required=False, in_body=True)
        yield from _places(inner, (*path, step), within)


def planted(request: dict[str, Any], key: Key, path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of the request with `value` at `path`; what leads there and is missing is made, as the model wants it."""
    changed = copy.deepcopy(request)
    node: Any = changed
    shape = input_shape(key)
    for step, following in zip(path, (*path[1:], None), strict=True):
        shape = _inner(shape, step)
        if following is None:
            _put(node, step, value)
            break
        if isinstance(step, int):
            if not node:
                node.append(Sampler(share=0).sample(shape))
        elif step not in node:
            node[step] = Sampler(share=0).sample(shape)
        node = node[step]
    return changed


def without(request: dict[str, Any], key: Key, path: tuple[str | int, ...]) -> dict[str, Any]:
    """A copy of the request that lacks the member at `path`, and has all that leads there."""
    changed = planted(request, key, path, None)
    node: Any = changed
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]
    return changed


def _inner(shape: Any, step: str | int) -> Any:
    if shape.type_name == "structure":
        return shape.members[step]
    return shape.member if shape.type_name == "list" else shape.value


def _put(node: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int) and not node:
        node.append(value)
    else:
        node[step] = value


# ---- ways to spoil a request


class Spoiled(NamedTuple):
    """A request that must be refused with a text that names `member`."""

    member: str
    request: dict[str, Any]


def with_missing_members(key: Key, request: dict[str, Any]) -> Iterator[Spoiled]:
    for place in places(key):
        if place.required and place.in_body:
            yield Spoiled(place.name, without(request, key, place.path))
            yield Spoiled(place.name, planted(request, key, place.path, None))


def with_mistyped_members(key: Key, request: dict[str, Any]) -> Iterator[Spoiled]:
    """Every member, and each kind of value that it must not have; in a quick run two of the kinds, in turn."""
    for turn, place in enumerate(places(key)):
        wrong = WRONG_TYPES[place.shape.type_name] if place.in_body else ()
        if IS_QUICK and len(wrong) > QUICK_TYPES:
            wrong = tuple(wrong[(turn * QUICK_TYPES + number) % len(wrong)] for number in range(QUICK_TYPES))
        for value in wrong:
            named = f"{place.name}.1.member" if value == [None] else place.name
            yield Spoiled(named, planted(request, key, place.path, value))


def with_members_out_of_range(key: Key, request: dict[str, Any]) -> Iterator[Spoiled]:
    for place in places(key):
        for value in _out_of_range(place.shape) if place.in_body else ():
            yield Spoiled(place.name, planted(request, key, place.path, value))


def _out_of_range(shape: Any) -> Iterator[Any]:
    """Values of the right type that break the shape's enum, bounds or pattern."""
    bounds = shape.metadata
    if "enum" in bounds:
        yield from ("JUNK", "", bounds["enum"][0] + " ")
        if shape.name not in ENUMS_OF_ANY_CASE:
            yield bounds["enum"][0].swapcase()
        return
    if "min" in bounds and shape.name not in TAKEN_EMPTY:
        yield from _sized(shape, bounds["min"] - 1)
    if "max" in bounds:
        yield from _sized(shape, bounds["max"] + 1)
    pattern = compile_pattern(bounds.get("pattern"))
    if pattern is not None:
        longest = bounds.get("max", 100)
        yield next(text for text in NO_TEXT_OF_THE_MODEL if len(text) <= longest and not pattern.fullmatch(text))


def _sized(shape: Any, size: int) -> Iterator[Any]:
    if shape.type_name in ("integer", "long", "float", "double"):
        yield size
    elif size >= 0:
        sampler = Sampler(share=0)
        if shape.type_name == "string":
            yield "a" * size
        elif shape.type_name == "list":
            yield [sampler.sample(shape.member) for _ in range(size)]
        else:
            yield {f"key-{number}": sampler.sample(shape.value) for number in range(size)}


def with_unknown_members(request: Any, shape: Any) -> Any:
    """A copy of the request with a member more in each of its structures."""
    if shape is None:
        return {UNKNOWN: 1}
    if shape.type_name == "structure":
        members = {
            name: with_unknown_members(value, shape.members[name])
            for name, value in request.items()
            if name in shape.members
        }
        return {**members, UNKNOWN: {"deep": [1, None, {}]}}
    if shape.type_name == "list":
        return [with_unknown_members(item, shape.member) for item in request]
    if shape.type_name == "map":
        return {name: with_unknown_members(value, shape.value) for name, value in request.items()}
    return request


# ---- on the wire


def http_request(key: Key, params: Any) -> HttpRequest:
    """What a client sends, without a signature; unlike a client's, the parameters may be anything."""
    service, operation = key
    spoken = CONTRACT.services[service]
    if service == "logs":
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{spoken.target_prefix}.{operation}"}
        return HttpRequest("POST", "/", "", headers, _json(params))
    if service == "sts":
        form = {"Action": operation, "Version": spoken.api_version, **{str(name): params[name] for name in params}}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return HttpRequest("POST", "/", "", headers, urlencode(form).encode())
    method, path = spoken.http(operation)
    query = ""
    if "{resourceArn}" in path:
        path = path.replace("{resourceArn}", quote(str(params.get("resourceArn", "")), safe=""))
        query = urlencode([("tagKeys", tag_key) for tag_key in params.get("tagKeys", ())])
        params = {name: value for name, value in params.items() if name not in ("resourceArn", "tagKeys")}
    body = b"" if method in ("GET", "DELETE") else _json(params)
    return HttpRequest(method, path, query, {"content-type": "application/json"}, body)


def _json(params: Any) -> bytes:
    return json.dumps(params).encode()
