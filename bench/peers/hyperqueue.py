"""HyperQueue: its own local cluster, a server and a worker of two cores, and jobs of many tasks.

Kindly set up: it keeps no journal (Batchyard commits every job to disk) and its tasks write no output files.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import children
from bench.peers import AT_ONCE, RunTrue
from bench.peers.environments import python_of

PROGRAM = Path(__file__).with_name("hyperqueue_program.py")


@contextlib.contextmanager
def running() -> Iterator[RunTrue]:
    """Raises PeerMissing if it can't be installed."""
    python = str(python_of("hyperqueue"))
    with (
        tempfile.TemporaryDirectory(prefix="batchyard-bench-hq-") as folder,
        children.running(
            *(python, "-I", str(PROGRAM), folder, str(AT_ONCE)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as program,
    ):

        def run_true(count: int) -> float:
            return float(children.ask(program, str(count)))

        run_true(20)
        yield run_true
