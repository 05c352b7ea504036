"""What every Ledger promises about dead letters: failed inputs of durable calls, with payloads."""

import pytest

from cloudfn.model.call import LOSS_CAP, CallKind, Counters, Status
from cloudfn.providers.ledger import DeadLetter
from tests.contract.ledger_worlds import NOW, POOL, build, finish, ledger, spec, submit, world

__all__ = ["build", "ledger", "world"]

SPAWNED = spec("spawned", CallKind.SPAWN_MAP)
DEAD = (Status.RAISED, Status.TIMED_OUT, Status.LOST)


def failed(ledger, call=SPAWNED):
    """Have the inputs of a call end in each way that there is."""
    endings = [status for status in Status if status.terminal]
    submit(ledger, call, len(endings), sealed=True)
    for claim, status in zip(ledger.claim(call.pool, 10, NOW), endings, strict=True):
        finish(ledger, [claim], status)
    return [index for index, status in enumerate(endings) if status in DEAD]


def test_what_failed_for_good_is_a_dead_letter_with_its_payload(world):
    indices = failed(world.ledger)
    world.ledger.commit()
    world.crash()

    letters = world.ledger.dead_letters(limit=10)
    assert [letter.index for letter in letters] == indices
    assert letters[0] == DeadLetter(
        SPAWNED, 1, Status.RAISED, b"result of fc-spawned[1]", b"fc-spawned[1]"
    )


def test_transient_calls_leave_none(ledger):
    failed(ledger, spec("map", CallKind.MAP))

    assert ledger.dead_letters(limit=10) == []


def test_those_of_the_latest_calls_come_first(ledger):
    first, second = spec("first", CallKind.SPAWN_MAP), spec("second", CallKind.SPAWN_MAP)
    for call in (first, second):
        failed(ledger, call)

    letters = ledger.dead_letters(limit=4)
    assert [each.call.call_id for each in letters] == ["fc-second"] * 3 + ["fc-first"]
    assert {each.call for each in ledger.dead_letters(limit=9, call_id="fc-first")} == {first}


def test_a_buried_one_is_none_any_more_and_keeps_its_outcome(world):
    first, *rest = failed(world.ledger)
    world.ledger.bury(SPAWNED.call_id, [first])
    world.ledger.bury(SPAWNED.call_id, [first])
    world.ledger.commit()
    world.crash()

    assert [letter.index for letter in world.ledger.dead_letters(limit=9)] == rest
    assert len(world.ledger.outcomes(SPAWNED.call_id, first, first + 1)) == 1


@pytest.mark.parametrize("over", [True, False])
def test_they_go_with_their_call_and_with_its_outcomes(ledger, over):
    failed(ledger)
    ledger.commit()
    if over:
        ledger.expire(NOW + 100, 50)
    else:
        ledger.forget(SPAWNED.call_id)
    ledger.commit()

    assert ledger.dead_letters(limit=9) == []


def test_an_input_that_is_lost_with_the_last_agent_is_a_dead_letter_too(world):
    submit(world.ledger, SPAWNED, 1, sealed=True)
    (held,) = world.ledger.claim(POOL, 1, NOW)
    world.ledger.retry(held.seq, held.fence, Counters(losses=LOSS_CAP - 1), NOW)
    world.ledger.claim(POOL, 1, NOW)
    world.ledger.commit()
    world.crash()

    (letter,) = world.ledger.dead_letters(limit=9)
    assert (letter.status, letter.payload) == (Status.LOST, b"fc-spawned[0]")


def test_a_call_remembers_what_it_was_made_of(world):
    again = spec("again", CallKind.SPAWN_MAP)._replace(origin=SPAWNED.call_id)
    submit(world.ledger, again, 1, sealed=True)
    world.ledger.commit()
    world.crash()

    record = world.ledger.call(again.call_id)
    assert record is not None
    assert record.spec == again
    assert world.ledger.calls(limit=1)[0].spec == again
