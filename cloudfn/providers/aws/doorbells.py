"""Doorbells on SQS: a queue for each deployed function, and a dead-letter queue for all.

What a ring says is disposable, so nothing seals it; what it encloses is the ledger's affair.
"""

from __future__ import annotations

import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from random import Random
from re import compile as pattern
from struct import Struct
from struct import error as StructError  # noqa: N812 - a class
from threading import Lock

from cloudfn.clock import Clock
from cloudfn.errors import Error, InvalidError, NotFoundError
from cloudfn.providers.aws.clients import ClientSource
from cloudfn.providers.aws.sqs import Message, Sqs, with_policy
from cloudfn.providers.doorbells import Heard, Ring

_log = logging.getLogger(__name__)

#: bytes that a ring may enclose, so that its message is one that SQS takes; more is left out
ENCLOSED = 700_000
#: seconds that one waits at most for a function without a queue
_ABSENT = 5.0

_FUNCTIONS = "fu-"
_FUNCTION = pattern(r"fu-[A-Za-z0-9-]{1,40}")
_VERSION = 1
#: version, and how long function, pool and page are
_HEAD = Struct(">BHHH")


class SqsDoorbells:
    """The `Doorbells` port on SQS.

    Args:
        clients: Where the client comes from.
        prefix: Of the names of all queues, such as `cloudfn-main-`.
        attributes: Of each queue, as SQS names them, with its RedrivePolicy.
        policy: Of each queue, as JSON with %s for its ARN; empty for none.
        tags: Of each queue.
        clock: Waits between two tries.
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
        clock: Clock,
        random: Random,
    ) -> None:
        self._sqs = Sqs(clients, clock, random)
        self._prefix = prefix
        self._dead = f"{prefix}dead"
        self._attributes = attributes
        self._policy = policy
        self._tags = tags
        self._clock = clock
        self._warned: set[str] = set()
        self._lock = Lock()

    def open(self, function_id: str) -> None:
        """See the port. Takes a minute where the queue was removed a moment ago."""
        name = self._queue(function_id)
        self._sqs.create(name, with_policy(self._attributes, self._policy, name), self._tags)

    def remove(self, function_id: str) -> None:
        self._sqs.delete(self._queue(function_id))

    def functions(self) -> list[str]:
        names = self._sqs.names(f"{self._prefix}{_FUNCTIONS}")
        found = [name.removeprefix(self._prefix) for name in names]
        return [each for each in found if _FUNCTION.fullmatch(each)]

    def ring(self, rings: Sequence[Ring]) -> int:
        """See the port. One function's trouble does not keep the others' rings back.

        Raises:
            Error: AWS refuses; rings of other functions were sent all the same.
        """
        by_queue: dict[str, list[str]] = {}
        for ring in rings:
            by_queue.setdefault(self._queue(ring.function_id), []).append(_body(ring))
        taken, trouble = 0, None
        for name, bodies in by_queue.items():
            try:
                self._sqs.send(name, bodies)
                taken += len(bodies)
            except NotFoundError:
                continue
            except Error as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return taken

    def listen(self, function_id: str, seconds: float, limit: int) -> list[Heard]:
        name = self._queue(function_id)
        try:
            return self._hear(name, int(seconds), limit)
        except NotFoundError:
            # Who listens in a loop is not to ask all the time.
            self._clock.sleep(min(seconds, _ABSENT))
            return []

    def answer(self, heard: Sequence[Heard]) -> None:
        by_queue: dict[str, list[str]] = {}
        for each in heard:
            name, _, handle = each.receipt.partition(" ")
            by_queue.setdefault(name, []).append(handle)
        for name, handles in by_queue.items():
            self._forget(name, handles)

    def dead(self, limit: int) -> list[Heard]:
        found: list[Heard] = []
        while len(found) < limit:
            # A second, as a shorter poll asks some of SQS's servers only.
            if not (some := self._hear(self._dead, 1, min(10, limit - len(found)))):
                break
            found += some
        return found

    def close(self) -> None:
        """See the port; the clients are not ours to close."""

    def _queue(self, function_id: str) -> str:
        """Return the name of a function's queue, which its variants share."""
        plain = function_id.partition("+")[0]
        if not _FUNCTION.fullmatch(plain):
            raise InvalidError(f"{function_id!r} is no id of a function.")
        return f"{self._prefix}{plain}"

    def _hear(self, name: str, seconds: int, limit: int) -> list[Heard]:
        heard: list[Heard] = []
        garbled: list[str] = []
        for message in self._sqs.receive(name, seconds, limit):
            ring = _ring(message)
            if ring is None or name not in (self._queue(ring.function_id), self._dead):
                garbled.append(message.handle)
            else:
                heard.append(Heard(ring, f"{name} {message.handle}"))
        if garbled:
            self._warn(name)
            self._forget(name, garbled)
        return heard

    def _forget(self, name: str, handles: Sequence[str]) -> None:
        try:
            self._sqs.forget(name, handles)
        except NotFoundError:
            return

    def _warn(self, name: str) -> None:
        with self._lock:
            if name in self._warned:
                return
            self._warned.add(name)
        _log.warning(
            "The queue %s has messages that no cloudfn of this version wrote; they are dropped.",
            name,
        )


def _body(ring: Ring) -> str:
    enclosed = ring.enclosed if len(ring.enclosed) <= ENCLOSED else b""
    words = [each.encode() for each in ring[:3]]
    head = _HEAD.pack(_VERSION, *map(len, words))
    return b64encode(b"".join((head, *words, enclosed))).decode()


def _ring(message: Message) -> Ring | None:
    """Return what a message says; None if it is not one of ours."""
    try:
        data = b64decode(message.body, validate=True)
        version, *lengths = _HEAD.unpack_from(data)
        if version != _VERSION:
            return None
        at = _HEAD.size
        words: list[str] = []
        for length in lengths:
            words.append(data[at : at + length].decode())
            at += length
    except (ValueError, StructError):
        return None
    function_id, pool, page = words
    if at > len(data) or not _FUNCTION.fullmatch(function_id.partition("+")[0]):
        return None
    return Ring(function_id, pool, page, data[at:])
