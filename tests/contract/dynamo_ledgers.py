"""Ledgers of several processes on one table of the fake DynamoDB."""

from __future__ import annotations

from random import Random
from typing import Any

from cloudfn.providers.aws.ledger.ledger import DynamoLedger
from cloudfn.settings import Limits
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.clock import FakeClock
from cloudfn.wire.seals import input_seals, result_seals

TABLE = "cloudfn-test"
KEY = bytes(range(32))
NOW = 1_000.0


class Source:
    """Clients of one fake account, of one process."""

    def __init__(self, aws: FakeAws, attempts: int) -> None:
        self._client = aws.client("dynamodb", attempts=attempts)

    def of(self, service: str) -> Any:
        assert service == "dynamodb"
        return self._client


def account(knobs: Knobs | None = None, *, seed: int = 0) -> FakeAws:
    """Return an account with an empty table."""
    clock = FakeClock(wall=NOW, sleepless=True)
    aws = FakeAws(clock, knobs=knobs or Knobs.calm(), seed=seed)
    client = aws.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    client.update_time_to_live(
        TableName=TABLE, TimeToLiveSpecification={"AttributeName": "expires", "Enabled": True}
    )
    return aws


def open_ledger(
    aws: FakeAws,
    holder: str = "ma-1",
    limits: Limits | None = None,
    *,
    attempts: int = 1,
    seed: int = 0,
    threads: int = 1,
    clients: Any = None,
) -> DynamoLedger:
    """Return a ledger as one process opens it."""
    return DynamoLedger(
        clients or Source(aws, attempts),
        TABLE,
        holder,
        input_seals(KEY),
        result_seals(KEY),
        limits or Limits(),
        aws.clock,
        random=Random(f"{holder} {seed}"),
        threads=threads,
    )
