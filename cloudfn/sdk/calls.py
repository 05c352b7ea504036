"""The two ends of a call: `Submission` sends inputs and hears of them, `Attachment` only hears.

Both survive the connection: after a reconnect they are taken up, and what the engine does not know
is sent again. Nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from cloudfn import errors
from cloudfn.model import ids
from cloudfn.model.call import CallKind
from cloudfn.model.terms import Terms
from cloudfn.sdk.client import FAILED, RESUMED, Client, Mailbox
from cloudfn.sdk.session import error_of
from cloudfn.wire.messages import Ack, Kind, Outcomes, Submit
from cloudfn.wire.ranges import Ranges


class Submission:
    """A call of ours whose inputs we send.

    Args:
        client: The engine.
        function_id: What is called.
        kind: Which method calls it.
        parent: Inside a container, the number of the input that runs.
        box: Where news go; its own when omitted.
        terms: When inputs of a spawn may begin, and who goes first.
        name: By which later processes find the call.
        call_id: Of a call that is gone on with; a new one when omitted.
    """

    def __init__(
        self,
        client: Client,
        function_id: str,
        kind: CallKind,
        parent: int | None = None,
        box: Mailbox | None = None,
        *,
        terms: Terms | None = None,
        name: str = "",
        call_id: str | None = None,
    ) -> None:
        self.call_id = call_id or ids.mint("fc")
        self._name = name
        self.box = box or Mailbox()
        self.opened = False
        #: the engine has inputs 0 … known − 1
        self.known = 0
        #: a limit stopped the rest; they are sent again when there is room
        self.refused = False
        self.refusals = 0
        #: what we have of the outcomes; the owner of the call replaces it
        self.have: Callable[[], Ranges] = list
        #: those of them whose payloads were read; likewise
        self.done: Callable[[], Ranges] = list
        self._client = client
        self._header: dict[str, Any] = {
            "call": self.call_id,
            "function": function_id,
            "kind": int(kind),
            "parent": parent,
        }
        if terms is not None:
            self._header["terms"] = terms.to_json()
        if name:
            self._header["name"] = name
        self._unknown: deque[tuple[int, list[bytes]]] = deque()
        self._next = 0
        self._sealed = False
        self._resuming = False
        self._answered = False
        #: messages with inputs that no acknowledgement came for yet
        self._unanswered = 0
        self.ref = client.open(self)

    @property
    def sent(self) -> int:
        """How many inputs were handed in here."""
        return self._next

    @property
    def acknowledged(self) -> bool:
        """Whether the engine has everything that was handed in."""
        return self._answered and self.known >= self._next and not self._resuming

    def send(self, payloads: list[bytes], *, sealed: bool = False) -> None:
        """Send the next inputs; `sealed`: they are the last ones."""
        first = self._next
        self._next += len(payloads)
        self._sealed = sealed
        self._unknown.append((first, payloads))
        if not (self.refused or self._resuming):
            self._submit(first, payloads)

    def send_again(self) -> None:
        """Send what a limit refused once more, although nobody said that there is room."""
        self.refused = False
        self._send_again()

    def mail(self) -> Iterator[Outcomes]:
        """Deal with what has arrived, and yield the outcomes among it.

        Raises:
            Error: The call is over because the engine says so or cannot be reached.
        """
        messages = self.box.messages
        while messages:
            kind, body = messages.popleft()
            if kind == Kind.OUTCOMES:
                yield Outcomes.decode(body)
            elif kind == Kind.ACK:
                ack = Ack.decode(body)
                self._unanswered = max(self._unanswered - 1, 0)
                self._acknowledge(ack.known, refused=ack.refused)
            elif kind == RESUMED:
                self._resume(body)
            elif kind == FAILED:
                raise body
            else:
                self.take_message(kind, body)

    def take_message(self, kind: int, body: Any) -> None:
        """Deal with a message that only calls of some kind get; others get none."""

    def close(self, *, finished: bool) -> None:
        """Expect nothing more; unless `finished`, the engine cancels a remote or map call.

        A named call goes on without us, and may be taken up by others from here on.
        """
        self._client.release(self.ref, tell=not finished or bool(self._name))

    def resumption(self) -> dict[str, Any]:
        """Ask on a new connection for what we lack; see `Stream`."""
        self._resuming = True
        # First what is done: it grows into what we have, not the other way round.
        done = self.done()
        asked = {"op": "call_resume", "call": self.call_id, "have": self.have(), "done": done}
        return {**asked, "confirmed": self.known} if self._name else asked

    def _resume(self, told: dict[str, Any]) -> None:
        self._resuming = False
        self._unanswered = 0
        known = told.get("known", 0)
        if "error" in told:
            if told["error"].get("type") != "NotFoundError":
                raise error_of(told["error"])
            known = 0
        self._answered = True
        self.refused = bool(told.get("refused"))
        self._forget(known)
        self._send_again()
        if self._sealed and not self._unknown:
            self._submit(self._next, [])  # that nothing follows may not have arrived

    def _acknowledge(self, known: int, *, refused: bool) -> None:
        self._answered = True
        was_refused, self.refused = self.refused, refused
        self._forget(known)
        if refused:
            self.refusals += 1
        elif not self._resuming and (was_refused or not self._unanswered):
            self._send_again()

    def _forget(self, known: int) -> None:
        """Let go of inputs that the engine has."""
        self.known = max(self.known, known)
        unknown = self._unknown
        while unknown and unknown[0][0] + len(unknown[0][1]) <= self.known:
            unknown.popleft()
        if unknown and unknown[0][0] < self.known:
            first, payloads = unknown.popleft()
            unknown.appendleft((self.known, payloads[self.known - first :]))

    def _send_again(self) -> None:
        if self.refused:
            return
        for first, payloads in list(self._unknown):
            self._submit(first, payloads)

    def _submit(self, first: int, payloads: list[bytes]) -> None:
        header = None if first else self._header
        sealed = self._sealed and first + len(payloads) == self._next
        self._unanswered += 1
        self._client.submit(self, Submit(self.ref, first, payloads, header, sealed).encode())


class Attachment:
    """A call whose outcomes we want to hear of.

    Args:
        client: The engine.
        call_id: The call.
        start: The first input of interest.
        end: The one after the last; None for all.
        box: Where news go; its own when omitted.
        bare: We want to hear which inputs are finished, and nothing of what came of them.
    """

    def __init__(
        self,
        client: Client,
        call_id: str,
        start: int = 0,
        end: int | None = None,
        box: Mailbox | None = None,
        *,
        bare: bool = False,
    ) -> None:
        self._bare = bare
        self.call_id = call_id
        self.start = start
        self.end = end
        self.box = box or Mailbox()
        self.opened = False
        self.ref = client.open(self)
        self._client = client

    def ask(self) -> None:
        """Ask for the outcomes; the answer comes to the mailbox first."""
        self._client.attach(self, self.ref, **self.resumption())

    def resumption(self) -> dict[str, Any]:
        """Ask on a new connection once more; see `Stream`."""
        asked = {"op": "call_attach", "call": self.call_id, "start": self.start, "end": self.end}
        return {**asked, "bare": True} if self._bare else asked

    def close(self) -> None:
        """Expect nothing more."""
        self._client.release(self.ref, tell=True)


def refusal(name: str) -> errors.ResourceExhaustedError:
    """Return the error for a call that a limit refused."""
    return errors.ResourceExhaustedError(
        f"The function {name} has as many waiting inputs as it may have.",
        hint="Try again when some are finished, or use `.map`, which waits by itself; "
        "CLOUDFN_LIMIT_PENDING, …_TOTAL and …_SPAWN_PENDING raise the limits.",
    )
