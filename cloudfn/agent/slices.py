"""Time slices: who waits for whom when containers want more than the machine has. Thin I/O.

Linux 6.12 and newer let a process say how long its turns on a processor should be; one with short
turns comes on sooner and gets no more of the whole. Containers of a crowded pool take long turns,
all others and the daemon short ones, so that a single call beside ten thousand queued inputs waits
little longer than alone. Older kernels ignore the wish.

Source: sched_setattr(2) and the `custom_slice` of the EEVDF scheduler (kernel/sched/syscalls.c).
"""

from __future__ import annotations

import ctypes
import os
import platform
from struct import Struct

#: seconds
SHORT = 0.0001
LONG = 0.01

#: struct sched_attr, version 0: size, policy, flags, nice, priority, runtime, deadline, period
_ATTRIBUTES = Struct("<IIQiIQQQ")
_CALL_NUMBERS = {"x86_64": 314, "aarch64": 274}


class Slices:
    """Sets the turns of processes; does nothing where that is not possible."""

    def __init__(self) -> None:
        self._number = _CALL_NUMBERS.get(platform.machine())
        self._syscall = ctypes.CDLL(None).syscall

    def set(self, pid: int, seconds: float) -> None:
        """Have the turns of a process last `seconds`; its nice value and policy stay."""
        if self._number is None:
            return
        try:
            policy, nice = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
        except OSError:
            return
        if policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
            return
        size = _ATTRIBUTES.size
        wish = _ATTRIBUTES.pack(size, policy, 0, nice, 0, int(seconds * 1e9), 0, 0)
        self._syscall(self._number, pid, wish, 0)
