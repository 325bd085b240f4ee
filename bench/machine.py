"""The machine that is measured on: what it is, and how busy others keep it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

from bench.peers import environments, slurm
from bench.report import Machine

LOOK_SECONDS = 0.5


def describe(cores: int) -> Machine:
    """The machine and the versions of what runs on it; `cores` of its CPUs are used."""
    versions = {
        "batchyard": version("batchyard"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{peer: found for peer in environments.PACKAGES if (found := environments.version_of(peer))},
        **_slurm_version(),
    }
    memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return Machine(_cpu_model(), cores, platform.release(), memory_mib, versions)


def busy_share() -> float:
    """How much of the machine's CPU time is taken, 0 to 1, over half a second in which nothing is done here."""
    before = _cpu_ticks()
    time.sleep(LOOK_SECONDS)
    busy, everything = (after - earlier for after, earlier in zip(_cpu_ticks(), before, strict=True))
    return busy / max(1, everything)


def _cpu_ticks() -> tuple[int, int]:
    """Ticks that all CPUs together were busy, and all ticks, since the machine started."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _slurm_version() -> dict[str, str]:
    program = shutil.which("slurmctld", path=slurm.search_path())
    if program is None:
        return {}
    told = subprocess.run([program, "-V"], stdout=subprocess.PIPE, check=False).stdout.decode()
    return {"slurm": told.split()[-1]} if told.split() else {}
