"""What every Ledger promises about the end: cancelling, forgetting, expiry, crashes, full disks."""

from __future__ import annotations

import json

import pytest

from cloudfn.errors import ResourceExhaustedError
from cloudfn.model.call import LOSS_CAP, CallKind, Counters, Status
from cloudfn.providers.ledger import (
    Admission,
    Entry,
    PoolCounts,
)
from cloudfn.testing.memory_ledger import MemoryLedger
from tests.contract.ledger_worlds import (
    NOW,
    POOL,
    SPEC,
    WEEK,
    build,
    claim,
    finish,
    ledger,
    look_up,
    names,
    owned,
    spec,
    submit,
    world,
)

__all__ = ["build", "ledger", "world"]


class TestCancelling:
    def test_ends_what_waits_and_names_what_runs(self, world):
        submit(world.ledger, number=5, sealed=True)
        one, two = claim(world.ledger, 2)
        world.ledger.commit()

        running = world.ledger.cancel(SPEC.call_id)

        assert running == [(one.seq, one.fence, 0), (two.seq, two.fence, 1)]
        assert world.ledger.counts(POOL) == PoolCounts(0, 0, 2)
        assert claim(world.ledger) == []
        assert [o.index for o in world.ledger.outcomes(SPEC.call_id)] == [2, 3, 4]
        finish(world.ledger, [one], Status.CANCELLED)
        finish(world.ledger, [two])
        world.ledger.commit()
        world.crash()
        statuses = [Status.CANCELLED, Status.RETURNED, *[Status.CANCELLED] * 3]
        assert world.ledger.statuses(SPEC.call_id) == statuses
        record = look_up(world.ledger, SPEC.call_id)
        assert (record.cancelled, record.finished, record.failed) == (True, 5, 4)

    def test_gives_each_waiting_input_an_outcome_that_says_so(self, ledger):
        submit(ledger)
        ledger.cancel(SPEC.call_id)

        ((outcome),) = ledger.outcomes(SPEC.call_id)
        assert outcome.status == Status.CANCELLED
        assert "cancelled" in json.loads(outcome.payload)["message"]

    def test_is_idempotent_and_a_finished_call_stays_as_it_is(self, ledger):
        submit(ledger, sealed=True)
        (one,) = claim(ledger)
        assert ledger.cancel(SPEC.call_id) == ledger.cancel(SPEC.call_id) != []
        finish(ledger, [one])
        done = spec("done")
        submit(ledger, done, sealed=True)
        finish(ledger, claim(ledger))

        assert ledger.cancel("fc-done") == []
        record = look_up(ledger, "fc-done")
        assert not record.cancelled
        assert ledger.cancel("fc-nobody") == []

    def test_an_input_that_is_given_back_or_retried_does_not_run_again(self, ledger):
        submit(ledger, number=2, sealed=True)
        one, two = claim(ledger)
        ledger.cancel(SPEC.call_id)

        assert ledger.give_back([(one.seq, one.fence)]) == [True]
        assert ledger.retry(two.seq, two.fence, Counters(failures=1), 0.0)

        assert claim(ledger) == []
        assert ledger.statuses(SPEC.call_id) == [Status.CANCELLED] * 2
        assert ledger.counts(POOL) == PoolCounts(0, 0, 0)

    def test_inputs_that_come_later_are_cancelled_too(self, ledger):
        submit(ledger)
        ledger.cancel(SPEC.call_id)

        assert submit(ledger, number=2, first=1, sealed=True) == Admission(3)
        assert ledger.statuses(SPEC.call_id) == [Status.CANCELLED] * 3
        assert len(ledger.outcomes(SPEC.call_id)) == 3

    def test_what_ran_in_a_crash_does_not_run_again(self, world):
        submit(world.ledger, number=2, sealed=True)
        claim(world.ledger, 1)
        world.ledger.cancel(SPEC.call_id)
        world.ledger.commit()
        world.crash()

        assert claim(world.ledger) == []
        assert world.ledger.statuses(SPEC.call_id) == [Status.CANCELLED] * 2


