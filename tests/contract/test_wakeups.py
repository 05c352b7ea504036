"""What wakeups promise, in memory and on an SQS that is as nasty as it may be."""

import json
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from cloudfn.model.call import Status
from cloudfn.providers.aws.wakeups import SqsWakeups
from cloudfn.providers.wakeups import Note
from cloudfn.testing import FakeClock
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.memory_wakeups import MemoryWakeups, Post

KEY = bytes(range(32))
DEAD = "arn:aws:sqs:eu-central-1:123456789012:cloudfn-main-dead"
ATTRIBUTES = {
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": 10}),
    "SqsManagedSseEnabled": "true",
}
NOTE = Note(
    "fc-1", (0, 7, 2**31), (Status.RETURNED, Status.RAISED, Status.LOST), (b"", b"\xff" * 9, b"x")
)


@pytest.fixture
def clock():
    return FakeClock(sleepless=True)


@pytest.fixture(params=["memory", "calm aws", "aws"])
def opener(request, clock):
    """Give what opens the port for a further client or machine."""
    if request.param == "memory":
        post = Post(clock)
        return lambda: MemoryWakeups(post)
    aws = FakeAws(clock, knobs=Knobs.calm() if request.param == "calm aws" else None, seed=5)
    return lambda: SqsWakeups(
        aws.clients(),
        "cloudfn-main-",
        ATTRIBUTES,
        "",
        tags={"cloudfn:environment": "main"},
        key=lambda: KEY,
        clock=clock,
        random=Random(1),
    )


@pytest.fixture
def client(opener):
    port = opener()
    yield port
    port.close()


@pytest.fixture
def machine(opener):
    port = opener()
    yield port
    port.close()


def hear(client, count):
    """Return different notes once there are `count` of them, in any order."""
    heard = set()
    for _ in range(100):
        heard |= set(client.listen(5))
        if len(heard) >= count:
            return heard
    raise AssertionError(f"only {len(heard)} of {count} notes came")


def test_a_client_is_told_what_a_machine_has_to_tell(client, machine):
    bare = Note("fc-2", (1,), (Status.TIMED_OUT,))
    items = Note("fc-3", (0,), (Status.RUNNING,), (), 12)
    machine.tell(client.open(), [NOTE, bare, items])

    assert hear(client, 3) == {NOTE, bare, items}


def test_each_client_has_a_mailbox_of_its_own(client, machine, opener):
    other = opener()
    machine.tell(client.open(), [NOTE])
    machine.tell(other.open(), [Note("fc-9", (0,), (Status.RETURNED,))])

    assert client.open() == client.open() != other.open()
    assert hear(client, 1) == {NOTE}
    assert hear(other, 1) == {Note("fc-9", (0,), (Status.RETURNED,))}
    other.close()


def test_notes_by_the_hundred_all_arrive(client, machine):
    notes = [Note(f"fc-{n}", (n,), (Status.RETURNED,), (b"x" * 20_000,)) for n in range(100)]
    machine.tell(client.open(), notes)

    assert hear(client, 100) == set(notes)


def test_a_mailbox_that_is_gone_is_no_error(client, machine):
    address = client.open()
    client.close()
    client.close()

    machine.tell(address, [NOTE])
    machine.tell("nobody's", [NOTE])
    machine.tell("", [NOTE])


def test_a_client_that_was_closed_may_open_again(client, machine):
    before = client.open()
    client.close()

    assert client.open() != before
    machine.tell(client.open(), [NOTE])
    assert hear(client, 1) == {NOTE}


def test_silence_takes_its_time(client, clock):
    client.open()
    before = clock.wall()

    assert client.listen(10) == []
    assert clock.wall() - before >= 10


def test_mailboxes_that_nobody_listens_to_are_swept(client, machine, opener, clock):
    silent = opener()
    silent.open()
    client.open()
    for _ in range(200):
        client.listen(20)

    assert machine.sweep(clock.wall(), 1_800) == 1
    assert machine.sweep(clock.wall(), 1_800) == 0
    machine.tell(client.open(), [NOTE])
    assert hear(client, 1) == {NOTE}


def test_a_client_whose_mailbox_was_swept_while_it_slept_has_it_again(client, machine, clock):
    address = client.open()
    client.listen(0)
    clock.advance(86_400)
    assert machine.sweep(clock.wall(), 1_800) == 1
    machine.tell(address, [NOTE])

    client.listen(0)
    clock.advance(60)
    client.listen(0)
    machine.tell(address, [NOTE])

    assert client.open() == address
    assert hear(client, 1) == {NOTE}
    assert machine.sweep(clock.wall(), 1_800) == 0


def test_several_may_tell_at_once(client, machine):
    address = client.open()
    with ThreadPoolExecutor(8) as threads:
        for number in range(40):
            threads.submit(machine.tell, address, [Note("fc-1", (number,), (Status.RETURNED,))])

    assert {note.indices[0] for note in hear(client, 40)} == set(range(40))
