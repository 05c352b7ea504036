"""Wakeups on SQS: a reply queue for each client, and notes that only the environment's key makes.

A client tags its queue with the time at which it last listened; who sweeps goes by that.
"""

from __future__ import annotations

import logging
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from random import Random
from re import compile as pattern
from threading import Lock

from cloudfn.clock import Clock
from cloudfn.errors import DataLossError, ExecutionError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.notes import messages_of, notes_in
from cloudfn.providers.aws.sqs import Message, Sqs, with_policy
from cloudfn.providers.wakeups import Note
from cloudfn.wire.seals import Seals, result_seals

_log = logging.getLogger(__name__)

#: seconds between two tags of a client that listens
HEARTBEAT = 120.0
#: seconds for which a note waits for its reader, who asks the ledger anyway
_RETENTION = 3_600
#: seconds after which notes come again that were not answered
_VISIBILITY = 30
#: notes that are answered together, and seconds that the first of them waits for that; a long poll
#: may come in between
_ANSWERED_AT_ONCE, _UNANSWERED = 10, 5.0
#: seconds that one waits at most for the name of a mailbox that was just swept
_PAUSE = 5.0
#: seconds for which a mailbox that was not found is not looked for again
_GONE = 10.0
#: mailboxes that are remembered to be gone
_MOST_GONE = 1_000
#: the tag
_HEARD = "cloudfn:heard"
#: attributes of the environment's queues that say how they are encrypted
_ENCRYPTION = ("SqsManagedSseEnabled", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds")


class SqsWakeups:
    """The `Wakeups` port on SQS.

    Args:
        clients: Where the client comes from.
        prefix: Of the names of all queues, such as `cloudfn-main-`.
        attributes: Of the environment's queues, as SQS names them; how they are encrypted, and
            their RedrivePolicy, are taken from here.
        policy: Of each queue, as JSON with %s for its ARN; empty for none.
        tags: Of each queue.
        key: Returns the environment's key; asked for when the first note is written or read.
        clock: What time it is; waits between two tries.
        random: Spreads the waits.
    """

    def __init__(
        self,
        clients: ClientSource,
        prefix: str,
        attributes: Mapping[str, str],
        policy: str,
        *,
        tags: Mapping[str, str],
        key: Callable[[], bytes],
        clock: Clock,
        random: Random,
    ) -> None:
        self._sqs = Sqs(clients, clock, random)
        self._replies = f"{prefix}reply-"
        self._address = pattern(f"{self._replies}[0-9a-f]{{24}}")
        self._attributes = attributes
        self._policy = policy
        self._tags = tags
        self._key = key
        self._clock = clock
        self._lock = Lock()
        self._own = ""
        self._tagged = 0.0
        #: handles of what was received, to be deleted before the next poll
        #: receipts of notes that are not answered yet, and since when
        self._received: list[str] = []
        self._since = 0.0
        #: mailboxes that were not found, and when they may be looked for again
        self._gone: dict[str, float] = {}
        self._warned = False

    @cached_property
    def _seals(self) -> Seals:
        return result_seals(self._key())

    def open(self) -> str:
        """See the port. Asked again, it returns the same mailbox."""
        with self._lock:
            if not self._own:
                name = f"{self._replies}{os.urandom(12).hex()}"
                self._make(name)
                self._own = name
            return self._own

    def tell(self, address: str, notes: Sequence[Note]) -> None:
        # An address comes out of the ledger: nothing else than mailboxes is written to.
        if not self._address.fullmatch(address) or self._is_gone(address):
            return
        bodies = [
            b64encode(self._seals.seal(data, *_context(address))).decode()
            for data in messages_of(notes)
        ]
        try:
            self._sqs.send(address, bodies)
        except NotFoundError:
            self._remember_gone(address)

    def listen(self, seconds: float) -> list[Note]:
        """See the port. Makes a mailbox that is gone anew, as after days of a laptop's sleep."""
        name = self.open()
        try:
            self._say_heard(name)
            # Before the poll and not after it: whoever waits for a note has it a request sooner.
            self._sqs.forget(name, self._to_answer())
            found = self._sqs.receive(name, int(seconds), 10)
        except NotFoundError:
            self._make_again(name, seconds)
            return []
        with self._lock:
            if not self._received:
                self._since = self._clock.monotonic()
            self._received += [message.handle for message in found]
        return [note for message in found for note in self._open(name, message)]

    def _to_answer(self) -> list[str]:
        """Return the receipts of notes that are to be answered now: a request for each is dear."""
        with self._lock:
            waited = self._clock.monotonic() - self._since
            if len(self._received) < _ANSWERED_AT_ONCE and waited < _UNANSWERED:
                return []
            received, self._received = self._received, []
            return received

    def sweep(self, now: float, patience: float) -> int:
        """See the port.

        Args:
            now: Seconds since the epoch.
            patience: Seconds; several times `HEARTBEAT`, and more than clocks may differ.
        """
        swept = 0
        for name in self._sqs.names(self._replies):
            # The environment main-reply has queues whose names begin like mailboxes of main.
            if not self._address.fullmatch(name):
                continue
            try:
                if now - self._heard(name) <= patience:
                    continue
            except NotFoundError:
                continue
            self._sqs.delete(name)
            swept += 1
        return swept

    def close(self) -> None:
        with self._lock:
            name, self._own = self._own, ""
            self._received = []
        if name:
            self._sqs.delete(name)

    def _make(self, name: str) -> None:
        encryption = {key: value for key, value in self._attributes.items() if key in _ENCRYPTION}
        policy = with_policy(self._attributes, self._policy, name).get("Policy")
        now = self._clock.wall()
        self._sqs.create(
            name,
            {
                **encryption,
                **({"Policy": policy} if policy else {}),
                "MessageRetentionPeriod": str(_RETENTION),
                "ReceiveMessageWaitTimeSeconds": "20",
                "VisibilityTimeout": str(_VISIBILITY),
            },
            {**self._tags, _HEARD: str(int(now))},
            patience=0,
        )
        self._tagged = now

    def _make_again(self, name: str, seconds: float) -> None:
        """Make a mailbox that was swept, or wait until that may be done, and no longer."""
        try:
            self._make(name)
        except ExecutionError:
            self._clock.sleep(min(seconds, _PAUSE))

    def _say_heard(self, name: str) -> None:
        now = self._clock.wall()
        if now - self._tagged >= HEARTBEAT:
            self._sqs.tag(name, {_HEARD: str(int(now))})
            self._tagged = now

    def _heard(self, name: str) -> float:
        heard = self._sqs.tags(name).get(_HEARD, "")
        return float(heard) if heard.isdecimal() else self._sqs.created(name)

    def _open(self, name: str, message: Message) -> list[Note]:
        try:
            sealed = b64decode(message.body, validate=True)
            return notes_in(self._seals.open(sealed, *_context(name)))
        except (DataLossError, ValueError):
            if not self._warned:
                self._warned = True
                _log.warning(
                    "The queue %s has notes that are not authentic, or of another version; they"
                    " are dropped.",
                    name,
                )
            return []

    def _is_gone(self, address: str) -> bool:
        with self._lock:
            return self._gone.get(address, 0.0) > self._clock.monotonic()

    def _remember_gone(self, address: str) -> None:
        with self._lock:
            if len(self._gone) >= _MOST_GONE:
                self._gone.clear()
            self._gone[address] = self._clock.monotonic() + _GONE


def _context(address: str) -> tuple[str, str]:
    """Return what a message's seal is bound to: it is no result, and in no other mailbox."""
    return "notes", address
