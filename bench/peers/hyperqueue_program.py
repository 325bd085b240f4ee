"""Runs in HyperQueue's own environment: `python hyperqueue_program.py FOLDER CORES`. For each number that comes in, a
job of so many tasks `true`, and out goes how many seconds it took from its submission to the end of its last task.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def main() -> None:
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    answers = os.fdopen(os.dup(1), "w")
    # What it prints about itself and its progress is not for the one who asked.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    with LocalCluster(server_dir=sys.argv[1], worker_config=WorkerConfig(cores=int(sys.argv[2]))) as cluster:
        client = cluster.client()
        for line in sys.stdin:
            answers.write(f"{_seconds(client, Job(), int(line))}\n")
            answers.flush()


def _seconds(client: Any, job: Any, count: int) -> float:
    for _ in range(count):
        job.program(["true"], stdout=None, stderr=None)
    began = time.perf_counter()
    client.wait_for_jobs([client.submit(job)])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
