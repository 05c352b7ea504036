"""What every Ledger promises; one suite for SQLite, DynamoDB and the fake in memory."""

from __future__ import annotations

import pytest

from cloudfn.errors import ConflictError, NotFoundError
from cloudfn.model.call import CallKind, Counters, Status
from cloudfn.providers.ledger import (
    Admission,
    Entry,
    Outcome,
    PoolCounts,
)
from cloudfn.settings import Limits
from tests.contract.ledger_worlds import (
    NOW,
    POOL,
    SPEC,
    build,
    claim,
    finish,
    ledger,
    look_up,
    names,
    spec,
    submit,
    world,
)

__all__ = ["build", "ledger", "world"]


class TestSubmission:
    def test_admits_what_it_is_given(self, ledger):
        assert submit(ledger, number=3) == Admission(3)
        assert ledger.counts(POOL) == PoolCounts(3, 0, 0)
        assert ledger.statuses(SPEC.call_id) == [Status.PENDING] * 3

    def test_sent_twice_is_admitted_once(self, ledger):
        """C122."""
        submit(ledger, number=3)

        assert submit(ledger, number=3) == Admission(3)
        assert submit(ledger, number=3, first=1) == Admission(4)
        assert [c.payload for c in claim(ledger)] == [f"fc-map[{i}]".encode() for i in range(4)]

    def test_a_gap_admits_nothing(self, ledger):
        submit(ledger, number=2)

        assert submit(ledger, number=2, first=3) == Admission(2)

    def test_a_call_that_begins_with_a_gap_is_not_made(self, ledger):
        assert submit(ledger, number=2, first=1) == Admission(0)
        assert ledger.call(SPEC.call_id) is None

    def test_an_id_belongs_to_one_function(self, ledger):
        submit(ledger)

        with pytest.raises(ConflictError, match="fc-map"):
            submit(ledger, SPEC._replace(function_id="fu-other"))

    def test_a_sealed_call_takes_nothing_more(self, ledger):
        submit(ledger, number=2, sealed=True)

        with pytest.raises(ConflictError, match="sealed"):
            submit(ledger, number=1, first=2)

    def test_a_sealed_call_may_be_sent_again(self, ledger):
        submit(ledger, number=2, sealed=True)

        assert submit(ledger, number=2, sealed=True) == Admission(2)

    def test_the_seal_may_come_alone(self, ledger):
        submit(ledger, number=2)
        ledger.submit(SPEC, 2, [], sealed=True, now=NOW)

        record = look_up(ledger, SPEC.call_id)
        assert (record.sealed, record.known) == (True, 2)

    def test_a_call_may_have_no_inputs(self, ledger):
        assert ledger.submit(SPEC, 0, [], sealed=True, now=NOW) == Admission(0)

        record = look_up(ledger, SPEC.call_id)
        assert (record.sealed, record.known) == (True, 0)

    def test_thousands_of_inputs_and_payloads_of_any_size_come_back_as_they_were(self, world):
        payloads = [b"", b"x" * 700_000, *(str(i).encode() for i in range(2_498))]
        call = spec("big", CallKind.SPAWN_MAP)
        world.ledger.submit(call, 0, payloads, sealed=True, now=NOW)
        world.ledger.commit()
        world.crash()

        claims = claim(world.ledger, 3_000)
        assert [c.payload for c in claims] == payloads
        finish(world.ledger, claims[:2_400])
        world.ledger.commit()
        world.crash()

        assert world.ledger.statuses("fc-big") == [Status.RETURNED] * 2_400 + [Status.PENDING] * 100
        assert len(world.ledger.outcomes("fc-big")) == 2_400


