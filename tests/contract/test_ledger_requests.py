"""How many requests the main path of the ledger in DynamoDB takes, and what they cost."""

from itertools import pairwise

from cloudfn.model.call import CallKind, Status
from cloudfn.providers.aws.costs import Load, Prices, cost
from cloudfn.providers.aws.ledger.ledger import DynamoLedger
from cloudfn.providers.ledger import Entry
from cloudfn.settings import Limits
from cloudfn.testing.aws.dynamodb_tables import read_units, write_units
from cloudfn.testing.aws.dynamodb_values import item_size
from cloudfn.wire.seals import input_seals, result_seals
from tests.contract.dynamo_ledgers import KEY, NOW, TABLE, account, open_ledger
from tests.contract.ledger_worlds import POOL, SPEC, spec


def requests(aws):
    return sum(aws.faults.calls.values())


def run_through(client, machine, number, *, lot, size, claimed, recorded):
    """Run a map of inputs from its submission to its end."""
    for first in range(0, number, lot):
        payloads = [b"x" * size] * min(lot, number - first)
        last = first + lot >= number
        client.submit(SPEC, first, payloads, sealed=last, now=NOW)
        for ring in client.rings():
            machine.hear(ring)
        done = []
        while len(done) < len(payloads):
            claims = machine.claim(POOL, claimed, NOW)
            done += claims
            for at in range(0, len(claims), recorded):
                some = claims[at : at + recorded]
                entries = [Entry(c.seq, c.fence, Status.RETURNED, b"r" * size) for c in some]
                assert all(machine.record(entries))
        client.outcomes(SPEC.call_id, first, first + lot)
        client.delivered(SPEC.call_id, range(first, first + lot))
    client.forget(SPEC.call_id)


def run_map(number, **habits):
    """Run a map; return requests per input."""
    aws = account()
    client, machine = open_ledger(aws, "cl-1"), open_ledger(aws, "ma-1")
    before = requests(aws)
    run_through(client, machine, number, **habits)
    return (requests(aws) - before) / number


def test_tiny_inputs_take_a_third_of_a_request_each():
    assert run_map(10_000, lot=500, size=60, claimed=128, recorded=128) <= 0.3


def test_inputs_of_a_second_take_three():
    assert run_map(384, lot=192, size=60, claimed=1, recorded=1) <= 3.0


def test_a_single_call_takes_one_for_each_step():
    aws = account()
    client, machine = open_ledger(aws, "cl-1"), open_ledger(aws, "ma-1")
    counts = []

    def step(result):
        counts.append(requests(aws))
        return result

    step(None)
    step(client.submit(spec("r", CallKind.REMOTE), 0, [b"x" * 200], sealed=True, now=NOW))
    (ring,) = client.rings()
    machine.hear(ring)
    (held,) = step(machine.claim(POOL, 4, NOW))
    step(machine.record([Entry(held.seq, held.fence, Status.RETURNED, b"r" * 200)]))
    assert len(client.outcomes("fc-r")) == 1
    step(None)
    step(client.forget("fc-r"))

    steps = [b - a for a, b in pairwise(counts)]
    assert steps == [1, 1, 1, 2, 3]


class Meter:
    """A source of one client that adds up what DynamoDB would bill.

    Items are as large as the table says afterwards; single writes bill the larger one of before and
    after, which the fake tells itself.
    """

    def __init__(self, aws):
        self._aws = aws
        self._client = aws.client("dynamodb")
        self.written = self.read = 0.0

    def of(self, service):
        return self

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def metered(**params):
            single = name in {"get_item", "put_item", "update_item", "delete_item", "query"}
            answer = call(**params, **({"ReturnConsumedCapacity": "TOTAL"} if single else {}))
            if single:
                units = answer["ConsumedCapacity"]["CapacityUnits"]
                self._add(units, reads=name in {"get_item", "query"})
            elif name == "batch_get_item":
                for item in answer["Responses"][TABLE]:
                    self._add(read_units(item_size(item), consistent=True), reads=True)
            else:
                self._add_writes(params)
            return answer

        return metered

    def _add_writes(self, params):
        there = {(i["pk"]["S"], i["sk"]["S"]): i for i in self._aws.dynamodb.truth(TABLE)}
        if "TransactItems" in params:
            writes, factor = [next(iter(each.values())) for each in params["TransactItems"]], 2
        else:
            entries = params["RequestItems"][TABLE]
            writes, factor = [next(iter(each.values())) for each in entries], 1
        for write in writes:
            key = write.get("Key") or write["Item"]
            item = there.get((key["pk"]["S"], key["sk"]["S"]))
            self._add(factor * write_units(item), reads=False)

    def _add(self, units, *, reads):
        if reads:
            self.read += units
        else:
            self.written += units

    def dollars(self, prices):
        return self.written * prices.write_unit + self.read * prices.read_unit


def test_a_million_tiny_inputs_cost_no_more_than_the_model_says():
    aws = account()
    meter = Meter(aws)
    client, machine = (
        DynamoLedger(
            meter, TABLE, name, input_seals(KEY), result_seals(KEY), Limits(), aws.clock, threads=1
        )
        for name in ("cl-1", "ma-1")
    )
    run_through(client, machine, 2_000, lot=500, size=100, claimed=128, recorded=128)

    dollars = meter.dollars(Prices()) / 2_000 * 1e6
    messages = cost(Load()).messages * Prices().message * 1e6
    assert dollars + messages <= 1.20
    assert dollars + messages <= 1.5 * cost(Load()).dollars * 1e6
