"""HyperQueue: its own local cluster, a server and a worker of two cores, and jobs of many tasks.

It keeps no journal, as ever unless it is asked to, while Batchyard commits every job to disk. The output of tasks goes
into files, as its Python API has it and as Batchyard collects it too; a second peer is told to collect none.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from bench import children
from bench.peers import AT_ONCE, RunTrue
from bench.peers.environments import python_of

PROGRAM = Path(__file__).with_name("hyperqueue_program.py")


def running() -> AbstractContextManager[RunTrue]:
    """As it comes. Raises PeerMissing if it can't be installed."""
    return _running("output")


def without_output() -> AbstractContextManager[RunTrue]:
    """What tasks print is thrown away, and no files are made for it."""
    return _running("no-output")


@contextlib.contextmanager
def _running(output: str) -> Iterator[RunTrue]:
    python = str(python_of("hyperqueue"))
    with (
        tempfile.TemporaryDirectory(prefix="batchyard-bench-hq-") as folder,
        children.running(
            *(python, "-I", str(PROGRAM), folder, str(AT_ONCE), output), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as program,
    ):

        def run_true(count: int) -> float:
            return float(children.ask(program, str(count)))

        run_true(20)
        yield run_true