class TestForgetting:
    def test_deletes_everything_of_a_call(self, world):
        submit(world.ledger, number=4)
        one, two, *_ = claim(world.ledger, 3)
        finish(world.ledger, [one])
        world.ledger.retry(two.seq, two.fence, Counters(failures=1), NOW + 9)
        world.ledger.commit()

        world.ledger.forget(SPEC.call_id)
        world.ledger.forget(SPEC.call_id)

        for _ in range(2):
            assert world.ledger.call(SPEC.call_id) is None
            assert world.ledger.statuses(SPEC.call_id) == []
            assert world.ledger.calls(limit=9) == []
            assert world.ledger.counts(POOL) == PoolCounts(0, 0, 0)
            assert world.ledger.pools() == []
            assert claim(world.ledger) == []
            assert world.ledger.next_due(NOW) is None
            world.ledger.commit()
            world.crash()

    def test_refuses_what_its_holders_write(self, ledger):
        submit(ledger)
        (one,) = claim(ledger)
        ledger.forget(SPEC.call_id)

        assert ledger.record([Entry(one.seq, one.fence, Status.RETURNED, b"")]) == [False]
        assert ledger.give_back([(one.seq, one.fence)]) == [False]

    def test_leaves_other_calls_alone(self, ledger):
        submit(ledger, spec("a"), 2)
        submit(ledger, spec("b"), 2)
        submit(ledger, spec("a"), 2, first=2)
        ledger.commit()
        ledger.forget("fc-a")

        assert names(claim(ledger)) == ["b0", "b1"]

    def test_a_cancelled_call_leaves_exact_counts(self, ledger):
        submit(ledger, number=3)
        one, two, _ = claim(ledger)
        ledger.retry(one.seq, one.fence, Counters(failures=1), NOW + 9)
        ledger.give_back([(two.seq, two.fence)])
        ledger.cancel(SPEC.call_id)
        ledger.forget(SPEC.call_id)

        assert ledger.counts(POOL) == PoolCounts(0, 0, 0)
        assert ledger.pools() == []

    def test_frees_the_id(self, world):
        submit(world.ledger, number=2, sealed=True)
        world.ledger.commit()
        world.ledger.forget(SPEC.call_id)
        submit(world.ledger, number=1)
        world.ledger.commit()
        world.crash()

        record = look_up(world.ledger, SPEC.call_id)
        assert (record.known, record.sealed) == (1, False)


class TestExpiry:
    def test_drops_outcomes_after_the_retention_and_the_call_after_another(self, world):
        call = spec("s", CallKind.SPAWN)
        submit(world.ledger, call, sealed=True)
        finish(world.ledger, claim(world.ledger))
        world.ledger.commit()

        assert world.ledger.expire(NOW + WEEK - 1, WEEK) == []
        assert len(world.ledger.outcomes("fc-s")) == 1
        assert world.ledger.expire(NOW + WEEK, WEEK) == ["fc-s"]
        world.ledger.commit()
        world.crash()
        assert world.ledger.outcomes("fc-s") == []
        record = look_up(world.ledger, "fc-s")
        assert (record.known, record.finished) == (1, 1)
        assert world.ledger.expire(NOW + WEEK, WEEK) == []
        assert world.ledger.expire(NOW + 2 * WEEK, WEEK) == []
        assert world.ledger.call("fc-s") is None

    @owned
    def test_counts_from_the_end_of_the_call(self, ledger):
        submit(ledger, spec("s", CallKind.SPAWN), sealed=True)
        (one,) = claim(ledger)
        finish(ledger, [one])
        ledger.next_due(NOW + 100)

        assert ledger.expire(NOW + WEEK + 99, WEEK) == []
        assert ledger.expire(NOW + WEEK + 100, WEEK) == ["fc-s"]

    def test_leaves_unfinished_calls_alone(self, ledger):
        submit(ledger, spec("waits", CallKind.SPAWN), sealed=True)
        open_call = spec("open", CallKind.SPAWN_MAP, "fu-g")
        submit(ledger, open_call)
        finish(ledger, claim(ledger, pool="fu-g@1"))

        assert ledger.expire(NOW + 9 * WEEK, WEEK) == []

    def test_drops_implied_outcomes_too(self, ledger):
        submit(ledger, spec("s", CallKind.SPAWN), sealed=True)
        ledger.cancel("fc-s")
        ledger.expire(NOW, 0.0)

        assert ledger.outcomes("fc-s") == []
        assert ledger.statuses("fc-s") == [Status.CANCELLED]


