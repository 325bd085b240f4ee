"""RegisterJobDefinition, DescribeJobDefinitions, DeregisterJobDefinition (facts §6).

parameters, retryStrategy, timeout, propagateTags, schedulingPriority and one of containerProperties, ecsProperties and
nodeProperties decide how jobs run; eksProperties are kept and described, and no queue takes their jobs.
executionRoleArn is recorded and described alone: the server itself pulls images and asks for secrets.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import Connection

from batchyard.api import paging
from batchyard.api.arns import batch_arn, name_from
from batchyard.api.batch import container_properties, ecs_properties, eks_properties, node_properties
from batchyard.api.batch.checks import check_described, check_name, check_tags
from batchyard.api.batch.consumable_needs import check_needs
from batchyard.api.context import Context, Params, Result, operation
from batchyard.settings import Settings
from batchyard.store import definitions
from batchyard.store.definitions import DefinitionFilter, DefinitionRow
from batchyard.store.documents import Document
from batchyard.wire import errors

KINDS = ("containerProperties", "ecsProperties", "eksProperties", "nodeProperties")
"""What a job runs: a definition has one of them."""
RECORDED = ("schedulingPriority", "propagateTags", "platformCapabilities", "timeout", "consumableResourceProperties")
MAX_SCHEDULING_PRIORITY = 9999
MAX_ATTEMPTS = 10
MAX_EXIT_RULES = 5
MAX_PATTERN = 512
INACTIVE_DESCRIBED_MS = 180 * 24 * 3600 * 1000
"""How long a deregistered revision is still described."""

_REVISION = re.compile(r"[0-9]{1,9}")
_EXIT_CODE_PATTERN = re.compile(r"[0-9]*\*?")


@operation("batch", "RegisterJobDefinition")
async def register_job_definition(context: Context, params: Params) -> Result:
    """A new revision, one above the highest that the name ever had. It takes nothing over from earlier ones."""
    name = params["jobDefinitionName"]
    check_name("Job definition", name)
    check_tags(params.get("tags", {}))
    document = msgspec.json.encode(_document(context.settings, params))
    most = context.settings.max_job_definition_bytes
    if most and len(document) > most:
        raise errors.executing_request(f"Limits Error: JobDefinitionsize is above the limits {most / 1024:g} KB")
    now_ms = context.clock.now_ms()

    def write(connection: Connection) -> DefinitionRow:
        revision = definitions.next_revision(connection, name)
        row = DefinitionRow(
            name=name,
            revision=revision,
            arn=batch_arn(context.settings, f"job-definition/{name}:{revision}"),
            status="ACTIVE",
            registered_at_ms=now_ms,
            deregistered_at_ms=None,
            document=document,
            tags=params.get("tags", {}),
        )
        definitions.insert_row(connection, row)
        return row

    row = await context.database.write(write)
    return {"jobDefinitionName": name, "jobDefinitionArn": row.arn, "revision": row.revision}


def _document(settings: Settings, params: Params) -> dict[str, Any]:
    """What is stored of a definition: checked, and as it will be described."""
    capabilities = params.get("platformCapabilities", [])
    if "MANAGED_INSTANCES" in capabilities:
        raise errors.not_built("platformCapabilities MANAGED_INSTANCES")
    if not 0 <= params.get("schedulingPriority", 0) <= MAX_SCHEDULING_PRIORITY:
        raise errors.executing_request(f"schedulingPriority must be between 0 and {MAX_SCHEDULING_PRIORITY}")
    kind = _kind(params)
    check_retry_strategy(params.get("retryStrategy"))
    check_timeout(settings, params.get("timeout"))
    check_needs(params.get("consumableResourceProperties"))
    document = {
        "type": params["type"],
        "parameters": params.get("parameters", {}),
        kind: _described_properties(kind, params),
        **{member: params[member] for member in RECORDED if member in params},
    }
    if "retryStrategy" in params:
        document["retryStrategy"] = described_retry_strategy(params["retryStrategy"])
    return document


def _kind(params: Params) -> str:
    """Which of KINDS the definition has: exactly one, and nodeProperties if and only if it is of type multinode."""
    given = [kind for kind in KINDS if kind in params]
    is_multinode = params["type"] == "multinode"
    if is_multinode and "nodeProperties" not in given:
        raise errors.executing_request("nodeProperties is required for job definitions of type multinode.")
    if not given:
        raise errors.executing_request("containerProperties is required for job definitions of type container.")
    if len(given) > 1:
        raise errors.executing_request(f"Only one of {', '.join(given)} can be given")
    if given == ["nodeProperties"] and not is_multinode:
        raise errors.executing_request("nodeProperties can only be used with job definitions of type multinode.")
    return given[0]


def _described_properties(kind: str, params: Params) -> dict[str, Any]:
    """The definition's properties, checked, as they will be described."""
    properties = params[kind]
    fargate = "FARGATE" in params.get("platformCapabilities", [])
    if kind == "containerProperties":
        container_properties.check_container(properties, fargate=fargate)
        return container_properties.described(properties, fargate=fargate)
    if kind == "ecsProperties":
        ecs_properties.check(properties, fargate=fargate)
        return ecs_properties.described(properties)
    if kind == "nodeProperties":
        if fargate:
            raise errors.executing_request("nodeProperties not applicable for Fargate.")
        node_properties.check(properties)
        if node_properties.runs_pods(properties):
            _check_not_for_eks(params)
        return node_properties.described(properties)
    _check_not_for_eks(params)
    eks_properties.check(properties)
    return eks_properties.described(properties)


def _check_not_for_eks(params: Params) -> None:
    for member in ("platformCapabilities", "propagateTags"):
        if params.get(member):
            raise errors.executing_request(f"{member} not applicable for EKS.")


