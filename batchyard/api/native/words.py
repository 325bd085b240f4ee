"""The facts about a waiting job as sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

from batchyard.core.explain import Cause, ConsumableView, Dimension, EnvironmentView, Explanation, Obstacle, Shortage
from batchyard.core.model import Attempt
from batchyard.core.states import RUNNING, JobStatus

NOT_TAKEN_IN = "It was submitted a moment ago, and the scheduler has not looked at it yet."
MOST_NAMED = 5


def ended(status: JobStatus, reason: str | None, last: Attempt | None = None) -> str:
    """How it ended, and, if it failed, what its last attempt's container had to say."""
    details = [status.name, *([reason] if reason else [])]
    if status is JobStatus.FAILED and last is not None:
        details += [last.reason] if last.reason and last.reason != reason else []
        details += [f"exit code {last.exit_code}"] if last.exit_code else []
    text = ", ".join(details)
    return f"It has ended: {text}" + ("" if text.endswith(".") else ".")


def summary(facts: Explanation) -> str:
    """Why it isn't running, in a sentence or a few."""
    return _SUMMARIES[facts.cause](facts)


def starts_when(facts: Explanation) -> str:
    """What would start it; empty when nothing would, or nothing has to."""
    if facts.cause is Cause.TURN:
        return _turn_starts(facts)
    if facts.cause is Cause.CHILDREN and facts.next is not None:
        return starts_when(facts.next)
    return _STARTS.get(facts.cause, "")


def _stopping(facts: Explanation) -> str:
    if facts.status > JobStatus.RUNNABLE:
        return f"It is being stopped: {facts.stop_reason}"
    return f"It was cancelled and ends as soon as the jobs that it depends on have ended: {facts.stop_reason}"


def _placed(facts: Explanation) -> str:
    return "It is running." if facts.status is RUNNING else "It has been placed and is about to run."


def _dependencies(facts: Explanation) -> str:
    named = [
        f"{each.job_id} ({each.status.name})" if each.status is not None else each.job_id for each in facts.waits_for
    ]
    return f"It waits for {_count(len(named), 'other job')} to succeed: {_some(named)}."


def _children(facts: Explanation) -> str:
    counts = [f"{facts.counts[status]} {status.name}" for status in reversed(JobStatus) if facts.counts[status]]
    text = f"It is an array job, and its children are {_and(counts)}."
    return f"{text} Of child {facts.next.unit_id}: {summary(facts.next)}" if facts.next is not None else text


def _shutdown(_facts: Explanation) -> str:
    return "The server is stopping and places nothing more."


def _turn(facts: Explanation) -> str:
    text = (
        f"{_count(facts.ahead, 'other job')} in queue {facts.queue} {'is' if facts.ahead == 1 else 'are'} placed first."
    )
    text += _share_order(facts)
    return f"{text} Of {facts.next.unit_id}, the first: {summary(facts.next)}" if facts.next is not None else text


def _share_order(facts: Explanation) -> str:
    """Why the first is first, in a fair-share queue."""
    mine, first = facts.share, facts.next.share if facts.next is not None else None
    if mine is None or first is None:
        return ""
    if mine.share_identifier == first.share_identifier:
        return f" Within its share, {mine.share_identifier}, schedulingPriority and then submission decide."
    return (
        f" The share that has used least goes first: by its weight, {mine.share_identifier} has used"
        f" {mine.weighted_usage:.1f} vCPU-seconds of late, {first.share_identifier} {first.weighted_usage:.1f}."
    )


def _no_environment(facts: Explanation) -> str:
    states = [f"{view.name} {_STATES[view.obstacle]}" for view in facts.environments]
    return f"No compute environment of queue {facts.queue} takes jobs: {_and(states)}."


def _too_large(facts: Explanation) -> str:
    return f"{_gang(facts)}It is larger than anything that queue {facts.queue} has. {_places(facts.environments)}"


def _capacity(facts: Explanation) -> str:
    places = _places(facts.environments)
    return f"{_gang(facts)}It is the next of queue {facts.queue}, and there is not enough room. {places}"


def _consumables(facts: Explanation) -> str:
    return (
        f"It is the next of queue {facts.queue} and waits for {_and([_lacking(each) for each in facts.consumables])}."
    )


