"""All settings in one frozen struct: TOML file, then environment, then flags; validated at start, passed down."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from batchyard.exceptions import SettingsError

ENVIRONMENT_PREFIX = "BATCHYARD_"
MAX_GPUS = 1024
TABLES = ("docker_networks", "docker_private_networks")
"""The settings that are tables."""
LIMITS = (
    "max_compute_environments",
    "max_job_queues",
    "max_queue_environments",
    "max_dependencies",
    "max_job_definition_bytes",
    "max_submit_job_bytes",
    "max_submitted_jobs",
    "max_active_shares",
    "max_overrides_length",
    "max_connections",
)
"""The limits for which 0 means none."""
LISTS = ("pass_environment", "job_role_actions")
MINIMA = {
    "minimum_timeout_seconds": 1,
    "minimum_state_time_limit_seconds": 1,
    "max_array_size": 2,
    "max_request_bytes": 65_536,
    "max_request_head_bytes": 8192,
    "request_timeout_seconds": 1,
    "docker_keep_failed": 0,
    "docker_images_max_gib": 0,
}


def default_data_dir() -> Path:
    """$BATCHYARD_DATA_DIR, else a folder in the user's XDG data home."""
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(os.environ.get("BATCHYARD_DATA_DIR") or f"{home}/batchyard").expanduser()


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a server can be told. `docs/settings.md` is generated from here."""

    data_dir: str = ""
    """Folder of the database, the job logs and the engine's journal (default: $XDG_DATA_HOME/batchyard)."""
    host: str = "127.0.0.1"
    """Address to listen on. Only loopback addresses are allowed as long as requests are not authenticated."""
    port: int = 8000
    """TCP port; 0 takes a free one."""
    engine: Literal["auto", "process", "docker"] = "auto"
    """What runs jobs: containers, or plain processes on this machine. `auto` takes Docker where a daemon answers, and
    in a data folder that has had jobs the engine they were started with."""
    docker_host: str = ""
    """Address of the container daemon, `unix://…` or `tcp://…` (default: $DOCKER_HOST, else the socket of Docker or
    Podman that is found)."""
    docker_pull: Literal["missing", "always", "never"] = "missing"
    """When an image is pulled: if it is not there, before every job (children of a job share a pull), or never."""
    docker_network: str = "bridge"
    """The Docker network of containers: `bridge`, `host`, `none`, or the name of one."""
    docker_networks: dict[str, str] = {}
    """The Docker networks of subnets: containers of a compute environment are on that of the first of its subnets which
    is named here, or in the next setting. A network that is not there is made when the server starts."""
    docker_private_networks: dict[str, str] = {}
    """The same for private subnets: these networks are internal, so that nothing outside them can be reached."""
    docker_cpu_quota: bool = False
    """Make a job's vCPUs a hard limit. Otherwise they are its share when the CPUs are busy, as in AWS Batch."""
    docker_storage_quota: bool = False
    """Hand ephemeralStorage to Docker as a limit, which its storage driver has to support."""
    docker_images_max_gib: float = 0
    """Most room for images that Batchyard pulled: over that, those that no container and no unfinished job needs are
    removed, the least recently used first. 0 for no bound."""
    docker_keep_failed: int = 0
    """How many failed attempts keep their containers, named `failed-…`, to look into them."""
    secrets_file: str = ""
    """TOML file of secrets: the valueFrom of a job's secrets (an ARN, or a name) = the value. Only its owner may read
    it."""
    secrets_endpoint_url: str = ""
    """Endpoint that is asked, as Secrets Manager or SSM Parameter Store, for secrets which the file doesn't have; the
    server's own AWS credentials are used."""
    sts_endpoint_url: str = ""
    """Endpoint at which the roles of jobs are assumed (AssumeRole), with the server's own AWS credentials; a job with a
    role then has what that gives. Without it such a job has credentials that only this server takes."""
    job_role_actions: tuple[str, ...] = ("*",)
    """What jobs with a role may call here: actions as in IAM policies, such as `batch:SubmitJob` or `logs:*`. None for
    nothing at all."""
    efs_address: str = "{file_system_id}.efs.{region}.amazonaws.com"
    """The NFS server that an EFS volume is mounted from."""
    overcommit: bool = False
    """Trust the declared size of compute environments even beyond the size of this machine. GPUs are never more than
    there are."""
    gpus: str | int = "auto"
    """The GPUs that jobs are given: `auto` for those that nvidia-smi lists; how many, which are then called 0, 1, …; or
    their ids, separated by commas (one id by itself is followed by a comma). 0 for none."""
    region: str = "us-east-1"
    """Region in the ARNs that the server makes."""
    account_id: str = "123456789012"
    """Account in the ARNs that the server makes: 12 digits."""
    job_retention_days: float = 7
    """Finished jobs and their logs are removed after this many days."""
    minimum_timeout_seconds: int = 60
    """Smallest attemptDurationSeconds accepted; AWS Batch takes 60 and more."""
    minimum_state_time_limit_seconds: int = 600
    """Smallest maxTimeSeconds accepted in a job queue's jobStateTimeLimitActions; AWS Batch takes 600 and more."""
    max_request_bytes: int = 1_048_576
    """Largest request body taken."""
    max_request_head_bytes: int = 65_536
    """Largest head of a request taken: its first line and its headers."""
    request_timeout_seconds: float = 60
    """A client that has not sent its whole request so long after its first byte, or takes nothing of an answer for so
    long, is disconnected."""
    max_connections: int = 0
    """Most connections at once; more are answered with 503. 0 for as many as the limit on open files allows. A quarter
    of them are for containers, where there is an address for those."""
    pass_environment: tuple[str, ...] = ()
    """Names of the server's own environment variables that the process engine hands on to every job."""
    max_compute_environments: int = 0
    """Most compute environments; AWS Batch has 50. 0 for no limit."""
    max_job_queues: int = 0
    """Most job queues; AWS Batch has 50. 0 for no limit."""
    max_queue_environments: int = 3
    """Most compute environments of one job queue, as in AWS Batch. 0 for no limit."""
    max_dependencies: int = 20
    """Most entries of a job's dependsOn, as in AWS Batch. 0 for no limit."""
    max_array_size: int = 10_000
    """Most children of an array job, as in AWS Batch, whose clients refuse more by themselves."""
    max_job_definition_bytes: int = 24_576
    """Largest job definition, as it is stored; AWS Batch takes 24 KiB. 0 for no limit but that on requests."""
    max_submit_job_bytes: int = 0
    """Largest request of SubmitJob; AWS Batch takes 30 KiB (30720). 0 for no limit but that on requests."""
    max_submitted_jobs: int = 1_000_000
    """Most jobs that wait in SUBMITTED, as in AWS Batch: more are refused until some have moved on. 0 for no limit."""
    max_active_shares: int = 500
    """Most active share identifiers of a fair-share queue, as in AWS Batch. 0 for no limit."""
    max_overrides_length: int = 0
    """Most characters of a job's command, environment and resources together; a job with more fails. AWS Batch has
    8192. 0 for no limit."""
    check_invariants: bool = False
    """Check the scheduler's invariants after every step (debug mode; slow with many jobs)."""

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().resolve() if self.data_dir else default_data_dir().resolve()

    @property
    def gpu_ids(self) -> tuple[str, ...] | None:
        """The ids in `gpus`; None for those that are found."""
        text = str(self.gpus)
        if text == "auto":
            return None
        if text.isdecimal():
            return tuple(map(str, range(int(text))))
        return tuple(name.strip() for name in text.removesuffix(",").split(","))

    @property
    def partition(self) -> str:
        """The AWS partition that the region belongs to."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"


def load(
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from all sources; later ones win, flags that are None count as not given.

    Raises SettingsError naming the setting and its source when one is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if config_file is not None:
        values.update(_from_file(config_file))
    values.update(_from_environment(os.environ if environment is None else environment))
    values.update({name: value for name, value in (flags or {}).items() if value is not None})
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {_fault(error, values)}") from error
    _check(settings)
    return settings


def _fault(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """What is wrong with which setting, and what is allowed, without the library's own way to write a path."""
    what, _, where = str(error).partition(" - at `$.")
    name = where.removesuffix("`")
    if name not in values:
        return str(error)
    kind = get_type_hints(Settings)[name]
    if get_origin(kind) is Literal:
        return f"{name} is {values[name]!r}, it must be one of {', '.join(get_args(kind))}"
    expected = what.partition(", got ")[0]
    return f"{name} is {values[name]!r}: {expected[:1].lower()}{expected[1:]}"


