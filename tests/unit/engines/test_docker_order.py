from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from batchyard.engines.docker.order import ALONE, Decision, End, Part, Seen, decide, parts_of
from batchyard.engines.task import Container, ContainerDependency

CREATED = Seen()
STARTED_AT, NOW = 1_000, 10_000


def part(name: str, *needs: str, **more: Any) -> Part:
    """`needs` are written `other:CONDITION`."""
    found = tuple(ContainerDependency(*need.split(":")) for need in needs)
    return Part(name, depends_on=found, **more)


def running(health: str | None = None) -> Seen:
    return Seen(started_at_ms=STARTED_AT, health=health)


def ended(code: int = 0, at_ms: int = 5_000, reason: str | None = None) -> Seen:
    return Seen(started_at_ms=STARTED_AT, ended_at_ms=at_ms, exit_code=code, reason=reason)


def refused(reason: str = "no", at_ms: int = 4_000) -> Seen:
    return Seen(refused_at_ms=at_ms, reason=reason)


LOST = Seen(started_at_ms=STARTED_AT, ended_at_ms=6_000, lost=True)
HELPER = {"essential": False}


class TestATaskOfOne:
    def test_it_is_started_at_once(self) -> None:
        assert decide(ALONE, [CREATED], NOW) == Decision(start=(0,))

    def test_it_has_started_when_its_container_has(self) -> None:
        assert decide(ALONE, [running()], NOW) == Decision(is_started=True)

    @pytest.mark.parametrize("code", [0, 3])
    def test_its_end_is_its_containers(self, code: int) -> None:
        assert decide(ALONE, [ended(code, reason="so")], NOW).end == End(code, "so" if code else None)

    def test_one_that_can_not_be_started_is_the_end_with_the_reason(self) -> None:
        assert decide(ALONE, [refused("no such program")], NOW).end == End(None, "no such program")

    def test_one_that_is_gone_is_lost(self) -> None:
        assert decide(ALONE, [LOST], NOW).end == End(None, None, lost=True)

    def test_a_stop_reaches_it(self) -> None:
        assert decide(ALONE, [running()], NOW, NOW) == Decision(stop=(0,))

    def test_stopped_before_its_start_it_is_not_started_any_more(self) -> None:
        assert decide(ALONE, [CREATED], NOW, NOW).end == End(None, None)


class TestWhatIsStarted:
    def test_containers_that_wait_for_nothing_start_together(self) -> None:
        assert decide([part("a"), part("b")], [CREATED, CREATED], NOW).start == (0, 1)

    @pytest.mark.parametrize(
        ("condition", "seen", "starts"),
        [
            ("START", CREATED, False),
            ("START", running(), True),
            ("START", ended(1), True),
            ("COMPLETE", running(), False),
            ("COMPLETE", ended(1), True),
            ("SUCCESS", running(), False),
            ("SUCCESS", ended(0), True),
            ("HEALTHY", running("starting"), False),
            ("HEALTHY", running("unhealthy"), False),
            ("HEALTHY", running("healthy"), True),
        ],
    )
    def test_one_that_waits_starts_when_the_other_has_come_so_far(
        self, condition: str, seen: Seen, starts: bool
    ) -> None:
        parts = [part("main", f"helper:{condition}"), part("helper", **HELPER)]
        decision = decide(parts, [CREATED, seen], NOW)
        assert (0 in decision.start) is starts
        assert not decision.is_started
        assert decision.refused == {}
        assert decision.end is None

    def test_all_that_it_waits_for_must_have_come_so_far(self) -> None:
        parts = [part("main", "a:START", "b:SUCCESS"), part("a", **HELPER), part("b", **HELPER)]
        assert decide(parts, [CREATED, running(), running()], NOW).start == ()
        assert decide(parts, [CREATED, running(), ended()], NOW).start == (0,)

    def test_the_task_has_started_when_nothing_waits_any_more(self) -> None:
        parts = [part("main", "setup:COMPLETE"), part("setup", **HELPER)]
        assert not decide(parts, [CREATED, running()], NOW).is_started
        assert decide(parts, [running(), ended()], NOW).is_started


