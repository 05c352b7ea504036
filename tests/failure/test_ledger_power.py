"""The SQLite ledger when the power goes, the disk is full, the file is locked, damaged or newer."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from cloudfn.errors import (
    DataLossError,
    Error,
    ExecutionError,
    ResourceExhaustedError,
    VersionError,
)
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.providers.local.power import LogSync
from cloudfn.providers.local.schema import SCHEMA, log_path
from cloudfn.settings import Limits

NOW = 1_000.0
POOL = "fu-f@1"
SPEC = CallSpec("fc-s", "fu-f", POOL, CallKind.SPAWN_MAP, NOW, durable=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@contextmanager
def opened(path: Path, *, now: float = NOW, patience: float = 0.0) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger.open(path, Limits(), now=now, patience=patience)
    try:
        yield ledger
    finally:
        ledger.close()


def submit(ledger: SqliteLedger, first: int, number: int = 1, size: int = 20) -> Admission:
    payloads = [b"%d:" % (first + i) + b"x" * size for i in range(number)]
    return ledger.submit(SPEC, first, payloads, sealed=False, now=NOW)


def record(ledger: SqliteLedger, claims: list[Claim]) -> None:
    entries = [Entry(c.seq, c.fence, Status.RETURNED, b"r%d" % c.index) for c in claims]
    assert ledger.record(entries) == [True] * len(claims)


def cut_power(path: Path, target: Path) -> Path:
    """Copy what the operating system has of the files at this moment, the log first.

    The log is only used again from its start once the database has everything, so that this order
    never loses a frame.
    """
    target.mkdir()
    shutil.copy(log_path(path), log_path(target / path.name))
    shutil.copy(path, target / path.name)
    return target / path.name


class TestPower:
    @pytest.mark.parametrize("seed", range(6))
    def test_what_was_synced_survives_a_cut_at_any_moment(self, path, tmp_path, seed):
        random = Random(seed)
        with opened(path) as ledger:
            known = finished = 0
            for cut in range(6):
                for _ in range(random.randrange(1, 12)):
                    number = random.randrange(1, 40)
                    submit(ledger, known, number, size=random.choice([1, 50, 9_000]))
                    claims = ledger.claim(POOL, random.randrange(1, 30), NOW)
                    record(ledger, claims[::2])
                    ledger.give_back([(c.seq, c.fence) for c in claims[1::2]])
                    ledger.commit()
                    known += number
                    finished += len(claims[::2])
                ledger.sync()
                copy = cut_power(path, tmp_path / f"cut-{cut}")

                with sqlite3.connect(copy) as connection:
                    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                connection.close()
                with opened(copy) as survivor:
                    statuses = survivor.statuses(SPEC.call_id)
                    assert len(statuses) == known
                    assert statuses.count(Status.RETURNED) == finished
                    assert len(survivor.outcomes(SPEC.call_id)) == finished
                    waiting = survivor.claim(POOL, known, NOW)
                    assert len(waiting) == known - finished
                    assert all(c.payload.startswith(b"%d:" % c.index) for c in waiting)

    def test_a_torn_log_ends_at_the_last_whole_commit(self, path, tmp_path):
        with opened(path) as ledger:
            submit(ledger, 0, 10)
            ledger.commit()
            whole = log_path(path).stat().st_size
            submit(ledger, 10, 200, size=500)
            ledger.commit()
            for number, size in enumerate(range(whole, log_path(path).stat().st_size, 9_973)):
                copy = cut_power(path, tmp_path / f"torn-{number}")
                os.truncate(log_path(copy), size)
                with opened(copy) as survivor:
                    assert len(survivor.statuses(SPEC.call_id)) == 10

    def test_sync_works_from_another_thread_while_the_owner_writes(self, path):
        failures: list[Exception] = []
        done = threading.Event()

        def sync_all_the_time() -> None:
            while not done.is_set():
                try:
                    ledger.sync()
                except Exception as error:  # noqa: BLE001 - shown by the test
                    failures.append(error)
                    return

        with opened(path) as ledger:
            thread = threading.Thread(target=sync_all_the_time)
            thread.start()
            for first in range(0, 2_000, 20):
                submit(ledger, first, 20)
                ledger.commit()
            done.set()
            thread.join(10)

        assert failures == []

    def test_sync_follows_the_log_to_a_new_file(self, tmp_path):
        log = tmp_path / "log"
        log.write_bytes(b"old")
        switch = LogSync(log)
        switch.sync()
        before = switch._descriptor
        log.rename(tmp_path / "aside")
        log.write_bytes(b"new")

        switch.sync()

        assert before is not None
        assert switch._descriptor is not None
        assert os.path.samestat(os.fstat(switch._descriptor), log.stat())
        switch.close()

    def test_sync_says_when_the_log_is_gone(self, tmp_path):
        with pytest.raises(ExecutionError, match="cannot be synced"):
            LogSync(tmp_path / "nowhere").sync()

    def test_the_log_does_not_grow_for_ever(self, path):
        with opened(path) as ledger:
            for first in range(0, 150_000, 500):
                submit(ledger, first, 500, size=200)
                record(ledger, ledger.claim(POOL, 500, NOW))
                ledger.commit()

            assert log_path(path).stat().st_size < 40 << 20


class TestKilling:
    def test_a_killed_owner_loses_nothing_that_it_committed(self, path):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_write_for_ever, args=(path, theirs))
        process.start()
        theirs.close()
        committed = 0
        while committed < 300:
            committed = ours.recv()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while ours.poll():
            try:
                committed = ours.recv()
            except EOFError:
                break

        with opened(path) as ledger:
            statuses = ledger.statuses(SPEC.call_id)
            assert len(statuses) >= committed
            assert set(statuses) <= {Status.PENDING, Status.RETURNED}
            assert len(ledger.outcomes(SPEC.call_id)) == statuses.count(Status.RETURNED)


def _write_for_ever(path: Path, pipe: multiprocessing.connection.Connection) -> None:
    ledger = SqliteLedger.open(path, Limits(), now=NOW)
    first = 0
    while True:
        submit(ledger, first, 7)
        record(ledger, ledger.claim(POOL, 5, NOW)[:3])
        ledger.commit()
        first += 7
        pipe.send(first)


class TestAFullDisk:
    def test_a_real_write_error_undoes_the_commit_and_passes_by(self, path):
        with opened(path) as ledger:
            submit(ledger, 0, 5)
            ledger.commit()
            (held,) = ledger.claim(POOL, 1, NOW)
            size = log_path(path).stat().st_size
            with _files_no_larger_than(size + 8_192):
                submit(ledger, 5, 50, size=2_000)
                with pytest.raises(Error) as caught:
                    ledger.commit()
            assert caught.value.hint
            assert len(ledger.statuses(SPEC.call_id)) == 5

            submit(ledger, 5, 50, size=2_000)
            record(ledger, [held])
            ledger.commit()

        with opened(path) as ledger:
            assert len(ledger.statuses(SPEC.call_id)) == 55
            assert len(ledger.outcomes(SPEC.call_id)) == 1

    def test_is_an_error_with_a_hint(self, path):
        with opened(path) as ledger:
            _fill(ledger)
            submit(ledger, 0, 50, size=2_000)

            with pytest.raises(ResourceExhaustedError, match=r"disk is full[\s\S]*hint: Free"):
                ledger.commit()

    def test_that_shows_while_reading_is_told_by_the_commit_too(self, path):
        with opened(path) as ledger:
            submit(ledger, 0, 3)
            ledger.commit()
            _fill(ledger)
            submit(ledger, 3, 50, size=2_000)

            with pytest.raises(ResourceExhaustedError):
                ledger.calls(limit=1)
            with pytest.raises(ResourceExhaustedError):
                ledger.commit()

            assert ledger.calls(limit=1)[0].known == 3

    def test_does_not_keep_anybody_from_the_inputs_that_are_there(self, path):
        with opened(path) as ledger:
            submit(ledger, 0, 3)
            ledger.commit()
            _fill(ledger)
            submit(ledger, 3, 50, size=2_000)
            with pytest.raises(ResourceExhaustedError):
                ledger.commit()

            claims = ledger.claim(POOL, 9, NOW)
            ledger.commit()

            assert [c.index for c in claims] == [0, 1, 2]

    def test_whose_undoing_fails_as_well_is_undone_by_the_next_commit(self, path):
        with opened(path) as ledger:
            submit(ledger, 0, 3)
            ledger.commit()
            (held,) = ledger.claim(POOL, 1, NOW)
            _fill(ledger)
            submit(ledger, 3, 50, size=2_000)
            store = ledger._store
            connection = store._connection
            store._connection = _Unreadable(connection)  # type: ignore[assignment]
            with pytest.raises(ExecutionError):
                ledger.commit()
            store._connection = connection
            ledger.retry(held.seq, held.fence, Counters(failures=1), NOW + 9)
            with pytest.raises(Error):
                ledger.commit()

            assert len(ledger.statuses(SPEC.call_id)) == 3
            record(ledger, [held])
            ledger.commit()
            assert len(ledger.outcomes(SPEC.call_id)) == 1


class _Unreadable:
    """A connection that fails with all statements but those that end a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
        if statement == "ROLLBACK":
            return self._connection.execute(statement)
        raise sqlite3.OperationalError("disk I/O error")

    executemany = execute

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


