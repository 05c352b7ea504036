"""The front, between a client that writes bytes and an emulator that notes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloudfn.rehearsal.faults import Kind, Rule, rules_text
from cloudfn.rehearsal.front import Front, RuleFile
from cloudfn.rehearsal.requests import Caller, Request
from cloudfn.testing import FakeClock

_SIGNED = (
    "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/{}/aws4_request,"
    " SignedHeaders=host, Signature=0\r\n"
)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Emulator:
    """Answers every request alike, and notes what it got."""

    answer: bytes = _OK
    heard: bytes = b""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heard += head
        if b"chunked" in head:
            self.heard += await reader.readuntil(b"0\r\n\r\n")
        elif b"Content-Length: " in head:
            size = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            self.heard += await reader.readexactly(size)
        writer.write(self.answer)
        writer.close()
        self.done.set()


def request(service: str, more: str = "", body: bytes = b"", method: str = "POST") -> bytes:
    head = f"{method} / HTTP/1.1\r\nHost: h\r\n{_SIGNED.format(service)}{more}\r\n"
    return head.encode() + body


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    return tmp_path / "faults.json"


def talk(
    faults: Path,
    emulator: Emulator,
    words: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
    fleet: Emulator | None = None,
    noted: list[Request] | None = None,
) -> bytes:
    """Speak to a front; return what the client got."""
    noted = [] if noted is None else noted

    async def both() -> bytes:
        servers = [
            await asyncio.start_server(each.serve, "127.0.0.1", 0)
            for each in (fleet or Emulator(), emulator)
        ]
        addresses = [each.sockets[0].getsockname()[:2] for each in servers]
        front = Front(*addresses, RuleFile(faults), noted.append, FakeClock(wall=100.0))
        served = await asyncio.start_server(front.serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*served.sockets[0].getsockname()[:2])
        try:
            return await words(reader, writer)
        finally:
            writer.close()
            for each in (served, *servers):
                each.close()

    return asyncio.run(both())


def one(raw: bytes) -> Callable[..., Awaitable[bytes]]:
    """Send something, say that it is all, and read to the end."""

    async def words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(raw)
        writer.write_eof()
        return await reader.read()

    return words


def test_requests_go_to_the_emulator_of_their_service(faults):
    rest, fleet = Emulator(), Emulator(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfleet")
    assert talk(faults, rest, one(request("sqs")), fleet).endswith(b"ok")
    assert talk(faults, rest, one(request("autoscaling")), fleet).endswith(b"fleet")
    assert talk(faults, rest, one(request("ec2")), fleet).endswith(b"fleet")
    assert talk(faults, rest, one(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n"), fleet).endswith(b"ok")


@pytest.mark.parametrize(
    ("more", "body"),
    [
        ("Content-Length: 5\r\n", b"hello"),
        ("Transfer-Encoding: chunked\r\n", b"3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\n\r\n"),
    ],
)
def test_bodies_arrive_as_they_were_sent(faults, more, body):
    emulator = Emulator()
    raw = request("s3", more, body)
    assert talk(faults, emulator, one(raw)) == _OK
    assert emulator.heard == raw


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nas long as it lasts",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_answers_come_back_as_they_were_given(faults, answer):
    assert talk(faults, Emulator(answer), one(request("s3"))) == answer


def test_an_answer_to_a_question_for_headers_has_no_body(faults):
    emulator = Emulator(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    raw = request("s3", method="HEAD")
    assert talk(faults, emulator, one(raw + raw)).count(b"200 OK") == 2


def test_a_connection_serves_one_request_after_the_other(faults):
    emulator = Emulator()
    raw = request("sqs", "Content-Length: 1\r\n", b"x")
    assert talk(faults, emulator, one(raw + raw)) == _OK + _OK
    assert emulator.heard == raw + raw


def test_whoever_waits_for_leave_to_send_a_body_gets_it(faults):
    emulator = Emulator()

    async def words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(request("s3", "Expect: 100-continue\r\nContent-Length: 4\r\n"))
        leave = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"body")
        return leave + await reader.readexactly(len(_OK))

    assert talk(faults, emulator, words) == b"HTTP/1.1 100 Continue\r\n\r\n" + _OK
    assert b"Expect" not in emulator.heard
    assert emulator.heard.endswith(b"body")


def test_whoever_speaks_encrypted_is_not_left_waiting(faults):
    async def words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"\x16\x03\x01\x02\x00")
        return await reader.read()

    assert talk(faults, Emulator(), words) == b""


def test_a_throttled_request_never_reaches_the_service(faults):
    faults.write_text(rules_text([Rule("sqs", Kind.THROTTLE, until=101.0)]))
    emulator = Emulator()
    told = talk(faults, emulator, one(request("sqs", "Content-Length: 1\r\n", b"x")))
    assert told.startswith(b"HTTP/1.1 403")
    assert b"RequestThrottled" in told
    assert emulator.heard == b""


def test_a_lost_answer_is_to_a_request_that_was_done(faults):
    faults.write_text(rules_text([Rule("sqs", Kind.LOSE, until=101.0)]))
    emulator = Emulator()
    assert talk(faults, emulator, one(request("sqs"))) == b""
    assert emulator.done.is_set()


def test_a_fault_ends_with_its_time(faults):
    faults.write_text(rules_text([Rule("sqs", Kind.FAIL, until=100.0)]))
    assert talk(faults, Emulator(), one(request("sqs"))) == _OK


def test_a_late_answer_comes(faults):
    faults.write_text(rules_text([Rule("sqs", Kind.DELAY, until=101.0, delay=0.01)]))
    assert talk(faults, Emulator(), one(request("sqs"))) == _OK


def test_requests_are_noted_with_who_asked_for_what_and_what_came_of_it(faults):
    noted: list[Request] = []
    body = b'{"TableName": "cloudfn-main", "Key": {"pk": {"S": "M#3"}, "sk": {"S": "i-1"}}}'
    told = f"X-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: {len(body)}\r\n"

    talk(faults, Emulator(), one(request("dynamodb", told, body)), noted=noted)

    (heard,) = noted
    assert (heard.at, heard.caller, heard.service) == (100.0, Caller.CLIENT, "dynamodb")
    assert (heard.action, heard.about) == ("GetItem", "M#3")
    assert (heard.status, heard.answer, heard.waits) == (200, 2, False)


def test_what_is_refused_and_what_is_lost_is_noted_too(faults):
    noted: list[Request] = []
    faults.write_text(rules_text([Rule("sqs", Kind.THROTTLE, until=101.0)]))
    talk(faults, Emulator(), one(request("sqs")), noted=noted)
    faults.write_text(rules_text([Rule("s3", Kind.LOSE, until=101.0)]))
    talk(faults, Emulator(), one(request("s3")), noted=noted)

    assert [(each.service, each.status) for each in noted] == [("sqs", 403), ("s3", 0)]
