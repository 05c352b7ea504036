"""The front: one address for all services. Passes requests to the emulator that has the service.

Bodies are streamed, connections kept, rules of `faults` obeyed, and requests noted. Runs in a
process of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cloudfn.clock import Clock
from cloudfn.rehearsal.faults import Kind, Refusal, Rule, refusal, rule_for, rules_of, service_of
from cloudfn.rehearsal.requests import START, Request, about, action_of, caller_of, waits

_HEAD_LIMIT = 1 << 20
_CHUNK = 1 << 16
#: what encrypted connections begin with
_TLS = b"\x16"
#: responses without a body
_BODILESS = frozenset({204, 304})
_EC2 = frozenset({"ec2", "autoscaling"})

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Head:
    """First line and headers of a message."""

    first: str
    #: as they came
    lines: tuple[str, ...]
    #: by small names
    headers: Mapping[str, str] = field(repr=False)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """Length of the body in bytes; None: it does not say."""
        text = self.headers.get("content-length")
        return int(text) if text is not None else None

    @property
    def closes(self) -> bool:
        """Whether the connection ends after this message."""
        return self.headers.get("connection", "").lower() == "close" or " HTTP/1.0" in self.first

    def bytes(self, leave_out: frozenset[str] = frozenset()) -> bytes:
        """Return it as it goes over the wire."""
        kept = [
            line for line in self.lines if line.partition(":")[0].strip().lower() not in leave_out
        ]
        return ("\r\n".join([self.first, *kept]) + "\r\n\r\n").encode("latin-1")


class RuleFile:
    """Rules, read again when their file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = -1
        self._rules: tuple[Rule, ...] = ()

    def rules(self) -> tuple[Rule, ...]:
        """Return what the file says now."""
        try:
            changed = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return ()
        if changed != self._seen:
            self._seen, self._rules = changed, rules_of(self._path.read_text())
        return self._rules


class _Body:
    """A body on its way to somebody, or to nobody; keeps its size and what it began with."""

    def __init__(self, to: asyncio.StreamWriter | None = None) -> None:
        self._to = to
        self.start, self.size = b"", 0

    async def put(self, piece: bytes) -> None:
        """Pass a piece on."""
        self.size += len(piece)
        self.start += piece[: START - len(self.start)]
        if self._to is not None:
            self._to.write(piece)
            await self._to.drain()


@dataclass(slots=True)
class _Course:
    """How a request fares."""

    asked: _Body = field(default_factory=_Body)
    answered: _Body = field(default_factory=_Body)
    #: seconds in an emulator
    emulator: float = 0.0
    status: int = 0


