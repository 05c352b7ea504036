"""AWS services in this process, as strict as the documentation and as nasty: for tests.

`FakeAws` is an account; its clients answer like boto3's. Every nastiness that AWS documents is a
knob, on by default. Nothing here can prove that AWS behaves like this: `make verify-aws` asks it.
"""

from cloudfn.testing.aws.account import FakeAws
from cloudfn.testing.aws.faults import Faults
from cloudfn.testing.aws.knobs import (
    DynamoKnobs,
    EcrKnobs,
    FleetKnobs,
    Knobs,
    LambdaKnobs,
    LogsKnobs,
    S3Knobs,
    SchedulerKnobs,
    SqsKnobs,
    SsmKnobs,
)

__all__ = [
    "DynamoKnobs",
    "EcrKnobs",
    "FakeAws",
    "Faults",
    "FleetKnobs",
    "Knobs",
    "LambdaKnobs",
    "LogsKnobs",
    "S3Knobs",
    "SchedulerKnobs",
    "SqsKnobs",
    "SsmKnobs",
]
