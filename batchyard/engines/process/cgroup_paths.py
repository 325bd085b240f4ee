"""Where the kernel keeps this process's control groups: /proc/self/mountinfo read against /proc/self/cgroup.

Two layouts exist, and machines that have both. Version 1 has a tree per controller, version 2 one tree for all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

UNIFIED = ""
"""The name under which the tree of version 2 stands among the controllers of version 1."""


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
