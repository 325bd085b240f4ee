"""Which GPUs a machine has, by nvidia-smi or by the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchyard import settings
from batchyard.engines import gpus
from batchyard.engines.choose import choose
from batchyard.exceptions import SettingsError

TWO = """\
GPU 0: Tesla V100-SXM2-16GB (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: Tesla V100-SXM2-16GB (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000000)
"""
DIVIDED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)
  MIG 3g.20gb     Device  0: (UUID: MIG-11)
  MIG 3g.20gb     Device  1: (UUID: MIG-12)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-2)
"""


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("", ()),
        ("No devices found.\n", ()),
        (TWO, ("GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-22222222-aaaa-bbbb-cccc-000000000000")),
        (DIVIDED, ("MIG-11", "MIG-12", "GPU-2")),
    ],
)
def test_what_nvidia_smi_lists(listed: str, found: tuple[str, ...]) -> None:
    assert gpus.parse(listed) == found


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        (None, ("GPU-a1", "GPU-b2", "GPU-c3")),
        ("", ()),
        ("-1", ()),
        ("2,0", ("GPU-c3", "GPU-a1")),
        ("GPU-b", ("GPU-b2",)),
        ("0,9,1", ("GPU-a1",)),
        ("1,1", ("GPU-b2",)),
    ],
)
def test_a_server_gives_out_only_what_cuda_would_show_it(allowed: str | None, seen: tuple[str, ...]) -> None:
    assert gpus.visible(("GPU-a1", "GPU-b2", "GPU-c3"), allowed) == seen


def smi(folder: Path, script: str) -> dict[str, str]:
    """An environment in which nvidia-smi is this script."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": str(folder)}


def test_they_are_found_by_asking_nvidia_smi(tmp_path: Path) -> None:
    environ = smi(tmp_path, 'test "$1" = -L && echo "GPU 0: X (UUID: GPU-1)" && echo "GPU 1: X (UUID: GPU-2)"')
    assert gpus.find(environ) == ("GPU-1", "GPU-2")
    assert gpus.find({**environ, "CUDA_VISIBLE_DEVICES": "1"}) == ("GPU-2",)


def test_a_driver_that_does_not_answer_and_none_at_all_are_no_gpus(tmp_path: Path) -> None:
    assert gpus.find(smi(tmp_path, "exit 9")) == ()
    assert gpus.find({"PATH": str(tmp_path / "empty")}) == ()


@pytest.mark.parametrize(
    ("setting", "ids"),
    [
        ("auto", None),
        ("0", ()),
        (0, ()),
        (3, ("0", "1", "2")),
        ("2", ("0", "1")),
        ("2,", ("2",)),
        ("GPU-a, GPU-b", ("GPU-a", "GPU-b")),
        ("MIG-GPU-a/1/0", ("MIG-GPU-a/1/0",)),
    ],
)
def test_the_setting_counts_or_names_them(setting: str | int, ids: tuple[str, ...] | None) -> None:
    assert settings.load(environment={"BATCHYARD_GPUS": str(setting)}).gpu_ids == ids
    assert settings.load(environment={}, flags={"gpus": setting}).gpu_ids == ids


@pytest.mark.parametrize("setting", ["", ",", "a,,b", "a,a", "a b", "-1", -1, 1025, "x" * 200])
def test_other_settings_are_refused(setting: str | int) -> None:
    with pytest.raises(SettingsError, match=r"gpus is .* it must be auto, a number from 0 to 1024, or different ids"):
        settings.load(environment={}, flags={"gpus": setting})


def test_a_daemon_elsewhere_has_the_gpus_that_are_set_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "find", lambda: ("GPU-here",))

    def engine_gpus(name: str, **changes: object) -> tuple[str, ...]:
        options = {"data_dir": str(tmp_path), "engine": name, "docker_host": "tcp://192.0.2.1:2375", **changes}
        engine = choose(settings.load(environment={}, flags=options))
        return engine.capacity().gpus if name == "process" else engine._settings.gpus  # type: ignore[attr-defined]

    assert engine_gpus("process") == ("GPU-here",)
    assert engine_gpus("docker") == ()
    assert engine_gpus("docker", docker_host="unix:///run/docker.sock") == ("GPU-here",)
    assert engine_gpus("docker", gpus=2) == ("0", "1")