class TestQuestions:
    def test_a_call_is_what_was_submitted(self, world):
        call = spec("child", CallKind.MAP)._replace(parent=("fc-map", 3), durable=True)
        submit(world.ledger, call, 2)
        world.ledger.commit()
        before = look_up(world.ledger, "fc-child")
        world.crash()

        assert before.spec == call
        assert world.ledger.call("fc-child") == before
        assert world.ledger.calls(limit=1) == [before]
        assert world.ledger.children("fc-map") == [before]
        assert world.ledger.children("fc-child") == []

    def test_calls_are_listed_newest_first(self, ledger):
        for name, function in (("a", "fu-f"), ("b", "fu-g"), ("c", "fu-f"), ("d", "fu-f")):
            submit(ledger, spec(name, function=function))

        assert [r.spec.call_id for r in ledger.calls(limit=2)] == ["fc-d", "fc-c"]
        mine = ledger.calls(limit=9, functions=["fu-f"])
        assert [r.spec.call_id for r in mine] == ["fc-d", "fc-c", "fc-a"]
        assert len(ledger.calls(limit=9, functions=["fu-f", "fu-g", "fu-h"])) == 4
        assert ledger.calls(limit=9, functions=[]) == []

    def test_calls_of_a_range_of_time_are_listed(self, ledger):
        for name, created in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
            submit(ledger, spec(name, function=f"fu-{name}")._replace(created=created))

        def listed(**wanted):
            return [r.spec.call_id for r in ledger.calls(limit=2, **wanted)]

        assert listed(until=2.0) == ["fc-b", "fc-a"]
        assert listed(since=2.0) == ["fc-c", "fc-b"]
        assert listed(since=1.5, until=2.5) == ["fc-b"]
        assert listed(since=2.0, functions=["fu-a", "fu-c"]) == ["fc-c"]

    def test_pools_are_those_with_unfinished_inputs(self, ledger):
        submit(ledger, spec("a"))
        submit(ledger, spec("b", CallKind.SPAWN, "fu-g"))
        finish(ledger, claim(ledger))

        assert ledger.pools() == ["fu-g@1"]
        claim(ledger, pool="fu-g@1")
        assert ledger.pools() == ["fu-g@1"]
        assert ledger.counts("fu-x@1") == PoolCounts(0, 0, 0)


class TestCrashes:
    @owned
    def test_what_was_not_committed_never_was(self, world):
        submit(world.ledger, number=2)
        world.ledger.commit()
        submit(world.ledger, number=2, first=2)
        submit(world.ledger, spec("late"))
        finish(world.ledger, claim(world.ledger, 1))
        world.crash()

        assert world.ledger.statuses(SPEC.call_id) == [Status.PENDING] * 2
        assert world.ledger.call("fc-late") is None
        assert world.ledger.counts(POOL) == PoolCounts(2, 0, 0)

    def test_what_ran_is_lost_once_and_runs_again(self, world):
        submit(world.ledger, number=3)
        (one,) = claim(world.ledger, 1)
        world.ledger.commit()
        world.crash()

        assert world.ledger.record([Entry(one.seq, one.fence, Status.RETURNED, b"")]) == [False]
        again = {c.index: c.counters for c in claim(world.ledger)}
        assert again == {0: Counters(losses=1), 1: Counters(), 2: Counters()}

    def test_an_input_that_is_lost_too_often_is_given_up(self, world):
        submit(world.ledger, sealed=True)
        for _ in range(LOSS_CAP):
            assert len(claim(world.ledger)) == 1
            world.ledger.commit()
            world.crash()

        assert claim(world.ledger) == []
        (outcome,) = world.ledger.outcomes(SPEC.call_id)
        assert outcome.status == Status.LOST
        report = json.loads(outcome.payload)
        assert report["error"] == "InputLost"
        assert "lost 10 times" in report["message"]

    @owned
    def test_a_claim_that_was_not_committed_counts_no_loss(self, world):
        submit(world.ledger)
        world.ledger.commit()
        claim(world.ledger)
        world.crash()

        assert claim(world.ledger)[0].counters == Counters()


