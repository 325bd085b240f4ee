"""Queues and compute environments as their owners change them, and the instances and hosts behind them."""

from __future__ import annotations

from batchyard.core import attempts, effects, inputs, multinode, reasons
from batchyard.core.capacity import Environment, Host, Room
from batchyard.core.job import AnyUnit, Stop, StopCause
from batchyard.core.outcome import ConsumableSettled, EnvironmentSettled, PolicySettled, QueueSettled
from batchyard.core.shares import Shares
from batchyard.core.states import STARTING
from batchyard.core.stops import stop_job
from batchyard.core.yard import Pass, Queue, stop_of


def environment_changed(turn: Pass, event: inputs.EnvironmentChanged) -> None:
    state = event.environment
    environment = turn.yard.environments.get(state.name)
    if environment is None:
        environment = turn.yard.environments[state.name] = Environment(state, Room(state.max_vcpu_milli, None))
    environment.state = state
    environment.room.vcpu_milli = state.max_vcpu_milli
    if not state.deleting:
        turn.settle(EnvironmentSettled(state.name))


def remove_deleted(turn: Pass) -> None:
    """Environments and queues marked for deletion go once nothing of theirs is left."""
    yard = turn.yard
    for name in [name for name, each in yard.environments.items() if each.state.deleting and not each.live_attempts]:
        del yard.environments[name]
        turn.settle(EnvironmentSettled(name, removed=True))
    for name in [name for name, each in yard.queues.items() if each.state.deleting and not each.jobs]:
        del yard.queues[name]
        turn.settle(QueueSettled(name, removed=True))


def queue_changed(turn: Pass, event: inputs.QueueChanged) -> None:
    state = event.queue
    queue = turn.yard.queues.get(state.name)
    policy = turn.yard.policies[state.policy] if state.policy is not None else None
    if queue is None:
        queue = turn.yard.queues[state.name] = Queue(state, shares=Shares(policy) if policy is not None else None)
    queue.state = state
    if queue.shares is not None and policy is not None:
        queue.shares.adopt(policy, turn.now_ms)
    if not state.deleting:
        turn.settle(QueueSettled(state.name))
        return
    stop = Stop(StopCause.QUEUE_DELETED, reasons.QUEUE_DELETED)
    for job_id in list(queue.jobs):
        stop_job(turn, turn.yard.jobs[job_id], stop)


def policy_changed(turn: Pass, event: inputs.PolicyChanged) -> None:
    """A policy's queues go by its new terms from now on. Policies that are deleted stay here: no queue has them."""
    policy = event.policy
    turn.yard.policies[policy.name] = policy
    for queue in turn.yard.queues.values():
        if queue.state.policy == policy.name and queue.shares is not None:
            queue.shares.adopt(policy, turn.now_ms)
    turn.settle(PolicySettled(policy.name, policy.revision))


def consumable_changed(turn: Pass, event: inputs.ConsumableChanged) -> None:
    state = event.consumable
    if event.removed:
        turn.yard.stock.remove(state.name)
    else:
        turn.yard.stock.put(state, turn.yard.units_by_attempt.values())
    turn.settle(ConsumableSettled(state.name, event.version, event.removed))


def host_sized(turn: Pass, event: inputs.HostSized) -> None:
    host = turn.yard.hosts.setdefault(event.host, Host(None, None))
    host.block = event.address_block
    host.vcpu_milli = event.vcpu_milli
    host.memory_mib = event.memory_mib
    host.launches_ahead = event.launches_ahead
    host.gpus = event.gpus


def instance_registered(turn: Pass, event: inputs.InstanceRegistered) -> None:
    """A new instance takes over from the one before it; what ran there is reported lost by its engine."""
    environment = turn.yard.environments.get(event.environment)
    if environment is not None:
        environment.instance_id = event.instance_id
        environment.host = event.host


def engine_surveyed(turn: Pass, event: inputs.EngineSurveyed) -> None:
    """Compare what the scheduler believes to be live on a host with what its engine holds (after a restart).

    The engine journals an attempt before it starts it. So an attempt that it doesn't hold either never started, and is
    launched now, or ran and is gone. One that it holds may still wait for its start, and what waits dies with whatever
    holds it: such launches are asked for again, so that this server's side of the engine knows what to ask a successor.
    """
    yard = turn.yard
    for attempt_id, unit in list(yard.units_by_attempt.items()):
        if yard.environments[unit.attempts[-1].environment].host == event.host and not _is_over(unit, attempt_id):
            _reconcile(turn, unit, is_held=attempt_id in event.held)
    for attempt_id in sorted(event.held - yard.units_by_attempt.keys()):
        turn.effect(effects.StopAttempt(attempt_id, 0))
        turn.effect(effects.ForgetAttempt(attempt_id))


def _is_over(unit: AnyUnit, attempt_id: str) -> bool:
    """Did reconciling another node end this attempt too?"""
    attempt = unit.live_attempt
    return attempt is None or attempt.attempt_id != attempt_id


def _reconcile(turn: Pass, unit: AnyUnit, *, is_held: bool) -> None:
    attempt = unit.attempts[-1]
    stop = stop_of(unit)
    is_stopping = (stop is not None and stop.cause is not StopCause.CANCEL) or multinode.is_ending(unit.job)
    if is_held:
        if is_stopping:
            turn.effect(effects.StopAttempt(attempt.attempt_id, unit.job.terms.stop_grace_seconds))
        elif unit.status is STARTING and multinode.may_launch(unit):
            turn.effect(attempts.launch_effect(turn.yard, unit, attempt))
    elif unit.status is not STARTING:
        attempts.lose(turn, unit, turn.now_ms)
    elif is_stopping:
        attempts.never_started(turn, unit)
    elif multinode.may_launch(unit):
        turn.effect(attempts.launch_effect(turn.yard, unit, attempt))
