"""What every Ledger promises about delays, priorities and deadlines of spawned calls."""

import sqlite3

import pytest

from cloudfn.errors import Error
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.ledger import PoolCounts
from cloudfn.providers.local import schema
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.settings import Limits
from tests.contract.ledger_worlds import (
    NOW,
    POOL,
    build,
    finish,
    ledger,
    owned,
    spec,
    submit,
    world,
)

__all__ = ["build", "ledger", "world"]


def spawned(name, **terms):
    return spec(name, CallKind.SPAWN_MAP)._replace(terms=Terms(**terms))


def indices(claims):
    return [(claim.call_id, claim.index) for claim in claims]


def test_a_delayed_call_waits_until_its_time(ledger):
    submit(ledger, spawned("later", not_before=NOW + 60), 3, sealed=True)

    assert ledger.claim(POOL, 10, NOW) == []
    assert ledger.counts(POOL) == PoolCounts(pending=0, delayed=3, running=0)
    assert ledger.next_due(NOW) == NOW + 60
    assert [c.index for c in ledger.claim(POOL, 10, NOW + 60)] == [0, 1, 2]


def test_a_delay_survives_a_crash(world):
    submit(world.ledger, spawned("later", not_before=NOW + 60), 2, sealed=True)
    world.ledger.commit()
    world.crash()

    assert world.ledger.claim(POOL, 10, NOW + 59) == []
    assert len(world.ledger.claim(POOL, 10, NOW + 60)) == 2


def test_inputs_that_follow_a_crash_have_the_terms_of_their_call(world):
    call = spawned("later", not_before=NOW + 60, deadline=NOW + 90, priority=3)
    submit(world.ledger, call, 1)
    world.ledger.commit()
    world.crash()

    record = world.ledger.call(call.call_id)
    assert record is not None
    assert record.spec == call
    submit(world.ledger, record.spec, 1, first=1, sealed=True)
    assert world.ledger.claim(POOL, 10, NOW) == []
    assert [c.deadline for c in world.ledger.claim(POOL, 10, NOW + 60)] == [NOW + 90] * 2
    assert [known.spec for known in world.ledger.calls(limit=5)] == [call]


def test_a_delayed_call_can_be_cancelled_and_forgotten(ledger):
    call = spawned("later", not_before=NOW + 60)
    submit(ledger, call, 2, sealed=True)
    ledger.cancel(call.call_id)

    assert ledger.counts(POOL) == PoolCounts(0, 0, 0)
    ledger.forget(call.call_id)
    ledger.commit()
    assert ledger.claim(POOL, 10, NOW + 60) == []
    submit(ledger, call, 1, sealed=True)
    ledger.commit()
    assert ledger.counts(POOL) == PoolCounts(0, 1, 0)


def test_a_deadline_lets_nobody_jump_the_queue(ledger):
    for call in (spawned("first"), spawned("second", deadline=NOW + 60), spawned("third")):
        submit(ledger, call, 1, sealed=True)

    claims = [ledger.claim(POOL, 1, NOW)[0] for _ in range(3)]

    assert [claim.call_id for claim in claims] == [
        spawned(name).call_id for name in ("first", "second", "third")
    ]


def test_the_highest_priority_goes_first(ledger):
    submit(ledger, spawned("low", priority=-1), 2)
    submit(ledger, spec("none", CallKind.SPAWN_MAP), 2)
    submit(ledger, spawned("high", priority=5), 2)

    claims = ledger.claim(POOL, 6, NOW)
    assert [c.call_id for c in claims] == ["fc-high"] * 2 + ["fc-none"] * 2 + ["fc-low"] * 2


def test_no_priority_starves(ledger):
    for name, priority in (("low", -10), ("middle", 0), ("high", 10)):
        submit(ledger, spawned(name, priority=priority), 100)

    claimed = [ledger.claim(POOL, 1, NOW)[0].call_id for _ in range(32)]
    assert claimed.count("fc-high") == 28
    assert claimed.count("fc-middle") == claimed.count("fc-low") == 2


def test_a_priority_takes_nothing_from_remote_and_map(ledger):
    submit(ledger, spawned("urgent", priority=10), 10)
    submit(ledger, spec("map", CallKind.MAP), 10)

    claimed = [ledger.claim(POOL, 1, NOW)[0].call_id for _ in range(10)]
    assert claimed.count("fc-map") == 5


def test_priorities_survive_a_crash(world):
    submit(world.ledger, spec("none", CallKind.SPAWN_MAP), 2)
    submit(world.ledger, spawned("high", priority=5), 2)
    world.ledger.commit()
    world.crash()

    assert [c.call_id for c in world.ledger.claim(POOL, 2, NOW)] == ["fc-high"] * 2


