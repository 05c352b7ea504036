"""The life of an instance in an Auto Scaling Group, with its hooks: pure, `now` is an argument.

From "Amazon EC2 Auto Scaling instance lifecycle" and "Amazon EC2 Auto Scaling lifecycle hooks".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
#: a hook waits for at most 48 h, or 100 times its heartbeat
_LONGEST, _HEARTBEATS = 48 * 3600.0, 100


class Phase(StrEnum):
    """As Auto Scaling names them."""

    PENDING = "Pending"
    PENDING_WAIT = "Pending:Wait"
    IN_SERVICE = "InService"
    TERMINATING_WAIT = "Terminating:Wait"
    TERMINATED = "Terminated"


#: what counts for the desired capacity
ACTIVE = frozenset({Phase.PENDING, Phase.PENDING_WAIT, Phase.IN_SERVICE})
#: when there is a machine
ALIVE = frozenset({Phase.PENDING_WAIT, Phase.IN_SERVICE, Phase.TERMINATING_WAIT})


@dataclass(frozen=True, slots=True)
class Hook:
    """A lifecycle hook."""

    name: str
    transition: str
    #: seconds
    timeout: float
    #: CONTINUE | ABANDON
    default: str


@dataclass(frozen=True, slots=True)
class Life:
    """Where an instance is."""

    phase: Phase
    #: seconds since the epoch
    launched: float
    #: the hook it waits for, since when and until when
    hook: Hook | None = None
    begun: float = 0.0
    until: float = 0.0


def passed(life: Life, hooks: Sequence[Hook], boot_delay: float, now: float) -> Life:
    """Return what has become of an instance by time alone."""
    if life.phase is Phase.PENDING and now >= life.launched + boot_delay:
        return _waiting(life, hooks, LAUNCHING, Phase.PENDING_WAIT, Phase.IN_SERVICE, now)
    if life.hook is not None and now >= life.until:
        return completed(life, life.hook.default)
    return life


def completed(life: Life, result: str) -> Life:
    """Return what becomes of an instance whose hook ends with CONTINUE or ABANDON."""
    joins = life.phase is Phase.PENDING_WAIT and result == "CONTINUE"
    return replace(life, phase=Phase.IN_SERVICE if joins else Phase.TERMINATED, hook=None)


def heard(life: Life, now: float) -> Life:
    """Return an instance whose hook waits anew, within its longest time."""
    if life.hook is None:
        return life
    longest = life.begun + min(_LONGEST, _HEARTBEATS * life.hook.timeout)
    return replace(life, until=min(now + life.hook.timeout, longest))


def ended(life: Life, hooks: Sequence[Hook], now: float) -> Life:
    """Return an instance that its group takes away: its hook first, if it runs already."""
    if life.phase is Phase.TERMINATING_WAIT:
        return life
    if life.phase is Phase.PENDING:
        return replace(life, phase=Phase.TERMINATED)
    return _waiting(life, hooks, TERMINATING, Phase.TERMINATING_WAIT, Phase.TERMINATED, now)


def _waiting(
    life: Life, hooks: Sequence[Hook], transition: str, waits: Phase, goes_on: Phase, now: float
) -> Life:
    for hook in hooks:
        if hook.transition == transition:
            return replace(life, phase=waits, hook=hook, begun=now, until=now + hook.timeout)
    return replace(life, phase=goes_on, hook=None)
