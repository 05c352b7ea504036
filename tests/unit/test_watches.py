"""What waits for a client that reads slowly."""

from dataclasses import dataclass, field
from typing import Any, cast

from cloudfn.daemon.session import Session
from cloudfn.daemon.watches import MESSAGE_BYTES, Call, Watch
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import CallSpec, Outcome
from cloudfn.wire.messages import Outcomes


@dataclass
class Reader:
    """A session as a watch sees it."""

    congested: bool = False
    sent: list[Outcomes] = field(default_factory=list)

    def show(self, _payloads: Any) -> None:
        """It sees all of them."""

    def send(self, _kind: Any, body: bytes) -> None:
        self.sent.append(Outcomes.decode(body))


def watch_of(reader: Reader) -> Watch:
    call = Call(CallSpec("fc-1", "fu-1", "fu-1@1", CallKind.MAP, 0.0))
    return Watch(cast("Session", reader), 7, call, owner=True)


def test_outcomes_go_out_at_once_to_a_client_that_reads():
    reader = Reader()
    watch = watch_of(reader)
    watch.add([0], [Status.RETURNED], [b"a"])
    watch.add([1], [Status.RAISED], [b"b"])

    watch.flush()

    assert reader.sent == [Outcomes(7, (0, 1), bytes([2, 3]), [b"a", b"b"])]
    assert not watch.late


def test_outcomes_stay_in_the_ledger_while_the_client_does_not_read():
    reader = Reader(congested=True)
    watch = watch_of(reader)
    watch.add([3], [Status.RETURNED], [b"abc"])

    watch.flush()

    assert reader.sent == []
    assert watch.payloads == []
    assert watch.late == [(3, 3)]


def test_what_comes_after_late_outcomes_is_late_as_well():
    reader = Reader(congested=True)
    watch = watch_of(reader)
    watch.add([1], [Status.RETURNED], [b"a"])
    watch.flush()
    reader.congested = False
    watch.add([0], [Status.RETURNED], [b"b"])

    watch.flush()

    assert reader.sent == []
    assert watch.take_late() == [0, 1]
    assert not watch.late


def test_late_outcomes_are_taken_a_message_at_a_time():
    watch = watch_of(Reader(congested=True))
    for index in (2, 0, 1):
        watch.add([index], [Status.RETURNED], [bytes(MESSAGE_BYTES // 2)])
    watch.add([3], [Status.RETURNED], [bytes(MESSAGE_BYTES + 1)])
    watch.flush()

    assert [watch.take_late(), watch.take_late(), watch.take_late()] == [[0, 1], [2], [3]]


def test_late_outcomes_are_sent_as_the_ledger_has_them():
    reader = Reader()
    watch = watch_of(reader)

    watch.send([Outcome(4, Status.RETURNED, b"x"), Outcome(9, Status.LOST, b"y")])

    assert reader.sent == [Outcomes(7, (4, 9), bytes([2, 6]), [b"x", b"y"])]
