"""One table of behaviour, twice: against the calm fakes, and against moto.

Where moto is wrong a test asks the fake alone, and says so (`account.is_moto`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
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


def code_of(call, **params) -> tuple[str, int]:
    """Return error code and HTTP status of a call that has to fail."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as found:
        call(**params)
    response = found.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
