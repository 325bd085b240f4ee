"""Whether the next attempt is likely to end soon, and which of those that were thought so go on all the same."""

from __future__ import annotations

from batchyard.engines.process.attempt import Attempt

BRIEF_SECONDS = 0.05
"""What ends sooner is brief."""

MEMORY = 16
"""About so many of the last attempts count."""

MOST_LASTING = 1 / 8
"""Of those, so many may have lasted for the next to be thought brief."""


class Brevity:
    """Looks at how long the last attempts ran. At first none is thought brief."""

    def __init__(self) -> None:
        self._lasting = 1.0
        self._thought_brief: dict[str, tuple[Attempt, float]] = {}

    @property
    def is_expected(self) -> bool:
        """Whether the next attempt is likely to be brief."""
        return self._lasting < MOST_LASTING

    @property
    def awaits_ends(self) -> bool:
        """Whether any runs that was thought to be brief."""
        return bool(self._thought_brief)

    def began(self, attempt: Attempt, at: float) -> None:
        """An attempt has begun that was thought to be brief. `at`: by the monotonic clock, in seconds."""
        self._thought_brief[attempt.attempt_id] = attempt, at

    def ended(self, attempt_id: str, seconds: float) -> None:
        """An attempt's command has ended, after so long."""
        self._thought_brief.pop(attempt_id, None)
        self._lasting += ((seconds >= BRIEF_SECONDS) - self._lasting) / MEMORY

    def take_lasting(self, now: float) -> list[Attempt]:
        """Those that are not brief after all. They are not given again."""
        found = [attempt for attempt, at in self._thought_brief.values() if now - at >= BRIEF_SECONDS]
        for attempt in found:
            del self._thought_brief[attempt.attempt_id]
        return found
