"""How the kernel is asked to run this process before the jobs, for the moments that it needs.

A child begins on the CPU that it was spawned on, and its parent, which goes on there too, waits for it to pause: half
a millisecond for each job, with another CPU idle. Linux 6.12 and later preempt for a process that asks for short slices
(sched(7), sched_setattr(2)), which everybody may ask for; a niceness below 0 is for the privileged. What is forked
begins with neither, so jobs run as if this were not there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

SLICE_NS = 100_000
"""The shortest that the kernel grants."""
NICENESS = -10
"""About ten times the weight of a job of one vCPU."""

_SYSCALL_NUMBERS = {"x86_64": 314, "aarch64": 274}
_RESET_ON_FORK = 0x01
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""struct sched_attr as Linux 3.14 has it: size, policy, flags, nice, priority, runtime, deadline, period."""


def come_first() -> None:
    """Ask for it, as far as it may be had. Whoever was started with a niceness or a policy of its own keeps that."""
    if os.getpriority(os.PRIO_PROCESS, 0) != 0 or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    with contextlib.suppress(OSError):
        # By this flag what is forked has a niceness of 0 again.
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    _ask_for_short_slices(os.getpriority(os.PRIO_PROCESS, 0))


def _ask_for_short_slices(niceness: int) -> None:
    """Nothing becomes of it where the kernel is older, or the machine one whose number for this call isn't known."""
    number = _SYSCALL_NUMBERS.get(os.uname().machine)
    if number is not None:
        attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, _RESET_ON_FORK, niceness, 0, SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, attributes, 0)