def test_what_has_not_begun_at_its_deadline_is_overdue_and_never_claimed(ledger):
    submit(ledger, spawned("soon", deadline=NOW + 10), 3, sealed=True)
    first = ledger.claim(POOL, 1, NOW)
    assert first[0].deadline == NOW + 10
    assert ledger.overdue(NOW + 9) == []

    assert ledger.next_due(NOW) == NOW + 10
    assert ledger.claim(POOL, 10, NOW + 10) == []
    late = ledger.overdue(NOW + 10)
    assert [c.index for c in late] == [1, 2]
    assert ledger.overdue(NOW + 11) == []
    finish(ledger, late, Status.TIMED_OUT)
    assert ledger.counts(POOL) == PoolCounts(0, 0, 1)
    finish(ledger, first)
    assert ledger.statuses("fc-soon") == [Status.RETURNED, Status.TIMED_OUT, Status.TIMED_OUT]


def test_an_overdue_input_is_overdue_after_a_crash_too(world):
    submit(world.ledger, spawned("soon", deadline=NOW + 10), 2, sealed=True)
    world.ledger.commit()
    assert len(world.ledger.overdue(NOW + 10)) == 2
    world.crash()

    assert world.ledger.claim(POOL, 10, NOW + 10) == []
    late = world.ledger.overdue(NOW + 10)
    assert len(late) == 2
    finish(world.ledger, late, Status.TIMED_OUT)
    assert world.ledger.pools() == []


def test_a_retry_keeps_its_deadline(ledger):
    submit(ledger, spawned("soon", deadline=NOW + 10), 1, sealed=True)
    (held,) = ledger.claim(POOL, 1, NOW)
    assert ledger.retry(held.seq, held.fence, Counters(failures=1), NOW + 5)

    (again,) = ledger.claim(POOL, 1, NOW + 5)
    assert again.deadline == NOW + 10
    assert ledger.give_back([(again.seq, again.fence)]) == [True]
    (late,) = ledger.overdue(NOW + 10)
    assert late.fence > again.fence > held.fence
    assert late.counters == Counters(failures=1)


@pytest.mark.parametrize("alone", [False, True])
def test_a_retry_that_waits_beyond_its_deadline_is_overdue(ledger, alone):
    submit(ledger, spawned("soon", deadline=NOW + 10), 2, sealed=True)
    claims = ledger.claim(POOL, 2, NOW)
    ledger.retry(claims[0].seq, claims[0].fence, Counters(failures=1), NOW + 50, alone=alone)
    ledger.retry(claims[1].seq, claims[1].fence, Counters(crashes=1), NOW, alone=alone)

    assert [c.index for c in ledger.overdue(NOW + 10)] == [0, 1]
    assert ledger.claim(POOL, 10, NOW + 60) == []
    assert ledger.next_due(NOW + 60) is None


@owned
def test_a_failed_commit_loses_no_overdue_input(world):
    submit(world.ledger, spawned("soon", deadline=NOW + 10), 2, sealed=True)
    world.ledger.commit()
    assert world.ledger.claim(POOL, 10, NOW + 10) == []
    submit(world.ledger, spec("other", CallKind.SPAWN_MAP), 3000)
    world.fill_disk()
    with pytest.raises(Error):
        world.ledger.commit()
    world.free_disk()

    late = world.ledger.overdue(NOW + 11)
    assert sorted(c.index for c in late if c.call_id == "fc-soon") == [0, 1]
    finish(world.ledger, late, Status.TIMED_OUT)
    world.ledger.commit()


def test_a_ledger_of_the_first_schema_is_brought_up_to_date(tmp_path):
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            f"{schema._STEPS[0]}PRAGMA application_id={schema.APPLICATION};PRAGMA user_version=1;"
            "INSERT INTO lane VALUES (1, 'fu-f', 'fu-f@1', 1);"
            f"INSERT INTO call VALUES (1, 'fc-old', 1, 3, 1, {NOW}, NULL, NULL, {1 << 40}, "
            f"{1 << 40}, 1, 0, 2, 0, 0, 0, NULL, 0, x'0000');"
            f"INSERT INTO payload VALUES ({1 << 40}, 1, 0, 2, x'0100000001000000', x'4142');"
            f"INSERT INTO scar VALUES ({(1 << 40) + 1}, 1, 2, 0, 0, 0.0, 0);"
        )
    connection.close()

    opened = SqliteLedger.open(path, Limits(), now=NOW)
    claims = opened.claim(POOL, 10, NOW)
    assert sorted((c.payload, c.counters.failures) for c in claims) == [(b"A", 0), (b"B", 2)]
    submit(opened, spawned("later", not_before=NOW + 60, priority=2), 1)
    opened.commit()
    opened.close()
    again = SqliteLedger.open(path, Limits(), now=NOW)
    assert again.counts(POOL) == PoolCounts(pending=2, delayed=1, running=0)
    again.close()
