"""What the main path costs on AWS, as a model."""

import pytest

from cloudfn.providers.aws.costs import Load, Prices, cost


def test_a_million_tiny_inputs_cost_little_more_than_a_dollar_at_most():
    assert cost(Load()).dollars * 1e6 <= 1.20


def test_a_million_inputs_of_a_kilobyte_and_a_second_cost_some_dollars():
    slow = cost(Load(input=1_000, result=1_000, claimed=1, recorded=1))

    assert 2.0 < slow.dollars * 1e6 < 5.0


@pytest.mark.parametrize("grown", [Load(input=1_000), Load(result=1_000), Load(lot=96)])
def test_what_is_larger_or_comes_in_smaller_groups_costs_more(grown):
    assert cost(grown).dollars > cost(Load()).dollars


def test_a_cost_is_its_units_times_their_prices():
    found = cost(Load(), Prices(write_unit=1.0, read_unit=0.0, message=0.0))

    assert found.dollars == pytest.approx(found.write_units)