def check_retry_strategy(strategy: dict[str, Any] | None) -> None:
    """1 to 10 attempts, and at most 5 rules, which need the attempts; for SubmitJob too (facts §11)."""
    if strategy is None:
        return
    if "attempts" not in strategy:
        raise errors.executing_request("RetryAttempts must be provided with retry strategy")
    if not 1 <= strategy["attempts"] <= MAX_ATTEMPTS:
        raise errors.executing_request(f"RetryAttempts must be between 1 and {MAX_ATTEMPTS}")
    rules = strategy.get("evaluateOnExit", [])
    if len(rules) > MAX_EXIT_RULES:
        raise errors.executing_request(f"evaluateOnExit can have at most {MAX_EXIT_RULES} entries")
    for rule in rules:
        _check_exit_rule(rule)


def _check_exit_rule(rule: dict[str, str]) -> None:
    """Patterns are literal, and may end with `*`; that of the exit code has digits alone (service model)."""
    patterns = {member: rule[member] for member in ("onStatusReason", "onReason", "onExitCode") if member in rule}
    for member, pattern in patterns.items():
        if len(pattern) > MAX_PATTERN:
            raise errors.executing_request(f"{member} can have at most {MAX_PATTERN} characters")
        if "*" in pattern[:-1]:
            raise errors.executing_request(f"{member} '{pattern}' is not valid: * can only be its last character")
    if not _EXIT_CODE_PATTERN.fullmatch(patterns.get("onExitCode", "")):
        raise errors.executing_request(f"onExitCode '{patterns['onExitCode']}' is not valid: it takes digits and *")


def described_retry_strategy(strategy: dict[str, Any]) -> dict[str, Any]:
    """The actions of evaluateOnExit are taken in any case and shown in lower case."""
    if "evaluateOnExit" not in strategy:
        return strategy
    rules = [{**rule, "action": rule["action"].lower()} for rule in strategy["evaluateOnExit"]]
    return {**strategy, "evaluateOnExit": rules}


def check_timeout(settings: Settings, timeout: dict[str, Any] | None) -> None:
    """At least 60 seconds, or what the server is set to; for SubmitJob too."""
    if timeout is None:
        return
    if "attemptDurationSeconds" not in timeout:
        raise errors.executing_request("attemptDurationSeconds must be provided with timeout")
    least = settings.minimum_timeout_seconds
    if timeout["attemptDurationSeconds"] < least:
        raise errors.executing_request(f"The minimum value for the timeout is {least} seconds")


@operation("batch", "DescribeJobDefinitions")
async def describe_job_definitions(context: Context, params: Params) -> Result:
    """Revisions in ascending order, by name. The conditions given must all hold."""
    limit = paging.page_size(params)
    status = params.get("status") or None
    if status not in (None, "ACTIVE", "INACTIVE"):
        raise errors.client_exception(f"status {status} must be one of ACTIVE | INACTIVE")
    references = params.get("jobDefinitions") or None
    if references is not None:
        check_described("jobDefinitions", references)
    name = params.get("jobDefinitionName") or None
    wanted = DefinitionFilter(
        inactive_since_ms=context.clock.now_ms() - INACTIVE_DESCRIBED_MS,
        references=None if references is None else tuple(parse_definition_reference(each) for each in references),
        name=name,
        status=status,
    )
    scope = msgspec.json.encode(["DescribeJobDefinitions", references, name, status]).decode()
    name_before, revision_before = paging.decode(params["nextToken"], scope) if params.get("nextToken") else ("", 0)
    after = (str(name_before), int(revision_before))
    rows = await context.database.read(lambda connection: definitions.page(connection, wanted, after, limit + 1))
    answer: Result = {"jobDefinitions": [describe(row) for row in rows[:limit]]}
    if len(rows) > limit:
        last = rows[limit - 1]
        answer["nextToken"] = paging.encode([last.name, last.revision], scope)
    return answer


def describe(row: DefinitionRow) -> dict[str, Any]:
    """JobDefinition, as the API has it."""
    document = msgspec.json.decode(row.document)
    return {
        "jobDefinitionName": row.name,
        "jobDefinitionArn": row.arn,
        "revision": row.revision,
        "status": row.status,
        "tags": row.tags,
        "containerOrchestrationType": "EKS" if runs_on_eks(document) else "ECS",
        **document,
    }


def runs_on_eks(document: Document) -> bool:
    """Does a stored definition, or its nodes, run pods?"""
    nodes = document.get("nodeProperties")
    return "eksProperties" in document or (nodes is not None and node_properties.runs_pods(nodes))


def parse_definition_reference(reference: str) -> tuple[str, int | None]:
    """(name, revision) of `name`, `name:revision` or an ARN with or without revision; None stands for no revision."""
    text = name_from("job-definition", reference)
    name, colon, revision = text.rpartition(":")
    if colon and _REVISION.fullmatch(revision):
        return name, int(revision)
    return text, None


@operation("batch", "DeregisterJobDefinition")
async def deregister_job_definition(context: Context, params: Params) -> Result:
    """Make a revision INACTIVE, without one the latest ACTIVE one; what is INACTIVE already is no error."""
    reference = params["jobDefinition"]
    name, revision = parse_definition_reference(reference)
    now_ms = context.clock.now_ms()

    def write(connection: Connection) -> None:
        row = definitions.find_for_submission(connection, name, revision)
        if row is not None:
            definitions.deregister(connection, row.name, row.revision, now_ms)
        elif revision is not None or not definitions.exists(connection, name):
            raise errors.client_exception(f"Job definition {reference} does not exist")

    await context.database.write(write)
    return {}
