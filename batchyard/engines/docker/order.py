"""In which order a task's containers are started and stopped, and what the task's end is: pure.

A container waits until those it depends on have come as far as it asks; one that can't come so far any more, or not in
its own startTimeout, makes the waiting container fail. When an essential container ends or fails, or the attempt is
stopped, nothing more is started and the rest is stopped, those that others depend on after these. (Service model,
TaskContainerProperties and TaskContainerDependency; ECS API reference, ContainerDefinition, dependsOn.)

Everything is decided anew from how far the containers have come, which Docker knows: a server that takes a task up
decides as the one before it would have. So what ends after the task's own end is decided counts for nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from batchyard.engines.task import Container, ContainerDependency

DEFAULT_STOP_TIMEOUT_SECONDS = 30


class Part(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A container of a task, as far as the order goes. Timeouts are in seconds."""

    name: str = ""
    essential: bool = True
    depends_on: tuple[ContainerDependency, ...] = ()
    start_timeout: int | None = None
    """How long after its start others wait for it to be healthy or to end."""
    stop_timeout: int | None = None
    """The time from SIGTERM to SIGKILL, if it has one of its own."""


ALONE = (Part(),)
"""The parts of a task of one container: nothing in it waits for anything, and its time to stop is the attempt's."""


def parts_of(containers: Sequence[Container]) -> tuple[Part, ...]:
    """The order of a task's containers, which are named if there are several."""
    if len(containers) == 1:
        return ALONE
    return tuple(
        Part(
            each.name or "",
            each.essential,
            each.depends_on,
            each.start_timeout,
            each.stop_timeout or DEFAULT_STOP_TIMEOUT_SECONDS,
        )
        for each in containers
    )


class Seen(Struct, frozen=True):
    """How far a container has come."""

    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    """Why it ended so, or why it could not be started."""
    health: str | None = None
    """Docker's word for it; None where there is no health check."""
    refused_at_ms: int | None = None
    """Since when it is known that it can't be started."""
    lost: bool = False
    """It is gone, and not because of anything of its own."""

    @property
    def is_waiting(self) -> bool:
        return self.started_at_ms is None and self.refused_at_ms is None and not self.lost

    @property
    def is_running(self) -> bool:
        return self.started_at_ms is not None and self.ended_at_ms is None and not self.lost


class End(Struct, frozen=True):
    """What became of the task: of its first essential container to fail, if one did. No code: it never ended."""

    exit_code: int | None
    reason: str | None
    lost: bool = False


class Decision(Struct, frozen=True):
    """What to do now, by the places of the containers."""

    start: tuple[int, ...] = ()
    stop: tuple[int, ...] = ()
    refused: dict[int, str] = {}
    """Containers that will never be started, and why."""
    is_started: bool = False
    """No container waits for others any more."""
    look_again_at_ms: int | None = None
    """When a startTimeout will be over."""
    end: End | None = None
    """The task is over: nothing of it runs, and nothing is to be started."""


def decide(parts: Sequence[Part], seen: Sequence[Seen], now_ms: int, stopped_at_ms: int | None = None) -> Decision:
    """What is to be done about a task; `stopped_at_ms` is when its stop was asked for."""
    over_at_ms = _over_at_ms(parts, seen, now_ms, stopped_at_ms)
    refused = _refused(parts, seen, now_ms, over_at_ms)
    if over_at_ms is not None or any(parts[place].essential for place in refused):
        stop = _to_stop(parts, seen)
        return Decision(stop=stop, refused=refused, end=None if stop else _end(parts, seen, refused))
    waiting = [place for place, each in enumerate(seen) if each.is_waiting and place not in refused]
    start = tuple(place for place in waiting if _can_start(parts, seen, place))
    return Decision(
        start=start,
        refused=refused,
        is_started=not waiting,
        look_again_at_ms=_next_timeout_ms(parts, seen, waiting, now_ms),
    )


def _over_at_ms(parts: Sequence[Part], seen: Sequence[Seen], now_ms: int, stopped_at_ms: int | None) -> int | None:
    """Since when the task is to end: an essential container has, one is lost, or somebody asked for it."""
    essential = [each for part, each in zip(parts, seen, strict=True) if part.essential]
    moments = [at_ms for each in essential for at_ms in (each.ended_at_ms, each.refused_at_ms)]
    moments += [each.ended_at_ms or now_ms for each in seen if each.lost]
    return min((at_ms for at_ms in (*moments, stopped_at_ms) if at_ms is not None), default=None)


