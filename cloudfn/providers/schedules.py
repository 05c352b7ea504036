"""The port of schedules: what is due by itself, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cloudfn.model.schedule import Rule

#: fires of one schedule that are kept
HISTORY = 1000


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """One schedule of a live app."""

    schedule_id: str
    app_id: str
    function_id: str
    rule: Rule
    #: seconds since the epoch from which a Period counts
    anchor: float
    #: seconds since the epoch up to which due times are dealt with
    cursor: float
    paused: bool = False
    #: made by hand beside the code; lives until the next deploy that changes anything
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Fire:
    """What happened when a schedule was due."""

    schedule_id: str
    #: seconds since the epoch
    due: float
    #: when it happened
    at: float
    #: the call that was made; empty where none was
    call_id: str = ""
    #: long after it was due: one run that makes up for all that were missed
    late: bool = False
    #: by hand, and not because it was due
    manual: bool = False
    #: how it ended, in a word or a sentence; empty while its call is unfinished
    outcome: str = ""


class Schedules(Protocol):
    """The durable truth about schedules: what there is, what is dealt with, what came of it.

    Every write is durable when the method returns, and idempotent.
    """

    def put(self, records: Sequence[ScheduleRecord]) -> None:
        """Add schedules, or replace those of the same id; their fires stay."""
        ...

    def remove(self, schedule_ids: Sequence[str]) -> None:
        """Forget schedules and their fires."""
        ...

    def schedules(self) -> list[ScheduleRecord]:
        """Return all schedules, in the order in which they were added."""
        ...

    def record(self, fires: Sequence[Fire]) -> None:
        """Note what happened, one fire per schedule and due time; the first outcome stays.

        The cursor moves up to the due time, unless it was by hand. Of each schedule the last
        `HISTORY` fires are kept. A fire of a schedule that is gone is dropped.
        """
        ...

    def history(self, schedule_id: str, limit: int) -> list[Fire]:
        """Return the latest fires of a schedule, the newest first."""
        ...

    def unfinished(self) -> list[Fire]:
        """Return the fires without outcome, the oldest first."""
        ...

    def fired_by(self, rule: Rule) -> str:
        """Return who sees to it that a rule is obeyed in time, for people; asks nobody."""
        ...
