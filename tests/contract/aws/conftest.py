"""One table of behaviour, twice: against the calm fakes, and against moto.

Where moto is wrong: test_moto_is_wrong.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cloudfn.testing.aws import FakeAws, Knobs

REGION = "eu-central-1"


@dataclass
class Account:
    """Where clients come from."""

    fake: FakeAws | None

    def client(self, service: str) -> Any:
        if self.fake is not None:
            return self.fake.client(service)
        return _client_of_moto(service)


@cache
def _client_of_moto(service: str) -> Any:
    """Return a client for all tests: making one takes longer than most of them."""
    return boto3.client(
        service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture(params=["fake", "moto"])
def account(request) -> Iterator[Account]:
    if request.param == "fake":
        yield Account(FakeAws(knobs=Knobs.calm(), region=REGION))
        return
    with mock_aws():
        yield Account(None)
