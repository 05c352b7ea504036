"""How many requests the main path of the ledger in DynamoDB takes."""

from itertools import pairwise

from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import Entry
from tests.contract.dynamo_ledgers import NOW, account, open_ledger
from tests.contract.ledger_worlds import POOL, SPEC, spec


def requests(aws):
    return sum(aws.faults.calls.values())


def run_map(number, lot, size, claimed, recorded):
    """Run a map of tiny inputs; return requests per input."""
    aws = account()
    client, machine = open_ledger(aws, "cl-1"), open_ledger(aws, "ma-1")
    before = requests(aws)
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
    return (requests(aws) - before) / number


def test_tiny_inputs_take_a_third_of_a_request_each():
    assert run_map(10_000, 500, 60, 128, 128) <= 0.3


def test_inputs_of_a_second_take_three():
    assert run_map(384, 192, 60, 1, 1) <= 3.0


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
