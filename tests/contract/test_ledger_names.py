"""What every Ledger promises about named calls: digests, and what is done when they begin anew."""

from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import PoolCounts
from tests.contract.ledger_worlds import NOW, POOL, build, finish, ledger, spec, submit, world

__all__ = ["build", "ledger", "world"]

NAMED = spec("named", CallKind.MAP)._replace(durable=True, name="app/f/nightly")
ELSEWHERE = NAMED._replace(function_id="fu-g", pool="fu-g@1")


def digest(index):
    return index.to_bytes(16, "big")


def send(ledger, count, *, first=0, call=NAMED, sealed=False):
    indices = range(first, first + count)
    payloads = [b"%d" % index for index in indices]
    digests = [digest(index) for index in indices]
    return ledger.submit(call, first, payloads, sealed=sealed, now=NOW, digests=digests)


def end(ledger, pool, status=Status.RETURNED, count=100):
    claims = ledger.claim(pool, count, NOW)
    finish(ledger, claims, status)
    return [claim.index for claim in claims]


def test_a_named_call_is_found_by_its_name(world):
    assert world.ledger.named(NAMED.name) is None
    send(world.ledger, 3)
    submit(world.ledger, spec("other", CallKind.MAP), 1)
    world.ledger.commit()
    world.crash()

    assert world.ledger.named(NAMED.name) == NAMED.call_id
    assert world.ledger.names() == {NAMED.name: NAMED.call_id}
    record = world.ledger.call(NAMED.call_id)
    assert record is not None
    assert record.spec == NAMED
    assert [known.spec.name for known in world.ledger.calls(limit=2)] == ["", NAMED.name]


def test_digests_are_kept_as_long_as_the_call(world):
    send(world.ledger, 1500)
    send(world.ledger, 1000, first=800)
    world.ledger.commit()
    send(world.ledger, 10, first=1800, sealed=True)
    world.ledger.commit()
    world.crash()

    assert world.ledger.digest_count(NAMED.call_id) == 1810
    assert world.ledger.digests(NAMED.call_id, 1498, 1502) == [digest(i) for i in range(1498, 1502)]
    assert world.ledger.digests(NAMED.call_id, 1809, 1811) == [digest(1809)]
    world.ledger.forget(NAMED.call_id)
    world.ledger.commit()
    assert world.ledger.digest_count(NAMED.call_id) == 0
    assert world.ledger.named(NAMED.name) is None


def test_a_gap_leaves_no_digests_behind(ledger):
    send(ledger, 2)
    send(ledger, 3, first=5)

    assert ledger.digest_count(NAMED.call_id) == 2


def test_a_name_can_be_given_again_at_once(ledger):
    send(ledger, 2)
    ledger.commit()
    ledger.forget(NAMED.call_id)
    again = NAMED._replace(call_id="fc-again")
    send(ledger, 1, call=again)
    ledger.commit()

    assert ledger.named(NAMED.name) == "fc-again"
    assert ledger.digest_count("fc-again") == 1


def reopened(world, *, total=None, crash=True):
    """Finish inputs 0, 1 and 3 of six, cancel the others, and begin anew elsewhere."""
    ledger = world.ledger
    send(ledger, 6, sealed=total is not None)
    claims = ledger.claim(POOL, 4, NOW)
    finish(ledger, [claims[0], claims[3]])
    finish(ledger, [claims[1]], Status.RAISED)
    ledger.cancel(NAMED.call_id)
    finish(ledger, [claims[2]], Status.CANCELLED)
    ledger.commit()
    ledger.reopen(ELSEWHERE)
    if crash:
        ledger.commit()
        world.crash()
    return world.ledger


def test_a_call_begun_anew_keeps_what_is_finished_and_runs_the_rest(world):
    ledger = reopened(world)
    record = ledger.call(NAMED.call_id)
    assert record is not None
    assert (record.known, record.finished, record.cancelled) == (0, 0, False)
    assert ledger.settled(NAMED.call_id) == [0, 1, 3]
    assert ledger.settled(NAMED.call_id, 1, 3) == [1]
    assert ledger.settled(NAMED.call_id, 3) == [3]
    assert ledger.outcomes(NAMED.call_id) == []
    assert ledger.digest_count(NAMED.call_id) == 6

    send(ledger, 6, call=ELSEWHERE, sealed=True)
    assert ledger.counts("fu-g@1") == PoolCounts(3, 0, 0)
    assert [o.index for o in ledger.outcomes(NAMED.call_id)] == [0, 1, 3]
    assert end(ledger, "fu-g@1") == [2, 4, 5]
    ledger.commit()
    world.crash()

    outcomes = world.ledger.outcomes(NAMED.call_id)
    assert [o.payload for o in outcomes] == [b"result of %d" % index for index in range(6)]
    assert [o.status for o in outcomes].count(Status.RAISED) == 1
    record = world.ledger.call(NAMED.call_id)
    assert record is not None
    assert (record.finished, record.failed, record.sealed) == (6, 1, True)
    assert world.ledger.pools() == []


def test_a_call_may_be_begun_anew_again_before_it_got_as_far(world):
    ledger = reopened(world)
    send(ledger, 3, call=ELSEWHERE)
    end(ledger, "fu-g@1")
    ledger.cancel(NAMED.call_id)
    ledger.reopen(NAMED)

    assert ledger.settled(NAMED.call_id) == [0, 1, 2, 3]
    send(ledger, 6, sealed=True)
    assert end(ledger, POOL) == [4, 5]
    ledger.commit()
    assert len(ledger.outcomes(NAMED.call_id)) == 6


def test_a_call_begun_anew_knows_how_long_it_was(world):
    assert reopened(world, total=6).call(NAMED.call_id).total == 6


def test_one_that_was_never_sealed_does_not(world):
    assert reopened(world, crash=False).call(NAMED.call_id).total is None


def test_a_call_begun_anew_can_be_forgotten_and_expires(world):
    ledger = reopened(world)
    send(ledger, 6, call=ELSEWHERE, sealed=True)
    end(ledger, "fu-g@1")
    ledger.commit()

    assert ledger.expire(NOW + 100, 50) == [NAMED.call_id]
    assert ledger.outcomes(NAMED.call_id) == []
    record = ledger.call(NAMED.call_id)
    assert record is not None
    assert record.expired
    ledger.forget(NAMED.call_id)
    ledger.commit()
    assert ledger.names() == {}
