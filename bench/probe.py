"""`python -m bench.probe`: the core alone, in a fresh process that is asked line by line.

A line is a word and numbers; each is answered with one number:
`singles N` and `arrays N SIZE` fill the queue and answer with the MiB that this added; `run N` answers with the
decisions a second over the next N jobs; `graph JOBS LAYERS FAN_IN` answers with the microseconds an edge that it took
to submit and run a random graph (in a yard of its own), `edges` with how many edges that had.

All time is this process's CPU time: the core waits for nothing, and what others take of the machine says nothing of it.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from batchyard.core.inputs import JobSubmitted
from batchyard.core.model import Dependency, JobTerms, Resources
from bench.virtual import QUEUE, VirtualYard

TOGETHER = 500
"""Jobs told to one step."""
SEED = 20250101


class Probe:
    """What the lines are about."""

    def __init__(self) -> None:
        self.yard = VirtualYard()
        self.edges = 0

    def singles(self, count: int) -> float:
        """Single jobs, none with the terms of another."""
        return self._fill(JobSubmitted(seq, _id(), _terms(16 + seq)) for seq in range(1, count + 1))

    def arrays(self, count: int, size: int) -> float:
        return self._fill(JobSubmitted(seq, _id(), _terms(16 + seq, array_size=size)) for seq in range(1, count + 1))

    def run(self, count: int) -> float:
        began = time.process_time()
        done = self.yard.run(count)
        return done / (time.process_time() - began)

    def graph(self, jobs: int, layers: int, fan_in: int) -> float:
        """Each job of a layer waits for up to `fan_in` of the layer before it."""
        submissions = self._graph(jobs, layers, fan_in)
        yard = VirtualYard()
        gc.collect()
        began = time.process_time()
        for each in submissions:
            yard.submit(each)
        yard.open()
        done = yard.run(jobs)
        seconds = time.process_time() - began
        assert done == jobs and not yard.yard.jobs, f"{done} of {jobs} jobs ran, {len(yard.yard.jobs)} are left"
        return 1e6 * seconds / self.edges

    def _graph(self, jobs: int, layers: int, fan_in: int) -> list[list[JobSubmitted]]:
        chosen, width = random.Random(SEED), jobs // layers
        self.edges = 0
        above: list[str] = []
        result: list[list[JobSubmitted]] = []
        for layer in range(layers):
            events = []
            for number in range(width):
                parents = chosen.sample(above, chosen.randint(1, min(fan_in, len(above)))) if above else []
                self.edges += len(parents)
                depends_on = tuple(map(Dependency, parents))
                events.append(JobSubmitted(layer * width + number + 1, _id(), _terms(16, depends_on=depends_on)))
            above = [event.job_id for event in events]
            result.append(events)
        return result

    def _fill(self, jobs: Iterator[JobSubmitted]) -> float:
        before = _resident_mib()
        # As the server does when it restores what is stored: all of this stays.
        gc.disable()
        while together := list(islice(jobs, TOGETHER)):
            self.yard.submit(together)
        gc.freeze()
        gc.enable()
        added = _resident_mib() - before
        self.yard.open()
        return added


def _terms(memory_mib: int, *, array_size: int | None = None, depends_on: tuple[Dependency, ...] = ()) -> JobTerms:
    return JobTerms(QUEUE, Resources(1000, memory_mib), array_size=array_size, depends_on=depends_on)


def _id() -> str:
    return str(uuid.uuid4())


def _resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    probe = Probe()
    answers: dict[str, Callable[..., float]] = {
        "singles": probe.singles,
        "arrays": probe.arrays,
        "run": probe.run,
        "graph": probe.graph,
        "edges": lambda: probe.edges,
    }
    for line in sys.stdin:
        word, *numbers = line.split()
        print(answers[word](*map(int, numbers)), flush=True)


if __name__ == "__main__":
    main()
