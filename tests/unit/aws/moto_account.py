"""An account that moto pretends, and clients of it."""

from functools import cache
from typing import Any

import boto3

from cloudfn.providers.aws.clients import Access, Clients

REGION = "eu-central-1"


class Account:
    """Clients of moto."""

    def of(self, service: str) -> Any:
        return client(service)


class InMoto(Clients):
    """Clients of moto, as commands open them."""

    def __init__(self, account: Account) -> None:
        super().__init__(Access(region=REGION))
        self._account = account

    def of(self, service: str) -> Any:
        return self._account.of(service)


@cache
def client(service: str) -> Any:
    return boto3.client(
        service, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
    )