@owned
class TestAFullDisk:
    def test_undoes_what_was_written_since_the_last_commit(self, world):
        submit(world.ledger, number=2)
        world.ledger.commit()
        world.fill_disk()
        call = spec("late")
        world.ledger.submit(call, 0, [b"x" * 100_000], sealed=True, now=NOW)
        submit(world.ledger, number=1, first=2)

        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()

        assert world.ledger.call("fc-late") is None
        assert world.ledger.statuses(SPEC.call_id) == [Status.PENDING] * 2
        assert world.ledger.counts(POOL) == PoolCounts(2, 0, 0)
        world.free_disk()
        assert submit(world.ledger, call, sealed=True) == Admission(1)
        world.ledger.commit()
        world.crash()
        assert sorted(names(claim(world.ledger))) == ["late0", "map0", "map1"]

    def test_whoever_holds_a_claim_keeps_it(self, world):
        submit(world.ledger, number=4, sealed=True)
        world.ledger.commit()
        (early,) = claim(world.ledger, 1)
        world.ledger.commit()
        (late,) = claim(world.ledger, 1)
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()

        assert world.ledger.counts(POOL) == PoolCounts(2, 0, 2)
        world.free_disk()
        finish(world.ledger, [early, late])
        world.ledger.commit()
        assert names(claim(world.ledger)) == ["map2", "map3"]

    def test_what_holders_wrote_may_be_written_again_and_counts_once(self, world):
        submit(world.ledger, number=3, sealed=True)
        world.ledger.commit()
        one, two, three = claim(world.ledger)

        def achievements() -> None:
            finish(world.ledger, [one])
            assert world.ledger.give_back([(two.seq, two.fence)]) == [True]
            assert world.ledger.retry(three.seq, three.fence, Counters(failures=1), NOW + 5)

        achievements()
        world.fill_disk()
        for _ in range(2):
            world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
            with pytest.raises(ResourceExhaustedError):
                world.ledger.commit()
            assert world.ledger.counts(POOL) == PoolCounts(0, 0, 3)
            achievements()
        world.free_disk()
        world.ledger.commit()
        world.crash()

        assert len(world.ledger.outcomes(SPEC.call_id)) == 1
        assert world.ledger.counts(POOL) == PoolCounts(1, 1, 0)

    def test_a_claim_of_an_input_that_was_undone_is_void(self, world):
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        (one,) = claim(world.ledger)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()
        world.free_disk()
        submit(world.ledger, number=3)
        claim(world.ledger)

        assert world.ledger.record([Entry(one.seq, one.fence, Status.RETURNED, b"")]) == [False]
        assert world.ledger.give_back([(one.seq, one.fence)]) == [False]

    def test_a_claim_of_a_call_that_was_forgotten_in_vain_is_held_again(self, world):
        submit(world.ledger, number=2)
        (held,) = claim(world.ledger, 1)
        world.ledger.commit()
        world.ledger.forget(SPEC.call_id)
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()

        assert world.ledger.counts(POOL) == PoolCounts(1, 0, 1)
        finish(world.ledger, [held])

    @pytest.mark.parametrize("calls", [1, 4])
    def test_what_is_given_back_then_waits_once(self, world, calls):
        for number in range(calls):
            submit(world.ledger, spec(f"c{number}"), number=4 // calls)
        held = claim(world.ledger, 2)
        world.ledger.commit()
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()
        world.free_disk()
        assert world.ledger.give_back([(one.seq, one.fence) for one in held]) == [True, True]

        claims = claim(world.ledger, 10)
        assert len({each.seq for each in claims}) == len(claims) == 4
        finish(world.ledger, claims)
        assert claim(world.ledger, 10) == []
        assert world.ledger.counts(POOL) == PoolCounts(0, 0, 0)

    def test_fences_grow_all_the_same(self, world):
        submit(world.ledger)
        world.ledger.commit()
        (one,) = claim(world.ledger)
        for _ in range(1_100):
            world.ledger.give_back([(one.seq, one.fence)])
            (one,) = claim(world.ledger)
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()
        world.free_disk()
        world.ledger.give_back([(one.seq, one.fence)])
        world.ledger.commit()
        world.crash()

        assert claim(world.ledger)[0].fence > one.fence

    def test_calls_that_ended_before_expire_in_time(self, world):
        submit(world.ledger, spec("s", CallKind.SPAWN), sealed=True)
        finish(world.ledger, claim(world.ledger))
        world.ledger.commit()
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()
        world.free_disk()

        assert world.ledger.expire(NOW + WEEK, WEEK) == ["fc-s"]

    def test_a_superseded_claim_stays_superseded(self, world):
        submit(world.ledger)
        world.ledger.commit()
        (old,) = claim(world.ledger)
        world.ledger.give_back([(old.seq, old.fence)])
        (new,) = claim(world.ledger)
        world.fill_disk()
        world.ledger.submit(spec("big"), 0, [b"x" * 100_000], sealed=True, now=NOW)
        with pytest.raises(ResourceExhaustedError):
            world.ledger.commit()

        assert world.ledger.give_back([(old.seq, old.fence)]) == [False]
        finish(world.ledger, [new])


def test_the_fake_fails_when_it_is_told_to():
    ledger = MemoryLedger()
    ledger.fail_next("submit", ResourceExhaustedError("no"))

    with pytest.raises(ResourceExhaustedError, match="no"):
        submit(ledger)
    assert submit(ledger) == Admission(1)


class TestOpenCalls:
    def test_are_those_that_still_need_somebody(self, ledger):
        submit(ledger, number=1)
        done = spec("done", kind=CallKind.SPAWN)
        submit(ledger, done, number=1, sealed=True)
        waiting = spec("waiting", kind=CallKind.SPAWN)
        claims = claim(ledger)
        ledger.record([Entry(c.seq, c.fence, Status.RETURNED, b"") for c in claims])
        submit(ledger, waiting, number=1, sealed=True)

        found = [record.spec.call_id for record in ledger.open_calls()]

        assert found == [SPEC.call_id, "fc-waiting"]
        assert ledger.open_calls("fu-another") == []
