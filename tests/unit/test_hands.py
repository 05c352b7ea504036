"""What containers hold: a line of which the first runs, and slots which all run."""

import pytest

from cloudfn.agent.hands import Line, Slots
from cloudfn.model.call import Counters
from cloudfn.providers.ledger import Claim

NOW = 100.0


def claim(seq, fence=1):
    return Claim(seq, fence, "fu-1@1", "fc-1", seq, b"", Counters(), False, False)


def held(hands):
    return [each.seq for each in hands]


def line(*seqs, since=NOW):
    hands = Line()
    hands.take([claim(seq) for seq in seqs], since)
    return hands


def slots(*seqs, batch_size=1, since=NOW):
    hands = Slots(batch_size)
    hands.take([claim(seq) for seq in seqs], since)
    return hands


def test_in_a_line_only_the_first_can_have_its_outcome():
    hands = line(1, 2)

    assert hands.finish(2, 1) is None
    assert hands.finish(1, 9) is None
    assert hands.finish(1, 1).seq == 1
    assert held(hands) == [2]


def test_in_slots_each_can_have_its_outcome_once():
    hands = slots(1, 2, 3)

    assert hands.finish(2, 9) is None
    assert hands.finish(2, 1).seq == 2
    assert hands.finish(2, 1) is None
    assert held(hands) == [1, 3]


@pytest.mark.parametrize(
    ("hands", "running", "taken", "sole"),
    [
        pytest.param(line(), 0, 0, 0, id="an empty line"),
        pytest.param(line(1, 2), 1, 1, 1, id="a line runs its first"),
        pytest.param(slots(), 0, 0, 0, id="empty slots"),
        pytest.param(slots(1), 1, 1, 1, id="a single input in slots is known by its output"),
        pytest.param(slots(1, 2), 2, 2, 0, id="two are not"),
        pytest.param(slots(1, 2, batch_size=4), 2, 4, 0, id="a batch takes all its slots"),
    ],
)
def test_what_runs_takes_slots(hands, running, taken, sole):
    assert (hands.running, hands.taken(), hands.sole()) == (running, taken, sole)


def test_a_batch_takes_its_slots_until_its_last_input_ended():
    hands = slots(1, 2, batch_size=4)
    hands.take([claim(3)], NOW)
    assert hands.taken() == 8

    hands.finish(1, 1)
    assert hands.taken() == 8
    hands.finish(2, 1)
    assert hands.taken() == 4


def test_who_shares_a_batch_knows_it():
    hands = slots(1, 2, batch_size=4)
    hands.take([claim(3)], NOW)

    assert hands.shares(hands.find(1))
    assert not hands.shares(hands.find(3))
    assert not slots(1, 2).shares(claim(1))


def test_a_line_is_over_its_time_with_its_first_alone():
    hands = line(1, 2)

    assert hands.take_overdue(5, NOW + 5) == []
    assert [each.seq for each in hands.take_overdue(5, NOW + 5.1)] == [1]
    hands.progressed(NOW + 6)
    assert hands.take_overdue(5, NOW + 10) == []


def test_slots_have_a_start_of_their_own_each():
    hands = slots(1)
    hands.take([claim(2), claim(3)], NOW + 3)

    assert [each.seq for each in hands.take_overdue(5, NOW + 6)] == [1]
    assert hands.age(NOW + 6) == 3
    assert held(hands) == [2, 3]


@pytest.mark.parametrize("hands", [line(1, 2, 3), slots(1, 2, 3)])
def test_what_was_not_read_is_taken_back(hands):
    assert [each.seq for each in hands.drop({2, 3, 7})] == [2, 3]
    assert held(hands) == [1]


def test_slots_may_have_something_unread_until_somebody_looked():
    hands = slots(1)
    assert hands.crowded(NOW + 1) == 1
    hands.drop(set())
    assert hands.crowded(NOW + 1) is None


def test_a_container_waits_when_all_that_it_runs_waits():
    assert line(1, 2).all_among({1})
    assert not slots(1, 2).all_among({1})
    assert slots(1, 2).all_among({1, 2})
    assert not slots().all_among({1})
