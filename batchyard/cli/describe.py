"""`batchyard describe`: everything about a job, for people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from batchyard.cli import client, command, output
from batchyard.cli.client import describe_all
from batchyard.cli.container import attempt_containers, container_of, containers_of, decisive, outcome_of
from batchyard.cli.errors import CliError
from batchyard.cli.jobs import STATUSES
from batchyard.cli.options import DataDirOption, EndpointOption, JobsArgument, JsonOption
from batchyard.cli.refs import resolve
from batchyard.cli.resources import requirement
from batchyard.cli.tail import log_group, log_streams

MOST_NAMES_SHOWN = 20
OWN_TAG_PREFIX = "batchyard:"
VIEWS = ("usage", "notes")
"""What Batchyard's own endpoints add to the job, when the server is Batchyard."""
MIB = 1024 * 1024

Job = dict[str, Any]
Fields = list[tuple[str, str]]


def describe(
    jobs: JobsArgument, endpoint: EndpointOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Show jobs in detail: state and why, times, what they run with, attempts, log streams."""
    with client.connect(endpoint, data_dir) as api:
        ids = [resolve(api.batch, name) for name in jobs]
        found = describe_all(api.batch, ids)
        views = {name: _views(api, found, name) for name in VIEWS}
    if as_json:
        output.print_json({"jobs": found, **{name: view for name, view in views.items() if view}})
    else:
        for job in found:
            show(job, usage=views["usage"].get(job["jobId"]), notes=views["notes"].get(job["jobId"]))
    missing = set(ids) - {job["jobId"] for job in found}
    if missing:
        raise CliError(f"there is no job {', '.join(sorted(missing))}; finished ones are removed after a while.")


def _views(api: client.Api, jobs: list[Job], name: str) -> dict[str, Job]:
    """What Batchyard itself says of these jobs; the first answer shows whether this server does at all."""
    views: dict[str, Job] = {}
    for job in jobs:
        view = api.job_view(job["jobId"], name)
        if view is None:
            break
        views[job["jobId"]] = view
    return views


def show(job: Job, reference_ms: int | None = None, *, usage: Job | None = None, notes: Job | None = None) -> None:
    """One job on stdout: its fields, then a table of its attempts when there are several."""
    fields = [*fields_of(job, reference_ms), *_usage(usage or {}), *_notes(notes or {})]
    output.print_fields(f"{job['jobName']} {job['jobId']}", fields)
    attempts = job.get("attempts", [])
    if len(attempts) > 1:
        used = {each["number"]: each for each in (usage or {}).get("attempts", [])}
        rows = [
            attempt_row(number, attempt, decisive(attempt_containers(attempt), job), used.get(number, {}))
            for number, attempt in enumerate(attempts, start=1)
        ]
        output.print_table(("ATTEMPT", "STARTED", "TIME", "CPU", "MEMORY", "EXIT", "REASON"), rows, when_empty="")


def fields_of(job: Job, reference_ms: int | None = None) -> Fields:
    """Name and value of everything there is to say; what the job hasn't got is left out."""
    fields = [
        *_state(job),
        *_times(job, reference_ms),
        *_place(job),
        *_container(job),
        *_containers(job),
        *_nodes(job),
        *_policies(job),
        *_relations(job),
        *_logs(job),
        *_tags(job),
    ]
    return [(name, value) for name, value in fields if value]


def attempt_row(number: int, attempt: Job, container: Job, used: Job) -> tuple[str, ...]:
    """`container` is the one that says how the attempt ended."""
    exit_code = container.get("exitCode")
    return (
        str(number),
        output.format_time(attempt.get("startedAt")),
        output.format_duration(output.run_time_ms(attempt)),
        _cpu(used) or output.NOTHING,
        _peak(used) or output.NOTHING,
        output.NOTHING if exit_code is None else str(exit_code),
        container.get("reason") or attempt.get("statusReason") or output.NOTHING,
    )


def _state(job: Job) -> Fields:
    container = outcome_of(job)
    flags = [word for word, member in (("cancelled", "isCancelled"), ("terminated", "isTerminated")) if job.get(member)]
    status = job["status"] + (f" ({', '.join(flags)})" if flags else "")
    exit_code = container.get("exitCode")
    return [
        ("status", status),
        ("why", job.get("statusReason", "")),
        ("exit code", "" if exit_code is None else str(exit_code)),
        ("reason", container.get("reason", "")),
        ("children", _summary(job.get("arrayProperties", {}))),
    ]


def _summary(array: Job) -> str:
    """`10: 7 SUCCEEDED, 3 RUNNING`, or a child's own index."""
    if "index" in array:
        return f"this is child {array['index']}"
    if "size" not in array:
        return ""
    counts = array.get("statusSummary", {})
    parts = [f"{counts[status]} {status}" for status in reversed(STATUSES) if counts.get(status)]
    return f"{array['size']}: {', '.join(parts)}" if parts else str(array["size"])


def _times(job: Job, reference_ms: int | None) -> Fields:
    started, stopped = job.get("startedAt"), job.get("stoppedAt")
    waited = output.format_duration(started - job["createdAt"]) if started else ""
    ran = output.format_duration(output.run_time_ms(job, reference_ms))
    return [
        ("created", output.format_time(job.get("createdAt"), reference_ms)),
        ("started", f"{output.format_time(started, reference_ms)} (waited {waited})" if started else ""),
        ("stopped", f"{output.format_time(stopped, reference_ms)}" + (f" (ran {ran})" if started else ""))
        if stopped
        else ("running for", ran if started else ""),
    ]


def _place(job: Job) -> Fields:
    return [
        ("queue", output.last_part(job.get("jobQueue", ""))),
        ("definition", output.last_part(job.get("jobDefinition", ""))),
        ("share", job.get("shareIdentifier", "")),
        ("priority", str(job.get("schedulingPriority") or "")),
    ]


def _container(job: Job) -> Fields:
    container = container_of(job)
    typed, folder = command.unwrap(container.get("command", []))
    names = sorted(entry["name"] for entry in container.get("environment", []))
    return [
        ("command", command.shown(typed)),
        ("in folder", folder or ""),
        ("image", container.get("image", "")),
        ("resources", _sizes(container)),
        ("environment", _some(names)),
        ("parameters", _pairs(job.get("parameters", {}))),
    ]


def _containers(job: Job) -> Fields:
    """Each container of a task of several: what it runs, and what became of it."""
    containers = containers_of(job)
    if len(containers) < 2:
        return []
    return [
        (f"container {each.get('name', '')}", "\n".join(filter(None, _container_lines(each)))) for each in containers
    ]


def _container_lines(container: Job) -> list[str]:
    typed, _ = command.unwrap(container.get("command", []))
    needs = [f"{each['condition']} of {each['containerName']}" for each in container.get("dependsOn", [])]
    ended = [f"exit code {container['exitCode']}"] if "exitCode" in container else []
    ended += [container["reason"]] if "reason" in container else []
    return [
        command.shown(typed),
        f"{container.get('image', '')} ({_sizes(container)})"
        + ("" if container.get("essential", True) else ", not essential"),
        f"waits for {', '.join(needs)}" if needs else "",
        ", ".join(ended),
    ]


def _sizes(container: Job) -> str:
    units = (("VCPU", "vCPU"), ("MEMORY", "MiB"), ("GPU", "GPU"))
    return ", ".join(f"{size} {unit}" for kind, unit in units if (size := requirement(container, kind)))


def _nodes(job: Job) -> Fields:
    """How many nodes there are and what each range of them runs; or which node this is, and where."""
    details, properties = job.get("nodeDetails"), job.get("nodeProperties")
    if details is not None:
        addresses = [each.get("privateIpv4Address", "") for each in container_of(job).get("networkInterfaces", [])]
        which = f"this is node {details['nodeIndex']}" + (", the main node" if details.get("isMainNode") else "")
        return [("node", which), ("address", ", ".join(addresses))]
    if properties is None:
        return []
    ranges = []
    for each in properties["nodeRangeProperties"]:
        for container in containers_of(each):
            typed, _ = command.unwrap(container.get("command", []))
            ranges.append(f"{each['targetNodes']} ({_sizes(container)}): {command.shown(typed)}")
    return [("nodes", f"{properties['numNodes']}, main node {properties['mainNode']}"), ("runs", "\n".join(ranges))]


def _policies(job: Job) -> Fields:
    retry, timeout = job.get("retryStrategy", {}), job.get("timeout", {})
    made, allowed = len(job.get("attempts", [])), retry.get("attempts", 1)
    seconds = timeout.get("attemptDurationSeconds")
    conditions = len(retry.get("evaluateOnExit", []))
    rules = f", {conditions} {'rule' if conditions == 1 else 'rules'} on exit" if conditions else ""
    return [
        ("attempts", f"{made} of {allowed}{rules}" if made or allowed > 1 else ""),
        ("timeout", f"{timedelta(seconds=seconds)} an attempt" if seconds else ""),
    ]


def _relations(job: Job) -> Fields:
    waits_for = [" ".join(filter(None, (entry.get("jobId"), entry.get("type")))) for entry in job.get("dependsOn", [])]
    return [("depends on", ", ".join(waits_for))]


def _logs(job: Job) -> Fields:
    places = range(max(1, len(containers_of(job))))
    streams = [stream for place in places for stream in log_streams(job, place)]
    groups = dict.fromkeys(log_group(job, place) for place in places)
    return [("log group", "\n".join(groups) if streams else ""), ("log streams", "\n".join(streams))]


def _usage(usage: Job) -> Fields:
    """All attempts together, an array's children included; times add up, the highest peak counts."""
    total = usage.get("total", {})
    if not total.get("attempts"):
        return []
    attempts = usage.get("attempts", [])
    gpus = ", ".join(attempts[-1].get("gpus", [])) if attempts else ""
    found = (("CPU time", _cpu(total)), ("peak memory", _peak(total)), ("GPUs", gpus))
    return [(name, value) for name, value in found if value]


def _cpu(used: Job) -> str:
    seconds = used.get("cpuSeconds")
    return "" if seconds is None else output.format_duration(round(seconds * 1000))


def _peak(used: Job) -> str:
    size = used.get("peakMemoryBytes")
    return "" if size is None else f"{size / MIB:.1f} MiB"


def _notes(notes: Job) -> Fields:
    missing = notes.get("notHonoured")
    if not missing:
        return []
    return [("not honoured", f"{', '.join(missing)} (by the {notes.get('engine')} engine)")]


def _tags(job: Job) -> Fields:
    """The user's tags, and what the server remarks about the job (its own tags: the engine, what it didn't honour)."""
    tags = job.get("tags", {})
    own = {name.removeprefix(OWN_TAG_PREFIX): value for name, value in tags.items() if name.startswith(OWN_TAG_PREFIX)}
    users = {name: value for name, value in tags.items() if not name.startswith(OWN_TAG_PREFIX)}
    return [("tags", _pairs(users)), ("batchyard", _pairs(own))]


def _pairs(values: dict[str, str]) -> str:
    return _some([f"{name}={value}" for name, value in sorted(values.items())])


def _some(words: list[str]) -> str:
    more = f" and {len(words) - MOST_NAMES_SHOWN} more" if len(words) > MOST_NAMES_SHOWN else ""
    return ", ".join(words[:MOST_NAMES_SHOWN]) + more
