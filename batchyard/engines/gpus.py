"""Which GPUs a machine has, and what a job is told of those that it was given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import structlog

LIST_SECONDS = 30.0
"""nvidia-smi may have to load the driver first."""
NVIDIA_VISIBLE = "NVIDIA_VISIBLE_DEVICES"
CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
CUDA_ORDER = "CUDA_DEVICE_ORDER"

_LISTED = re.compile(r"(?P<indent>\s*)(?:GPU|MIG) .*\(UUID: (?P<id>[^)\s]+)\)")
_log = structlog.get_logger(__name__)


def find(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The ids of this machine's GPUs, as nvidia-smi lists them, of which this process may use.

    A GPU that is divided into MIG devices counts as these. A machine without NVIDIA's driver has none, and neither has
    one whose driver does not answer.
    """
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return ()
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=LIST_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("gpus.not_listed", error=str(error))
        return ()
    return visible(parse(listed), environ.get(CUDA_VISIBLE))


def parse(listed: str) -> tuple[str, ...]:
    """The ids in the output of `nvidia-smi -L`: a line for each GPU, and indented below it one for each MIG device."""
    found: list[tuple[str, list[str]]] = []
    for line in listed.splitlines():
        match = _LISTED.match(line)
        if match is None:
            continue
        if match["indent"] and found:
            found[-1][1].append(match["id"])
        else:
            found.append((match["id"], []))
    return tuple(each for gpu, parts in found for each in (parts or [gpu]))


def visible(found: Sequence[str], allowed: str | None) -> tuple[str, ...]:
    """Those of the GPUs that CUDA_VISIBLE_DEVICES names, by position or by the beginning of an id; all if it is not
    set. As for CUDA, an entry that names nothing ends the list."""
    if allowed is None:
        return tuple(found)
    named: dict[str, None] = {}
    for entry in (each.strip() for each in allowed.split(",")):
        if entry.isdecimal() and int(entry) < len(found):
            gpu: str | None = found[int(entry)]
        else:
            gpu = next((each for each in found if entry and each.startswith(entry)), None)
        if gpu is None:
            break
        named[gpu] = None
    return tuple(named)


def variables_of_process(gpus: Sequence[str]) -> dict[str, str]:
    """What a process is told of its GPUs. CUDA shows it those alone; indices count as nvidia-smi counts."""
    names = ",".join(gpus)
    return {CUDA_VISIBLE: names, NVIDIA_VISIBLE: names or "void", CUDA_ORDER: "PCI_BUS_ID"}
