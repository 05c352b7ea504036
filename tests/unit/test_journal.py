"""Group commit: what is told only after a commit, and what follows from one that fails."""

import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytest

from cloudfn.daemon.journal import Journal
from cloudfn.errors import ConflictError, Error, ResourceExhaustedError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import Admission, CallSpec, Claim, Entry, Ledger, PoolCounts
from tests.unit.fake_loop import Loop

CALL = CallSpec("fc-1", "fu-1", "fu-1@1", CallKind.MAP, 0.0)
FULL = ResourceExhaustedError("The disk is full.")


class FakeLedger:
    """Notes what it is told; commits and syncs fail as often as it is told to."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.commit_failures = 0
        self.sync_failures = 0
        self.refusing: Error | None = None
        #: a sync waits for these when they are set
        self.gate: threading.Event | None = None
        self.syncing = threading.Event()

    def claim(self, pool: str, limit: int, _now: float) -> list[Claim]:
        self.notes.append(f"claim {limit}")
        counters = Counters()
        return [Claim(n, 1, pool, "fc-1", n, b"", counters, False, False) for n in range(limit)]

    def give_back(self, claims: list[tuple[int, int]]) -> list[bool]:
        self.notes.append(f"give back {claims}")
        return [True for _ in claims]

    def retry(
        self, seq: int, fence: int, counters: Counters, not_before: float, *, alone: bool = False
    ) -> bool:
        self.notes.append(f"retry {seq} {fence} {counters.failures} {not_before} {alone}")
        return True

    def record(self, entries: list[Entry]) -> list[bool]:
        self.notes.append(f"record {[entry.seq for entry in entries]}")
        return [True for _ in entries]

    def counts(self, _pool: str) -> PoolCounts:
        return PoolCounts(1, 2, 3)

    def submit(
        self,
        _call: CallSpec,
        first: int,
        payloads: list[bytes],
        *,
        sealed: bool,
        now: float,
        digests: Sequence[bytes] = (),
    ) -> Admission:
        if self.refusing is not None:
            raise self.refusing
        self.notes.append(f"submit {first} {len(payloads)} {sealed} {now}")
        return Admission(first + len(payloads))

    def commit(self) -> None:
        if self.commit_failures:
            self.commit_failures -= 1
            self.notes.append("commit fails")
            raise FULL
        self.notes.append("commit")

    def sync(self) -> None:
        self.syncing.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.sync_failures:
            self.sync_failures -= 1
            raise OSError("the disk refused")
        self.notes.append("sync")


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def journal(loop: Loop, ledger: FakeLedger) -> Iterator[Journal]:
    journal = Journal(cast(AbstractEventLoop, loop), cast(Ledger, ledger))
    yield journal
    if ledger.gate is not None:
        ledger.gate.set()
    journal.close()


def submit(journal: Journal, refusal: Callable[[Error], None] = lambda _: None) -> Admission:
    return journal.submit(CALL, 0, [b"a", b"b"], refusal, sealed=True, now=7.0)


def entry(seq: int) -> Entry:
    return Entry(seq, 1, Status.RETURNED, b"")


def finish(journal: Journal, seq: int) -> None:
    """Record an outcome that somebody waits for."""
    journal.record([entry(seq)])
    journal.after_commit(lambda: None)


# -------------------------------------------------------------------------------------- in one turn


def test_everything_that_one_turn_wrote_is_one_commit(journal, loop, ledger):
    submit(journal)
    assert len(journal.claim("fu-1@1", 2, 7.0)) == 2
    assert journal.record([entry(0)]) == [True]
    assert journal.give_back([(1, 1)]) == [True]
    loop.turn()

    assert ledger.notes == [
        "submit 0 2 True 7.0",
        "claim 2",
        "record [0]",
        "give back [(1, 1)]",
        "commit",
    ]


HURRIED: dict[str, Callable[[Journal], object]] = {
    "what comes back": lambda journal: journal.give_back([(0, 1)]),
    "a retry": lambda journal: journal.retry(0, 1, Counters(1), 9.0, alone=True),
    "another write": lambda journal: journal.write(lambda: None),
    "a hook": lambda journal: journal.after_commit(lambda: None),
    "who cannot wait": Journal.hurry,
}
LINGERING: dict[str, Callable[[Journal], object]] = {
    "a submission": submit,
    "a claim": lambda journal: journal.claim("fu-1@1", 1, 7.0),
    "an outcome": lambda journal: journal.record([entry(0)]),
    "clearing up": lambda journal: journal.clear_up(lambda: None),
}


@pytest.mark.parametrize("write", HURRIED.values(), ids=HURRIED.keys())
def test_a_commit_follows_in_the_same_turn(journal, loop, ledger, write):
    write(journal)
    assert "commit" not in ledger.notes
    loop.turn()

    assert ledger.notes.count("commit") == 1


@pytest.mark.parametrize("write", LINGERING.values(), ids=LINGERING.keys())
def test_what_nobody_waits_for_is_committed_a_moment_later(journal, loop, ledger, write):
    write(journal)
    loop.turn()
    assert "commit" not in ledger.notes
    loop.wait()

    assert ledger.notes.count("commit") == 1
    assert journal.commits == 1


@pytest.mark.parametrize("write", LINGERING.values(), ids=LINGERING.keys())
def test_what_lingers_shares_the_commit_of_who_waits(journal, loop, ledger, write):
    write(journal)
    journal.after_commit(lambda: ledger.notes.append("told"))
    loop.turn()
    loop.wait()

    assert ledger.notes[-2:] == ["commit", "told"]
    assert ledger.notes.count("commit") == 1


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda journal: journal.counts("fu-1@1"), id="a question"),
        pytest.param(lambda journal: journal.claim("fu-1@1", 0, 7.0), id="a claim of nothing"),
    ],
)
def test_no_commit_follows(journal, loop, ledger, read):
    read(journal)
    loop.turn()

    assert "commit" not in ledger.notes


def test_a_turn_without_writes_commits_nothing(journal, loop, ledger):
    submit(journal)
    loop.turn()
    loop.turn()
    loop.wait()

    assert ledger.notes.count("commit") == 1


def test_hooks_run_in_order_and_only_after_the_commit(journal, loop, ledger):
    journal.record([entry(0)])
    journal.after_commit(lambda: ledger.notes.append("first"))
    journal.after_commit(lambda: ledger.notes.append("second"))
    assert ledger.notes == ["record [0]"]
    loop.turn()

    assert ledger.notes == ["record [0]", "commit", "first", "second"]


def test_what_a_hook_writes_is_in_the_next_commit(journal, loop, ledger):
    journal.after_commit(lambda: finish(journal, 9))
    loop.turn()
    loop.wait()

    assert ledger.notes == ["commit", "record [9]", "commit"]


def test_who_cannot_wait_keeps_no_distance(journal, loop, ledger):
    journal.after_commit(lambda: (finish(journal, 1), journal.hurry()))
    loop.turn()

    assert ledger.notes == ["commit", "record [1]", "commit"]


def test_commits_in_a_row_keep_a_distance_in_which_more_can_join(journal, loop, ledger):
    journal.after_commit(lambda: finish(journal, 1))
    loop.turn()
    finish(journal, 2)
    assert ledger.notes == ["commit", "record [1]", "record [2]"]
    loop.wait()

    assert ledger.notes == ["commit", "record [1]", "record [2]", "commit"]


def test_one_hook_that_fails_keeps_no_other_from_running(journal, loop, ledger, caplog):
    def fail() -> None:
        raise BrokenPipeError("the client has gone")

    journal.after_commit(fail)
    journal.after_commit(lambda: ledger.notes.append("told"))
    loop.turn()

    assert ledger.notes == ["commit", "told"]
    assert "the client has gone" in caplog.text


# ------------------------------------------------------------------------------ a commit that fails


def test_a_failed_commit_runs_no_hooks_until_a_later_one_holds(journal, loop, ledger):
    ledger.commit_failures = 2
    journal.after_commit(lambda: ledger.notes.append("told"))
    loop.turn()
    loop.wait()
    assert "told" not in ledger.notes
    loop.wait()

    assert ledger.notes == ["commit fails", "commit fails", "commit", "told"]


def test_a_failed_commit_repeats_what_holders_wrote_in_its_order(journal, loop, ledger):
    ledger.commit_failures = 1
    journal.record([entry(0)])
    journal.give_back([(1, 1)])
    journal.retry(2, 1, Counters(failures=1), 9.0, alone=True)
    journal.write(lambda: ledger.notes.append("forget"))
    wrote = list(ledger.notes)
    loop.turn()
    assert ledger.notes == [*wrote, "commit fails", *wrote]
    loop.wait()

    assert ledger.notes == [*wrote, "commit fails", *wrote, "commit"]


def test_it_repeats_them_for_every_commit_that_fails_and_what_came_meanwhile(journal, loop, ledger):
    ledger.commit_failures = 2
    finish(journal, 0)
    loop.turn()
    finish(journal, 1)
    loop.turn()
    ledger.notes.clear()
    loop.wait()
    loop.wait()

    assert ledger.notes == ["commit fails", "record [0]", "record [1]", "commit"]


def test_what_held_is_not_repeated(journal, loop, ledger):
    finish(journal, 0)
    loop.turn()
    ledger.commit_failures = 1
    finish(journal, 1)
    ledger.notes.clear()
    loop.turn()

    assert ledger.notes == ["commit fails", "record [1]"]


def test_a_claim_is_not_repeated_because_its_holder_keeps_it(journal, loop, ledger):
    ledger.commit_failures = 1
    journal.claim("fu-1@1", 1, 7.0)
    loop.wait()

    assert ledger.notes == ["claim 1", "commit fails"]


def test_a_write_that_fails_is_not_repeated(journal, loop, ledger):
    def fail() -> None:
        ledger.notes.append("tried")
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        journal.write(fail)
    ledger.commit_failures = 1
    journal.record([entry(0)])
    loop.turn()

    assert ledger.notes.count("tried") == 1


def test_a_failed_commit_refuses_each_submission_once(journal, loop, ledger):
    refused: list[Error] = []
    ledger.commit_failures = 2
    submit(journal, refused.append)
    submit(journal, refused.append)
    loop.turn()
    loop.wait()
    loop.wait()

    assert refused == [FULL, FULL]
    assert ledger.notes.count("submit 0 2 True 7.0") == 2


def test_a_submission_that_is_kept_is_never_refused(journal, loop, ledger):
    refused: list[Error] = []
    submit(journal, refused.append)
    loop.wait()
    ledger.commit_failures = 1
    journal.record([entry(0)])
    loop.wait()

    assert refused == []


def test_what_holders_wrote_is_back_before_a_refusal_looks(journal, loop, ledger):
    ledger.commit_failures = 1
    finish(journal, 0)
    submit(journal, lambda _: journal.write(lambda: ledger.notes.append("forget")))
    ledger.notes.clear()
    loop.turn()
    assert ledger.notes == ["commit fails", "record [0]", "forget"]
    loop.wait()

    assert ledger.notes[-1] == "commit"


def test_while_nothing_can_be_written_submissions_are_refused_at_once(journal, loop, ledger):
    ledger.commit_failures = 1
    finish(journal, 0)
    loop.turn()

    for _ in range(3):
        with pytest.raises(ResourceExhaustedError, match="disk is full"):
            submit(journal)
    assert journal.trouble is FULL
    loop.wait()

    assert journal.trouble is None
    assert submit(journal) == Admission(2)


def test_refusing_again_and_again_does_not_pile_up_tracebacks(journal, loop, ledger):
    ledger.commit_failures = 1
    finish(journal, 0)
    loop.turn()
    lengths = []
    for _ in range(3):
        with pytest.raises(ResourceExhaustedError) as caught:
            submit(journal)
        lengths.append(len(caught.traceback))

    assert len(set(lengths)) == 1


def test_what_the_ledger_refuses_itself_is_no_commit(journal, loop, ledger):
    ledger.refusing = ConflictError("The call is another one.")
    with pytest.raises(ConflictError):
        submit(journal)
    loop.turn()

    assert ledger.notes == []


def test_while_the_disk_is_full_there_is_one_try_at_a_time(journal, loop, ledger):
    ledger.commit_failures = 3
    for seq in range(5):
        finish(journal, seq)
        loop.turn()

    assert ledger.notes.count("commit fails") == 1
    assert sum(not handle.cancelled for handle in loop.later) == 1


# --------------------------------------------------------------------------------------- power cuts


def test_a_sync_follows_the_commit_and_the_hook_the_sync(journal, loop, ledger):
    submit(journal)
    journal.after_sync(lambda: ledger.notes.append("told"))
    loop.turn_until(lambda: "told" in ledger.notes)

    assert ledger.notes == ["submit 0 2 True 7.0", "commit", "sync", "told"]


def test_hooks_of_one_commit_share_a_sync(journal, loop, ledger):
    for name in ("a", "b", "c"):
        journal.after_sync(lambda name=name: ledger.notes.append(name))
    loop.turn_until(lambda: "c" in ledger.notes)

    assert ledger.notes == ["commit", "sync", "a", "b", "c"]


def test_hooks_that_come_during_a_sync_share_the_next_one(journal, loop, ledger):
    ledger.gate = threading.Event()
    journal.after_sync(lambda: ledger.notes.append("early"))
    loop.turn()
    assert ledger.syncing.wait(10)
    for name in ("late", "later"):
        journal.after_sync(lambda name=name: ledger.notes.append(name))
        loop.turn()
    ledger.gate.set()
    loop.turn_until(lambda: "later" in ledger.notes)

    assert [note for note in ledger.notes if note != "commit"] == [
        "sync",
        "early",
        "sync",
        "late",
        "later",
    ]


def test_a_sync_that_fails_is_tried_again_and_tells_nobody_before(journal, loop, ledger, caplog):
    ledger.sync_failures = 1
    journal.after_sync(lambda: ledger.notes.append("told"))
    loop.turn_until(lambda: bool(loop.later))
    assert "told" not in ledger.notes
    assert "the disk refused" in caplog.text
    loop.wait()
    loop.turn_until(lambda: "told" in ledger.notes)

    assert ledger.notes == ["commit", "sync", "told"]


def test_no_sync_follows_a_commit_that_failed(journal, loop, ledger):
    ledger.commit_failures = 1
    journal.after_sync(lambda: ledger.notes.append("told"))
    loop.turn()
    assert not ledger.syncing.is_set()
    loop.wait()
    loop.turn_until(lambda: "told" in ledger.notes)

    assert ledger.notes == ["commit fails", "commit", "sync", "told"]


# ------------------------------------------------------------------------------------------ the end


def test_closing_commits_syncs_and_tells(journal, ledger):
    journal.record([entry(0)])
    journal.after_commit(lambda: ledger.notes.append("committed"))
    journal.after_sync(lambda: ledger.notes.append("synced"))
    journal.close()

    assert ledger.notes == ["record [0]", "commit", "committed", "sync", "synced"]


def test_closing_waits_for_the_sync_under_way_and_for_those_behind_it(journal, loop, ledger):
    ledger.gate = threading.Event()
    journal.after_sync(lambda: ledger.notes.append("early"))
    loop.turn()
    assert ledger.syncing.wait(10)
    journal.after_sync(lambda: ledger.notes.append("late"))
    ledger.gate.set()
    journal.close()

    # The first sync and the last commit do not wait for each other.
    assert ledger.notes.count("commit") == 2
    assert [note for note in ledger.notes if note != "commit"] == ["sync", "early", "sync", "late"]


def test_nothing_is_left_to_do_after_closing(journal, loop, ledger):
    journal.record([entry(0)])
    journal.close()
    before = list(ledger.notes)
    loop.turn()
    loop.wait()
    journal.after_commit(lambda: None)
    loop.turn()

    assert ledger.notes == before


@pytest.mark.parametrize("failure", ["commit_failures", "sync_failures"])
def test_closing_on_a_full_disk_ends(journal, loop, ledger, failure):
    setattr(ledger, failure, 9)
    journal.after_sync(lambda: ledger.notes.append("told"))
    journal.close()

    assert "told" not in ledger.notes
    assert loop.later == []


def test_a_sync_that_fails_while_closing_is_told_of_once(journal, loop, ledger, caplog):
    ledger.gate = threading.Event()
    ledger.sync_failures = 1
    journal.after_sync(lambda: None)
    loop.turn()
    assert ledger.syncing.wait(10)
    ledger.gate.set()
    journal.close()
    loop.turn()

    assert caplog.text.count("the ledger cannot be synced") == 1
    assert loop.later == []
