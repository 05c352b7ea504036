"""What has to be done for an environment now and then, by whoever leads. Thin I/O, one thread.

Every job is harmless when done twice, and none keeps the others from being done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cloudfn.errors import Error
from cloudfn.model.call import OVERDUE, Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.providers.machines import MachineRow
from cloudfn.providers.shared_ledger import Held
from cloudfn.providers.wakeups import Note
from cloudfn.wire.messages import BlobRef, encode_json

_log = logging.getLogger(__name__)

#: seconds after which a mailbox that nobody listens to is removed
_MAILBOX_KEPT = 900.0
#: rings that nobody answered, looked at in one go
_DEAD_AT_ONCE = 10
#: seconds between two looks for what stores hold no more, and for which it can still be read
_STORES, _READ_FOR = 1_800.0, 600.0

#: name of the job that takes from machines what they hold, where they are gone
REPAIR = "repair"

#: ends what belongs to clients that are gone; seconds since the epoch
Departed = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Chore:
    """A job, and after how many seconds it is due again."""

    name: str
    every: float
    do: Callable[[float], None]


class Janitor:
    """Does what is due.

    Args:
        cloud: The environment.
        departed: Ends what belongs to clients that are gone.
        retention: Seconds that outcomes of durable calls are kept.
    """

    def __init__(self, cloud: Cloud, departed: Departed, retention: float) -> None:
        self._cloud = cloud
        self._retention = retention
        self._rows: Mapping[str, MachineRow] = {}
        self._fresh = False
        self._chores = (
            Chore(REPAIR, 5.0, self._repair),
            Chore("overdue", 2.0, self._end_overdue),
            Chore("departed", 15.0, departed),
            Chore("dead", 60.0, self._bury_rings),
            Chore("expire", 600.0, self._expire),
            Chore("sweep", 600.0, self._sweep),
            Chore("dicts", _STORES, lambda now: self._forget(cloud.dicts.expire(now, _READ_FOR))),
            Chore("queues", _STORES, self._expire_queues),
            Chore("volumes", _STORES, lambda now: cloud.volumes.expire(now, _READ_FOR)),
        )

    def work(
        self, rows: Sequence[MachineRow], done: Mapping[str, float], now: float
    ) -> dict[str, float]:
        """Do what is due.

        Args:
            rows: All machines, as they were heard last.
            done: When each job was done last.
            now: Seconds since the epoch.

        Returns:
            The same afterwards.
        """
        self._rows, self._fresh = {row.report.machine_id: row for row in rows}, False
        times = {chore.name: done.get(chore.name, 0.0) for chore in self._chores}
        for chore in self._chores:
            if now - times[chore.name] >= chore.every:
                times[chore.name] = now
                _try(chore.name, chore.do, now)
        return times

    def _repair(self, now: float) -> None:
        """Return what holders had that are gone, and ring for what nobody heard of."""
        repairs = self._cloud.ledger.repair(lambda holder: self._is_alive(holder, now), now)
        if repairs.returned or repairs.given_up:
            _log.info("%d inputs run again, %d are given up", repairs.returned, repairs.given_up)
        if repairs.rings:
            self._cloud.doorbells.ring(repairs.rings)
        self._stop_taken(repairs.taken)

    def _stop_taken(self, taken: Sequence[Held]) -> None:
        """Have machines that are silent, and may live, stop what others run from now on."""
        inputs: dict[str, list[tuple[int, int]]] = {}
        for each in taken:
            if each.holder in self._rows:
                inputs.setdefault(each.holder, []).append((each.seq, each.fence))
        for machine_id, some in inputs.items():
            try:
                self._cloud.machines.cancel(machine_id, some)
            except Error as error:  # it stops them when they have ended
                _log.warning("%s", error.message)

    def _is_alive(self, holder: str, now: float) -> bool:
        if not self._holds(holder, now) and not self._fresh:
            # It may have joined, or said that it lives, since.
            self._fresh = True
            rows = self._cloud.machines.list()
            self._rows = {row.report.machine_id: row for row in rows}
        return self._holds(holder, now)

    def _holds(self, holder: str, now: float) -> bool:
        row = self._rows.get(holder)
        return row is not None and row.lease_until > now

    def _end_overdue(self, now: float) -> None:
        """End inputs that wait and whose deadline has passed."""
        claims = self._cloud.ledger.overdue(now)
        entries = [Entry(each.seq, each.fence, Status.TIMED_OUT, _overdue(each)) for each in claims]
        recorded = self._cloud.ledger.record(entries) if entries else []
        for claim, held in zip(claims, recorded, strict=True):
            if held and (address := self._cloud.ledger.reply_to(claim.call_id)):
                note = Note(claim.call_id, (claim.index,), (Status.TIMED_OUT,))
                self._cloud.wakeups.tell(address, [note])

    def _bury_rings(self, _now: float) -> None:
        """Forget rings that nobody answered; `repair` rings again for what still waits."""
        dead = self._cloud.doorbells.dead(_DEAD_AT_ONCE)
        if dead:
            pools = ", ".join(sorted({each.ring.pool for each in dead}))
            _log.warning("nobody answered %d rings, of %s", len(dead), pools)
            self._cloud.doorbells.answer(dead)

    def _expire(self, now: float) -> None:
        self._cloud.ledger.expire(now, self._retention)

    def _expire_queues(self, now: float) -> None:
        # What nobody settled goes back when the next one wants elements.
        self._forget(self._cloud.queues.expire(now, _READ_FOR).gone)

    def _forget(self, payloads: Sequence[bytes]) -> None:
        """Delete payloads in the depot that no store names any more."""
        self._cloud.depot.delete([BlobRef.decode(each) for each in payloads])

    def _sweep(self, now: float) -> None:
        self._cloud.wakeups.sweep(now, _MAILBOX_KEPT)


def _try(name: str, do: Callable[[float], None], now: float) -> None:
    try:
        do(now)
    except Error as error:
        _log.warning("%s: %s", name, error.message)
    except Exception:  # noqa: BLE001 - one job's trouble
        _log.exception("%s failed", name)


def _overdue(claim: Claim) -> bytes:
    message = f"Input {claim.index} of {claim.call_id}: {OVERDUE}."
    hint = "Spawn it again with a later `deadline`."
    return encode_json({"error": "DeadlineExceededError", "message": message, "hint": hint})
