"""What slots, pages, rings and turns of the ledger in DynamoDB are made of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.errors import DataLossError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.model.terms import Terms
from cloudfn.providers.aws.ledger import changes, heads, packing, pages
from cloudfn.providers.aws.ledger.heads import Head
from cloudfn.providers.aws.ledger.packing import Ended
from cloudfn.providers.aws.ledger.pages import CANCELLED, SLOTS, STEP, WAITS, Scar
from cloudfn.providers.aws.ledger.turns import Turns, Waiting
from cloudfn.providers.aws.table import Write, _attributes, _plain
from cloudfn.providers.ledger import CallSpec
from cloudfn.testing.aws import dynamodb_syntax as syntax
from cloudfn.testing.aws.dynamodb_values import item_size
from cloudfn.wire.seals import input_seals, result_seals

INPUTS, RESULTS = input_seals(b"k" * 32), result_seals(b"k" * 32)
SPEC = CallSpec(
    "fc-" + "c" * 20, "fu-" + "f" * 20, f"fu-{'f' * 20}@12", CallKind.MAP, 1_000.0, reply="q" * 40
)
NUMBER = pages.number_of(SPEC.call_id, "nonce", 0)


def page(count=SLOTS, spec=SPEC):
    return pages.new_page(spec, NUMBER, 0, [WAITS] * count)


def full():
    """Return a page whose slots all run, as large as it gets."""
    slots = tuple(fence * STEP + STEP - fence for fence in range(1, SLOTS + 1))
    holders = {STEP - 1 - number: f"ma-{'m' * 17}" for number in range(3)}
    return replace(
        page(), slots=slots, holders=holders, segments=((0, SLOTS, 0),), fence=SLOTS * STEP
    )


class TestSlots:
    @given(st.integers(1, 2**31), st.sampled_from([s for s in Status if s.terminal]), st.binary())
    def test_tell_fence_and_status_of_what_has_ended(self, fence, status, payload):
        value = pages.ended(fence, status, payload)

        assert value < WAITS
        assert (pages.fence_of(value), pages.status_of(value)) == (fence, status)

    @given(st.integers(1, 2**31), st.integers(0, STEP - 1))
    def test_tell_fence_and_holder_of_what_runs(self, fence, label):
        value = fence * STEP + label

        assert (pages.fence_of(value), pages.label_of(value)) == (fence, label)
        assert pages.status_of(value) is Status.RUNNING

    def test_tell_outcomes_apart(self):
        values = {pages.ended(1, Status.RETURNED, b"%d" % n) for n in range(100)}
        assert len(values) > 90

    def test_of_what_was_cancelled_while_it_waited_have_fence_zero(self):
        assert pages.status_of(CANCELLED) is Status.CANCELLED
        assert pages.fence_of(CANCELLED) == 0

    @given(st.text(), st.integers(0, 10_000), st.integers(0, SLOTS - 1))
    def test_have_seqs_that_say_where_they_are(self, call_id, part, slot):
        number = pages.number_of(call_id, "n", part)
        seq = replace(page(), number=number).seq(slot)

        assert 0 <= seq < 2**63
        assert pages.split_seq(seq) == (number, slot)
        assert int(pages.name_of(number), 16) == number


class TestPages:
    def test_come_back_from_their_items(self):
        call = SPEC._replace(terms=Terms(5.0, 90.5, 3), durable=True)
        there = replace(
            page(5, call),
            slots=(0, 7 * STEP + 9, pages.ended(3, Status.RAISED, b"x"), CANCELLED, 0),
            fence=7 * STEP,
            waiting=2,
            unfinished=3,
            segments=((0, 3, 0), (3, 2, 17)),
            inputs=b"sealed",
            scars={1: Scar(Counters(1, 2, 3), 12.5, alone=True)},
            holders={9: "ma-1"},
            outcomes={2: b"sealed"},
            delivered=frozenset({2}),
            buried=frozenset({3, 2}),
            cancelled=True,
            ended=17.25,
        )

        assert pages.from_item(_plain(_attributes(pages.to_item(there)))) == there

    def test_fit_into_one_write_unit_while_all_of_their_inputs_run(self):
        assert item_size(_attributes(pages.to_item(full()))) <= 1_024

    def test_know_their_own_size_roughly(self):
        real = item_size(_attributes(pages.to_item(full())))
        assert real <= packing.size_of(full()) <= real + 150

    def test_say_when_time_changes_something(self):
        waits = replace(page(2), scars={0: Scar(Counters(), 50.0)})

        assert waits.next_due(10.0) == 50.0
        assert waits.next_due(50.0) == float("inf")
        assert replace(waits, deadline=20.0).next_due(10.0) == 20.0
        assert replace(waits, deadline=20.0).next_due(30.0) == 30.0
        assert replace(waits, waiting=0).next_due(10.0) == float("inf")

    def test_say_what_may_be_claimed(self):
        waits = replace(
            page(5),
            slots=(0, STEP, 0, 0, 0),
            scars={
                0: Scar(Counters(), 50.0),
                2: Scar(Counters(), alone=True),
                4: Scar(Counters(1)),
            },
        )

        assert waits.claimable(10.0) == ([3, 4], [2])
        assert waits.claimable(50.0) == ([0, 3, 4], [2])
        assert replace(waits, deadline=5.0).claimable(10.0) == ([], [])
        assert replace(waits, not_before=20.0).claimable(10.0) == ([], [])


def is_accepted(write: Write):
    """Hold a write against the limits of expressions."""
    names = {f"#{name}": name for name in packing_names(write)}
    given = _attributes(write.values)
    values = syntax.Substitutes(names, {f":{name}": value for name, value in given.items()})
    syntax.update(write.change, values)
    syntax.condition(write.when, values)
    values.finish()
    operators = Counter(token for token in write.when.replace("(", " ( ").split())
    return (
        operators["AND"] + operators["OR"] + write.when.count("=") + write.when.count("exists")
        <= 300
    )


def packing_names(write):
    import re

    return set(re.findall(r"#(\w+)", f"{write.change} {write.when}"))


class TestChanges:
    def test_of_all_slots_at_once_are_within_dynamodbs_limits(self):
        scars = {slot: Scar(Counters(9, 9, 9), 1e9 + 0.123456, alone=True) for slot in range(SLOTS)}
        hurt = replace(full(), scars=scars)
        ends = {slot: pages.ended(slot, Status.RAISED, b"%d" % slot) for slot in range(SLOTS)}
        waits = replace(page(), scars=scars)

        assert is_accepted(changes.claim(waits, range(SLOTS), STEP - 1, "ma-1"))
        assert is_accepted(changes.record(hurt, ends, {}, 1e9))
        assert is_accepted(changes.release(hurt, range(SLOTS), scars, 1e9))
        assert is_accepted(changes.cancel(waits, 1e9))
        assert changes.claim(waits, range(SLOTS), STEP - 1, "ma-1").change.count("+") <= 300

    def test_count_what_waits_and_what_has_not_ended(self):
        runs = replace(page(3), slots=(STEP, STEP, STEP))
        recorded = changes.record(runs, {0: pages.ended(1, Status.RETURNED, b"")}, {}, 5.0)
        released = changes.release(runs, [0, 1], {}, 5.0)
        dropped = changes.release(replace(runs, cancelled=True), [0, 1], {}, 5.0)
        claimed = changes.claim(page(3), [0, 2], 5, "ma-1")

        assert moves(recorded) == (0, -1)
        assert moves(released) == (2, 0)
        assert moves(dropped) == (0, -2)
        assert moves(claimed) == (-2, 0)
        assert moves(changes.cancel(page(3), 5.0)) == (-3, -3)


def moves(write):
    return write.values.get("w_", 0), write.values.get("u_", 0)


class TestPacking:
    @given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 90))
    def test_inputs_come_back_where_they_belong_and_nowhere_else(self, payloads, slot):
        sealed = packing.seal_inputs(INPUTS, page(), slot, payloads)

        assert packing.open_inputs(INPUTS, page(), slot, sealed) == payloads
        for elsewhere in (
            (INPUTS, page(), slot + 1),
            (RESULTS, page(), slot),
            (INPUTS, replace(page(), call_id="fc-other"), slot),
        ):
            with pytest.raises(DataLossError):
                packing.open_inputs(*elsewhere, sealed)

    def test_outcomes_come_back_where_they_belong_and_nowhere_else(self):
        outcomes = [Ended(3, 7, Status.RAISED, b"x"), Ended(4, 7, Status.RETURNED, b"")]
        sealed = packing.seal_chunk(RESULTS, page(), outcomes)

        assert list(packing.open_chunk(RESULTS, page(), sealed)) == outcomes
        for seals, there in ((INPUTS, page()), (RESULTS, replace(page(), number=5))):
            with pytest.raises(DataLossError):
                list(packing.open_chunk(seals, there, sealed))

    def test_an_outcome_on_a_page_belongs_to_its_slot_fence_and_status(self):
        outcome = Ended(1, 7, Status.RETURNED, b"x")
        sealed = packing.seal_outcome(RESULTS, page(), outcome)
        value = pages.ended(7, Status.RETURNED, b"x")
        there = replace(page(), slots=(value, value), outcomes={0: sealed, 1: sealed})

        assert packing.open_outcome(RESULTS, there, 1, Status.RETURNED) == b"x"
        for slot, status in ((0, Status.RETURNED), (1, Status.RAISED)):
            with pytest.raises(DataLossError):
                packing.open_outcome(RESULTS, there, slot, status)

    def test_a_ring_brings_the_page_and_its_inputs(self):
        call = SPEC._replace(terms=Terms(0.0, 90.5, 3))
        name = pages.name_of(NUMBER)
        enclosed = packing.enclose(INPUTS, page(5, call), 3, [b"a", b"bc"])

        found, payloads = packing.unclose(INPUTS, name, enclosed)
        assert payloads == {3: b"a", 4: b"bc"}
        assert found.claimable(10.0) == ([3, 4], [])
        assert (found.deadline, found.priority, found.reply) == (90.5, 3, "q" * 40)
        with pytest.raises(DataLossError):
            packing.unclose(INPUTS, pages.name_of(NUMBER + 1), enclosed)

    @given(st.lists(st.binary(min_size=1, max_size=60_000), min_size=1, max_size=3))
    def test_a_ring_is_never_larger_than_a_chunk_of_sqs(self, payloads):
        payloads = payloads * 3
        enclosed = packing.enclose(INPUTS, page(len(payloads)), 0, payloads)
        assert len(enclosed) <= packing.ENCLOSED

    @pytest.mark.parametrize("size", [0, 1, packing.PIECE, packing.PIECE + 1, 3 * packing.PIECE])
    def test_pieces_come_together_again(self, size):
        data = bytes(size)
        items = [write.item for write in packing.pieces("P#1", "O#a", data, 17)]

        assert packing.joined(items) == {"O#a": data}
        assert packing.joined(items[:-1]) == {}
        assert all(item["expires"] == 17 for item in items)


class TestHeads:
    def test_come_back_from_their_items(self):
        call = SPEC._replace(
            kind=CallKind.SPAWN_MAP,
            parent=("fc-p", 3),
            durable=True,
            terms=Terms(1.5, None, -2),
            name="app/f/n",
            origin="fc-o",
        )
        head = Head(call, "abc", 5, True, False, True, False, 9, 7, 4)

        assert heads.from_item(_plain(_attributes(heads.to_item(head, 17)))) == head

    def test_know_the_pages_of_a_range(self):
        head = Head(SPEC, "abc", known=200, reach=200)

        assert head.numbers() == [head.number(part) for part in range(3)]
        assert head.numbers(95, 97) == [head.number(0), head.number(1)]
        assert head.numbers(96, 192) == [head.number(1)]
        assert head.numbers(200, 300) == []

    @given(st.integers(0, 500), st.integers(0, 500))
    def test_inputs_lie_on_pages_one_after_the_other(self, first, count):
        found = [
            part * SLOTS + slot + offset
            for part, slot, many in heads.ranges(first, count)
            for offset in range(many)
        ]
        assert found == list(range(first, first + count))

    def test_calls_are_listed_by_age(self):
        young, old = (heads.place(SPEC._replace(created=at)) for at in (1.9e9, 999_999_999.5))
        assert old < young


def waiting(number, call="fc-a", *, first=0, free=range(4), alone=(), spawn=False, priority=0):
    return Waiting(number, call, 1.0, first, spawn, priority, list(free), list(alone))


class TestTurns:
    def test_one_call_is_taken_in_order(self):
        chosen = Turns().choose([waiting(2, first=96), waiting(1)], 6)
        assert chosen == {1: [0, 1, 2, 3], 2: [0, 1]}

    def test_calls_share(self):
        chosen = Turns().choose([waiting(1, "fc-a"), waiting(2, "fc-b")], 4)
        assert {number: len(slots) for number, slots in chosen.items()} == {1: 2, 2: 2}

    def test_a_call_that_got_something_back_goes_first(self):
        turns, both = Turns(), [waiting(1, "fc-a"), waiting(2, "fc-b")]
        assert turns.choose(both, 1) == {1: [0]}
        assert turns.choose(both, 1) == {2: [0]}
        turns.go_first("fc-b")
        assert turns.choose(both, 1) == {2: [0]}

    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3), st.integers(0, 2)),
            max_size=6,
        ),
        st.integers(1, 12),
    )
    def test_as_much_is_taken_as_there_is_and_nothing_twice(self, given_, limit):
        there = [
            waiting(n, f"fc-{call}", free=range(free), alone=range(10, 10 + alone), spawn=spawn)
            for n, (call, spawn, free, alone) in enumerate(given_)
        ]
        chosen = Turns().choose(there, limit)

        slots = [(number, slot) for number, some in chosen.items() for slot in some]
        assert len(slots) == len(set(slots))
        alone = [slot for _, slot in slots if slot >= 10]
        free = sum(len(each.free) for each in there)
        assert len(slots) == (1 if alone else min(limit, free))
