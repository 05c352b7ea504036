"""How many inputs a container gets at once: one while there is doubt, many when they are tiny."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudfn.agent.dispatch import (
    HANDOVER_WORK,
    MAX_BATCH,
    NEXT_ONLY,
    ServiceTime,
    batch_size,
    worth_refilling,
)

seconds = st.floats(0, 100)
estimates = st.builds(ServiceTime, st.none() | seconds, seconds)


@pytest.mark.parametrize(
    ("service", "batch"),
    [
        pytest.param(ServiceTime(), 1, id="unknown inputs go one at a time"),
        pytest.param(ServiceTime(1.0), 1, id="slow inputs go one at a time"),
        pytest.param(ServiceTime(0.002), 1, id="inputs that fill a hand-over go one at a time"),
        pytest.param(ServiceTime(0.001), 2, id="half of that goes in pairs"),
        pytest.param(ServiceTime(0.0001), 20, id="a hand-over carries two milliseconds of work"),
        pytest.param(ServiceTime(0.000001), MAX_BATCH, id="the tiniest go many at a time"),
        pytest.param(ServiceTime(0.0), MAX_BATCH, id="those that take no time as well"),
        pytest.param(ServiceTime(0.0, 0.05), 1, id="after a slow one, tiny ones go one at a time"),
    ],
)
def test_the_size_of_a_batch(service, batch):
    assert batch_size(service) == batch


@given(estimates)
def test_without_lots_a_container_has_at_most_the_next_input_early(service):
    assert batch_size(service, NEXT_ONLY) == min(NEXT_ONLY, batch_size(service))


@given(estimates)
def test_a_batch_is_never_empty_and_never_more_than_a_handover_of_work(service):
    batch = batch_size(service)

    assert 1 <= batch <= MAX_BATCH
    assert batch == 1 or batch * (service.mean or 0) <= HANDOVER_WORK * (1 + 1e-9)


@given(seconds, seconds)
def test_slower_inputs_never_go_in_larger_batches(one, other):
    quick, slow = sorted((one, other))

    assert batch_size(ServiceTime(slow)) <= batch_size(ServiceTime(quick))


def test_the_first_measurement_is_the_estimate():
    assert ServiceTime().after(0.5, 2) == ServiceTime(0.25)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30))
def test_the_estimate_stays_between_what_was_measured(measured):
    service = reduce(lambda known, took: known.after(took, 1), measured, ServiceTime())

    assert service.mean is not None
    assert min(measured) * (1 - 1e-9) <= service.mean <= max(measured) * (1 + 1e-9)


def test_the_estimate_follows_a_change():
    service = ServiceTime(1.0)
    for _ in range(40):
        service = service.after(0.0001 * 10, 10)

    assert batch_size(service) == 19


def test_one_slow_input_makes_batches_small_but_the_mean_no_larger():
    service = ServiceTime(0.00001).at_least(0.03)

    assert service.mean == 0.00001
    assert batch_size(service) == 1


def test_a_slow_input_is_forgotten_when_enough_quick_ones_followed():
    service = ServiceTime(0.00001).at_least(0.03)
    for _ in range(30):
        service = service.after(0.00001, 1)

    assert batch_size(service) == MAX_BATCH


def test_only_the_slowest_of_several_slow_inputs_counts():
    assert ServiceTime(1.0).at_least(0.5).at_least(0.2) == ServiceTime(1.0, 0.5)


@pytest.mark.parametrize(
    ("held", "batch", "worth"),
    [
        pytest.param(0, 1, True, id="an empty container is always worth it"),
        pytest.param(1, 1, False, id="a busy one is not when inputs go one at a time"),
        pytest.param(1, 2, True, id="one of two is"),
        pytest.param(10, 20, True, id="half a batch is"),
        pytest.param(11, 20, False, id="more than half a batch is not"),
    ],
)
def test_when_to_hand_over_more(held, batch, worth):
    assert worth_refilling(held, batch) is worth