class TestWhatCanNotComeAnyMore:
    @pytest.mark.parametrize(
        ("condition", "seen", "why"),
        [
            ("SUCCESS", ended(7), "container 'helper' ended with exit code 7, and was to succeed"),
            ("HEALTHY", ended(0), "container 'helper' ended before it was healthy"),
            ("HEALTHY", running(None), "container 'helper' was to be HEALTHY, but its image has no HEALTHCHECK"),
            ("START", refused(), "container 'helper' could not be started: no"),
        ],
    )
    def test_a_container_that_waits_for_it_is_refused_and_if_essential_the_task_fails(
        self, condition: str, seen: Seen, why: str
    ) -> None:
        parts = [part("main", f"helper:{condition}"), part("helper", **HELPER)]
        decision = decide(parts, [CREATED, seen], NOW)
        assert decision.refused == {0: why}
        assert decision.start == ()
        if seen.is_running:
            assert decision.stop == (1,)
        else:
            assert decision.end == End(None, why)

    def test_what_waits_for_a_refused_one_is_refused_too(self) -> None:
        parts = [part("a", "b:START"), part("b", "c:SUCCESS", **HELPER), part("c", **HELPER)]
        assert decide(parts, [CREATED, CREATED, ended(1)], NOW).refused.keys() == {0, 1}

    def test_one_that_is_not_essential_leaves_the_task_alone(self) -> None:
        parts = [part("main"), part("report", "setup:SUCCESS", **HELPER), part("setup", **HELPER)]
        decision = decide(parts, [running(), CREATED, ended(1)], NOW)
        assert decision.refused.keys() == {1}
        assert decision.stop == ()
        assert decision.end is None
        assert decide(parts, [running(), refused(), ended(1)], NOW).is_started

    @pytest.mark.parametrize("condition", ["COMPLETE", "SUCCESS", "HEALTHY"])
    def test_a_start_timeout_counts_from_the_start_of_the_container_that_has_it(self, condition: str) -> None:
        parts = [part("main", f"helper:{condition}"), part("helper", start_timeout=5, **HELPER)]
        seen = [CREATED, running("starting")]
        assert decide(parts, seen, STARTED_AT + 4_000).look_again_at_ms == STARTED_AT + 5_001
        assert decide(parts, seen, STARTED_AT + 5_000).refused == {}
        decision = decide(parts, seen, STARTED_AT + 5_001)
        assert decision.refused == {
            0: f"container 'helper' did not reach the condition {condition} within its startTimeout of 5 seconds"
        }
        assert decision.stop == (1,)

    def test_what_came_in_time_counts_however_late_it_is_looked_at(self) -> None:
        parts = [part("main", "helper:SUCCESS"), part("helper", start_timeout=5, **HELPER)]
        assert decide(parts, [CREATED, ended(0, at_ms=STARTED_AT + 5_000)], NOW * 10).start == (0,)
        assert decide(parts, [CREATED, ended(0, at_ms=STARTED_AT + 5_001)], NOW * 10).refused.keys() == {0}

    def test_the_condition_start_has_no_timeout(self) -> None:
        parts = [part("main", "helper:START"), part("helper", "setup:COMPLETE", start_timeout=2), part("setup")]
        assert decide(parts, [CREATED, CREATED, running()], NOW).refused == {}


