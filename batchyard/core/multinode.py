"""Multi-node parallel jobs (the multi-node pages; facts §10): many instances, one job.

All nodes are placed together or not at all, each on an instance of its own. The main node starts first, the others
when it runs, because they are told its address. The main node's end is the job's: the others are stopped, and its exit
decides. Another node's end means nothing by itself. A failed main node takes the whole gang into the next attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from batchyard.core import effects as do
from batchyard.core import placements
from batchyard.core.capacity import Environment
from batchyard.core.job import Child, Job, Stop, StopCause, attempt_id
from batchyard.core.model import MultiNodeTerms
from batchyard.core.retry import should_retry
from batchyard.core.states import FAILED, RUNNABLE, RUNNING, STARTING, SUCCEEDED, JobStatus
from batchyard.core.yard import Pass, Yard, child_of, stop_of


def _terms(job: Job) -> MultiNodeTerms:
    assert job.terms.nodes is not None
    return job.terms.nodes


def _main(job: Job) -> Child:
    return child_of(job, _terms(job).main_node)


def _nodes(job: Job) -> Iterator[Child]:
    """All nodes that have not ended, the main node first."""
    assert job.array is not None
    main_node = _terms(job).main_node
    for index in (main_node, *(index for index in range(job.array.size) if index != main_node)):
        if not JobStatus(job.array.status[index]).is_terminal:
            yield child_of(job, index)


def release(turn: Pass, job: Job) -> None:
    """Its dependencies are done: RUNNABLE with all its nodes, or the end that a cancellation waited to bring."""
    if job.stop is not None:
        fail_waiting(turn, job, job.stop.reason)
    else:
        turn.move(job, RUNNABLE)
        turn.move_rest(job, RUNNABLE)


def fail_waiting(turn: Pass, job: Job, reason: str) -> None:
    """End a gang that isn't placed."""
    for node in list(_nodes(job)):
        if node.attempts:
            turn.move(node, FAILED, reason)
    turn.move_rest(job, FAILED, reason)
    turn.move(job, FAILED, reason)


def place(turn: Pass, job: Job, environment: Environment) -> None:
    """Give every node its next attempt, on an instance and an address of its own; launch the main node."""
    assert environment.host is not None
    host = turn.yard.hosts[environment.host]
    for node in list(_nodes(job)):
        instance_id = _instance_id(attempt_id(job.job_id, node.index, len(node.attempts) + 1))
        attempt = placements.next_attempt(turn, node, environment, instance_id)
        attempt.address = host.take_address()
        placements.occupy(turn.yard, node, attempt)
        turn.move(node, STARTING)
    main = _main(job)
    job.attempts = (*job.attempts, main.attempts[-1])
    turn.move(job, STARTING)
    turn.effect(launch_effect(turn.yard, main))


def _instance_id(name: str) -> str:
    return f"i-{hashlib.blake2b(name.encode(), digest_size=9).hexdigest()[:17]}"


def placement(node: Child) -> do.NodePlacement:
    """What a node is told. The main node isn't told its own address as the main node's (facts §10)."""
    terms = _terms(node.parent)
    address = node.attempts[-1].address
    main_address = _main(node.parent).attempts[-1].address
    assert address is not None
    return do.NodePlacement(
        address, terms.num_nodes, terms.main_node, None if node.index == terms.main_node else main_address
    )


def launch_effect(yard: Yard, node: Child) -> do.LaunchAttempt:
    return placements.launch_effect(yard, node, node.attempts[-1], placement(node))


def may_launch(unit: object) -> bool:
    """After a restart: is it this unit's turn to start? Other nodes wait for the main node to run."""
    if not isinstance(unit, Child) or not unit.parent.is_multinode:
        return True
    return unit.index == _terms(unit.parent).main_node or unit.parent.status is RUNNING


def node_started(turn: Pass, node: Child) -> None:
    """The main node is up: so is the job, and the other nodes may follow."""
    job = node.parent
    if node.index != _terms(job).main_node:
        return
    turn.move(job, RUNNING)
    for other in list(_nodes(job)):
        if other.index == node.index or other.live_attempt is None:
            continue
        if other.stop is not None:
            _never_started(turn, other)
        else:
            turn.effect(launch_effect(turn.yard, other))


def is_ending(job: Job) -> bool:
    """Has the main node of a placed gang ended, while others are still being stopped?"""
    return job.is_multinode and job.status in (STARTING, RUNNING) and job.attempts[-1].stopped_at_ms is not None


