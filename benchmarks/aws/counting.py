"""What one machine's beat, one look of the planner, and the way of an input ask of AWS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.aws.account import Account, Calls
from cloudfn.control.planner.handler import open_planner
from cloudfn.model.call import CallKind, Status
from cloudfn.providers.base import Cloud
from cloudfn.providers.ledger import CallSpec, Entry
from cloudfn.providers.machines import MachineReport, MachineState, PoolReport
from cloudfn.providers.wakeups import Note


class Size(NamedTuple):
    """How large an environment is."""

    apps: int
    #: of each app
    functions: int
    machines: int
    #: that each machine serves
    pools: int
    #: functions that have a call whose inputs wait, and how many inputs
    waiting: int
    inputs: int


def planner_ticks(account: Account, size: Size, ticks: int = 30) -> Calls:
    """Return what a planner asks for in so many looks, one a second, once it knows everything."""
    cloud = account.open("cl-1")
    apps = account.deploy(size.apps, size.functions, cloud)
    names = [
        function.function_id for app in apps for function in cloud.catalog.functions(app.app_id)
    ]
    for number, function_id in enumerate(names[: size.waiting]):
        submit(cloud, function_id, f"fc-{number}", size.inputs)
    join(account, cloud, names, size)
    planner = open_planner(account.open("pl-1"), "pl-1", account.clock, account.settings)
    for _ in range(3):
        planner.tick()
        account.clock.advance(1.0)
    with account.counted() as found:
        for _ in range(ticks):
            assert planner.tick().led
            account.clock.advance(1.0)
    return found


def join(account: Account, cloud: Cloud, functions: Sequence[str], size: Size) -> None:
    """Have machines, each with containers of some pools."""
    for number, name in enumerate(account.machines(size.machines)):
        first = number * size.pools
        served = [functions[(first + each) % len(functions)] for each in range(size.pools)]
        pools = {f"{each}@1": PoolReport(busy=1, held=1, service=1.0) for each in served}
        report = MachineReport(name, "cpu", MachineState.READY, 2.0, 8_192, pools=pools)
        cloud.machines.join(report, account.clock.wall(), 86_400.0)


def submit(
    cloud: Cloud, function_id: str, call_id: str, inputs: int, kind: CallKind = CallKind.SPAWN_MAP,
    *, lot: int = 512, reply: str = "",
) -> None:  # fmt: skip
    """Make a call, as clients do, and ring."""
    spec = CallSpec(
        call_id, function_id, f"{function_id}@1", kind, 1.0, durable=kind.durable, reply=reply
    )
    for first in range(0, inputs, lot):
        number = min(lot, inputs - first)
        sealed = first + number == inputs
        admission = cloud.ledger.submit(spec, first, [b"x" * 100] * number, sealed=sealed, now=1.0)
        assert not admission.refused, admission
        cloud.doorbells.ring(cloud.ledger.rings())


def beats(account: Account) -> Calls:
    """Return what a machine asks for in a minute in which its containers run."""
    cloud = account.open("i-1", on_machine=True)
    report = MachineReport("i-1", "cpu", MachineState.READY, 2.0, 8_192)
    cloud.machines.join(report, account.clock.wall(), 30.0)
    with account.counted() as found:
        for second in range(60):
            now = account.clock.wall()
            if second % 5 == 0:
                cloud.machines.beat(report, now, 30.0)
            else:
                cloud.machines.orders("i-1")
            account.clock.advance(1.0)
    return found


def whole_way(account: Account, inputs: int, claimed: int, told: int) -> Calls:
    """Return what a map asks for in all: client, machine, and the client once more.

    Args:
        account: A fresh one.
        inputs: Of the map.
        claimed: Inputs that a machine claims, and whose outcomes it records, at once.
        told: Outcomes of which the client hears in one note; it takes ten notes at once.
    """
    client, machine = account.open("cl-1"), account.open("i-1", on_machine=True)
    (app,) = account.deploy(1, 1, client)
    (function,) = client.catalog.functions(app.app_id)
    pool, address = f"{function.function_id}@1", client.wakeups.open()
    machine.doorbells.listen(function.function_id, 0, 1)
    with account.counted() as found:
        submit(client, function.function_id, "fc-1", inputs, CallKind.MAP, reply=address)
        left, hungry = inputs, True
        while left:
            # Who knows of more does not listen.
            for heard in machine.doorbells.listen(function.function_id, 1, 10) if hungry else ():
                machine.ledger.hear(heard.ring)
                machine.doorbells.answer([heard])
            claims = machine.ledger.claim(pool, claimed, account.clock.wall())
            hungry = len(claims) < claimed
            machine.ledger.record(
                [Entry(each.seq, each.fence, Status.RETURNED, b"r" * 100) for each in claims]
            )
            for at in range(0, len(claims), told):
                indices = tuple(each.index for each in claims[at : at + told])
                some = len(indices)
                note = Note("fc-1", indices, (Status.RETURNED,) * some, (b"r" * 100,) * some)
                machine.wakeups.tell(address, [note])
            left -= len(claims)
        while client.wakeups.listen(0):
            pass
        assert len(client.ledger.outcomes("fc-1")) == inputs
        client.ledger.delivered("fc-1", range(inputs))
        client.ledger.forget("fc-1")
    return Counter(found)
