"""How long the random tests look: briefly, or with `BATCHYARD_TEST_PROFILE=ci` as long as CI does."""

from __future__ import annotations

import os

from hypothesis import settings

QUICK_PART = 10
"""A quick run tries a tenth of CI's examples."""

IS_QUICK = os.environ.get("BATCHYARD_TEST_PROFILE", "quick") != "ci"


def examples(count: int) -> int:
    """Of `count` examples that CI tries, as many as this run does."""
    return max(3, count // QUICK_PART) if IS_QUICK else count


def load() -> None:
    """For tests that say nothing of their own."""
    settings.register_profile("batchyard", max_examples=examples(100), deadline=None)
    settings.load_profile("batchyard")
