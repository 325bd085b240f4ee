"""What `batchyard doctor` looks at where jobs run in containers: the daemon, and what it has of theirs.

Like the other checks it only looks, and it asks the daemon by itself, whether a server runs or not.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich import filesize

from batchyard import serverinfo
from batchyard.engines.docker.blocking import Daemon, filters
from batchyard.engines.docker.engine import SERVER_ID_FILE
from batchyard.engines.docker.labels import LABEL_ATTEMPT, LABEL_FOLDER, LABEL_SERVER, LABEL_VOLUME_OF
from batchyard.engines.docker.leavings import KEPT_PREFIX
from batchyard.engines.hosts import find_host
from batchyard.exceptions import DaemonRefusedError, EngineError
from batchyard.settings import Settings
from batchyard.upkeep.findings import Finding, ok, problem, warning

OLDEST_API = (1, 41)
"""Docker 20.10's: nothing older has been tried, and Podman 4 has it too."""
LOW_DISK_BYTES = 1024**3
QUOTA_DRIVERS = ("btrfs", "zfs", "devicemapper", "windowsfilter")
MOST_NAMED = 5

Members = dict[str, Any]


def examine(data_dir: Path, settings: Settings) -> Iterator[Finding]:
    """All findings, as they come."""
    host = find_host(settings.docker_host)
    if host is None:
        yield problem("docker", "no daemon was found", "start one, or name it: docker_host, or $DOCKER_HOST")
        return
    daemon = Daemon(host)
    try:
        yield from _daemon(daemon)
        info = daemon.call("GET", "/info")
        yield from _limits(info)
        yield from _quotas(info, settings)
        yield from _network(daemon, settings)
        yield from _images(daemon, info)
        yield from _leavings(daemon, data_dir)
    except EngineError as error:
        advice = "see that the daemon runs: systemctl status docker; jobs wait until it is back"
        yield problem("docker", str(error), advice)


def _daemon(daemon: Daemon) -> Iterator[Finding]:
    said = daemon.call("GET", "/version")
    api = str(said.get("ApiVersion") or "0")
    text = f"{said.get('Version')} (API {api}) answers at {daemon.host}"
    if tuple(int(part) for part in api.split(".") if part.isdecimal()) < OLDEST_API:
        oldest = ".".join(map(str, OLDEST_API))
        yield warning("docker", text, f"nothing older than API {oldest} has been tried: update Docker")
    else:
        yield ok("docker", text)


def _limits(info: Members) -> Iterator[Finding]:
    if not info.get("MemoryLimit"):
        yield warning(
            "docker",
            "jobs' memory is not limited: the kernel has no memory controller",
            "boot with cgroup_enable=memory",
        )
    # Version 2 always accounts for swap; and where there is none, none can be used.
    if str(info.get("CgroupVersion") or "1") == "1" and not info.get("SwapLimit") and _has_swap():
        yield warning(
            "docker",
            "jobs may use swap beyond their memory, and maxSwap has no effect: swap is not accounted for",
            "boot with swapaccount=1, or with cgroup version 2",
        )
    if not info.get("CpuShares", True):
        yield warning(
            "docker", "vCPUs are not shared out: the kernel has no cpu controller", "boot with that controller"
        )


def _has_swap() -> bool:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return any(line.startswith("SwapTotal:") and int(line.split()[1]) > 0 for line in lines)


def _quotas(info: Members, settings: Settings) -> Iterator[Finding]:
    if not settings.docker_storage_quota:
        return
    driver = str(info.get("Driver") or "")
    backing = dict(info.get("DriverStatus") or ()).get("Backing Filesystem", "")
    if driver not in QUOTA_DRIVERS and not (driver == "overlay2" and backing == "xfs" and _has_project_quota(info)):
        where = backing or "its file system"
        yield problem(
            "docker",
            f"docker_storage_quota is set, and its storage driver {driver} on {where} has no quotas",
            "jobs with ephemeralStorage can't start: unset it, or put Docker's data on xfs mounted with pquota",
        )


