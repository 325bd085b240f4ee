"""Python's garbage collector, asked to look less."""

from __future__ import annotations

import gc

OBJECTS_PER_COLLECTION = 10_000
"""How many more objects that hold others there are before the youngest are looked through; Python's own is 700."""


def spare() -> None:
    """To be called once a process is ready. What is there by now stays until the end, so the collector need not look
    through it; and little of what is made from then on goes round in rings, which only the collector sees."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