def _lacking(view: ConsumableView) -> str:
    if view.total is None:
        return f"{view.needed} of {view.name}, which does not exist"
    if view.is_claimed:
        return f"{view.needed} of {view.name}, which is kept for the first job of a queue that goes before this one"
    free = max(0, view.total - view.in_use)
    return f"{view.needed} of {view.name}, of which {free} of {view.total} {'is' if free == 1 else 'are'} available"


def _better_queue(facts: Explanation) -> str:
    return (
        f"It is the next of queue {facts.queue}, and would fit; but what is free is kept for the first job of a queue"
        " that goes before this one."
    )


def _reserved(facts: Explanation) -> str:
    return (
        f"It is the next of queue {facts.queue}, and would fit; but the queue's scheduling policy keeps what is free"
        " for shares that have no jobs now."
    )


def _nothing(_facts: Explanation) -> str:
    return "Nothing keeps it from running: the scheduler is about to place it."


def _gang(facts: Explanation) -> str:
    if facts.instances is None:
        return ""
    return f"It is a multi-node job and needs {_count(facts.instances, 'instance')} at the same time. "


def _places(environments: Sequence[EnvironmentView]) -> str:
    """What is short where; environments that take no jobs say so."""
    parts = []
    for view in environments:
        if view.shortages:
            always = view.obstacle is Obstacle.TOO_SMALL
            parts.append(f"{view.name}: {'; '.join(_short(each, always=always) for each in view.shortages)}.")
        elif view.obstacle in _STATES:
            parts.append(f"{view.name} {_STATES[view.obstacle]}.")
    return " ".join(parts)


def _short(shortage: Shortage, *, always: bool) -> str:
    needed = _amount(shortage.dimension, shortage.needed)
    total = _amount(shortage.dimension, shortage.total)
    if shortage.dimension is Dimension.GPU and not shortage.total:
        return f"it needs {needed}, and this machine has none (the setting gpus)"
    owner = "this machine has" if shortage.on_host else "the environment may use"
    if always:
        return f"it needs {needed}, and {owner} {total}"
    free = _amount(shortage.dimension, max(0, shortage.total - shortage.used))
    return f"it needs {needed}, and of the {total} that {owner} {free} {'is' if free.startswith('1 ') else 'are'} free"


def _amount(dimension: Dimension, value: int) -> str:
    if dimension is Dimension.MEMORY:
        return f"{value} MiB"
    number = value / 1000 if dimension is Dimension.VCPU else value
    return f"{number:g} {'vCPU' if dimension is Dimension.VCPU else 'GPU'}{'' if number == 1 else 's'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _and(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _turn_starts(facts: Explanation) -> str:
    first = starts_when(facts.next) if facts.next is not None else ""
    return "When those before it have been placed." + (
        f" The first of them starts {first[0].lower()}{first[1:]}" if first else ""
    )


_STATES = {
    Obstacle.MISSING: "does not exist",
    Obstacle.DISABLED: "is DISABLED",
    Obstacle.DELETING: "is being deleted",
    Obstacle.NO_INSTANCE: "has no instance yet",
}
_SUMMARIES = {
    Cause.STOPPING: _stopping,
    Cause.PLACED: _placed,
    Cause.DEPENDENCIES: _dependencies,
    Cause.CHILDREN: _children,
    Cause.SHUTDOWN: _shutdown,
    Cause.TURN: _turn,
    Cause.NO_ENVIRONMENT: _no_environment,
    Cause.TOO_LARGE: _too_large,
    Cause.CAPACITY: _capacity,
    Cause.CONSUMABLES: _consumables,
    Cause.RESERVED: _reserved,
    Cause.BETTER_QUEUE: _better_queue,
    Cause.NOTHING: _nothing,
}
_STARTS: dict[Cause, str] = {
    Cause.DEPENDENCIES: "When they have succeeded; if one of them fails, this job fails too.",
    Cause.SHUTDOWN: "When the server is started again.",
    Cause.NO_ENVIRONMENT: "When one of them is enabled, or the queue is given another.",
    Cause.TOO_LARGE: "When it is submitted again with less, or the queue gets an environment that is large enough.",
    Cause.CAPACITY: "When enough of what runs there has ended.",
    Cause.CONSUMABLES: "When enough of it is given back, or its total is raised.",
    Cause.RESERVED: "When jobs of this queue have ended, or the policy's computeReservation is lowered.",
    Cause.BETTER_QUEUE: "When that job has been placed and enough room is left, or more is free.",
}
"""For those whose answer depends on nothing else."""
