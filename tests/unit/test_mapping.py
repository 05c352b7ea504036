"""The rules of `.map`, without any waiting, reading or sending."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.sdk.mapping import FIRST_CHUNK, LARGEST_CHUNK, MapSession
from cloudfn.wire.messages import Outcomes
from cloudfn.wire.ranges import numbers_in, ranges_of

RETURNED = 2


def outcomes(*indices):
    return Outcomes(1, indices, bytes([RETURNED] * len(indices)), [b"%d" % i for i in indices])


def sent(session, count, size=10, slow=False):
    session.sent(count, [size] * count, slow=slow)


def test_the_first_chunk_is_small_and_later_ones_grow_up_to_the_largest():
    session = MapSession(10_000, ordered=True)
    sizes = []
    for _ in range(8):
        sizes.append(session.batch())
        sent(session, sizes[-1])

    assert sizes[0] == FIRST_CHUNK
    assert all(after == min(2 * before, LARGEST_CHUNK) for before, after in pairwise(sizes))


def test_a_slow_reader_gets_chunks_of_one():
    session = MapSession(1000, ordered=True)
    for _ in range(5):
        sent(session, session.batch(), slow=True)

    assert session.batch() == 1


def test_a_full_window_reads_nothing_until_outcomes_make_room():
    session = MapSession(4, ordered=True)
    sent(session, session.batch())
    assert (session.read, session.batch(hurry=True)) == (4, 0)

    session.take(outcomes(2))

    assert session.batch(hurry=True) == 1


def test_small_rooms_are_left_alone_unless_in_a_hurry():
    session = MapSession(1000, ordered=True)
    for _ in range(20):
        sent(session, session.batch(hurry=True))
    assert session.room == 0

    session.take(outcomes(*range(10)))

    assert (session.batch(), session.batch(hurry=True)) == (0, 10)


def test_many_bytes_close_the_window_and_their_outcomes_open_it():
    session = MapSession(1000, ordered=True, most_bytes=100_000)
    sent(session, 2, size=50_000)
    assert session.batch(hurry=True) == 0

    session.take(outcomes(1))

    assert session.batch(hurry=True) > 0


def test_results_far_ahead_of_the_next_one_stop_the_reading():
    session = MapSession(10, ordered=True)
    while (count := session.batch(hurry=True)) and session.read < 10_000:
        first = session.read
        sent(session, count)
        session.take(outcomes(*[i for i in range(first, first + count) if i]))

    assert 100 < session.read < 10_000


def test_an_outcome_that_comes_twice_counts_once():
    """C053."""
    session = MapSession(10, ordered=True)
    sent(session, 3)
    session.take(outcomes(1))

    assert session.take(outcomes(1))[0] == []
    assert session.finished == 1
    assert list(session.take(outcomes(0, 1, 2))[0]) == [0, 1, 2]
    assert session.take(outcomes(0, 1, 2))[0] == []
    assert session.finished == 3


def test_it_is_complete_when_all_is_read_and_all_is_back():
    session = MapSession(10, ordered=True)
    sent(session, 2)
    session.take(outcomes(0, 1))
    assert not session.complete

    session.exhausted = True

    assert session.complete


@given(
    order=st.permutations(list(range(12))),
    cuts=st.sets(st.integers(1, 11)),
    ordered=st.booleans(),
)
def test_every_outcome_goes_out_once_whatever_order_they_come_in(order, cuts, ordered):
    session = MapSession(100, ordered=ordered)
    sent(session, 12)
    emitted = []
    bounds = [0, *sorted(cuts), 12]
    for first, last in pairwise(bounds):
        indices, _, payloads = session.take(outcomes(*order[first:last]))
        assert [b"%d" % i for i in indices] == list(payloads)
        emitted += indices
        got = set(order[:last])
        assert {i for a, b in session.have() for i in range(a, b + 1)} == got

    assert emitted == (list(range(12)) if ordered else order)


@pytest.mark.parametrize(
    ("indices", "ranges"),
    [([], []), ([3], [[3, 3]]), ([0, 1, 2, 5, 7, 8], [[0, 2], [5, 5], [7, 8]])],
)
def test_numbers_become_ranges(indices, ranges):
    assert ranges_of(indices) == ranges
    assert list(numbers_in(ranges)) == list(indices)


@given(window=st.integers(1, 20), ordered=st.booleans())
def test_never_more_are_out_than_the_window(window, ordered):
    session = MapSession(window, ordered=ordered)
    while count := session.batch(hurry=True):
        sent(session, count)
        assert session.read - session.finished <= window

    assert session.read == window
