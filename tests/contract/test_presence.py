"""What every register of clients promises."""

from dataclasses import replace

import pytest

from cloudfn.providers.aws.presence import DynamoPresence
from cloudfn.providers.presence import ClientRow
from cloudfn.testing import FakeAws
from cloudfn.testing.memory_presence import MemoryPresence

ADA = ClientRow("cl-ada", ("reply-1", "reply-2"), ("ap-1", "di-1"), 60.5)
BOB = ClientRow("cl-bob", lease_until=70.0)


@pytest.fixture(params=["dynamodb", "memory"])
def presence(request):
    if request.param == "memory":
        return MemoryPresence()
    aws = FakeAws()
    return DynamoPresence(aws.clients(), aws.make_table(), aws.clock)


def test_clients_that_said_that_they_are_there_are_listed_as_they_said(presence):
    presence.beat(BOB)
    presence.beat(ADA)

    assert presence.list() == [ADA, BOB]


def test_what_a_client_says_replaces_what_it_said_before(presence):
    presence.beat(ADA)
    later = ClientRow("cl-ada", (), (), 90.0)

    presence.beat(later)

    assert presence.list() == [later]


def test_a_client_is_doubted_until_it_says_something(presence):
    presence.beat(ADA)

    presence.doubt("cl-ada", 30.0, 61.0)
    presence.doubt("cl-gone", 60.5, 61.0)
    assert presence.list() == [ADA]
    presence.doubt("cl-ada", 60.5, 61.0)
    presence.doubt("cl-ada", 60.5, 62.0)
    assert presence.list() == [replace(ADA, doubted=61.0)]
    presence.beat(ADA)
    assert presence.list() == [ADA]


def test_a_row_is_removed_once(presence):
    presence.beat(ADA)

    assert presence.remove("cl-ada")
    assert not presence.remove("cl-ada")
    assert presence.list() == []


def test_a_client_that_came_back_meanwhile_is_not_removed(presence):
    presence.beat(ADA)

    assert not presence.remove("cl-ada", 30.0)
    assert presence.list() == [ADA]
    assert presence.remove("cl-ada", 60.5)
