"""What one client says to a front, and what it hears."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from cloudfn.control.invocation.caller import Answer, Caller, Tell
from cloudfn.control.invocation.crew import Lane
from cloudfn.control.invocation.submissions import Own
from cloudfn.control.invocation.watches import Watch
from cloudfn.control.operations import Fields
from cloudfn.errors import Error, InternalError, InvalidError
from cloudfn.wire.messages import BlobRef, Delivered, Kind, Submit, Taken, encode_json, is_blob
from cloudfn.wire.replies import error_json

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front

_log = logging.getLogger(__name__)


class Conversation:
    """One client's messages. Nothing here blocks; any thread may call any method.

    Args:
        front: What answers.
        caller: Who speaks.
        tell: Hears `ACK`, `OUTCOMES`, `ITEMS`, `LOGS` and `EVENT`, from any thread.
    """

    def __init__(self, front: Front, caller: Caller, tell: Tell) -> None:
        self.caller = caller
        self._front = front
        self._tell = tell
        self._lock = Lock()
        #: calls that the client makes, those that it hears of, and what it follows, by its numbers
        self._own: dict[int, Own] = {}
        self._watches: dict[int, Watch] = {}
        self._followed: dict[int, Callable[[], object]] = {}
        #: ephemeral objects that live with it
        self.objects: dict[str, None] = {}
        self._closed = False

    @property
    def container_id(self) -> str | None:
        """The container that the client runs in; None: none."""
        return self.caller.container_id

    # Messages

    def submit(self, message: Submit) -> None:
        """Take inputs; those of a call that is not known open it."""
        with self._lock:
            if self._closed:
                return
            own = self._own.get(message.ref)
            if own is not None:
                self._front.calls.send(own, message)
            elif message.header is not None:
                gone = partial(self._own.pop, message.ref, None)
                begin = self._front.calls.begin
                self._own[message.ref] = begin(self.caller, self._tell, message, gone)
            else:
                error = InvalidError(f"Inputs for a call that is not open ({message.ref}).")
                self.event({"event": "rejected", "ref": message.ref, "error": error_json(error)})

    def delivered(self, message: Delivered) -> None:
        """The client has outcomes."""
        own = self._own.get(message.ref)
        if own is not None:
            self._front.calls.delivered(own, message.indices)

    def taken(self, message: Taken) -> None:
        """The client has items of a generator."""
        own = self._own.get(message.ref)
        if own is not None:
            self._front.calls.taken(own, message.end)

    def request(self, fields: Fields, answer: Answer) -> None:
        """Answer a request later, with fields or with `{"error": …}`; what follows comes after."""
        match fields.get("op"):
            case "call_release":
                self.release(fields["ref"], unfinished=True)
                answer({})
            case "call_attach":
                watch = self._front.calls.attached(self.caller, self._tell, fields)
                with self._lock:
                    self._watches[watch.ref] = watch
                self._later(partial(self._front.calls.attach, watch, answer), answer)
            case _:
                self._later(lambda: answer(self._front.answer(self, fields)), answer)

    def release(self, ref: int, *, unfinished: bool) -> None:
        """The client wants no more of what has this number.

        Args:
            ref: The number.
            unfinished: Of a call of its own, not everything has arrived: it is cancelled.
        """
        own, watch = self._own.get(ref), self._watches.pop(ref, None)
        followed = self._followed.pop(ref, None)
        if own is not None:
            self._front.calls.release(own, unfinished=unfinished)
        if watch is not None:
            self._front.calls.leave(watch)
        if followed is not None:
            followed()

    def close(self) -> None:
        """The client is gone: its transient calls and ephemeral objects end, soon. Idempotent."""
        with self._lock:
            self._closed = True
        for ref in [*self._own, *self._watches, *self._followed]:
            self.release(ref, unfinished=True)
        for object_id in list(self.objects):
            Lane(self._front.crew).do(partial(self._front.drop_object, self, object_id))

    # For operations

    def bring(self, payloads: Iterable[bytes]) -> None:
        """Bring what lies in files of payloads that the client hands over to the depot."""
        self._front.send(self.caller, _refs(payloads))

    def show(self, payloads: Iterable[bytes]) -> None:
        """Bring what lies in files of payloads that the client is about to get to its files."""
        self._front.fetch(self.caller, _refs(payloads))

    def event(self, fields: Fields) -> None:
        """Tell of something in an `EVENT`."""
        self._tell(Kind.EVENT, encode_json(fields))

    def logs(self, fields: Fields) -> None:
        """Tell of output."""
        self._tell(Kind.LOGS, encode_json(fields))

    def follow(self, ref: int, end: Callable[[], object]) -> None:
        """Something goes on telling until the client wants no more of it."""
        with self._lock:
            self._followed[ref] = end

    def _later(self, work: Callable[[], object], answer: Answer) -> None:
        def try_it() -> None:
            try:
                work()
            except Error as error:
                answer({"error": error_json(error)})
            except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
                _log.exception("a request failed")
                failed = InternalError(f"The request failed: {error!r}", hint=_REPORT)
                answer({"error": error_json(failed)})

        if not self._front.crew.do(try_it):
            answer({"error": {"type": "ClientClosed", "message": "The client was closed."}})


def _refs(payloads: Iterable[bytes]) -> list[BlobRef]:
    return [BlobRef.decode(payload) for payload in payloads if is_blob(payload)]


_REPORT = "Please report this."
