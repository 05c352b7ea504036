"""The ledger in DynamoDB and the fake do the same, whatever is done to them in whatever order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from cloudfn.model.call import Counters, Status
from cloudfn.providers.aws.ledger.ledger import DynamoLedger
from cloudfn.providers.ledger import Entry
from tests.contract.dynamo_ledgers import account, open_ledger
from tests.contract.test_ledger_model import IDS, LIMITS, POOLS, Twins


class DynamoTwins(Twins):
    """Twins of which one is in a table; machines die, and janitors return what they held."""

    def __init__(self) -> None:
        self._aws = account()
        self._born = 0
        super().__init__()
        # Both live at the same time; the table's clock goes on by itself alone.
        self._now = self._aws.clock.wall()

    def _open(self) -> DynamoLedger:  # type: ignore[override]
        self._born += 1
        return open_ledger(self._aws, f"ma-{self._born}", LIMITS)

    @rule()
    def crash(self) -> None:
        self._fake.commit()
        self._real = self._open()
        self._real.repair(lambda holder: holder == f"ma-{self._born}", self._now)
        self._fake.crash(self._now)
        self._drop_claims(list(self._held))

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self._aws.clock.advance(seconds)
        super().pass_time(seconds)

    @precondition(lambda self: self._past)
    @rule(data=st.data())
    def write_with_a_superseded_fence(self, data: st.DataObject) -> None:
        """The same outcome again would be true: whoever got no answer asks in these words."""
        claim, _ = data.draw(st.sampled_from(self._past))
        entry = Entry(claim.seq, claim.fence, Status.RAISED, b"something else")
        assert self._real.record([entry]) == [False]
        assert self._real.give_back([(claim.seq, claim.fence)]) == [False]
        assert not self._real.retry(claim.seq, claim.fence, Counters(), 0.0)

    def commit(self) -> None:
        """A shared ledger has nothing to commit."""

    def fail_to_commit(self, statements: int) -> None:
        """It cannot fail to, either."""

    def expire(self) -> None:
        """The times at which calls ended are those of two clocks."""

    @rule()
    def repair(self) -> None:
        """A janitor changes nothing where everybody lives."""
        assert self._real.repair(lambda holder: True, self._now)[:2] == (0, 0)

    def teardown(self) -> None:
        self._check_calls()
        super().teardown()

    def _check_calls(self) -> None:
        real, fake = self._real, self._fake
        by_id = {record.spec.call_id: record for record in fake.calls(limit=99)}
        assert {record.spec.call_id: record for record in real.calls(limit=99)} == by_id
        children = {record.spec.call_id for record in fake.children("fc-m1")}
        assert {record.spec.call_id for record in real.children("fc-m1")} == children
        assert sorted(real.pools()) == sorted(fake.pools())

    @invariant()
    def both_say_the_same(self) -> None:
        for pool in POOLS:
            assert self._real.counts(pool) == self._fake.counts(pool)
        for call_id in IDS:
            known = self._fake.call(call_id)
            assert self._real.call(call_id) == known
            if known is not None:
                assert self._real.statuses(call_id) == self._fake.statuses(call_id)
                assert self._real.outcomes(call_id) == self._fake.outcomes(call_id)

    def what_runs_is_what_is_held(self) -> None:
        """Statuses are compared already."""

    def an_input_has_one_outcome_for_ever(self) -> None:
        """Outcomes are, too."""


DynamoTwins.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, report_multiple_bugs=False, deadline=None
)
TestDynamoTwins = DynamoTwins.TestCase
