"""What the ledger writes and reads: buffered rows, flushed in one transaction per commit.

A read flushes first where it could miss something, so that it sees this process's own writes. A
flush that fails poisons the transaction: nothing of it is kept, and the commit says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cloudfn.errors import DataLossError, Error
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.endings import cancelled_payload
from cloudfn.providers.ledger import CallRecord, CallSpec, Outcome
from cloudfn.providers.local.records import (
    BLOCK,
    BLOCK_BITS,
    Call,
    Chunk,
    FreshOutcome,
    Lane,
    Page,
    Scar,
    join_payloads,
    pack_numbers,
    split_payloads,
    unpack_numbers,
)
from cloudfn.providers.local.schema import explain
from cloudfn.wire.messages import DIGEST

Row = tuple[Any, ...]
#: what the table `extra` says of most calls
_NO_EXTRA: Row = (None,) * 6

_CALL_COLUMNS = (
    "c.number, c.id, c.lane, c.kind, c.durable, c.created, c.parent_call, c.parent_index, "
    "c.first_seq, c.last_seq, c.sealed, c.cancelled, c.known, c.finished, c.failed, c.running, "
    "c.ended, c.expired, c.statuses"
)
_RECORD_COLUMNS = (
    "c.id, l.function, l.pool, c.kind, c.created, c.parent_call, c.parent_index, c.durable, "
    "c.known, c.sealed, c.finished, c.cancelled, c.failed, "
    "l.priority, x.not_before, x.deadline, x.name, x.total, c.expired, x.origin"
)
_CALL_BY_ID = f"SELECT {_CALL_COLUMNS} FROM call c WHERE c.id=?"
_INSERT_CALL = f"INSERT INTO call VALUES ({', '.join('?' * 19)})"
_UPDATE_CALL = (
    "UPDATE call SET last_seq=?, sealed=?, cancelled=?, known=?, finished=?, failed=?, running=?, "
    "ended=?, expired=?, statuses=? WHERE number=?"
)


class Store:
    """The rows of the ledger, and the changes that are not committed yet."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        #: calls whose rows differ from the file
        self.dirty: dict[Call, None] = {}
        #: ids of calls whose rows are still to be deleted
        self.forgotten: dict[str, Call] = {}
        #: inputs whose scars changed; None: healed
        self.scars: dict[int, tuple[int, Scar] | None] = {}
        #: why the transaction cannot be committed
        self._poison: Error | None = None
        self._lanes: list[Row] = []
        #: by seq, so that pages that are finished before they are on disk never get there
        self._payloads: dict[int, Row] = {}
        self._pages_done: list[Row] = []
        self._chunks_done: list[Row] = []
        #: seldom ones, at the end
        self._statements: list[tuple[str, Row]] = []

    # Writing

    def add_lane(self, lane: Lane) -> None:
        """Add a lane."""
        self._lanes.append((lane.number, lane.function, lane.pool, lane.spawn, lane.priority))

    def add_page(self, seq: int, call: Call, first: int, payloads: Sequence[bytes]) -> None:
        """Add inputs that were submitted together."""
        lengths, data = join_payloads(payloads)
        self._payloads[seq] = (seq, call.number, first, len(payloads), lengths, data)

    def finish_page(self, page: Page) -> None:
        """Delete payloads that are not needed any more."""
        if self._payloads.pop(page.seq, None) is None:
            self._pages_done.append((page.seq,))

    def finish_pages(self, call: Call, keep: Iterable[int]) -> None:
        """Delete all payloads of a call but those of the pages given."""
        begin = call.first_seq
        for seq in (*sorted(keep), call.last_seq + 1):
            self._statements.append(
                ("DELETE FROM payload WHERE seq>=? AND seq<? AND call=?", (begin, seq, call.number))
            )
            begin = seq + 1

    def finish_chunk(self, call: Call, chunk: Chunk) -> None:
        """Delete outcomes that are delivered."""
        self._chunks_done.append((call.number, chunk.number))

    def set_epoch(self, epoch: int) -> None:
        """Store the epoch of the fences that are given out from here on."""
        self._statements.append(("UPDATE meta SET value=? WHERE name='epoch'", (epoch,)))

    def forget(self, call: Call) -> None:
        """Delete a call with everything of it."""
        self.dirty.pop(call, None)
        if call.finished < len(call.statuses):
            self.finish_pages(call, ())
        if not call.stored:
            return
        self.forgotten[call.spec.call_id] = call
        key = (call.number,)
        self._statements.append(("DELETE FROM call WHERE number=?", key))
        if call.chunks or call.spec.durable:
            self._statements.append(("DELETE FROM outcome WHERE call=?", key))
        if call.spec.durable:
            self._statements.append(("DELETE FROM dead WHERE call=?", key))
            self._statements.append(("DELETE FROM extra WHERE call=?", key))
        if call.spec.name:
            self._statements.append(("DELETE FROM digest WHERE call=?", key))
        if len(call.statuses) > BLOCK:
            self._statements.append(("DELETE FROM block WHERE call=?", key))

    def keep_outcomes(self, call: Call, indices: frozenset[int]) -> None:
        """Delete the outcomes of all inputs of a call but those given."""
        self.flush()
        query = "SELECT number, indices, lengths, data FROM outcome WHERE call=?"
        for number, packed, lengths, data in self.read(query, (call.number,)):
            found = list(zip(unpack_numbers(packed), split_payloads(lengths, data), strict=True))
            kept = [(index, payload) for index, payload in found if index in indices]
            if len(kept) == len(found):
                continue
            key = (call.number, number)
            self._statements.append(("DELETE FROM outcome WHERE call=? AND number=?", key))
            if kept:
                statement = "INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?)"
                self._statements.append((statement, _chunk_row(call, kept)))

    def drop_rows(self, call: Call) -> None:
        """Delete the row of a call, so that another one can take its place, and its statuses."""
        self._statements.append(("DELETE FROM block WHERE call=?", (call.number,)))
        self._statements.append(("DELETE FROM call WHERE number=?", (call.number,)))
        self.dirty.pop(call, None)
        self.flush()

    def dead(self, limit: int, call_id: str | None) -> list[Row]:
        """Return (call number, index, payload) of dead letters, those of the latest calls first."""
        where, parameters = ("WHERE c.id=?", (call_id,)) if call_id else ("", ())
        query = (
            "SELECT d.call, d.position, d.payload FROM dead d JOIN call c ON c.number=d.call "
            f"{where} ORDER BY d.call DESC, d.position LIMIT ?"
        )
        return self.read(query, (*parameters, limit))

    def bury(self, call: Call, indices: Sequence[int]) -> None:
        """Delete dead letters."""
        statement = "DELETE FROM dead WHERE call=? AND position=?"
        self._statements += [(statement, (call.number, index)) for index in indices]

    def execute(self, statement: str, parameters: Row = ()) -> None:
        """Do something seldom, after everything else that is buffered now."""
        self._statements.append((statement, parameters))

    def flush(self) -> None:
        """Bring what is buffered into the open transaction.

        Raises:
            Error: It cannot be written; everything since the last commit is undone on disk, and
                `commit` will raise this again.
        """
        if self._poison is not None:
            raise self._poison
        if not self._buffered():
            return
        try:
            self._begin()
            self._write()
        except sqlite3.Error as error:
            self._fail(error)

    def commit(self) -> None:
        """Make everything buffered survive the death of this process.

        Raises:
            Error: It cannot be written; everything since the last commit is undone on disk. Only
                `rollback` and `resume` make this store usable again.
        """
        self.flush()
        if not self._connection.in_transaction:
            return
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)

    def rollback(self) -> None:
        """Drop whatever is not committed; reading is possible, writing after `resume`."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for buffer in (self.dirty, self.forgotten, self.scars, self._payloads):
            buffer.clear()
        for rows in (self._lanes, self._pages_done, self._chunks_done):
            rows.clear()
        self._statements.clear()

    def resume(self) -> None:
        """Let writes be committed again, after a rollback."""
        self._poison = None

    def _buffered(self) -> bool:
        return bool(
            self.dirty or self._payloads or self._pages_done or self._chunks_done
            or self._statements or self.scars or self._lanes or self.forgotten
        )  # fmt: skip

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _fail(self, error: sqlite3.Error) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._poison = explain(self._path, error)
        raise self._poison from error

    def _write(self) -> None:
        self._many("INSERT INTO lane VALUES (?, ?, ?, ?, ?)", self._lanes)
        self._many("INSERT INTO payload VALUES (?, ?, ?, ?, ?, ?)", list(self._payloads.values()))
        self._payloads.clear()
        self._write_calls()
        self._many("DELETE FROM payload WHERE seq=?", self._pages_done)
        self._many("DELETE FROM outcome WHERE call=? AND number=?", self._chunks_done)
        if self.scars:
            self._write_scars()
        for statement, parameters in self._statements:
            self._connection.execute(statement, parameters)
        self._statements.clear()
        self.forgotten.clear()

    def _write_calls(self) -> None:
        inserts: list[Row] = []
        updates: list[Row] = []
        extras: list[Row] = []
        digests: list[Row] = []
        dead: list[Row] = []
        blocks: list[Row] = []
        outcomes: list[Row] = []
        for call in self.dirty:
            if call.stored:
                updates.append(_update_row(call))
            else:
                inserts.append(_insert_row(call))
                call.stored = True
                if call.spec.terms is not None or call.spec.name or call.spec.origin:
                    extras.append(_extra_row(call))
            if call.spec.name:
                digests += _digest_rows(call)
            if call.dead:
                dead += [(call.number, *each) for each in call.dead]
                call.dead.clear()
            if call.changed:
                for number in call.changed:
                    if number:
                        start = number << BLOCK_BITS
                        blocks.append((call.number, number, call.statuses[start : start + BLOCK]))
                call.changed.clear()
            if call.outcomes:
                outcomes.append(_outcome_row(call))
        self.dirty.clear()
        self._many(_INSERT_CALL, inserts)
        self._many(_UPDATE_CALL, updates)
        self._many("INSERT OR REPLACE INTO extra VALUES (?, ?, ?, ?, ?, ?, ?)", extras)
        self._many("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", digests)
        self._many("INSERT OR REPLACE INTO dead VALUES (?, ?, ?)", dead)
        self._many("INSERT OR REPLACE INTO block VALUES (?, ?, ?)", blocks)
        self._many("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?, ?)", outcomes)

    def _write_scars(self) -> None:
        changes = self.scars.items()
        healed = [(seq,) for seq, change in changes if change is None]
        self._many("DELETE FROM scar WHERE seq=?", healed)
        rows = [
            (seq, call, scar.counters.failures, scar.counters.crashes, scar.counters.losses,
             scar.not_before, scar.alone, scar.deadline)
            for seq, change in changes if change is not None for call, scar in (change,)
        ]  # fmt: skip
        self._many("INSERT OR REPLACE INTO scar VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self.scars.clear()

    def _many(self, statement: str, rows: list[Row]) -> None:
        if rows:
            self._connection.executemany(statement, rows)
            rows.clear()

    # Reading

    def read(self, query: str, parameters: Row = ()) -> list[Row]:
        """Return rows; the caller has flushed if it needs its own writes."""
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(self._path, error) from error

    def number(self, query: str, parameters: Row = ()) -> int:
        """Return one number; 0 for NULL."""
        return int(self.read(query, parameters)[0][0] or 0)

    def call_by_id(self, call_id: str) -> Row | None:
        """Return the row of a call."""
        if call_id in self.forgotten:
            return None
        rows = self.read(_CALL_BY_ID, (call_id,))
        return rows[0] if rows else None

    def call_by_number(self, number: int) -> Row:
        """Return the row of a call that exists."""
        return self.read(f"SELECT {_CALL_COLUMNS} FROM call c WHERE c.number=?", (number,))[0]

    def build_call(self, row: Row, lane: Lane) -> Call:
        """Return the call that `row` describes, with everything but its pages."""
        parent = None if row[6] is None else (row[6], row[7])
        kind, durable = CallKind(row[3]), bool(row[4])
        extra = self._extra_of(row[0]) if durable else _NO_EXTRA
        terms = _terms(lane.priority, *extra[:2]) if durable else None
        name = extra[2] or ""
        origin = extra[5] or ""
        spec = CallSpec(
            row[1], lane.function, lane.pool, kind, row[5], parent, durable, terms, name, origin
        )
        call = Call(row[0], spec, lane)
        if name:
            self._read_digests(call)
            call.settled, call.total = extra[3] or b"", extra[4]
        call.first_seq, call.last_seq = row[8], row[9]
        call.sealed, call.cancelled, call.expired = bool(row[10]), bool(row[11]), bool(row[17])
        call.finished, call.failed, call.running, call.ended = row[13], row[14], row[15], row[16]
        call.statuses += row[18]
        if row[12] > BLOCK:
            query = "SELECT statuses FROM block WHERE call=? ORDER BY number"
            call.statuses += b"".join(statuses for (statuses,) in self.read(query, (call.number,)))
        call.stored = True
        if not durable:
            self._find_chunks(call)
        return call

    def _extra_of(self, number: int) -> Row:
        columns = "not_before, deadline, name, settled, total, origin"
        rows = self.read(f"SELECT {columns} FROM extra WHERE call=?", (number,))
        return rows[0] if rows else _NO_EXTRA

    def _read_digests(self, call: Call) -> None:
        query = "SELECT data FROM digest WHERE call=? ORDER BY number"
        call.digests += b"".join(data for (data,) in self.read(query, (call.number,)))
        call.digested = len(call.digests) // DIGEST

    def _find_chunks(self, call: Call) -> None:
        query = "SELECT number, indices FROM outcome WHERE call=?"
        for number, indices in self.read(query, (call.number,)):
            left = [i for i in unpack_numbers(indices) if call.statuses[i] <= Status.LOST]
            call.chunks.update(dict.fromkeys(left, Chunk(number, len(left))))

    def outcomes(self, call: Call, start: int, end: int) -> list[Outcome]:
        """Return outcomes that are recorded and not delivered, start ≤ index < end, in order."""
        query = "SELECT indices, lengths, data FROM outcome WHERE call=? AND low<? AND high>=?"
        found: dict[int, bytes] = {}
        for indices, lengths, data in self.read(query, (call.number, end, start)):
            found.update(zip(unpack_numbers(indices), split_payloads(lengths, data), strict=True))
        found.update(call.outcomes)
        statuses = call.statuses
        if call.cancelled:
            # Inputs that were cancelled while they waited have no row.
            implied = cancelled_payload(call.spec.call_id)
            for index in range(start, end):
                if statuses[index] == Status.CANCELLED:
                    found.setdefault(index, implied)
        return [
            Outcome(index, Status(statuses[index]), found[index])
            for index in sorted(found)
            if start <= index < end and statuses[index] <= Status.LOST
        ]

    def payloads(self, page: Page) -> list[bytes]:
        """Return the payloads of a page."""
        self.flush()
        rows = self.read("SELECT lengths, data FROM payload WHERE seq=?", (page.seq,))
        if not rows:
            raise DataLossError(
                f"The ledger {self._path} lacks the payloads of call {page.call.spec.call_id}.",
                hint="Cancel that call (`cloudfn call cancel`) and report this.",
            )
        return split_payloads(*rows[0])

    def pages_of(self, call: Call) -> list[Row]:
        """Return (seq, first, count) of the unfinished pages of a call."""
        return self.read(
            "SELECT seq, first, count FROM payload WHERE seq BETWEEN ? AND ? AND call=?",
            (call.first_seq, call.last_seq, call.number),
        )

    def page_at(self, seq: int) -> Row | None:
        """Return (seq, call, first, count) of the unfinished page that has this input."""
        query = "SELECT seq, call, first, count FROM payload WHERE seq<=? ORDER BY seq DESC LIMIT 1"
        rows = self.read(query, (seq,))
        return rows[0] if rows and seq < rows[0][0] + rows[0][3] else None

    def pages_after(self, lane: Lane) -> Generator[Row, None, None]:
        """Yield (seq, first, count, lengths, data, call row …) of what lies behind the cursor."""
        query = (
            f"SELECT p.seq, p.first, p.count, p.lengths, p.data, {_CALL_COLUMNS} "
            "FROM payload p JOIN call c ON c.number=p.call WHERE p.seq>? AND p.seq<? ORDER BY p.seq"
        )
        try:
            cursor = self._connection.execute(query, (lane.cursor, lane.end))
            try:
                yield from cursor
            finally:
                cursor.close()
        except sqlite3.Error as error:
            raise explain(self._path, error) from error

    def scarred(self) -> Iterator[tuple[int, int, Scar]]:
        """Yield (seq, call number, scar) of all that are on disk."""
        for row in self.read("SELECT * FROM scar"):
            seq, call, *counters, not_before, alone, deadline = row
            yield seq, call, Scar(Counters(*counters), not_before, bool(alone), deadline)

    def records(self, where: str, parameters: Row) -> list[CallRecord]:
        """Return calls, the newest first."""
        self.flush()
        query = (
            f"SELECT {_RECORD_COLUMNS} FROM call c JOIN lane l ON l.number=c.lane "
            f"LEFT JOIN extra x ON x.call=c.number {where} "
        )
        return [_record(row) for row in self.read(query, parameters)]


def _insert_row(call: Call) -> Row:
    spec = call.spec
    parent_call, parent_index = spec.parent or (None, None)
    return (
        call.number, spec.call_id, call.lane.number, int(spec.kind), spec.durable, spec.created,
        parent_call, parent_index, call.first_seq, call.last_seq, call.sealed, call.cancelled,
        len(call.statuses), call.finished, call.failed, call.running, call.ended, call.expired,
        call.statuses[:BLOCK],
    )  # fmt: skip


def _extra_row(call: Call) -> Row:
    terms = call.spec.terms or Terms()
    name = call.spec.name or None
    begin, end, origin = terms.not_before, terms.deadline, call.spec.origin or None
    return call.number, begin, end, name, call.settled, call.total, origin


def _digest_rows(call: Call) -> list[Row]:
    """Return the blocks of digests that the file lacks, and note that it has them."""
    count = len(call.digests) // DIGEST
    begin, end = call.digested >> BLOCK_BITS, (count + BLOCK - 1) >> BLOCK_BITS
    size = DIGEST << BLOCK_BITS
    whole = range(begin, end) if count > call.digested else ()
    call.digested = count
    return [(call.number, n, bytes(call.digests[n * size : (n + 1) * size])) for n in whole]


def _update_row(call: Call) -> Row:
    return (
        call.last_seq, call.sealed, call.cancelled, len(call.statuses), call.finished, call.failed,
        call.running, call.ended, call.expired, call.statuses[:BLOCK], call.number,
    )  # fmt: skip


def _outcome_row(call: Call) -> Row:
    """Return what was recorded for a call as one row, and note where it is."""
    row = _chunk_row(call, call.outcomes)
    indices = [index for index, _ in call.outcomes]
    call.outcomes.clear()
    if not call.spec.durable:
        call.chunks.update(dict.fromkeys(indices, Chunk(indices[0], len(indices))))
    return row


def _chunk_row(call: Call, outcomes: Sequence[FreshOutcome]) -> Row:
    indices, payloads = zip(*outcomes, strict=True)
    lengths, data = join_payloads(payloads)
    packed = pack_numbers(indices)
    return call.number, indices[0], min(indices), max(indices), packed, lengths, data


def _terms(priority: int, not_before: float | None, deadline: float | None) -> Terms | None:
    if not (priority or not_before or deadline):
        return None
    return Terms(not_before or 0.0, deadline, priority)


def _record(row: Row) -> CallRecord:
    parent = None if row[5] is None else (row[5], row[6])
    terms = _terms(*row[13:16])
    kind, durable = CallKind(row[3]), bool(row[7])
    name, origin = row[16] or "", row[19] or ""
    spec = CallSpec(row[0], row[1], row[2], kind, row[4], parent, durable, terms, name, origin)
    known, sealed = row[8], bool(row[9])
    total = known if sealed else row[17]
    return CallRecord(spec, known, sealed, row[10], bool(row[11]), row[12], bool(row[18]), total)
