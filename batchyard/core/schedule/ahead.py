"""Launching ahead: an engine whose attempts are short is given the next ones before there is room for them.

Between the end of one attempt and the start of the next lie a report, a step, a commit and a launch. For a job of a
millisecond that is most of its time. So while the attempts of an environment are short, its engine holds a few that
are STARTING already; it starts each as soon as it fits, by the sizes that came with it. The commit still comes first.

Only what will start within `WORTH_MS` or so goes ahead, and only in first-in-first-out queues whose head waits for
nothing but the end of other attempts. Which GPUs an attempt has is settled when it is placed, so none that needs any
goes ahead. Should those before it take longer than they used to, it is recalled and RUNNABLE again: launched ahead, a
job can neither be cancelled nor overtaken. Where room is kept for somebody else nothing goes ahead: the engine starts
what fits, and knows neither of the gang that waits for the room nor of nodes that will be launched once their main node
runs.
"""

from __future__ import annotations

from batchyard.core import attempts
from batchyard.core import effects as do
from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit
from batchyard.core.model import Resources
from batchyard.core.schedule import feasible
from batchyard.core.yard import Pass, Queue

MAX_AHEAD = 64
"""Of each environment."""
WORTH_MS = 50
MIN_ENDS = 16
"""So many attempts must have ended before their length says anything."""
RECALL_AFTER_MS = 1000


def place_ahead(turn: Pass, queue: Queue, unit: AnyUnit, claims: feasible.Claims) -> bool:
    """Place a head that waits for room where its turn will come in a moment; whether there is such a place."""
    job = unit.job
    if queue.shares is not None or job.is_multinode or job.terms.consumables or turn.yard.starting_gangs:
        return False
    need = job.terms.resources
    if need.gpus:
        return False
    for environment in feasible.environments_of(turn.yard, queue):
        if (
            len(environment.ahead) < _depth(turn, environment, need)
            and feasible.could_ever_hold(turn.yard, environment, need)
            and not claims.touch(environment)
        ):
            attempts.place(turn, unit, environment)
            environment.ahead[unit.attempts[-1].attempt_id] = turn.now_ms
            return True
    return False


def _depth(turn: Pass, environment: Environment, need: Resources) -> int:
    """How many that need so much will start within WORTH_MS."""
    host = turn.yard.hosts[environment.host] if environment.host is not None else None
    pace = environment.pace
    if host is None or not host.launches_ahead or pace.ends < MIN_ENDS:
        return 0
    at_once = min(environment.room.times(need), host.times(need), MAX_AHEAD)
    return min(MAX_AHEAD, int(at_once * WORTH_MS / max(1.0, pace.mean_run_ms)))


def recall_overdue(turn: Pass) -> None:
    """Ask for what waits for longer than it was meant to; the pace has to be found anew."""
    for environment in turn.yard.environments.values():
        for attempt_id, since_ms in environment.ahead.items():
            due_ms = since_ms + RECALL_AFTER_MS
            if turn.now_ms < due_ms:
                turn.wake_at(due_ms)
                break
            # Asked again after a while, because the engine may have been away.
            environment.ahead[attempt_id] = turn.now_ms
            environment.pace.ends = 0
            turn.effect(do.RecallAttempt(attempt_id))
            turn.wake_at(turn.now_ms + RECALL_AFTER_MS)