def _has_project_quota(info: Members) -> bool:
    """Whether the file system of Docker's data is mounted with quotas of projects; of one elsewhere, nobody knows."""
    root = str(info.get("DockerRootDir") or "/")
    best: tuple[int, str] = (0, "")
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, _, options, *_ = line.split()
        if Path(root).is_relative_to(mount):
            best = max(best, (len(mount), options))
    return any(option in best[1].split(",") for option in ("prjquota", "pquota"))


def _network(daemon: Daemon, settings: Settings) -> Iterator[Finding]:
    try:
        daemon.call("GET", f"/networks/{settings.docker_network}")
    except DaemonRefusedError as error:
        if error.status != 404:
            raise
        yield problem(
            "docker",
            f"there is no network {settings.docker_network}, on which jobs have to be (docker_network)",
            f"docker network create {settings.docker_network}, or set docker_network to none, host or another",
        )


def _images(daemon: Daemon, info: Members) -> Iterator[Finding]:
    images = daemon.call("GET", "/images/json")
    used = sum(int(each.get("Size") or 0) for each in images)
    text = f"{len(images)} images, {filesize.decimal(used)}"
    root = Path(str(info.get("DockerRootDir") or "/nowhere"))
    free = shutil.disk_usage(root).free if root.is_dir() else LOW_DISK_BYTES
    if free < LOW_DISK_BYTES:
        text += f"; {filesize.decimal(free)} free for more"
        yield warning("images", text, "docker image prune --all removes those that no container uses")
    else:
        yield ok("images", text)


def _leavings(daemon: Daemon, data_dir: Path) -> Iterator[Finding]:
    """Containers, volumes and networks of this folder and of others."""
    all_containers = daemon.call("GET", "/containers/json", {"all": "1", "filters": filters(label=[LABEL_SERVER])})
    server_id = _server_id(data_dir)
    mine = [each for each in all_containers if each["Labels"][LABEL_SERVER] == server_id]
    running = sum(each.get("State") == "running" for each in mine)
    kept = sum(_name(each).startswith(KEPT_PREFIX) for each in mine)
    is_served = serverinfo.read(data_dir) is not None
    note = "" if is_served or not running else "; the next `batchyard up` looks after them"
    yield ok("orphans", f"{len(mine)} containers of this folder, {running} running, {kept} kept after a failure{note}")
    gone: dict[str, list[str]] = {}
    for each in all_containers:
        folder = each["Labels"].get(LABEL_FOLDER)
        if folder and each["Labels"][LABEL_SERVER] not in (server_id, _server_id(Path(folder))):
            gone.setdefault(folder, []).append(_name(each))
    for folder, names in gone.items():
        yield warning(
            "orphans",
            f"{len(names)} containers of the data folder {folder}, which is not there any more: {_some(names)}",
            f"unless a server in a container has that folder: docker rm --force --volumes {' '.join(names)}",
        )
    yield from _other_leavings(daemon, all_containers, server_id, is_served=is_served)


def _other_leavings(
    daemon: Daemon, containers: list[Members], server_id: str | None, *, is_served: bool
) -> Iterator[Finding]:
    attempts = {each["Labels"].get(LABEL_ATTEMPT, "") for each in containers}
    found = daemon.call("GET", "/volumes", {"filters": filters(label=[LABEL_VOLUME_OF])})["Volumes"] or ()
    volumes = [each["Name"] for each in found if each["Labels"][LABEL_VOLUME_OF] not in attempts]
    if volumes:
        text = f"{len(volumes)} volumes of attempts that have no container: {_some(volumes)}"
        yield warning("orphans", text, f"docker volume rm {' '.join(volumes)}")
    wanted = {"filters": filters(label=[f"{LABEL_SERVER}={server_id}"])}
    networks = [each["Name"] for each in daemon.call("GET", "/networks", wanted)]
    if networks and not is_served and not any(each["Labels"][LABEL_SERVER] == server_id for each in containers):
        text = f"a network of multi-node jobs that nobody is on: {_some(networks)}"
        yield warning("orphans", text, f"docker network rm {' '.join(networks)}")


def _server_id(data_dir: Path) -> str | None:
    try:
        return (data_dir / "engine" / SERVER_ID_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _name(container: Members) -> str:
    return str((container.get("Names") or [container["Id"]])[0]).removeprefix("/")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
