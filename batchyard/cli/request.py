"""What `batchyard submit` asks of the API: a definition to use or to register, and the SubmitJob request."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from msgspec import Struct

from batchyard.cli import command as job_command
from batchyard.cli.client import paged
from batchyard.cli.errors import CliError

DEFINITION_PREFIX = "batchyard-submit-"
DEFAULT_IMAGE = "busybox"
"""Named where a definition must name an image; the process engine runs the command on the host and ignores it."""
DEFAULT_VCPUS = 1.0
DEFAULT_MEMORY_MIB = 512
MOST_OVERRIDE_CHARACTERS = 7000
"""A job whose overrides are longer than 8192 characters fails; longer commands go into a definition of their own."""

_DEPENDENCY_TYPES = ("N_TO_N", "SEQUENTIAL")

Parameters = dict[str, Any]


class SubmitOptions(Struct, frozen=True):
    """The command line of `submit`, before anything was asked of the server."""

    command: tuple[str, ...]
    queue: str = "default"
    name: str | None = None
    definition: str | None = None
    image: str | None = None
    vcpus: float | None = None
    memory_mib: int | None = None
    gpus: int | None = None
    array_size: int | None = None
    attempts: int | None = None
    timeout_seconds: int | None = None
    depends_on: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    folder: str | None = None
    """Where the command runs; None leaves it in the job's own folder."""


def check(options: SubmitOptions) -> None:
    """Raise CliError for options that can't go together."""
    if not options.command and options.definition is None:
        raise CliError("give a command to run after `--`, or a --definition that has one.", exit_code=2)
    if options.definition is not None and options.image is not None:
        raise CliError("--image is for jobs without a --definition, which has its own image.", exit_code=2)


def container_properties(options: SubmitOptions) -> Parameters:
    """The definition behind a one-liner. Command and environment are each job's overrides, so that thousands of
    one-liners share one definition, unless they are too long for overrides."""
    properties: Parameters = {
        "image": options.image or DEFAULT_IMAGE,
        "command": ["true"],
        "resourceRequirements": _requirements(DEFAULT_VCPUS, DEFAULT_MEMORY_MIB, None),
    }
    if not _fits_overrides(options):
        properties["command"] = _command(options)
        properties["environment"] = _environment(options)
    return properties


def definition_for(batch: Any, options: SubmitOptions) -> str:
    """`name:revision` of the definition to submit with; registered only when no equal one is active."""
    if options.definition is not None:
        return options.definition
    properties = container_properties(options)
    digest = hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()
    name = DEFINITION_PREFIX + digest[:16]
    for known in paged(batch.describe_job_definitions, "jobDefinitions", jobDefinitionName=name, status="ACTIVE"):
        container = known.get("containerProperties", {})
        if known.get("type") == "container" and all(container.get(key) == value for key, value in properties.items()):
            return f"{name}:{known['revision']}"
    made = batch.register_job_definition(jobDefinitionName=name, type="container", containerProperties=properties)
    return f"{name}:{made['revision']}"


def submit_parameters(options: SubmitOptions, definition: str, depends_on: Sequence[Parameters]) -> Parameters:
    """SubmitJob's parameters; what wasn't asked for is left out, so that the definition decides it."""
    overrides = _overrides(options)
    optional: Parameters = {
        "arrayProperties": options.array_size and {"size": options.array_size},
        "retryStrategy": options.attempts and {"attempts": options.attempts},
        "timeout": options.timeout_seconds and {"attemptDurationSeconds": options.timeout_seconds},
        "dependsOn": list(depends_on),
        "parameters": pairs(options.parameters, "--parameter"),
        "tags": pairs(options.tags, "--tag"),
        "containerOverrides": overrides,
    }
    return {
        "jobName": options.name or _default_name(options),
        "jobQueue": options.queue,
        "jobDefinition": definition,
        **{name: value for name, value in optional.items() if value},
    }


def parse_dependency(text: str) -> tuple[str, str | None]:
    """`JOB`, `JOB:N_TO_N` or `SEQUENTIAL` as the job named (which may be empty) and the type of the dependency."""
    if text in _DEPENDENCY_TYPES:
        return "", text
    job, _, kind = text.rpartition(":")
    return (job, kind) if kind in _DEPENDENCY_TYPES else (text, None)


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` options as a mapping; the last one of a name wins. Raises CliError."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"{option} takes NAME=VALUE, not {text!r}.", exit_code=2)
        values[name] = value
    return values


def environment_of(texts: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """Like `pairs`; `NAME` alone takes the value that it has in the environment `own`. Raises CliError."""
    complete = []
    for text in texts:
        if "=" not in text and text not in own:
            raise CliError(f"--env {text}: there is no such variable here; NAME=VALUE sets one.", exit_code=2)
        complete.append(text if "=" in text else f"{text}={own[text]}")
    return pairs(complete, "--env")


def _overrides(options: SubmitOptions) -> Parameters:
    overrides: Parameters = {}
    if _fits_overrides(options) or options.definition is not None:
        overrides = {"command": _command(options), "environment": _environment(options)}
    is_own = options.definition is None
    changed = _requirements(
        options.vcpus if options.vcpus != DEFAULT_VCPUS or not is_own else None,
        options.memory_mib if options.memory_mib != DEFAULT_MEMORY_MIB or not is_own else None,
        options.gpus,
    )
    overrides["resourceRequirements"] = changed
    return {name: value for name, value in overrides.items() if value}


def _requirements(vcpus: float | None, memory_mib: int | None, gpus: int | None) -> list[dict[str, str]]:
    given = (
        ("VCPU", None if vcpus is None else f"{vcpus:g}"),
        ("MEMORY", None if memory_mib is None else str(memory_mib)),
        ("GPU", str(gpus) if gpus else None),
    )
    return [{"type": kind, "value": value} for kind, value in given if value is not None]


def _fits_overrides(options: SubmitOptions) -> bool:
    return len(json.dumps([_command(options), _environment(options)])) <= MOST_OVERRIDE_CHARACTERS


def _command(options: SubmitOptions) -> list[str]:
    if not options.command:
        return []
    return job_command.wrap(options.command, folder=options.folder, is_array=options.array_size is not None)


def _environment(options: SubmitOptions) -> list[dict[str, str]]:
    values = environment_of(options.environment, os.environ)
    return [{"name": name, "value": value} for name, value in values.items()]


def _default_name(options: SubmitOptions) -> str:
    """The program's name, or the definition's, in the characters that a job's name may have."""
    source = PurePath(options.command[0]).name if options.command else str(options.definition)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", source.rpartition("/")[2].partition(":")[0]).strip("-_")
    return name[:128] or "job"
