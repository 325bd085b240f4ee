from __future__ import annotations

from pathlib import Path

import pytest

from batchyard.engines.docker import usage
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