class Front:
    """Serves any number of connections.

    Args:
        fleet: Where EC2 and Auto Scaling are.
        rest: Where all other services are.
        rules: What befalls requests.
        note: Told of each request.
        clock: Tells until when.
    """

    def __init__(
        self,
        fleet: Address,
        rest: Address,
        rules: RuleFile,
        note: Callable[[Request], None],
        clock: Clock,
    ) -> None:
        self._fleet, self._rest = fleet, rest
        self._rules, self._note, self._clock = rules, note, clock

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever called, or was called, is gone
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; return whether another may come."""
        head = await _read_head(reader)
        if head is None:
            return False
        at, began, course = self._clock.wall(), self._clock.monotonic(), _Course()
        method, target, *_ = head.first.split(" ")
        service = service_of(target, head.headers)
        try:
            return await self._passed(head, method, service, reader, writer, course)
        finally:
            start = course.asked.start
            action = action_of(method, head.headers, start)
            self._note(
                Request(
                    at=at,
                    seconds=self._clock.monotonic() - began,
                    emulator=course.emulator,
                    caller=caller_of(writer.get_extra_info("peername")[0], head.headers),
                    service=service,
                    action=action,
                    about=about(target, head.headers, start),
                    status=course.status,
                    answer=course.answered.size,
                    waits=waits(action, start),
                )
            )

    async def _passed(
        self,
        head: Head,
        method: str,
        service: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        course: _Course,
    ) -> bool:
        rule = rule_for(self._rules.rules(), service, self._clock.wall())
        if head.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if rule is not None and rule.kind in (Kind.THROTTLE, Kind.FAIL):
            told = refusal(service, rule.kind)
            await _copy_body(head, reader, course.asked, until_end=False)
            await _answer(writer, told, with_body=method != "HEAD")
            course.status, course.answered.size = told.status, len(told.body)
            return not head.closes
        if rule is not None and rule.kind is Kind.DELAY:
            await asyncio.sleep(rule.delay)
        address = self._fleet if service in _EC2 else self._rest
        began = self._clock.monotonic()
        # A new connection for each request: a kept one may have been ended in the same moment, and
        # a body that has been passed on cannot be passed on again.
        answers, asks = await asyncio.open_connection(*address, limit=_HEAD_LIMIT)
        try:
            asks.write(head.bytes(leave_out=frozenset({"expect"})))
            course.asked = _Body(asks)
            await _copy_body(head, reader, course.asked, until_end=False)
            lost = rule is not None and rule.kind is Kind.LOSE
            going_on = await _pass_answer(method, answers, None if lost else writer, course)
        finally:
            course.emulator = self._clock.monotonic() - began
            asks.close()
        return going_on and not lost and not head.closes


async def _pass_answer(
    method: str,
    answers: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    course: _Course,
) -> bool:
    """Pass an answer on, to nobody if it is to be lost; return whether the connection lasts."""
    head = await _read_head(answers)
    if head is None:
        raise ConnectionResetError
    status = int(head.first.split(" ")[1])
    if writer is not None:
        writer.write(head.bytes())
        course.status = status
    bodiless = method == "HEAD" or status in _BODILESS
    if not bodiless:
        course.answered = _Body(writer)
        await _copy_body(head, answers, course.answered, until_end=True)
    if writer is not None:
        await writer.drain()
    endless = not bodiless and not head.chunked and head.length is None
    return not head.closes and not endless


async def _read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next message's head; None if the other side has ended."""
    try:
        start = await reader.readexactly(1)
        if start == _TLS:  # Docker tries that first, and waits 10 s for an answer
            return None
        raw = start + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial.strip():
            return None
        raise
    first, *lines = raw.decode("latin-1").strip("\r\n").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    return Head(first, tuple(lines), headers)


async def _copy_body(
    head: Head, reader: asyncio.StreamReader, to: _Body, *, until_end: bool
) -> None:
    """Copy a body as it is framed; `until_end`: one that has no frame goes on to the end."""
    if head.chunked:
        while True:
            line = await reader.readline()
            size = int(line.split(b";")[0], 16)
            await to.put(line)
            if size == 0:
                break
            await _copy(reader, to, size + 2)
        while (line := await reader.readline()) not in (b"\r\n", b""):
            await to.put(line)
        await to.put(b"\r\n")
    elif head.length is not None:
        await _copy(reader, to, head.length)
    elif until_end:
        while piece := await reader.read(_CHUNK):
            await to.put(piece)


async def _copy(reader: asyncio.StreamReader, to: _Body, size: int) -> None:
    while size:
        piece = await reader.read(min(size, _CHUNK))
        if not piece:
            raise ConnectionResetError
        size -= len(piece)
        await to.put(piece)


async def _answer(writer: asyncio.StreamWriter, told: Refusal, *, with_body: bool) -> None:
    headers = [
        f"HTTP/1.1 {told.status} Rehearsed",
        f"Content-Type: {told.content_type}",
        f"Content-Length: {len(told.body)}",
        *(f"{name}: {value}" for name, value in told.headers),
    ]
    writer.write(("\r\n".join(headers) + "\r\n\r\n").encode())
    if with_body:
        writer.write(told.body)
    await writer.drain()


async def run(front: Front, addresses: list[Address]) -> None:
    """Serve at these addresses, for ever."""
    servers = [
        await asyncio.start_server(front.serve, *each, limit=_HEAD_LIMIT) for each in addresses
    ]
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*(each.serve_forever() for each in servers))