def _fill(ledger: SqliteLedger) -> None:
    """Let the file grow no more; a stand-in for a full disk."""
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count={pages}")


@contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    """Let the kernel refuse larger files, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


class TestOpening:
    def test_a_file_that_another_process_has_is_refused(self, path):
        with opened(path), pytest.raises(ExecutionError, match="Another process has the ledger"):
            SqliteLedger.open(path, Limits(), now=NOW, patience=0.0)

    def test_a_file_that_is_locked_for_a_moment_is_waited_for(self, path):
        with opened(path):
            pass
        other = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.2, other.close)
        timer.start()
        with opened(path, patience=30.0) as ledger:
            assert submit(ledger, 0) == Admission(1)
        timer.join()

    def test_nobody_else_gets_in_while_it_is_open(self, path):
        with opened(path):
            other = sqlite3.connect(path, timeout=0.0)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("SELECT * FROM call")
            other.close()

    def test_a_newer_ledger_is_refused_and_stays_as_it_is(self, path):
        with opened(path) as ledger:
            submit(ledger, 0)
            ledger.commit()
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version={SCHEMA + 1}")
        connection.close()
        before = path.read_bytes()

        with pytest.raises(VersionError, match=f"schema {SCHEMA + 1}") as caught:
            SqliteLedger.open(path, Limits(), now=NOW)

        assert caught.value.hint
        assert path.read_bytes() == before

    def test_a_foreign_database_is_refused_and_stays_as_it_is(self, path):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE mine (it TEXT)")
        connection.close()
        before = path.read_bytes()

        with pytest.raises(ExecutionError, match="no ledger of cloudfn"):
            SqliteLedger.open(path, Limits(), now=NOW)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("damage", ["header", "pages"])
    def test_a_damaged_file_is_moved_aside_untouched_and_both_names_are_told(self, path, damage):
        with opened(path) as ledger:
            submit(ledger, 0, 100, size=500)
            ledger.commit()
        content = bytearray(path.read_bytes())
        begin, end = (0, 100) if damage == "header" else (4_096, len(content))
        content[begin:end] = bytes([0xA5]) * (end - begin)
        path.write_bytes(content)

        with pytest.raises(DataLossError) as caught:
            SqliteLedger.open(path, Limits(), now=NOW)

        aside = path.with_name("ledger.db.damaged-19700101T001640Z")
        assert str(path) in str(caught.value)
        assert str(aside) in str(caught.value)
        assert caught.value.hint
        assert aside.read_bytes() == content
        assert not path.exists()
        with opened(path) as ledger:
            assert ledger.calls(limit=1) == []

    def test_a_file_that_cannot_be_made_is_an_error_that_names_it(self, tmp_path):
        path = tmp_path / "missing" / "ledger.db"

        with pytest.raises(ExecutionError, match="missing/ledger"):
            SqliteLedger.open(path, Limits(), now=NOW)

    def test_closing_twice_is_no_error(self, path):
        with opened(path) as ledger:
            ledger.close()

    def test_a_forked_child_may_not_use_it(self, path):
        with opened(path) as ledger:
            submit(ledger, 0)
            ledger.commit()
            pid = os.fork()
            if pid == 0:
                os._exit(_use_in_child(ledger))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert submit(ledger, 1) == Admission(2)
            ledger.commit()


def _use_in_child(ledger: SqliteLedger) -> int:
    """Return how many ways of using the ledger were not refused."""
    uses = (
        lambda: submit(ledger, 1),
        lambda: ledger.claim(POOL, 1, NOW),
        lambda: ledger.record([]),
        lambda: ledger.calls(limit=1),
        lambda: ledger.outcomes(SPEC.call_id),
        ledger.commit,
    )
    missed = 0
    for use in uses:
        try:
            use()
        except ExecutionError:
            continue
        except BaseException:  # noqa: BLE001 - the child must not go on with the test run
            return errno.EIO
        missed += 1
    ledger.close()
    return missed
