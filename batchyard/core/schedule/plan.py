"""One scheduling pass: order, feasibility, placement.

A head that doesn't fit blocks its queue; behind a gang, what can't delay it may go first (`backfill.py`). In a
fair-share queue, a head that could never fit blocks its share alone.
"""

from __future__ import annotations

from batchyard.core.job import AnyUnit
from batchyard.core.schedule import ahead, backfill, blocked, feasible, order
from batchyard.core.yard import Pass, Queue


def place_runnable(turn: Pass) -> None:
    """Place what fits now, in order."""
    yard = turn.yard
    ahead.recall_overdue(turn)
    claims = feasible.Claims()
    for queue in order.queues_by_priority(yard):
        if queue.shares is not None:
            queue.shares.forget_faded(turn.now_ms)
            queue.shares.last_pass_ms = turn.now_ms
        stuck: list[AnyUnit] = []
        heads = order.order_of(yard, queue, turn.now_ms)
        while (unit := heads.head()) is not None:
            if backfill.place_if_possible(turn, queue, unit, claims) or ahead.place_ahead(turn, queue, unit, claims):
                continue
            if blocked.cancel_overdue(turn, queue, unit):
                continue
            stuck.append(unit)
            if not feasible.could_ever_run(yard, queue, unit.job) and heads.pass_over():
                continue
            _hold_back_others(turn, queue, unit, claims)
            break
        blocked.note(turn, queue, stuck)


def _hold_back_others(turn: Pass, queue: Queue, unit: AnyUnit, claims: feasible.Claims) -> None:
    """Keep for a blocked head what it is short of."""
    lacks_only_room = feasible.claim_consumables(turn.yard, queue, unit.job, claims)
    if not lacks_only_room:
        return
    if backfill.reserve(turn, queue, unit, claims):
        backfill.place_behind(turn, queue, claims)
    else:
        feasible.claim(turn.yard, queue, unit.job.terms.resources, claims)
