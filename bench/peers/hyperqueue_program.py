"""Runs in HyperQueue's own environment: `python hyperqueue_program.py FOLDER CORES output|no-output`. For each
number that comes in, a job of so many tasks `true`, and out goes how many seconds it took from its submission to the
end of its last task.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    hyperqueue = importlib.import_module("hyperqueue")
    cluster_module = importlib.import_module("hyperqueue.cluster")

    os.chdir(sys.argv[1])  # where the files of output go
    answers = os.fdopen(os.dup(1), "w")
    # What it prints about itself and its progress is not for the one who asked.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    workers = cluster_module.WorkerConfig(cores=int(sys.argv[2]))
    with hyperqueue.LocalCluster(server_dir=sys.argv[1], worker_config=workers) as cluster:
        client = cluster.client()
        for line in sys.stdin:
            answers.write(f"{_seconds(client, hyperqueue.Job(), int(line))}\n")
            answers.flush()


def _seconds(client: Any, job: Any, count: int) -> float:
    """Its client asks once a second whether a job has ended, so the last task itself says when it ran."""
    stamp = Path(sys.argv[1]) / "last"
    stamp.unlink(missing_ok=True)
    streams = {} if sys.argv[3] == "output" else {"stdout": None, "stderr": None}
    for _ in range(count - 1):
        job.program(["true"], **streams)
    job.program(["touch", str(stamp)], priority=-1, **streams)
    began = time.time()
    client.wait_for_jobs([client.submit(job)])
    return stamp.stat().st_mtime - began


if __name__ == "__main__":
    main()