def _from_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path}: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """BATCHYARD_PORT=8001 sets `port`; lists are comma-separated, and so are the `key=value` of a table.

    The region falls back on AWS's own variables.
    """
    values: dict[str, Any] = {}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region:
        values["region"] = region
    for name in Settings.__struct_fields__:
        text = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text is not None:
            values[name] = _parsed(name, text)
    return values


def _parsed(name: str, text: str) -> Any:
    if name in LISTS:
        return tuple(filter(None, text.split(",")))
    if name not in TABLES:
        return text
    pairs = [entry.partition("=") for entry in text.split(",") if entry]
    if not all(key and value for key, _, value in pairs):
        raise SettingsError(f"settings: {ENVIRONMENT_PREFIX}{name.upper()} must be KEY=VALUE, separated by commas")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise SettingsError(f"settings: port is {settings.port}, it must be from 0 to 65535")
    if not (len(settings.account_id) == 12 and settings.account_id.isdecimal()):
        raise SettingsError(f"settings: account_id is {settings.account_id!r}, it must be 12 digits")
    if settings.job_retention_days <= 0:
        raise SettingsError(f"settings: job_retention_days is {settings.job_retention_days}, it must be above 0")
    _check_gpus(settings)
    _check_networks(settings)
    for action in settings.job_role_actions:
        if action != "*" and not all(action.partition(":")):
            raise SettingsError(f"settings: job_role_actions has {action!r}, it must be like batch:SubmitJob or logs:*")
    for name, least in MINIMA.items():
        if getattr(settings, name) < least:
            raise SettingsError(f"settings: {name} must be at least {least}")
    for name in LIMITS:
        if getattr(settings, name) < 0:
            raise SettingsError(f"settings: {name} is {getattr(settings, name)}, it must be 0 or more")


def _check_gpus(settings: Settings) -> None:
    """Ids end up in variables of jobs, separated by commas."""
    ids = () if str(settings.gpus).isdecimal() and int(settings.gpus) > MAX_GPUS else settings.gpu_ids
    if ids is None or settings.gpus in (0, "0"):
        return
    is_named = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}", each) for each in ids)
    if not ids or not is_named or len(set(ids)) < len(ids) or len(ids) > MAX_GPUS:
        raise SettingsError(
            f"settings: gpus is {settings.gpus!r}, it must be auto, a number from 0 to {MAX_GPUS}, or different ids"
            " separated by commas"
        )


def _check_networks(settings: Settings) -> None:
    """A subnet has one network, and a network is private or not."""
    public, private = settings.docker_networks, settings.docker_private_networks
    for what, both in (
        ("subnet", public.keys() & private.keys()),
        ("network", {*public.values()} & {*private.values()}),
    ):
        if both:
            raise SettingsError(
                f"settings: the {what} {min(both)} is in docker_networks and in docker_private_networks"
            )
    if not all((*public, *public.values(), *private, *private.values())):
        raise SettingsError("settings: docker_networks and docker_private_networks need names on both sides")
