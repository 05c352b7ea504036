"""What becomes of what vanished clients leave."""

from collections.abc import Sequence

import pytest

from cloudfn.control.invocation.attendance import Attendance
from cloudfn.control.invocation.client import CloudClient
from cloudfn.control.invocation.departed import end_departed
from cloudfn.control.invocation.ending import cancel
from cloudfn.control.invocation.front import Front
from cloudfn.control.invocation.stores import open_stores
from cloudfn.errors import ConnectionError, ResourceExhaustedError  # noqa: A004 - ours
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.providers.base import Place
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import CallSpec
from cloudfn.providers.presence import ClientRow
from cloudfn.settings import load
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.testing.memory_machines import MemoryMachines

FUNCTION = "fu-1"
GRACE = 60.0


class Left:
    """A cloud in which one client was, until it vanished at second 100."""

    def __init__(self, folder):
        self.world = MemoryCloud(folder)
        self.cloud = self.world.open("planner")
        self.stores = open_stores(self.cloud, load({}), FakeClock())

    def row(self, *owned, until=100.0):
        self.cloud.presence.beat(ClientRow("cl-1", ("reply-1",), owned, until))

    def call(self, call_id, kind=CallKind.MAP, reply="reply-1", function=FUNCTION):
        spec = CallSpec(call_id, function, f"{function}@1", kind, 1.0, durable=kind.durable)
        spec = spec._replace(reply=reply)
        self.cloud.ledger.submit(spec, 0, [b"\x80"], sealed=True, now=1.0)

    def look(self, now):
        return end_departed(self.cloud, self.stores, GRACE, now)

    def end(self, now=101.0):
        """Look twice, so long apart that whoever lives would have said so."""
        return self.look(now) + self.look(now + GRACE / 2)


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def test_nothing_of_a_client_that_is_there_ends(left):
    left.row()
    left.call("fc-1")

    assert left.look(80.0) == left.look(99.0) == 0
    assert left.cloud.ledger.statuses("fc-1") == [Status.PENDING]


def test_a_silent_client_is_given_time_to_say_that_it_was_not_heard(left):
    left.row()
    left.call("fc-1")

    assert left.look(160.0) == left.look(175.0) == 0
    left.row(until=230.0)  # the service works again
    assert left.look(190.0) == left.look(231.0) == left.look(246.0) == 0
    assert left.cloud.ledger.statuses("fc-1") == [Status.PENDING]

    assert left.look(261.0) == 1
    assert left.cloud.presence.list() == []


def test_a_client_whose_clock_is_slow_has_not_vanished(left):
    here, there = FakeClock(wall=1_000.0), FakeClock(wall=1_000.0 - 2 * GRACE)
    client = Attendance(left.cloud.presence, "cl-1", there, GRACE)
    client.attend("reply-1")
    left.call("fc-1")

    for second in range(600):
        client.attend()
        if second % 15 == 0:
            assert left.look(here.wall()) == 0
        for clock in (here, there):
            clock.advance(1.0)

    assert left.cloud.ledger.statuses("fc-1") == [Status.PENDING]


def test_transient_calls_of_a_vanished_client_are_forgotten_and_so_is_its_row(left):
    left.row()
    left.call("fc-1")

    assert left.end() == 1
    assert left.cloud.ledger.call("fc-1") is None
    assert left.cloud.presence.list() == []


def test_spawned_calls_and_those_of_other_clients_go_on(left):
    left.row()
    left.call("fc-spawned", CallKind.SPAWN)
    left.call("fc-other", reply="reply-2")

    left.end()

    for call_id in ("fc-spawned", "fc-other"):
        assert left.cloud.ledger.statuses(call_id) == [Status.PENDING]


def test_what_runs_of_them_is_stopped_where_it_runs(left):
    left.row()
    left.call("fc-1")
    machine = left.world.open("i-1")
    (claim,) = machine.ledger.claim(f"{FUNCTION}@1", 1, 2.0)
    left.world.join("i-1")

    left.end()

    assert left.cloud.machines.orders("i-1").cancelled == ((claim.seq, claim.fence),)


class Busy(MemoryMachines):
    """Does not take the first order to stop something."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = True

    def cancel(self, machine_id: str, inputs: Sequence[tuple[int, int]]) -> None:
        if self.refuses:
            self.refuses = False
            raise ResourceExhaustedError("it is asked too often")
        super().cancel(machine_id, inputs)


def test_what_runs_of_a_call_is_stopped_at_the_second_try_to_cancel_it(left):
    left.world.machines = Busy()
    cloud = left.world.open("cl-2")
    left.call("fc-1")
    machine = left.world.open("i-1")
    (claim,) = machine.ledger.claim(f"{FUNCTION}@1", 1, 2.0)
    left.world.join("i-1")

    with pytest.raises(ResourceExhaustedError):
        cancel(cloud, "fc-1")
    cancel(cloud, "fc-1")

    assert cloud.machines.orders("i-1").cancelled == ((claim.seq, claim.fence),)
    assert cloud.ledger.statuses("fc-1") == [Status.CANCELLED]


def test_ephemeral_objects_of_a_vanished_client_are_deleted(left):
    told = left.stores.registry.open({"kind": "dict", "object_id": "di-1"}, 1.0)
    left.row(told["object_id"])

    left.end()

    assert not left.stores.registry.knows("di-1")


def test_a_client_without_a_mailbox_leaves_no_calls(left):
    left.cloud.presence.beat(ClientRow("cl-2", (), (), 100.0))
    left.call("fc-1", reply="")

    assert left.end() == 1
    assert left.cloud.ledger.statuses("fc-1") == [Status.PENDING]


SPEC = RevisionSpec("0" * 64, "jobs", (FunctionSpec("f", "jobs", "f"),), "/usr/bin/python3")


def test_an_app_ends_whose_client_ended_while_it_opened_it(left):
    orphan, owned, deployed = (
        left.cloud.catalog.create_app("jobs", state, SPEC, 100.0)
        for state in ("ephemeral", "ephemeral", "deployed")
    )
    left.row(owned.app_id, until=10_000.0)

    left.end(now=200.0)
    assert left.cloud.catalog.app(orphan.app_id) is not None, "it may only just be opened"
    left.end(now=1_000.0)

    assert left.cloud.catalog.app(orphan.app_id) is None
    assert {app.app_id for app in left.cloud.catalog.apps()} == {owned.app_id, deployed.app_id}


def test_an_object_without_a_name_has_an_owner_before_it_is_there(left, tmp_path):
    place = Place(load({}), "cl-1", tmp_path / "cache")
    cloud = left.world.open(place.holder)
    client = CloudClient(Front(cloud, place), "ada", tmp_path / "payloads", 10)
    cloud.objects.fail_next("create", ConnectionError("the client ends here"))

    with pytest.raises(ConnectionError):
        client.request("object_open", kind="dict", object_id="di-1")
    [row] = cloud.presence.list()
    client.close()

    assert row.owned == ("di-1",)


def test_what_a_client_left_that_ended_while_it_stopped_an_app_ends(left):
    app = left.cloud.catalog.create_app("jobs", "deployed", SPEC, 100.0)
    [function] = left.cloud.catalog.functions(app.app_id)
    left.cloud.doorbells.open(function.function_id)
    left.call("fc-1", CallKind.SPAWN, function=function.function_id)
    left.cloud.catalog.stop_app(app.app_id, 200.0)

    left.end(now=201.0)

    assert left.cloud.ledger.statuses("fc-1") == [Status.CANCELLED]
    assert left.cloud.doorbells.functions() == []
