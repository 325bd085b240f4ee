from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.engines.docker import parse, slices, usage
from batchyard.engines.docker.build import Options, attempt_of_group, cgroup_folder, cgroup_parent
from batchyard.engines.docker.usage import Groups
from batchyard.engines.process.cgroup_paths import UNIFIED

GROUP = "/batchyard/a"
LIMIT_BYTES = 16 * 1024 * 1024


def write(mount: Path, name: str, text: str) -> None:
    folder = mount / GROUP.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has killed seven times."""
    monkeypatch.setattr(usage, "memory_kills", lambda: 7)


@pytest.mark.parametrize(("kills", "lacked"), [(0, False), (2, True)])
def test_version_2_counts_what_was_killed_for_memory(tmp_path: Path, kills: int, lacked: bool) -> None:
    write(tmp_path, "memory.events", f"low 0\nmax 9\noom 9\noom_kill {kills}\n")
    assert Groups({UNIFIED: tmp_path}).lacked_memory(GROUP, None, 7) is lacked


@pytest.mark.parametrize(
    ("peak_bytes", "kills_before", "lacked"),
    [(LIMIT_BYTES, 6, True), (LIMIT_BYTES - 4096, 6, False), (LIMIT_BYTES, 7, False), (LIMIT_BYTES, None, False)],
)
def test_version_1_shows_what_has_come_up_to_its_limit_while_the_host_has_killed(
    tmp_path: Path, peak_bytes: int, kills_before: int | None, lacked: bool
) -> None:
    write(tmp_path, "memory.max_usage_in_bytes", f"{peak_bytes}\n")
    assert Groups({"memory": tmp_path}).lacked_memory(GROUP, LIMIT_BYTES, kills_before) is lacked


def test_version_1_shows_nothing_of_containers_that_have_a_limit_each(tmp_path: Path) -> None:
    write(tmp_path, "memory.max_usage_in_bytes", f"{LIMIT_BYTES}\n")
    assert not Groups({"memory": tmp_path, UNIFIED: tmp_path}).lacked_memory(GROUP, None, 6)


def test_the_host_is_asked_how_often_it_has_killed_only_where_groups_do_not_count_that(tmp_path: Path) -> None:
    assert Groups({"memory": tmp_path, UNIFIED: tmp_path}).memory_kills() == 7
    assert Groups({UNIFIED: tmp_path}).memory_kills() is None


@pytest.mark.parametrize("name", ["memory", UNIFIED])
def test_nothing_is_known_of_a_group_that_is_gone(tmp_path: Path, name: str) -> None:
    assert not Groups({name: tmp_path}).lacked_memory(GROUP, LIMIT_BYTES, 6)


def test_the_host_says_how_often_it_has_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kills = usage.memory_kills()
    assert kills is not None and kills >= 0


def daemon(driver: str, **info: object) -> parse.Daemon:
    return parse.daemon_of({"CgroupDriver": driver, **info})


@pytest.mark.parametrize(
    ("driver", "trees", "is_local", "may_stop", "used"),
    [
        ("cgroupfs", ["memory"], True, False, "cgroupfs"),
        ("cgroupfs", [UNIFIED], True, False, "cgroupfs"),
        ("cgroupfs", [UNIFIED], False, True, ""),
        ("cgroupfs", [], True, True, ""),
        ("systemd", [UNIFIED], True, True, "systemd"),
        ("systemd", [UNIFIED], True, False, ""),
        ("systemd", ["memory", UNIFIED], True, True, ""),
        ("none", [UNIFIED], True, True, ""),
    ],
)
def test_attempts_have_groups_where_these_can_be_read_and_removed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: str,
    trees: list[str],
    is_local: bool,
    may_stop: bool,
    used: str,
) -> None:
    monkeypatch.setattr(slices, "can_be_stopped", lambda: may_stop)
    assert Groups(dict.fromkeys(trees, tmp_path)).driver(daemon(driver), is_local=is_local) == used


def test_podmans_slices_have_not_been_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "can_be_stopped", lambda: True)
    podman = daemon("systemd", Plugins={"Log": ["k8s-file"]})
    assert Groups({UNIFIED: tmp_path}).driver(podman, is_local=True) == ""


def test_what_is_in_a_slice_is_read_below_the_slice_around_it(tmp_path: Path) -> None:
    options = Options("s", "b", cgroup_driver="systemd", prefix="t-")
    parent = cgroup_parent(options, "0a1b-2c3d")
    assert parent == "batchyard-s-t_0a1b_2c3d.slice"
    assert attempt_of_group(options, parent) == "0a1b-2c3d"
    folder = tmp_path / "batchyard.slice" / "batchyard-s.slice" / parent
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 5\n")
    (folder / "memory.peak").write_text("4096\n")
    found = Groups({UNIFIED: tmp_path}).usage(parent)
    assert found is not None
    assert Groups({UNIFIED: tmp_path}).names(cgroup_folder(options)) == {parent}
    assert (found.cpu_seconds, found.peak_memory_bytes) == (1.5, 4096)


@pytest.mark.parametrize(
    ("tree", "name", "vcpu_milli", "share"),
    [
        ("cpu", "cpu.shares", 3000, "3072"),
        ("cpu", "cpu.shares", 1_000_000, "262144"),
        (UNIFIED, "cpu.weight", 2500, "250"),
        (UNIFIED, "cpu.weight", 1_000_000, "10000"),
    ],
)
def test_a_group_weighs_what_its_attempt_asked_for(
    tmp_path: Path, tree: str, name: str, vcpu_milli: int, share: str
) -> None:
    write(tmp_path, name, "")
    Groups({tree: tmp_path}).share(GROUP, vcpu_milli)
    assert (tmp_path / GROUP.lstrip("/") / name).read_text() == share
