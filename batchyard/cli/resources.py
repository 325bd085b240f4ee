"""`batchyard queues`, `environments` and `definitions`: what there is to submit to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from batchyard.cli import client, command, output
from batchyard.cli.options import DataDirOption, EndpointOption, JsonOption

ENGINE_TAG = "batchyard:engine"

Item = dict[str, Any]


def queues(endpoint: EndpointOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the job queues."""
    with client.connect(endpoint, data_dir) as api:
        found = list(client.paged(api.batch.describe_job_queues, "jobQueues"))
    if as_json:
        output.print_json({"jobQueues": found})
        return
    columns = ("NAME", "STATE", "STATUS", "PRIORITY", "ENVIRONMENTS", "ORDER OF JOBS", "REASON")
    output.print_table(columns, [queue_row(queue) for queue in found], when_empty="No job queues.")


def queue_row(queue: Item) -> tuple[str, ...]:
    ordered = sorted(queue.get("computeEnvironmentOrder", []), key=lambda entry: entry["order"])
    policy = queue.get("schedulingPolicyArn")
    return (
        queue["jobQueueName"],
        queue["state"],
        queue.get("status", output.NOTHING),
        str(queue["priority"]),
        ", ".join(output.last_part(entry["computeEnvironment"]) for entry in ordered) or output.NOTHING,
        output.last_part(policy) if policy else "first in, first out",
        queue.get("statusReason", output.NOTHING),
    )


def environments(endpoint: EndpointOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the compute environments."""
    with client.connect(endpoint, data_dir) as api:
        found = list(client.paged(api.batch.describe_compute_environments, "computeEnvironments"))
    if as_json:
        output.print_json({"computeEnvironments": found})
        return
    columns = ("NAME", "TYPE", "STATE", "STATUS", "VCPUS", "ENGINE", "REASON")
    output.print_table(columns, [environment_row(item) for item in found], when_empty="No compute environments.")


def environment_row(environment: Item) -> tuple[str, ...]:
    resources = environment.get("computeResources", {})
    sizes = [resources.get(name) for name in ("minvCpus", "desiredvCpus", "maxvCpus")]
    kind = "/".join(filter(None, (environment.get("type"), resources.get("type"))))
    low, now, high = ("?" if size is None else str(size) for size in sizes)
    return (
        environment["computeEnvironmentName"],
        kind or output.NOTHING,
        environment.get("state", output.NOTHING),
        environment.get("status", output.NOTHING),
        f"{now} ({low} to {high})" if resources else output.NOTHING,
        environment.get("tags", {}).get(ENGINE_TAG, "default"),
        environment.get("statusReason", output.NOTHING),
    )


def definitions(
    show_all: Annotated[
        bool, typer.Option("--all", "-a", help="Every revision, inactive ones too. [default: each name's newest]")
    ] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Only revisions of this name.")] = None,
    endpoint: EndpointOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the job definitions."""
    query: dict[str, Any] = {} if show_all else {"status": "ACTIVE"}
    if name is not None:
        query["jobDefinitionName"] = name
    with client.connect(endpoint, data_dir) as api:
        found = list(client.paged(api.batch.describe_job_definitions, "jobDefinitions", **query))
    shown = found if show_all else newest_revisions(found)
    if as_json:
        output.print_json({"jobDefinitions": shown})
        return
    columns = ("DEFINITION", "STATUS", "TYPE", "VCPUS", "MEMORY", "IMAGE", "COMMAND")
    output.print_table(columns, [definition_row(item) for item in shown], when_empty="No job definitions.")


def newest_revisions(found: list[Item]) -> list[Item]:
    """The highest revision of each name, by name."""
    newest: dict[str, Item] = {}
    for item in sorted(found, key=lambda item: (item["jobDefinitionName"], item["revision"])):
        newest[item["jobDefinitionName"]] = item
    return list(newest.values())


def definition_row(definition: Item) -> tuple[str, ...]:
    container = definition.get("containerProperties", {})
    return (
        f"{definition['jobDefinitionName']}:{definition['revision']}",
        definition.get("status", output.NOTHING),
        definition.get("type", output.NOTHING),
        requirement(container, "VCPU") or output.NOTHING,
        requirement(container, "MEMORY") or output.NOTHING,
        container.get("image", output.NOTHING),
        output.shorten(command.shown(container.get("command", [])), 200) or output.NOTHING,
    )


def requirement(container: Item, kind: str) -> str:
    """A resource requirement of a container; its old-style member (`vcpus`, `memory`) counts too."""
    for entry in container.get("resourceRequirements", []):
        if entry["type"] == kind:
            return str(entry["value"])
    old = {"VCPU": "vcpus", "MEMORY": "memory"}.get(kind, "")
    return str(container.get(old) or "")