class TestTheEnd:
    def test_when_an_essential_container_ends_the_others_are_stopped(self) -> None:
        decision = decide([part("main"), part("helper", **HELPER)], [ended(), running()], NOW)
        assert decision == Decision(stop=(1,))

    def test_it_is_over_when_all_have_ended(self) -> None:
        parts = [part("main"), part("helper", **HELPER)]
        assert decide(parts, [ended(), ended(143)], NOW).end == End(0, None)

    def test_one_that_is_not_essential_may_end_as_it_likes(self) -> None:
        parts = [part("main"), part("helper", **HELPER)]
        assert decide(parts, [running(), ended(1)], NOW) == Decision(is_started=True)

    def test_the_first_essential_container_to_fail_decides(self) -> None:
        parts = [part("a"), part("b"), part("c")]
        assert decide(parts, [ended(143, 9_000), ended(3, 5_000, "first"), ended(0, 8_000)], NOW).end == End(3, "first")

    def test_all_essential_containers_have_to_succeed(self) -> None:
        parts = [part("a"), part("b")]
        assert decide(parts, [ended(0, 5_000), ended(0, 6_000)], NOW).end == End(0, None)
        assert decide(parts, [ended(0, 5_000), ended(137, 6_000)], NOW).end == End(137, None)

    def test_nothing_is_started_any_more(self) -> None:
        parts = [part("a"), part("b", "c:COMPLETE", **HELPER), part("c", **HELPER)]
        assert decide(parts, [ended(0, 5_000), CREATED, ended(143, 6_000)], NOW) == Decision(end=End(0, None))

    def test_what_came_of_stopping_is_nobodys_reason(self) -> None:
        """`wait` waits for the success of `c`, which was stopped because `a` had ended."""
        parts = [part("wait", "c:SUCCESS"), part("a"), part("c", **HELPER)]
        decision = decide(parts, [CREATED, ended(4, 5_000), ended(143, 6_000)], NOW)
        assert decision.refused == {}
        assert decision.end == End(4, None)

    def test_an_essential_container_that_never_started_is_no_success(self) -> None:
        parts = [part("wait", "c:COMPLETE"), part("a"), part("c", **HELPER)]
        assert decide(parts, [CREATED, ended(0, 5_000), ended(0, 6_000)], NOW).end == End(None, None)

    def test_a_container_that_could_not_start_comes_before_those_that_were_stopped_for_it(self) -> None:
        parts = [part("a"), part("b")]
        assert decide(parts, [ended(143, 9_000), refused("no")], NOW).end == End(None, "no")

    def test_containers_are_stopped_after_those_that_depend_on_them(self) -> None:
        parts = [part("web", "db:START"), part("db", "disk:START"), part("disk"), part("aside")]
        seen = [running(), running(), running(), running()]
        assert decide(parts, seen, NOW, NOW).stop == (0, 3)
        assert decide(parts, [ended(143), running(), running(), ended(143)], NOW, NOW).stop == (1,)
        assert decide(parts, [ended(143), ended(143), running(), ended(143)], NOW, NOW).stop == (2,)

    def test_with_one_that_is_lost_all_is_lost_once_nothing_runs(self) -> None:
        parts = [part("main"), part("helper", **HELPER)]
        assert decide(parts, [running(), LOST], NOW) == Decision(stop=(0,))
        assert decide(parts, [ended(0), LOST], NOW).end == End(None, None, lost=True)


def test_the_order_of_a_job_of_one_container_is_that_of_any_other() -> None:
    assert parts_of([Container(name="main", stop_timeout=5)]) == ALONE


def test_a_container_of_several_has_thirty_seconds_to_stop_unless_it_says_so() -> None:
    first, second = parts_of([Container(name="a"), Container(name="b", stop_timeout=5, essential=False)])
    assert first == Part("a", stop_timeout=30)
    assert second == Part("b", essential=False, stop_timeout=5)


@pytest.mark.parametrize("code", [0, 1])
def test_a_decision_is_the_same_however_often_it_is_asked_for(code: int) -> None:
    parts = [part("main", "setup:SUCCESS"), part("setup", **HELPER)]
    seen = [CREATED, ended(code)]
    first = decide(parts, seen, NOW)
    for place, reason in first.refused.items():
        seen[place] = replace(seen[place], refused_at_ms=NOW, reason=reason)
    assert decide(parts, seen, NOW + 5).end == first.end
