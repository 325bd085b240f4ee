#!/usr/bin/env python3
"""One node of the heat equation: its share of the plate's rows, whose edges it exchanges with its neighbours.

    node.py --size 240 --steps 1500 --output result.bin

Every node of the job runs this same command. The main node writes the result: the plate's rows as doubles.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from heat import links, plate

PORT = 5710
CHECK_EVERY = 100
"""Steps between two looks at how much the plate still changes, anywhere on it."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Solve the heat equation on a plate, together with the other nodes.")
    parser.add_argument("--size", type=int, default=240, help="rows and columns of the plate (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="at most so many steps (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="stop when no cell changes by more in a step")
    parser.add_argument("--output", type=Path, required=True, help="where the main node writes the result")
    parser.add_argument("--port", type=int, default=PORT, help="where the main node listens (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    nodes = links.join(chosen.port)
    if not nodes.count <= chosen.size:
        parser.error(f"{nodes.count} nodes can't share {chosen.size} rows")
    solve(nodes, chosen.size, chosen.steps, chosen.tolerance, chosen.output)
    return 0


def solve(nodes: links.Nodes, size: int, steps: int, tolerance: float, output: Path) -> None:
    first, last = plate.share(size, nodes.index, nodes.count)
    say(nodes, f"rows {first} to {last - 1} of {size}")
    mine = plate.block(size, first, last)
    began = time.monotonic()
    for step in range(1, steps + 1):
        above, below = nodes.exchange(mine.edge(top=True), mine.edge(top=False))
        change = mine.step(above, below)
        if step % CHECK_EVERY == 0 or step == steps:
            change = nodes.largest_of_all(change)
            if nodes.is_main:
                say(nodes, f"step {step}: the largest change is {change:.6f}")
            if change < tolerance:
                break
    rows = nodes.gathered(mine.content())
    if nodes.is_main:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(b"".join(rows))
        say(nodes, f"{nodes.count} nodes took {time.monotonic() - began:.2f} s; the plate is in {output}")
    nodes.part()


def say(nodes: links.Nodes, text: str) -> None:
    print(f"node {nodes.index}: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
