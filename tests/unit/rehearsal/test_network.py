"""Addresses of a rehearsal."""

import pytest

from cloudfn.errors import ExecutionError
from cloudfn.rehearsal.network import planned, rules


def test_addresses_are_those_that_nobody_has():
    plan = planned("cfr0", ["10.0.0.0/8", "172.17.0.0/16"][1:])
    assert plan.machine(0) == "10.212.0.2"
    assert planned("cfr0", ["10.212.1.0/30"]).machine(0) == "10.213.0.2"


def test_a_machine_with_all_addresses_taken_is_told_so():
    with pytest.raises(ExecutionError, match="free"):
        planned("cfr0", ["10.0.0.0/8"])


def test_every_firewall_rule_carries_the_tag():
    assert all("cfr0" in rule for rule in rules(planned("cfr0", []), 4566))