class TestLimits:
    LIMITS = Limits(pending=5, total=8, spawn_pending=3)

    def test_admits_as_many_as_fit_and_says_which_limit_refused_the_rest(self, build):
        ledger = build(self.LIMITS).ledger

        admission = submit(ledger, number=7)

        assert admission.known == 5
        assert "function fu-f has 0 pending inputs, the limit is 5" in admission.refused

    def test_what_was_refused_may_be_sent_again(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=7)
        claim(ledger, 2)

        assert submit(ledger, number=2, first=5) == Admission(7)

    def test_running_inputs_count_for_the_total(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)
        claim(ledger, 5)

        admission = submit(ledger, number=5, first=5)

        assert admission.known == 8
        assert "has 5 inputs, the limit is 8" in admission.refused

    def test_finished_inputs_make_room(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)
        finish(ledger, claim(ledger))

        assert submit(ledger, number=5, first=5).known == 10

    def test_spawned_inputs_have_a_limit_of_their_own(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)

        admission = submit(ledger, spec("s", CallKind.SPAWN_MAP), 4)

        assert admission.known == 3
        assert "0 pending spawned inputs, the limit is 3" in admission.refused

    def test_a_function_is_limited_over_all_of_its_pools(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, spec("old")._replace(pool="fu-f@1"), 4)

        assert submit(ledger, spec("new")._replace(pool="fu-f@2"), 4).known == 1

    def test_functions_do_not_limit_each_other(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)

        assert submit(ledger, spec("other", function="fu-g"), 5) == Admission(5)

    def test_delayed_inputs_count_as_pending(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)
        for each in claim(ledger):
            ledger.retry(each.seq, each.fence, Counters(failures=1), NOW + 60)

        assert submit(ledger, number=1, first=5).known == 5

    def test_a_call_that_is_refused_whole_leaves_nothing_behind(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=5)

        assert submit(ledger, spec("late"), 1).known == 0
        assert ledger.call("fc-late") is None

    def test_a_seal_holds_only_when_everything_is_admitted(self, build):
        ledger = build(self.LIMITS).ledger
        submit(ledger, number=6, sealed=True)
        claim(ledger, 1)

        assert submit(ledger, number=1, first=5, sealed=True) == Admission(6)

    def test_a_crash_leaks_nothing(self, build):
        world = build(self.LIMITS)
        submit(world.ledger, number=5)
        claim(world.ledger, 3)
        world.ledger.commit()
        world.crash()

        assert submit(world.ledger, number=1, first=5).known == 5
        finish(world.ledger, claim(world.ledger))
        assert submit(world.ledger, number=6, first=5).known == 10


class TestClaims:
    def test_come_in_order_with_what_the_input_needs(self, ledger):
        submit(ledger, number=3)

        (first,) = claim(ledger, 1)

        assert (first.pool, first.call_id, first.index) == (POOL, "fc-map", 0)
        assert (first.payload, first.counters, first.alone) == (b"fc-map[0]", Counters(), False)
        assert 0 < first.fence < 2**32
        assert names(claim(ledger)) == ["map1", "map2"]
        assert ledger.counts(POOL) == PoolCounts(0, 0, 3)

    def test_are_exclusive(self, ledger):
        submit(ledger, number=2)
        claim(ledger)

        assert claim(ledger) == []

    def test_of_an_unknown_pool_or_of_nothing_are_none(self, ledger):
        submit(ledger, number=2)

        assert claim(ledger, pool="fu-x@1") == []
        assert claim(ledger, 0) == []

    def test_take_turns_between_spawned_and_other_calls(self, ledger):
        submit(ledger, spec("s", CallKind.SPAWN_MAP), 4)
        submit(ledger, spec("m", CallKind.MAP), 4)

        turns = [names(claim(ledger, 1))[0][0] for _ in range(8)]

        assert sorted(turns[:2]) == ["m", "s"]
        assert turns == turns[:2] * 4

    def test_of_several_inputs_are_shared_between_spawned_and_other_calls(self, ledger):
        submit(ledger, spec("s", CallKind.SPAWN_MAP), 10)
        submit(ledger, spec("m", CallKind.MAP), 3)

        claimed = names(claim(ledger, 6))

        assert sorted(claimed) == ["m0", "m1", "m2", "s0", "s1", "s2"]
        assert len(claim(ledger, 6)) == 6

    def test_a_long_map_does_not_starve_a_single_call(self, ledger):
        submit(ledger, spec("m", CallKind.MAP), 1_000)
        submit(ledger, spec("r"), 1)

        assert "r0" in names(claim(ledger, 10))

    def test_have_a_fence_that_grows_with_each_claim_and_over_restarts(self, world):
        submit(world.ledger)
        fences = []
        for _ in range(3):
            world.ledger.commit()
            (one,) = claim(world.ledger)
            fences.append(one.fence)
            world.ledger.give_back([(one.seq, one.fence)])
        world.ledger.commit()
        world.crash()
        fences.append(claim(world.ledger)[0].fence)
        world.crash()
        fences.append(claim(world.ledger)[0].fence)

        assert fences == sorted(set(fences))

    def test_a_fence_grows_even_when_one_input_is_claimed_thousands_of_times(self, world):
        submit(world.ledger)
        last = 0
        for _ in range(2_100):
            (one,) = claim(world.ledger)
            assert one.fence > last
            last = one.fence
            world.ledger.give_back([(one.seq, last)])
        world.ledger.commit()
        world.crash()

        assert claim(world.ledger)[0].fence > last


