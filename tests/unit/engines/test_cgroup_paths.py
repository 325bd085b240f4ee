"""Where groups of version 2 may be made, and by whom: on paper. Real trees are in tests/engine/test_cgroups.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.engines.process import cgroup_paths
from batchyard.engines.process.cgroup_paths import UNIFIED, Place

ROOT = Path("/sys/fs/cgroup")
MANAGER = "user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("own", "parents"),
    [
        ("", [""]),
        ("system.slice/yard.service", ["system.slice/yard.service", ""]),
        ("system.slice/yard.service/server", ["system.slice/yard.service/server", "system.slice/yard.service", ""]),
        (
            f"{MANAGER}/app.slice/run.scope/leaf",
            [f"{MANAGER}/app.slice/run.scope/leaf", f"{MANAGER}/app.slice/run.scope", ""],
        ),
        (f"{MANAGER}/app.slice/run.scope", [f"{MANAGER}/app.slice/run.scope", ""]),
        (f"{MANAGER}/init.scope", [f"{MANAGER}/init.scope", ""]),
    ],
)
def test_groups_are_made_in_this_processs_own_or_around_it_if_it_is_a_leaf_or_at_the_top(
    own: str, parents: list[str]
) -> None:
    assert cgroup_paths.parents(Place(ROOT, ROOT / own)) == [ROOT / each for each in parents]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `systemctl` that knows of one unit: run.scope, which is delegated."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$5" = run.scope ] && echo yes || echo no\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path


def group(folder: Path, controllers: str = "cpu memory pids") -> Path:
    """A folder that looks like a group which this user may write to."""
    folder.mkdir(parents=True)
    for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.type"):
        (folder / name).touch()
    (folder / "cgroup.controllers").write_text(controllers)
    return folder


@pytest.mark.parametrize(("name", "delegated"), [("run.scope", True), ("tab.scope", False), ("run.service", False)])
def test_systemd_says_which_scopes_are_put_in_order_by_who_runs_in_them(
    systemd: Path, name: str, delegated: bool
) -> None:
    assert cgroup_paths.is_delegated_scope(group(systemd / name)) is delegated


@pytest.mark.parametrize(
    ("own", "can"),
    [
        ("run.scope", True),
        ("tab.scope", False),
        ("yard.service", False),
        ("yard.service/server", True),
        ("lean.service/server", False),
    ],
)
def test_memory_can_be_limited_where_a_group_is_free_to_hand_the_controller_down(
    systemd: Path, own: str, can: bool
) -> None:
    top = group(systemd / "top")
    (top / "cgroup.controllers").write_text("")
    for name in ("run.scope", "tab.scope", "yard.service"):
        group(top / name)
    group(top / "lean.service", "pids")
    assert cgroup_paths.can_limit({UNIFIED: Place(top, top / own)}) is can
