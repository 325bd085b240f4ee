"""Whatever task it is, and however its containers end: it gets to an end, and nothing is started that must not be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batchyard.engines.docker.order import Decision, Part, Seen, decide
from batchyard.engines.task import ContainerDependency
from tests.profiles import examples

CONDITIONS = ("START", "HEALTHY", "COMPLETE", "SUCCESS")


@st.composite
def tasks(draw: st.DrawFn) -> list[Part]:
    """Containers of which each waits for some before it, and at least one is essential."""
    parts: list[Part] = []
    for number in range(draw(st.integers(1, 6))):
        others = draw(st.lists(st.sampled_from(range(number)), max_size=2, unique=True)) if number else []
        needs = []
        for other in others:
            conditions = CONDITIONS[:2] if parts[other].essential else CONDITIONS
            needs.append(ContainerDependency(str(other), draw(st.sampled_from(conditions))))
        essential = number == 0 or draw(st.booleans())
        start_timeout = draw(st.none() | st.integers(2, 6))
        parts.append(Part(str(number), essential, tuple(needs), start_timeout, stop_timeout=2))
    return parts


class World:
    """Containers that start when they are told to, and end, or become healthy, when the story says so."""

    def __init__(self, parts: list[Part], data: st.DataObject) -> None:
        self.parts = parts
        self.seen = [Seen() for _ in parts]
        self.now_ms = 0
        self.over = False
        self._data = data

    def obey(self, decision: Decision) -> None:
        for place, reason in decision.refused.items():
            assert self.seen[place].is_waiting
            self.seen[place] = Seen(refused_at_ms=self.now_ms, reason=reason)
        for place in decision.start:
            self._start(place)
        for place in decision.stop:
            assert not [other for other in self._running() if self._waits_for(other, place)]
            self._end(place, 143)
        self.over = self.over or bool(decision.stop)

    def _start(self, place: int) -> None:
        assert self.seen[place].is_waiting
        assert not self.over
        for need in self.parts[place].depends_on:
            other = self.seen[int(need.container_name)]
            assert other.started_at_ms is not None
            if need.condition == "SUCCESS":
                assert other.exit_code == 0
            if need.condition == "COMPLETE":
                assert other.ended_at_ms is not None
            if need.condition == "HEALTHY":
                assert other.health == "healthy"
        if self._data.draw(st.integers(0, 9)) == 0:
            self.seen[place] = Seen(refused_at_ms=self.now_ms, reason="no such program")
        else:
            health = self._data.draw(st.sampled_from([None, "starting"]))
            self.seen[place] = Seen(started_at_ms=self.now_ms, health=health)

    def _waits_for(self, place: int, other: int) -> bool:
        return any(need.container_name == str(other) for need in self.parts[place].depends_on)

    def _running(self) -> list[int]:
        return [place for place, each in enumerate(self.seen) if each.is_running]

    def _end(self, place: int, code: int) -> None:
        self.seen[place] = replace(self.seen[place], ended_at_ms=self.now_ms, exit_code=code)

    def live(self, look_again_at_ms: int | None) -> None:
        """Something happens to one of those that run; or nothing does until there is something to look at."""
        running = self._running()
        if look_again_at_ms is not None and (not running or self._data.draw(st.booleans())):
            self.now_ms = max(self.now_ms, look_again_at_ms)
            return
        assert running, "nothing runs, and nobody will ever look again"
        # Time may also stand still, as far as milliseconds tell.
        self.now_ms += self._data.draw(st.sampled_from([0, 1, 900, 4000]))
        place = self._data.draw(st.sampled_from(running))
        if self.seen[place].health == "starting" and self._data.draw(st.booleans()):
            self.seen[place] = replace(self.seen[place], health="healthy")
        else:
            self._end(place, self._data.draw(st.sampled_from([0, 0, 1])))


@settings(max_examples=examples(1000))
@given(tasks(), st.data())
def test_every_task_comes_to_an_end_and_starts_only_what_it_may(parts: list[Part], data: st.DataObject) -> None:
    world = World(parts, data)
    stopped_at_ms = data.draw(st.none() | st.integers(0, 10_000))
    for _ in range(200):
        stop = stopped_at_ms if stopped_at_ms is not None and stopped_at_ms <= world.now_ms else None
        decision = decide(parts, world.seen, world.now_ms, stop)
        if decision.end is not None:
            break
        if decision.start or decision.stop or decision.refused:
            world.obey(decision)
        else:
            world.live(decision.look_again_at_ms if stopped_at_ms is None or stop else stopped_at_ms)
    assert decision.end is not None
    assert not any(each.is_running for each in world.seen)
    essential = [each for part, each in zip(parts, world.seen, strict=True) if part.essential]
    assert (decision.end.exit_code == 0) == all(each.exit_code == 0 for each in essential)
