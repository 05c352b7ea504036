"""Reads the outcomes of a call that somebody made, perhaps long ago."""

from __future__ import annotations

from typing import Any

from cloudfn.errors import OutputExpiredError
from cloudfn.sdk.calls import Attachment
from cloudfn.sdk.client import FAILED, RESUMED, Client, Mailbox
from cloudfn.sdk.session import error_of
from cloudfn.sdk.twins import Steps
from cloudfn.wire.messages import Kind, Outcomes

#: seconds that an outcome may be under way when we know that it is there
_UNDER_WAY = 1.0


class Reading:
    """An attachment being read: outcomes by index, and what the engine said of the call."""

    def __init__(
        self,
        client: Client,
        call_id: str,
        start: int,
        end: int | None,
        box: Mailbox | None = None,
    ) -> None:
        self.client = client
        self.outcomes: dict[int, tuple[int, bytes]] = {}
        self.told: dict[str, Any] | None = None
        self._clock = client.clock
        self._attachment = Attachment(client, call_id, start, end, box)
        self._asked = False

    @property
    def ref(self) -> int:
        """The number that its messages carry."""
        return self._attachment.ref

    def begin(self) -> Steps[None]:
        """Ask for the outcomes."""
        if not self._asked:
            self._asked = True
            yield from self.client.ready()
            self._attachment.ask()

    def wait(self, index: int, timeout: float | None) -> Steps[tuple[int, bytes]]:
        """Return status and payload of an input's outcome; see `FunctionCall.get`."""
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        yield from self.begin()
        looked = False
        while index not in self.outcomes:
            if self.told is not None:
                self.check(index)
            left = None
            if deadline is not None and self.told is not None:
                left = deadline - self._clock.monotonic()
                if left <= 0 and looked:
                    raise TimeoutError(f"There is no result within {timeout:g} seconds.")
                if left <= 0:
                    # What was recorded before we asked may be on its way; a look must see it.
                    looked = True
                    left = yield from self._grace()
            if not (yield self.client.arrival(self._attachment.box, left)):
                continue
            self.absorb()
        return self.outcomes[index]

    def absorb(self) -> None:
        """Deal with what has arrived."""
        messages = self._attachment.box.messages
        while messages:
            self.take(*messages.popleft())

    def take(self, kind: int, body: Any) -> None:
        """Deal with one message; raises the error that it is."""
        if kind == Kind.OUTCOMES:
            outcomes = Outcomes.decode(body)
            for index, status, payload in zip(*outcomes[1:], strict=True):
                self.outcomes.setdefault(index, (status, payload))
        elif kind == RESUMED:
            if "error" in body:
                raise error_of(body["error"])
            self.told = body
        elif kind == FAILED:
            raise body

    def outcome_after(self, kind: int, body: Any) -> tuple[int, bytes] | None:
        """Deal with one message; return the outcome of input 0 if it is there now."""
        self.take(kind, body)
        if 0 not in self.outcomes and self.told is not None:
            self.check(0)
        return self.outcomes.get(0)

    def close(self) -> None:
        """Want nothing more."""
        self._attachment.close()

    def check(self, index: int) -> None:
        """Raise the error that the engine's answer means for an input."""
        told = self.told
        assert told is not None
        if told.get("sealed") and index >= told.get("known", 0):
            raise ValueError(
                f"Invalid index range: there is no input {index}, the call has {told['known']}."
            )
        if told.get("expired"):
            raise OutputExpiredError(
                f"The results of {self._attachment.call_id} were kept for their time and are gone.",
                hint="CLOUDFN_RETENTION says for how many seconds results are kept.",
            )

    def _grace(self) -> Steps[float]:
        info = yield from self.client.ask("call_info", call=self._attachment.call_id)
        self.absorb()
        return _UNDER_WAY if info.get("finished", 0) >= info.get("known", 1) else 0.0
