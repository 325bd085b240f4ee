"""A peer that can't be run says what it would take, and the measurement goes on without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from bench import children
from bench.peers import Peer, PeerMissing, slurm, spawn


def test_slurm_without_its_packages_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == "munged" else name)
    with pytest.raises(PeerMissing, match="no munged: apt-get install slurm-wlm munge"), slurm.running():
        pass


def test_slurm_wants_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PeerMissing, match="root"), slurm.running():
        pass


@pytest.mark.parametrize("peer", [spawn.xargs, spawn.posix_spawn])
def test_processes_are_started_and_timed(peer: Peer) -> None:
    with peer() as run_true:
        assert run_true(5) > 0


def test_a_process_ends_with_its_block_however_that_is_left() -> None:
    with pytest.raises(KeyboardInterrupt), children.running(sys.executable, "-c", "input()", stdin=-1) as process:
        raise KeyboardInterrupt
    assert process.returncode is not None


def test_a_process_that_ended_gives_no_answer() -> None:
    with (
        children.running(sys.executable, "-c", "input()", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        pytest.raises(RuntimeError, match="instead of an answer to 'run 1'"),
    ):
        children.ask(process, "run 1")
