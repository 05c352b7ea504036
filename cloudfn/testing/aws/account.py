"""One account in one region: all fakes, on one clock, under one set of faults."""

from __future__ import annotations

from functools import partial
from itertools import count
from random import Random
from threading import Lock
from typing import Any

from cloudfn.testing.aws.autoscaling import AutoScaling
from cloudfn.testing.aws.client import FakeClient
from cloudfn.testing.aws.dynamodb_groups import Dynamo
from cloudfn.testing.aws.ec2 import Ec2
from cloudfn.testing.aws.ecr import Ecr
from cloudfn.testing.aws.faults import Faults
from cloudfn.testing.aws.fleet import Fleet
from cloudfn.testing.aws.functions import Functions
from cloudfn.testing.aws.knobs import Knobs
from cloudfn.testing.aws.logs import Logs
from cloudfn.testing.aws.s3_uploads import S3
from cloudfn.testing.aws.scheduler import Scheduler
from cloudfn.testing.aws.service import Service
from cloudfn.testing.aws.sqs import Sqs
from cloudfn.testing.aws.ssm import Ssm
from cloudfn.testing.aws.sts import Sts
from cloudfn.testing.clock import FakeClock


class FakeAws:
    """An AWS account in this process.

    Args:
        clock: What time it is; a fresh one on which `sleep` moves time by itself.
        knobs: How nasty the services are; `Knobs.calm()` for not at all.
        seed: Of everything that happens by chance.
        region: In the names of things.
        account: Twelve digits, in the names of things.
    """

    def __init__(
        self,
        clock: FakeClock | None = None,
        *,
        knobs: Knobs | None = None,
        seed: int = 0,
        region: str = "eu-central-1",
        account: str = "123456789012",
    ) -> None:
        self.clock = clock or FakeClock(sleepless=True)
        self.faults = Faults()
        self.region = region
        knobs = knobs or Knobs()
        self._readers = count(1)
        place = region, account
        self.sqs = Sqs(self.clock, Random(f"{seed} sqs"), *place, knobs.sqs)
        self.dynamodb = Dynamo(self.clock, Random(f"{seed} dynamodb"), *place, knobs.dynamodb)
        self.s3 = S3(self.clock, Random(f"{seed} s3"), *place, knobs.s3)
        self.ssm = Ssm(self.clock, Random(f"{seed} ssm"), *place, knobs.ssm)
        self.fleet = Fleet(self.clock, Random(f"{seed} fleet"), knobs.fleet)
        self.logs = Logs(self.clock, Random(f"{seed} logs"), *place, knobs.logs)
        self.ecr = Ecr(self.clock, Random(f"{seed} ecr"), *place, knobs.ecr)
        self.functions = Functions(self.clock, Random(f"{seed} functions"), *place, knobs.functions)
        self.scheduler = Scheduler(
            self.clock,
            Random(f"{seed} scheduler"),
            *place,
            knobs.scheduler,
            partial(self.client, attempts=8),
        )
        services: tuple[Service, ...] = (
            self.sqs,
            self.dynamodb,
            self.s3,
            self.ssm,
            AutoScaling(self.fleet, Random(f"{seed} autoscaling"), *place),
            Ec2(self.fleet, Random(f"{seed} ec2"), *place),
            self.logs,
            self.ecr,
            self.functions,
            self.scheduler,
            Sts(self.clock, Random(f"{seed} sts"), *place),
        )
        self._services = {service.name: service for service in services}

    def client(self, service: str, *, attempts: int = 1) -> Any:
        """Return a new client, which is a reader of its own.

        Args:
            service: As in boto3.
            attempts: Tries in all of what botocore would try again; 1 shows every failure.
        """
        return FakeClient(self._services[service], self.faults, next(self._readers), attempts)

    def make_table(self, name: str = "cloudfn-main") -> str:
        """Make a table with the keys of an environment's, and return its name."""
        dynamodb = self.client("dynamodb")
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        )
        dynamodb.update_time_to_live(
            TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"},
        )
        return name

    def make_bucket(self, name: str = "cloudfn-main") -> str:
        """Make a bucket in this region, and return its name."""
        place = {"LocationConstraint": self.region}
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place)
        return name

    def clients(self, attempts: int = 8) -> FakeClients:
        """Return what adapters take clients from, as patient as botocore is for DynamoDB."""
        return FakeClients(self, attempts)


class FakeClients:
    """One client per service, as `cloudfn.providers.aws.clients.Clients` has them.

    Args:
        aws: The account.
        attempts: Tries of each call in all; 1 shows every failure.
    """

    def __init__(self, aws: FakeAws, attempts: int) -> None:
        self._aws = aws
        self._attempts = attempts
        self._made: dict[str, Any] = {}
        self._making = Lock()

    def of(self, service: str) -> Any:
        """Return the one client of a service."""
        with self._making:
            if service not in self._made:
                self._made[service] = self._aws.client(service, attempts=self._attempts)
            return self._made[service]
