"""Where the kernel keeps this process's control groups: /proc/self/mountinfo read against /proc/self/cgroup.

Two layouts exist, and machines that have both. Version 1 has a tree per controller, version 2 one tree for all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

UNIFIED = ""
"""The name under which the tree of version 2 stands among the controllers of version 1."""

SYSTEMD_SECONDS = 5.0
"""How long systemd may take to say whether it has delegated a scope."""


class Place(NamedTuple):
    """This process's group in one tree."""

    mount: Path
    own: Path


def parse(mountinfo: str, cgroup: str) -> dict[str, Place]:
    """The place of this process by controller; version 2 under UNIFIED. Trees that aren't mounted are left out."""
    own_paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        number, controllers, path = line.split(":", 2)
        for controller in controllers.split(",") if number != "0" else [UNIFIED]:
            own_paths[controller] = path
    places: dict[str, Place] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options, *_) = before.split(), [*after.split(), "", "", ""]
        if kind == "cgroup2":
            names = [UNIFIED]
        elif kind == "cgroup":
            names = options.split(",")
        else:
            continue
        root, mount = fields[3], Path(fields[4].replace("\\040", " "))
        for name in names:
            if name in own_paths and name not in places:
                places[name] = Place(mount, _below(mount, root, own_paths[name]))
    return places


def _below(mount: Path, root: str, path: str) -> Path:
    """Where `path` is seen when `root` of its tree is mounted at `mount`, as it is in a container."""
    relative = os.path.relpath(path, root)
    return mount if relative == ".." or relative.startswith("../") else mount / relative


def places() -> dict[str, Place]:
    """The trees mounted here."""
    return parse(
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"),
        Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace"),
    )


def is_delegated_scope(folder: Path) -> bool:
    """Whether a group is one that systemd leaves to whoever runs in it, to put it in order. A service's isn't, although
    delegated: systemd starts it again in the very group, which must then be free to hold processes."""
    if folder.suffix != ".scope" or not os.access(folder / "cgroup.procs", os.W_OK):
        return False
    with contextlib.suppress(OSError):
        return os.getxattr(folder, "user.delegate") == b"1"
    # Root's systemd says so from version 251 on; a user's own has to be asked.
    import subprocess

    whose = "--user" if os.geteuid() else "--system"
    command = ["systemctl", whose, "show", "--property=Delegate", "--value", folder.name]
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}", **os.environ}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        asked = subprocess.run(command, env=environment, capture_output=True, timeout=SYSTEMD_SECONDS, check=False)
        return asked.stdout.strip() == b"yes"
    return False


def parents(place: Place) -> list[Path]:
    """Where groups of version 2 may be made, the best first: in this process's own group; in the delegated group around
    it, of which it is a leaf (systemd's DelegateSubgroup=, or what an earlier supervisor made of a scope); at the top,
    which root may do."""
    around = place.own.parent
    # Only delegated units have groups in them. What is delegated to a user's own systemd has a master already.
    is_unit = around.suffix in (".service", ".scope") and not around.name.startswith("user@")
    return list(dict.fromkeys((place.own, *([around] if is_unit else ()), place.mount)))


def can_limit(found: Mapping[str, Place]) -> bool:
    """Whether memory can be limited below one of these places, as far as can be told without trying."""
    if (place := found.get("memory")) is not None:
        return os.access(place.own, os.W_OK)
    place = found.get(UNIFIED)
    return place is not None and any(_may_hand_down(place, folder) for folder in parents(place))


def _may_hand_down(place: Place, folder: Path) -> bool:
    is_top = not (folder / "cgroup.type").exists()
    if not is_top and folder in (place.own, place.mount) and not is_delegated_scope(folder):
        return False  # This process is in it, or others are.
    controllers = (_text(folder / "cgroup.controllers") or "").split()
    return "memory" in controllers and os.access(folder / "cgroup.subtree_control", os.W_OK)


def memory_limit_bytes() -> int | None:
    """The lowest memory limit that this process is under, None for none."""
    limits: list[int] = []
    found = places()
    if (place := found.get("memory")) is not None:
        text = _text(place.own / "memory.stat") or ""
        limits += [int(line.split()[1]) for line in text.splitlines() if line.startswith("hierarchical_memory_limit ")]
    elif (place := found.get(UNIFIED)) is not None:
        folder = place.own
        while folder.is_relative_to(place.mount):
            text = (_text(folder / "memory.max") or "max").strip()
            limits += [int(text)] if text.isdecimal() else []
            folder = folder.parent
    return min(limits, default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return None
