"""How a machine leaves: why, and for how long what runs may go on. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Drain:
    """Why and how a machine drains. Times are monotonic seconds."""

    reason: str
    #: what runs then is given back; None: it has all the time
    deadline: float | None
    #: as far as the deadline may be put off while the machine's group waits for it; None: not
    latest: float | None = None
    #: the planner said so, and may change its mind
    ordered: bool = False
    #: the process ends as well
    final: bool = False

    def and_also(self, other: Drain) -> Drain:
        """Return what there is to do when there is a further reason: whichever is sooner counts."""
        deadline = self.deadline
        if deadline is None or (other.deadline is not None and other.deadline < deadline):
            deadline = other.deadline
        return replace(
            self,
            deadline=deadline,
            latest=_sooner(self, other),
            final=self.final or other.final,
        )

    def held(self, until: float) -> Drain:
        """Return what there is to do when the group waits until then, at least."""
        if self.deadline is None or self.latest is None:
            return self
        return replace(self, deadline=max(self.deadline, min(until, self.latest)))

    def wants_time(self) -> bool:
        """Whether it is of use that the group waits longer."""
        return self.latest is not None and (self.deadline or 0.0) < self.latest


def _sooner(one: Drain, other: Drain) -> float | None:
    """Return how far a deadline may be put off for two reasons: a fixed one is for ever."""
    bounds = [
        each.deadline if each.latest is None else each.latest
        for each in (one, other)
        if each.deadline is not None
    ]
    puts_off = any(each.latest is not None for each in (one, other))
    return min(bounds) if puts_off and bounds else None