class TestGivingBack:
    def test_puts_inputs_back_to_the_front_in_their_old_order(self, ledger):
        submit(ledger, number=6)
        taken = claim(ledger, 4)

        assert ledger.give_back([(c.seq, c.fence) for c in reversed(taken[1:])]) == [True] * 3

        assert ledger.counts(POOL) == PoolCounts(5, 0, 1)
        assert names(claim(ledger)) == ["map1", "map2", "map3", "map4", "map5"]

    def test_goes_before_other_calls(self, ledger):
        submit(ledger, spec("a"))
        submit(ledger, spec("b"))
        (one,) = claim(ledger, 1)
        ledger.give_back([(one.seq, one.fence)])

        assert names(claim(ledger, 1)) == ["a0"]

    def test_moves_no_counter(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        ledger.give_back([(one.seq, one.fence)])

        assert claim(ledger)[0].counters == Counters()

    def test_an_input_that_runs_or_has_finished_is_not_handed_out_again(self, ledger):
        """C122."""
        submit(ledger, sealed=True)
        (first,) = claim(ledger)
        assert claim(ledger) == []

        assert ledger.retry(first.seq, first.fence, Counters(failures=1), 0.0)
        again = claim(ledger)
        assert len(again) == 1
        finish(ledger, again)

        assert claim(ledger) == []

    def test_is_refused_when_the_fence_is_superseded(self, ledger):
        submit(ledger)
        (old,) = claim(ledger)
        ledger.give_back([(old.seq, old.fence)])
        (new,) = claim(ledger)

        assert ledger.give_back([(old.seq, old.fence), (new.seq, new.fence)]) == [False, True]


class TestRetries:
    def test_wait_until_they_are_due(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        counters = Counters(failures=1, losses=2)

        assert ledger.retry(one.seq, one.fence, counters, NOW + 5)

        assert ledger.counts(POOL) == PoolCounts(0, 1, 0)
        assert ledger.claim(POOL, 1, NOW + 4.9) == []
        (again,) = ledger.claim(POOL, 1, NOW + 5)
        assert again.counters == counters
        assert again.fence > one.fence
        assert ledger.counts(POOL) == PoolCounts(0, 0, 1)

    def test_without_a_delay_run_at_once(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        ledger.retry(one.seq, one.fence, Counters(losses=1), 0.0)

        assert ledger.counts(POOL) == PoolCounts(1, 0, 0)
        assert claim(ledger)[0].counters == Counters(losses=1)

    def test_tell_when_the_next_one_is_due(self, ledger):
        assert ledger.next_due(NOW) is None
        submit(ledger, number=2)
        for one, delay in zip(claim(ledger), (9.0, 4.0), strict=True):
            ledger.retry(one.seq, one.fence, Counters(failures=1), NOW + delay)

        assert ledger.next_due(NOW) == NOW + 4
        assert ledger.next_due(NOW + 4) == NOW + 9
        assert ledger.counts(POOL) == PoolCounts(1, 1, 0)
        assert ledger.next_due(NOW + 9) is None

    def test_of_a_cancelled_call_are_due_never(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        ledger.retry(one.seq, one.fence, Counters(failures=1), NOW + 4)
        ledger.cancel(SPEC.call_id)

        assert ledger.next_due(NOW) is None
        assert ledger.counts(POOL) == PoolCounts(0, 0, 0)

    def test_are_refused_when_the_fence_is_superseded(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        ledger.give_back([(one.seq, one.fence)])

        assert not ledger.retry(one.seq, one.fence, Counters(failures=1), 0.0)
        assert claim(ledger)[0].counters == Counters()

    def test_survive_a_crash_with_counters_and_delay(self, world):
        submit(world.ledger, number=2)
        one, two = claim(world.ledger)
        world.ledger.retry(one.seq, one.fence, Counters(failures=3), NOW + 50)
        world.ledger.retry(two.seq, two.fence, Counters(crashes=1), 0.0, alone=True)
        world.ledger.commit()
        world.crash()

        assert world.ledger.counts(POOL) == PoolCounts(1, 1, 0)
        (alone,) = claim(world.ledger)
        assert (alone.index, alone.counters, alone.alone) == (1, Counters(crashes=1), True)
        (late,) = world.ledger.claim(POOL, 5, NOW + 50)
        assert (late.index, late.counters) == (0, Counters(failures=3))

    def test_that_must_run_alone_are_claimed_alone(self, ledger):
        submit(ledger, number=6)
        first, second, *_ = claim(ledger, 3)
        for one in (first, second):
            ledger.retry(one.seq, one.fence, Counters(), 0.0, alone=True)

        batches = [claim(ledger) for _ in range(3)]

        assert all(len(batch) == 1 or not any(c.alone for c in batch) for batch in batches)
        assert sorted(name for batch in batches for name in names(batch)) == [
            "map0",
            "map1",
            "map3",
            "map4",
            "map5",
        ]

    def test_alone_and_given_back_stay_alone(self, ledger):
        submit(ledger, number=2)
        one, two = claim(ledger)
        ledger.retry(one.seq, one.fence, Counters(), 0.0, alone=True)
        (alone,) = claim(ledger)
        ledger.give_back([(alone.seq, alone.fence), (two.seq, two.fence)])

        batches = [claim(ledger), claim(ledger)]

        assert sorted((c.index, c.alone) for batch in batches for c in batch) == [
            (0, True),
            (1, False),
        ]


class TestOutcomes:
    def test_are_what_was_recorded_in_order_of_their_inputs(self, ledger):
        submit(ledger, number=4)
        one, two, three, _ = claim(ledger)
        ledger.record([Entry(three.seq, three.fence, Status.RAISED, b"3")])
        ledger.commit()
        ledger.record([Entry(one.seq, one.fence, Status.RETURNED, b"1")])
        ledger.record([Entry(two.seq, two.fence, Status.TIMED_OUT, b"")])

        everything = [
            Outcome(0, Status.RETURNED, b"1"),
            Outcome(1, Status.TIMED_OUT, b""),
            Outcome(2, Status.RAISED, b"3"),
        ]
        assert ledger.outcomes(SPEC.call_id) == everything
        assert ledger.outcomes(SPEC.call_id, 1, 2) == everything[1:2]
        assert ledger.outcomes(SPEC.call_id, 2) == everything[2:]
        assert ledger.outcomes(SPEC.call_id, 0, 99) == everything
        record = look_up(ledger, SPEC.call_id)
        assert (record.known, record.finished, record.failed) == (4, 3, 2)
        assert ledger.counts(POOL) == PoolCounts(0, 0, 1)

    def test_the_first_one_wins_for_ever(self, world):
        submit(world.ledger)
        (one,) = claim(world.ledger)
        finish(world.ledger, [one])

        late = Entry(one.seq, one.fence, Status.RAISED, b"late")
        assert world.ledger.record([late]) == [False]
        world.ledger.commit()
        world.crash()
        assert world.ledger.record([late]) == [False]
        assert world.ledger.outcomes(SPEC.call_id)[0].status == Status.RETURNED

    def test_twice_in_one_batch_count_once(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        entry = Entry(one.seq, one.fence, Status.RETURNED, b"r")

        assert ledger.record([entry, entry]) == [True, False]

    def test_with_a_superseded_fence_are_refused_each_for_itself(self, ledger):
        """C053, where a client has no older attempts to ignore: none reaches it."""
        submit(ledger, number=2)
        one, two = claim(ledger)
        ledger.give_back([(one.seq, one.fence)])
        (newer,) = claim(ledger)

        entries = [Entry(c.seq, c.fence, Status.RETURNED, b"") for c in (one, two, newer)]
        assert ledger.record(entries) == [False, True, True]

    def test_of_an_input_that_nobody_knows_are_refused(self, ledger):
        assert ledger.record([Entry(12345, 1, Status.RETURNED, b"")]) == [False]

    def test_of_an_unknown_call_are_an_error(self, ledger):
        with pytest.raises(NotFoundError, match="fc-nobody"):
            ledger.outcomes("fc-nobody")

    def test_go_when_they_are_delivered(self, world):
        submit(world.ledger, number=3, sealed=True)
        finish(world.ledger, claim(world.ledger))
        world.ledger.commit()
        world.ledger.delivered(SPEC.call_id, [0, 2])
        world.ledger.delivered(SPEC.call_id, [0, 2, 99])
        world.ledger.commit()

        for _ in range(2):
            assert [o.index for o in world.ledger.outcomes(SPEC.call_id)] == [1]
            assert world.ledger.statuses(SPEC.call_id) == [Status.RETURNED] * 3
            world.crash()
        world.ledger.delivered(SPEC.call_id, [1])
        world.ledger.commit()
        assert world.ledger.outcomes(SPEC.call_id) == []
        record = look_up(world.ledger, SPEC.call_id)
        assert (record.known, record.finished, record.failed) == (3, 3, 0)

    def test_that_are_not_committed_may_be_delivered(self, ledger):
        submit(ledger, number=2)
        finish(ledger, claim(ledger))
        ledger.delivered(SPEC.call_id, [1])
        ledger.commit()

        assert [o.index for o in ledger.outcomes(SPEC.call_id)] == [0]

    def test_are_not_delivered_before_they_exist(self, ledger):
        submit(ledger)
        ledger.delivered(SPEC.call_id, [0])
        finish(ledger, claim(ledger))

        assert len(ledger.outcomes(SPEC.call_id)) == 1

    def test_of_durable_calls_stay_after_delivery(self, world):
        call = spec("s", CallKind.SPAWN)
        submit(world.ledger, call, sealed=True)
        finish(world.ledger, claim(world.ledger))
        world.ledger.delivered("fc-s", [0])
        world.ledger.commit()
        world.crash()

        assert world.ledger.outcomes("fc-s") == [Outcome(0, Status.RETURNED, b"result of fc-s[0]")]
