"""The life of one attempt: placed, started, ended, lost (user guide, "Job States" and "Automated Job Retries")."""

from __future__ import annotations

from batchyard.core import effects as do
from batchyard.core import inputs, multinode, placements, reasons, timeouts
from batchyard.core.capacity import Environment
from batchyard.core.job import AnyUnit, Child, Job, StopCause
from batchyard.core.model import Attempt
from batchyard.core.retry import should_retry
from batchyard.core.states import FAILED, RUNNABLE, RUNNING, STARTING, SUCCEEDED
from batchyard.core.yard import Pass, Yard, stop_of


def place(turn: Pass, unit: AnyUnit, environment: Environment) -> None:
    """Give a RUNNABLE unit its next attempt, on the environment's instance; a multi-node job on one for each node."""
    if isinstance(unit, Job) and unit.is_multinode:
        multinode.place(turn, unit, environment)
        return
    assert environment.instance_id is not None
    attempt = placements.next_attempt(turn, unit, environment, environment.instance_id)
    placements.occupy(turn.yard, unit, attempt)
    turn.move(unit, STARTING)
    turn.effect(placements.launch_effect(turn.yard, unit, attempt))


def launch_effect(yard: Yard, unit: AnyUnit, attempt: Attempt) -> do.LaunchAttempt:
    if isinstance(unit, Child) and unit.parent.is_multinode:
        return multinode.launch_effect(yard, unit)
    return placements.launch_effect(yard, unit, attempt)


def started(turn: Pass, event: inputs.AttemptStarted) -> None:
    """The container is up: the job is RUNNING, and its timeout begins to count. An attempt of nobody is stopped."""
    unit = turn.yard.units_by_attempt.get(event.attempt_id)
    if unit is None:
        turn.effect(do.StopAttempt(event.attempt_id, 0))
    elif unit.status is STARTING:
        _begin(turn, unit, event.at_ms)


def _begin(turn: Pass, unit: AnyUnit, at_ms: int) -> None:
    attempt = unit.attempts[-1]
    attempt.started_at_ms = at_ms
    turn.yard.environments[attempt.environment].ahead.pop(attempt.attempt_id, None)
    turn.move(unit, RUNNING)
    timeouts.watch(turn.yard, unit)
    if isinstance(unit, Child) and unit.parent.is_multinode:
        multinode.node_started(turn, unit)


def exited(turn: Pass, event: inputs.AttemptExited) -> None:
    """The container ended, or never came up. Reports of attempts that are over already are only acknowledged."""
    turn.effect(do.ForgetAttempt(event.attempt_id))
    unit = turn.yard.units_by_attempt.get(event.attempt_id)
    if unit is None:
        return
    if event.started and unit.status is STARTING:
        _begin(turn, unit, event.at_ms)
    attempt = unit.attempts[-1]
    attempt.stopped_at_ms = event.at_ms
    attempt.exit_code = event.exit_code
    attempt.reason = event.reason
    attempt.usage = event.usage
    attempt.containers = event.containers
    if attempt.started_at_ms is not None:
        turn.yard.environments[attempt.environment].pace.ended(max(0, event.at_ms - attempt.started_at_ms))
    attempt.status_reason = _status_reason(unit, event)
    _end(turn, unit, attempt)


def _status_reason(unit: AnyUnit, event: inputs.AttemptExited) -> str:
    """The attempt's own: clients look there for a time-out, and compare for equality (facts §8)."""
    stop = stop_of(unit)
    if stop is not None and stop.cause is StopCause.TIMEOUT:
        return stop.reason
    return reasons.CONTAINER_EXITED if event.started else reasons.START_FAILED


def recalled(turn: Pass, event: inputs.AttemptRecalled) -> None:
    """Nothing of the attempt ever began: it is as if it had not been placed, and its job is RUNNABLE again."""
    unit = turn.yard.units_by_attempt.get(event.attempt_id)
    if unit is None or unit.status is not STARTING:
        return
    placements.release(turn, unit, unit.attempts[-1], is_used=False)
    turn.move(unit, RUNNABLE)
    unit.attempts = unit.attempts[:-1]
    stop = stop_of(unit)
    if stop is not None:
        turn.move(unit, FAILED, stop.reason)


def lost(turn: Pass, event: inputs.AttemptLost) -> None:
    """The attempt is gone with its instance."""
    turn.effect(do.ForgetAttempt(event.attempt_id))
    unit = turn.yard.units_by_attempt.get(event.attempt_id)
    if unit is not None:
        lose(turn, unit, event.at_ms)


def lose(turn: Pass, unit: AnyUnit, at_ms: int) -> None:
    attempt = unit.attempts[-1]
    attempt.stopped_at_ms = at_ms
    attempt.status_reason = reasons.instance_terminated(attempt.instance_id)
    _end(turn, unit, attempt)


def _end(turn: Pass, unit: AnyUnit, attempt: Attempt) -> None:
    placements.release(turn, unit, attempt)
    _decide(turn, unit, attempt)


def _decide(turn: Pass, unit: AnyUnit, attempt: Attempt) -> None:
    """What the end of an attempt means for its unit."""
    if isinstance(unit, Child) and unit.parent.is_multinode:
        multinode.node_ended(turn, unit)
        return
    stop = stop_of(unit)
    if stop is not None and stop.cause is not StopCause.CANCEL:
        turn.move(unit, FAILED, stop.reason)
    elif attempt.exit_code == 0 and unit.status is RUNNING:
        turn.move(unit, SUCCEEDED, attempt.status_reason)
    elif stop is None and should_retry(unit.job.terms, attempt):
        turn.move(unit, RUNNABLE)
    else:
        turn.move(unit, FAILED, attempt.status_reason)


def never_started(turn: Pass, unit: AnyUnit) -> None:
    """End a stopped unit whose attempt was placed but never reached its engine."""
    placements.give_up(turn, unit)
    _decide(turn, unit, unit.attempts[-1])
