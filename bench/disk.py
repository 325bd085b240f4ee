"""What one durable write costs here without a database: a server's data folder is in the same place."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator

from bench.figures import Figure
from bench.harness import Options

PAGE = bytes(4096)


def measure(options: Options) -> Iterator[Figure]:
    values = []
    with tempfile.NamedTemporaryFile(prefix="batchyard-bench-") as file:
        for _ in range(50 if options.quick else 500):
            began = time.perf_counter()
            os.write(file.fileno(), PAGE)
            os.fdatasync(file.fileno())
            values.append(1000 * (time.perf_counter() - began))
    yield Figure(
        "4 KiB and fdatasync",
        "ms",
        tuple(values),
        lower_is_better=True,
        note=f"in {tempfile.gettempdir()}; far below 0.1 ms there is no disk behind it, and the rest says little",
    )