def _refused(parts: Sequence[Part], seen: Sequence[Seen], now_ms: int, over_at_ms: int | None) -> dict[int, str]:
    """Containers that wait for what can't come any more, and those that wait for these.

    Once the task is over, what came after that is nobody's reason. (Until then, Docker's clock may be ahead.)
    """
    before = [_as_it_was(each, over_at_ms) for each in seen]
    as_of_ms = now_ms if over_at_ms is None else min(now_ms, over_at_ms)
    refused: dict[int, str] = {}
    places = {part.name: place for place, part in enumerate(parts)}
    while True:
        found = {}
        for place, part in enumerate(parts):
            if not seen[place].is_waiting or place in refused:
                continue
            for need in part.depends_on:
                other = places[need.container_name]
                why = _impossible(need, parts[other], before[other], as_of_ms, refused.get(other))
                if why is not None:
                    found[place] = f"container '{need.container_name}' {why}"
                    break
        if not found:
            return refused
        refused.update(found)


def _as_it_was(seen: Seen, over_at_ms: int | None) -> Seen:
    """How far a container had come when the task was over."""
    if over_at_ms is None or seen.ended_at_ms is None or seen.ended_at_ms < over_at_ms:
        return seen
    return replace(seen, ended_at_ms=None, exit_code=None)


def _impossible(need: ContainerDependency, part: Part, seen: Seen, as_of_ms: int, refusal: str | None) -> str | None:
    """Why what a container waits for can't come any more; None if it has, or may."""
    if seen.refused_at_ms is not None or refusal is not None:
        return f"could not be started: {refusal or seen.reason}"
    has_ended = seen.ended_at_ms is not None
    if need.condition == "START":
        return None
    if need.condition == "SUCCESS" and has_ended and seen.exit_code != 0:
        return f"ended with exit code {seen.exit_code}, and was to succeed"
    if need.condition == "HEALTHY":
        if has_ended:
            return "ended before it was healthy"
        if seen.is_running and seen.health is None:
            return "was to be HEALTHY, but its image has no HEALTHCHECK"
    deadline_ms = _deadline_ms(part, seen)
    if deadline_ms is None or as_of_ms <= deadline_ms or _holds(need, seen, deadline_ms):
        return None
    return f"did not reach the condition {need.condition} within its startTimeout of {part.start_timeout} seconds"


def _deadline_ms(part: Part, seen: Seen) -> int | None:
    if part.start_timeout is None or seen.started_at_ms is None:
        return None
    return seen.started_at_ms + part.start_timeout * 1000


def _holds(need: ContainerDependency, seen: Seen, as_of_ms: int) -> bool:
    """Whether a container has come, until a moment, as far as another asks. (When it became healthy isn't known.)"""
    if need.condition == "START":
        return seen.started_at_ms is not None
    if need.condition == "HEALTHY":
        return seen.is_running and seen.health == "healthy"
    has_ended = seen.ended_at_ms is not None and seen.ended_at_ms <= as_of_ms
    return has_ended and (need.condition == "COMPLETE" or seen.exit_code == 0)


def _can_start(parts: Sequence[Part], seen: Sequence[Seen], place: int) -> bool:
    by_name = {part.name: each for part, each in zip(parts, seen, strict=True)}
    return all(
        _holds(need, by_name[need.container_name], by_name[need.container_name].ended_at_ms or 0)
        for need in parts[place].depends_on
    )


def _next_timeout_ms(parts: Sequence[Part], seen: Sequence[Seen], waiting: Sequence[int], now_ms: int) -> int | None:
    places = {part.name: place for place, part in enumerate(parts)}
    waited_for = {places[need.container_name] for place in waiting for need in parts[place].depends_on}
    deadlines = (_deadline_ms(parts[place], seen[place]) for place in waited_for)
    # One more: a timeout is over after its last millisecond.
    return min((at_ms + 1 for at_ms in deadlines if at_ms is not None and at_ms >= now_ms), default=None)


def _to_stop(parts: Sequence[Part], seen: Sequence[Seen]) -> tuple[int, ...]:
    """What runs and nothing that runs depends on: "for container shutdown it is reversed"."""
    running = [place for place, each in enumerate(seen) if each.is_running]
    needed = {need.container_name for place in running for need in parts[place].depends_on}
    return tuple(place for place in running if parts[place].name not in needed)


def _end(parts: Sequence[Part], seen: Sequence[Seen], refused: dict[int, str]) -> End:
    """A container that could not be started made the task end, so it comes before those that were stopped for it."""
    if any(each.lost for each in seen):
        return End(None, None, lost=True)
    essential = [place for place, part in enumerate(parts) if part.essential]
    for place in essential:
        if place in refused or seen[place].refused_at_ms is not None:
            return End(None, refused.get(place, seen[place].reason))
    ended = sorted((each.ended_at_ms, place) for place, each in enumerate(seen) if each.ended_at_ms is not None)
    failed = [place for _, place in ended if place in essential and seen[place].exit_code != 0]
    if failed:
        return End(seen[failed[0]].exit_code, seen[failed[0]].reason)
    # All that ran went well. One that was stopped before its start has not.
    has_all = all(seen[place].ended_at_ms is not None for place in essential)
    return End(0 if has_all else None, None)
