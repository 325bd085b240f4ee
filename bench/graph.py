"""Dependencies in the scheduler: jobs in 1,000 layers, each waiting for up to 20 of the layer before. A graph with four
times the edges must take four times as long, and no longer.

The smaller graphs have fewer layers, not narrower ones: a layer is what one step is told at once, and what a step costs
by itself would otherwise be shared by more jobs in the one than in the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench import children
from bench.figures import Figure, per_pair
from bench.harness import Options
from bench.scheduler import probe

GOAL_EVENNESS = 1.25
FAN_IN = 20


def measure(options: Options) -> Iterator[Figure]:
    jobs, layers, repeats = (10_000, 100, 1) if options.quick else (100_000, 1000, 5)
    sizes = (jobs // 4, jobs // 2, jobs)
    lines = {size: f"graph {size} {layers * size // jobs} {FAN_IN}" for size in sizes}
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    edges: dict[int, int] = {}
    with probe() as process:
        children.ask(process, lines[sizes[0]])
        for _ in range(repeats):
            for size in sizes:
                taken[size].append(float(children.ask(process, lines[size])))
                edges[size] = round(float(children.ask(process, "edges")))
    for size in sizes:
        yield Figure(
            f"graph of {size:,} jobs",
            "µs/edge",
            tuple(taken[size]),
            lower_is_better=True,
            note=f"{edges[size]:,} edges in {layers * size // jobs:,} layers, submitted and run in virtual time",
        )
    yield Figure(
        "time an edge: whole graph / quarter",
        "x",
        per_pair(taken[jobs], taken[sizes[0]]),
        goal=GOAL_EVENNESS,
        lower_is_better=True,
        note="1 is linear in edges; 4 would be quadratic",
    )
