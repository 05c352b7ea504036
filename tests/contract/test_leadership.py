"""What every leadership promises."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from cloudfn.providers.aws.leadership import DynamoLeadership
from cloudfn.testing import FakeAws
from cloudfn.testing.memory_leadership import MemoryLeadership


@pytest.fixture
def aws():
    return FakeAws()


@pytest.fixture
def woken():
    return []


@pytest.fixture(params=["dynamodb", "memory"])
def leadership(request, aws, woken):
    def wake():
        woken.append("woken")

    if request.param == "memory":
        return MemoryLeadership(wake)
    return on_dynamodb(aws, wake)


def on_dynamodb(aws, wake=lambda: None):
    return DynamoLeadership(aws.clients(), aws.make_table(), aws.clock, wake)


def test_nobody_leads_at_first_and_the_first_who_wants_to_does(leadership):
    assert not leadership.led(1.0)

    assert leadership.lead("a", 1.0, 10.0) == 1
    assert leadership.led(10.9)
    assert not leadership.led(11.0)


def test_a_leader_stays_so_under_the_same_epoch_while_it_renews_in_time(leadership):
    leadership.lead("a", 1.0, 10.0)

    assert leadership.lead("a", 10.0, 10.0) == 1
    assert leadership.lead("b", 19.9, 10.0) is None
    assert leadership.led(19.9)


def test_another_one_leads_under_a_higher_epoch_once_the_time_is_over(leadership):
    leadership.lead("a", 1.0, 10.0)

    assert leadership.lead("b", 11.0, 10.0) == 2
    assert leadership.lead("a", 12.0, 10.0) is None


def test_who_renews_too_late_leads_under_a_higher_epoch(leadership):
    leadership.lead("a", 1.0, 10.0)

    assert leadership.lead("a", 11.0, 10.0) == 2


def test_who_resigns_makes_room_at_once_and_only_for_itself(leadership):
    leadership.lead("a", 1.0, 10.0)

    leadership.resign("b")
    assert leadership.led(2.0)
    leadership.resign("a")
    leadership.resign("a")
    assert not leadership.led(2.0)
    assert leadership.lead("b", 2.0, 10.0) == 2
    leadership.resign("a")
    assert leadership.led(3.0)


def test_of_many_at_once_one_leads(leadership):
    names = [f"h-{n}" for n in range(8)]

    with ThreadPoolExecutor(8) as threads:
        epochs = list(threads.map(lambda name: leadership.lead(name, 1.0, 10.0), names))

    assert sorted(epochs, key=str) == [1] + [None] * 7


def test_waking_has_a_leader_come(leadership, woken):
    leadership.wake()

    assert woken == ["woken"]


def test_who_leads_can_ask_how_often_it_was_called_and_why(leadership):
    assert leadership.called() == (0, 0, 0)

    leadership.call()
    leadership.call(changed=True)
    leadership.call()
    leadership.relieve()

    assert leadership.called() == (2, 1, 1)
    assert leadership.lead("a", 1.0, 10.0) == 1


def test_a_lost_answer_costs_nobody_the_lead_and_no_epoch(aws):
    leadership = on_dynamodb(aws)
    aws.faults.fail("dynamodb", "UpdateItem", "ConditionalCheckFailedException")
    aws.faults.lose_answer("dynamodb", "UpdateItem")

    assert leadership.lead("a", 1.0, 10.0) == 1
    aws.faults.lose_answer("dynamodb", "UpdateItem")
    assert leadership.lead("a", 2.0, 10.0) == 1
    assert leadership.lead("b", 3.0, 10.0) is None


def test_renewing_is_one_request(aws):
    leadership = on_dynamodb(aws)
    leadership.lead("a", 1.0, 10.0)
    aws.faults.calls.clear()

    leadership.lead("a", 2.0, 10.0)

    assert dict(aws.faults.calls) == {("dynamodb", "UpdateItem"): 1}
