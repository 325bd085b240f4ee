"""Fair shares under a load that wants more than there is: who gets how much in the end, and who waits how long."""

from __future__ import annotations

import heapq
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.unit.core.builders import Scene

WITHIN = 0.05
"""Of what a share should get."""
WARM_UP_ENDS = 100
LEAST_ENDS = 60
"""Of every share, so that one attempt more or less is a small part."""


class Load:
    """Every share always has more to run than fits; `used` are the vCPU-seconds of each after a warm-up."""

    def __init__(self, weights: dict[str, float], seconds: dict[str, int], vcpus: int) -> None:
        self.scene = Scene(vcpus=vcpus)
        self.scene.fair_queue("fair", weights)
        self.weights = weights
        self.seconds = seconds
        self.used = dict.fromkeys(weights, 0.0)
        self.ends = dict.fromkeys(weights, 0)
        self.longest_wait_ms = dict.fromkeys(weights, 0)
        self._numbers = itertools.count()
        self._last_ms = dict.fromkeys(weights, self.scene.now_ms)
        self._taken = 0
        self._ends: list[tuple[int, str, int]] = []
        for share in weights:
            for _ in range(vcpus + 1):
                self._feed(share)

    def run(self) -> None:
        """Until every share has had attempts enough."""
        for number in itertools.count():
            self._note_placements()
            self.scene.now_ms, job_id, began_ms = heapq.heappop(self._ends)
            share = job_id.split("-")[0]
            if number >= WARM_UP_ENDS:
                self.used[share] += (self.scene.now_ms - began_ms) / 1000
                self.ends[share] += 1
            self.scene.exit(job_id)
            self._feed(share)
            if min(self.ends.values()) >= LEAST_ENDS:
                return

    def parts(self) -> dict[str, tuple[float, float]]:
        """What each share got of all that was used, and what it should get."""
        total, parts = sum(self.used.values()), sum(1 / weight for weight in self.weights.values())
        return {name: (self.used[name] / total, 1 / weight / parts) for name, weight in self.weights.items()}

    def _note_placements(self) -> None:
        for effect in self.scene.launched[self._taken :]:
            share = effect.job_id.split("-")[0]
            waited_ms = self.scene.now_ms - self._last_ms[share]
            self.longest_wait_ms[share] = max(self.longest_wait_ms[share], waited_ms)
            self._last_ms[share] = self.scene.now_ms
            end_ms = self.scene.now_ms + self.seconds[share] * 1000
            heapq.heappush(self._ends, (end_ms, effect.job_id, self.scene.now_ms))
        self._taken = len(self.scene.launched)

    def _feed(self, share: str) -> None:
        self.scene.submit(f"{share}-{next(self._numbers)}", queue="fair", share_identifier=share)


def loaded(weights: list[float], seconds: list[int], vcpus: int) -> Load:
    names = [chr(ord("a") + number) for number in range(len(weights))]
    load = Load(dict(zip(names, weights, strict=True)), dict(zip(names, seconds, strict=False)), vcpus)
    load.run()
    return load


def test_in_lockstep_a_small_share_gets_a_little_more() -> None:
    """Where all attempts end at the same moment, places are dealt out by the batch, four at a time."""
    (small, due), _ = loaded([1, 0.125], [60, 60], 4).parts().values()
    assert small == pytest.approx(due, rel=0.1)


@settings(max_examples=examples(50), deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0]), min_size=2, max_size=4),
    seconds=st.lists(st.integers(5, 20), min_size=4, max_size=4),
    vcpus=st.integers(1, 6),
)
def test_shares_get_what_their_weights_say(weights: list[float], seconds: list[int], vcpus: int) -> None:
    """With small jobs; and none waits for long."""
    load = loaded(weights, seconds, vcpus)
    for got, due in load.parts().values():
        assert got == pytest.approx(due, rel=WITHIN)
    assert max(load.longest_wait_ms.values()) <= 600_000


@pytest.mark.parametrize(
    ("weights", "seconds", "vcpus"),
    [
        ([1, 0.125], [60, 60], 3),
        ([1, 0.125], [60, 50], 4),
        ([2, 0.25], [20, 20], 2),
        ([1, 0.125], [30, 30], 1),
        ([1, 1], [1200, 60], 4),
    ],
)
def test_so_they_do_with_large_jobs(weights: list[float], seconds: list[int], vcpus: int) -> None:
    """One attempt takes a good part of the window, or all of it: what is placed counts before it is used."""
    for got, due in loaded(weights, seconds, vcpus).parts().values():
        assert got == pytest.approx(due, rel=WITHIN)
