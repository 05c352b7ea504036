"""Operations on output: logs, past and to come, and progress."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.fleet import function_of
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import Error, NotFoundError
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.model.variant import base_id

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front

_log = logging.getLogger(__name__)

#: seconds between two looks for output, and for progress
_LOGS_PAUSE = 1.0
#: the same at the end of a run
_LAST_PAUSE = 0.5
_PROGRESS_PAUSE = 2.0
#: seconds that output may take to be readable
_LATE = 20.0
#: seconds without any after which no more is expected of an app that has ended
_QUIET = 2.5
_PAGE = 1000


class OutputOperations(Group):
    """Operations on output; what is followed is asked for again and again."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._missing = front.calls.deliveries.missing
        #: app → monotonic time at which there was something new of its output
        self._heard: dict[str | None, float] = {}
        #: apps whose runs end
        self._ending: set[str | None] = set()

    def op_logs(self, conversation: Conversation, fields: Fields) -> Fields:
        app_id = None
        if fields.get("app"):
            app_id = self._front.directory.app(fields["app"]).app_id
        query = LogQuery.asked(fields, app_id)
        began, follow = self._front.clock.wall(), bool(fields.get("follow"))
        entries = self._front.cloud.logs.read(query)
        for start in range(0, max(1, len(entries)), _PAGE):
            last = start + _PAGE >= len(entries) and not follow
            _tell(conversation, fields["ref"], entries[start : start + _PAGE], end=last)
        if follow:
            self._follow(conversation, fields["ref"], query, began, entries)
        return {}

    def op_events(self, conversation: Conversation, fields: Fields) -> Fields:
        """What an app prints from now on, and how it is doing."""
        ref, app_id = fields["ref"], fields["app_id"]
        self._missing.expect(app_id)
        ended = self._follow(
            conversation, ref, LogQuery(app_id=app_id), self._front.clock.wall(), ()
        )
        self._front.crew.do(partial(self._tell_progress, conversation, ref, app_id, ended))
        return {}

    def _follow(
        self,
        conversation: Conversation,
        ref: int,
        query: LogQuery,
        began: float,
        told: Iterable[LogEntry],
    ) -> Event:
        """Tell of output as it comes, until the client wants no more; return what ends it."""
        ended = Event()
        conversation.follow(ref, ended.set)
        known = {_key(entry): entry.at for entry in told}
        query = replace(query, tail=None)

        def go_on() -> None:
            nonlocal known
            while not self._rest(query.app_id, ended):
                since = max(began, self._front.clock.wall() - _LATE)
                try:
                    found = self._front.cloud.logs.read(replace(query, since=since))
                except NotFoundError as error:
                    _log.warning("there is no more output: %s", error.message)
                    return
                except Error as error:
                    _log.warning("output cannot be read: %s", error)
                    continue
                new = [entry for entry in found if _key(entry) not in known]
                known = {key: at for key, at in known.items() if at >= since}
                known |= {_key(entry): entry.at for entry in new}
                if new:
                    self._heard[query.app_id] = self._front.clock.monotonic()
                    _tell(conversation, ref, new)
                    if query.app_id:
                        self._missing.came(query.app_id, new)

        self._front.crew.do(go_on)
        return ended

    def _rest(self, app_id: str | None, ended: Event) -> bool:
        """Pause between two looks for output; whether it is wanted no more."""
        return ended.wait(_LAST_PAUSE) or (
            app_id not in self._ending and ended.wait(_LOGS_PAUSE - _LAST_PAUSE)
        )

    def await_rest(self, app_id: str, patience: float) -> None:
        """Wait while an app's last output is on its way, at most `patience` seconds.

        Where machines said how much there is, until it is here; else, or where some of it is lost,
        until nothing more comes.
        """
        clock = self._front.clock
        began = clock.monotonic()
        self._ending.add(app_id)
        while (now := clock.monotonic()) < began + patience:
            quiet = now >= max(began, self._heard.get(app_id, 0.0)) + _QUIET
            if quiet or self._missing.nothing(app_id):
                break
            clock.sleep(_LAST_PAUSE / 5)
        self._ending.discard(app_id)
        self._missing.forget(app_id)

    def _tell_progress(
        self, conversation: Conversation, ref: int, app_id: str, ended: Event
    ) -> None:
        told: dict[str, Any] = {}
        while not ended.wait(_PROGRESS_PAUSE):
            try:
                progress = self._progress(app_id)
            except NotFoundError:  # the environment is gone, and whoever waits is told so
                return
            except Error as error:
                _log.warning("the progress of an app cannot be told: %s", error)
                continue
            if progress != told:
                told = progress
                conversation.event({"ref": ref, **progress})

    def _progress(self, app_id: str) -> dict[str, Any]:
        cloud = self._front.cloud
        functions = {f.function_id for f in cloud.catalog.functions(app_id)}
        totals = dict.fromkeys(("pending", "running", "done", "failed"), 0)
        containers, peak = self._count(app_id, functions)
        for pool in cloud.ledger.pools():
            if base_id(function_of(pool)) in functions:
                counts = cloud.ledger.counts(pool)
                totals["pending"] += counts.pending + counts.delayed
                totals["running"] += counts.running
        totals["done"], totals["failed"] = self._front.calls.heard_of(functions)
        return {"event": "containers", "containers": containers, "peak": peak, **totals}

    def peak(self, app_id: str) -> int:
        """Return the most containers that an app was seen to have, now among them."""
        try:
            functions = {f.function_id for f in self._front.cloud.catalog.functions(app_id)}
            self._count(app_id, functions)
        except Error as error:
            _log.warning("containers cannot be counted: %s", error)
        return self._front.peaks.get(app_id, 0)

    def _count(self, app_id: str, functions: Collection[str]) -> tuple[int, int]:
        """Return how many containers an app has now, and had at most."""
        counts = self._front.fleet.containers()
        now = sum(counts.get(each, 0) for each in functions)
        peaks = self._front.peaks
        peaks[app_id] = max(peaks.get(app_id, 0), now)
        return now, peaks[app_id]


def _tell(
    conversation: Conversation, ref: int, entries: Sequence[LogEntry], *, end: bool = False
) -> None:
    page = [entry.to_json() for entry in entries]
    conversation.logs({"ref": ref, "entries": page, "end": end})


def _key(entry: LogEntry) -> tuple[float, str, str, str]:
    """Return what tells one piece of output from another."""
    return entry.at, entry.container_id, entry.input_id, entry.text