def node_ended(turn: Pass, node: Child) -> None:
    """A node's container ended or was lost. Only the main node's end matters to the job."""
    job = node.parent
    turn.changed(node)
    if node.index == _terms(job).main_node:
        turn.changed(job)
        _stop_others(turn, node)
    elif not is_ending(job) and _is_last_attempt(job):
        _finish_node(turn, node)
    if is_ending(job) and not any(each.live_attempt for each in _nodes(job)):
        _conclude(turn, job)


def _never_started(turn: Pass, node: Child) -> None:
    """A node that was placed, and whose turn to be launched never came."""
    placements.give_up(turn, node)
    node_ended(turn, node)


def _is_last_attempt(job: Job) -> bool:
    return job.attempts[-1].number >= job.terms.max_attempts


def _stop_others(turn: Pass, main: Child) -> None:
    """Stop the nodes that the main node leaves behind; those that never started just give their place back."""
    for node in list(_nodes(main.parent)):
        attempt = node.live_attempt
        if attempt is None or node.index == main.index:
            continue
        if attempt.started_at_ms is None and main.attempts[-1].started_at_ms is None:
            _never_started(turn, node)
        else:
            turn.effect(do.StopAttempt(attempt.attempt_id, main.parent.terms.stop_grace_seconds))


def _finish_node(turn: Pass, node: Child) -> None:
    attempt = node.attempts[-1]
    stop = stop_of(node)
    if stop is not None and stop.cause is not StopCause.CANCEL:
        turn.move(node, FAILED, stop.reason)
        return
    target = SUCCEEDED if attempt.exit_code == 0 and node.status is RUNNING else FAILED
    turn.move(node, target, attempt.status_reason)


def _conclude(turn: Pass, job: Job) -> None:
    """All nodes have ended: the main node's end decides."""
    attempt = job.attempts[-1]
    stop = job.stop
    stopped = stop is not None and stop.cause is not StopCause.CANCEL
    succeeded = attempt.exit_code == 0 and job.status is RUNNING and not stopped
    if not succeeded and stop is None and should_retry(job.terms, attempt):
        for node in list(_nodes(job)):
            node.stop = None
            turn.move(node, RUNNABLE)
        turn.move(job, RUNNABLE)
        return
    for node in list(_nodes(job)):
        _finish_node(turn, node)
    reason = stop.reason if stop is not None and stopped else attempt.status_reason
    turn.move(job, SUCCEEDED if succeeded else FAILED, reason)


def stop_whole(turn: Pass, job: Job, stop: Stop) -> None:
    """Cancel or terminate the job with all its nodes."""
    if job.status in (STARTING, RUNNING):
        if stop.cause is not StopCause.CANCEL:
            _stop_placed(turn, job, stop)
        return
    if job.stop is None or job.stop.cause is StopCause.CANCEL:
        job.stop = stop
        turn.changed(job)
    if job.status is RUNNABLE or stop.cause is not StopCause.CANCEL:
        fail_waiting(turn, job, job.stop.reason)


def stop_node(turn: Pass, node: Child, stop: Stop) -> None:
    """Stopping the main node stops the job. Another node, once placed, ends alone and means nothing to the job.

    It comes back with the next attempt, if there is one: that is made for all nodes.
    """
    if node.index == _terms(node.parent).main_node:
        stop_whole(turn, node.parent, stop)
    elif stop.cause is not StopCause.CANCEL and node.live_attempt is not None:
        node.stop = node.stop or stop
        turn.changed(node)
        if may_launch(node):
            turn.effect(do.StopAttempt(node.live_attempt.attempt_id, node.parent.terms.stop_grace_seconds))


def _stop_placed(turn: Pass, job: Job, stop: Stop) -> None:
    """Stop the main node, and with it the others: they all get the signal now rather than one after the other.

    A gang whose main node has succeeded is over already; the others have been asked to stop.
    """
    if is_ending(job) and job.attempts[-1].exit_code == 0:
        return
    if job.stop is None or job.stop.cause is StopCause.CANCEL:
        job.stop = stop
        turn.changed(job)
    for node in list(_nodes(job)):
        attempt = node.live_attempt
        if attempt is not None and may_launch(node):
            turn.effect(do.StopAttempt(attempt.attempt_id, job.terms.stop_grace_seconds))


def relink(job: Job) -> None:
    """After a restart: the job's last attempt is its main node's, one object for both."""
    if job.attempts and job.status in (STARTING, RUNNING):
        job.attempts = (*job.attempts[:-1], _main(job).attempts[-1])
