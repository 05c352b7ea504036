"""How nasty each service is. Frozen values; the defaults are nasty, `calm()` is not.

Chances lie between 0 and 1; the random numbers come from the account's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SqsKnobs:
    """Standard queues.

    From "Amazon SQS standard queues", "Amazon SQS short and long polling", "Amazon SQS visibility
    timeout", "Amazon SQS message quotas", and the API reference.
    """

    #: chance that a message becomes visible again although somebody has it
    doubled: float = 0.1
    #: chance that a deleted message comes back once more
    resurrected: float = 0.02
    #: chance that a deletion with an old receipt handle deletes
    stale_deletes: float = 0.5
    #: how many of the oldest messages a receive picks from, at random; 1 keeps the order
    shuffled: int = 20
    #: chance that a receive returns fewer than there are, and a short poll none
    sampled: float = 0.3
    #: seconds that a message may need until it can be received
    sending_takes: float = 0.5
    #: seconds for which counts may be out of date
    counts_lag: float = 60.0
    #: seconds until changed attributes hold
    attributes_lag: float = 60.0
    #: chance that an entry of a batch fails by itself, although the answer is good
    entry_fails: float = 0.03
    #: chance that a message is lost; SQS promises that none is
    lost: float = 0.0
    #: messages that may be in flight
    in_flight: int = 120_000

    @classmethod
    def calm(cls) -> SqsKnobs:
        """Return knobs for a queue that does what one would like it to do."""
        return cls(
            doubled=0, resurrected=0, stale_deletes=1, shuffled=1, sampled=0, sending_takes=0,
            counts_lag=0, attributes_lag=0, entry_fails=0,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DynamoKnobs:
    """Tables.

    From "DynamoDB read consistency", "Constraints in Amazon DynamoDB", "Managing complex workflows
    with DynamoDB transactions", "Using time to live (TTL) in DynamoDB", "Burst and adaptive
    capacity".
    """

    #: seconds by which a read without ConsistentRead may lag behind
    reads_lag: float = 1.0
    #: chance that such a read returns the past
    stale: float = 0.5
    #: chance that a transaction, or a write, meets another one
    conflicts: float = 0.03
    #: chance that an entry of a batch is left undone
    unprocessed: float = 0.1
    #: bytes after which a page of a query or scan ends
    page: int = 1_048_576
    #: write units a second of one partition key, and read units
    partition_writes: float = 1_000.0
    partition_reads: float = 3_000.0
    #: seconds by which an expired item may outlive its time to live
    expiry_lag: float = 48 * 3600.0

    @classmethod
    def calm(cls) -> DynamoKnobs:
        """Return knobs for a table that does what one would like it to do."""
        return cls(
            reads_lag=0, stale=0, conflicts=0, unprocessed=0, partition_writes=float("inf"),
            partition_reads=float("inf"), expiry_lag=0,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class S3Knobs:
    """Buckets.

    From "Amazon S3 data consistency model", "Conditional requests", "Multipart upload limits",
    "Best practices design patterns: optimizing Amazon S3 performance".
    """

    #: chance that a conditional put meets another one (409)
    conflicts: float = 0.03
    #: puts and gets a second of one prefix before SlowDown
    prefix_writes: float = 3_500.0
    prefix_reads: float = 5_500.0
    #: the longest page of a listing
    page: int = 1_000
    #: the smallest part of a multipart upload, but for the last one
    part: int = 5 * 1024 * 1024
    #: chance that the body of a get breaks off
    broken_bodies: float = 0.02

    @classmethod
    def calm(cls) -> S3Knobs:
        """Return knobs for a bucket that does what one would like it to do."""
        return cls(
            conflicts=0, prefix_writes=float("inf"), prefix_reads=float("inf"), broken_bodies=0
        )


@dataclass(frozen=True, slots=True)
class SsmKnobs:
    """Parameter Store.

    From "AWS Systems Manager endpoints and quotas", "Managing parameter tiers", "Working with
    parameter versions", and the API reference.
    """

    #: seconds for which another reader may see the value before
    puts_lag: float = 2.0
    #: chance that it does
    stale: float = 0.5
    #: chance that a put meets another one
    conflicts: float = 0.03
    #: calls a second, of the whole account
    calls: float = 40.0
    #: puts a second
    puts: float = 3.0

    @classmethod
    def calm(cls) -> SsmKnobs:
        """Return knobs for a store that does what one would like it to do."""
        return cls(puts_lag=0, stale=0, conflicts=0, calls=float("inf"), puts=float("inf"))


@dataclass(frozen=True, slots=True)
class FleetKnobs:
    """Auto Scaling Groups and their instances.

    From "Amazon EC2 Auto Scaling instance lifecycle", "Amazon EC2 Auto Scaling lifecycle hooks",
    "Spot Instance interruption notices", "Eventual consistency in the Amazon EC2 API".
    """

    #: seconds from the launch to InService, at least and at most
    boot: tuple[float, float] = (30.0, 90.0)
    #: seconds that an instance needs to end
    shutdown: float = 20.0
    #: seconds between two looks of a group at its desired capacity
    reaction: float = 10.0
    #: seconds by which descriptions may lag behind
    describe_lag: float = 5.0
    #: chance that they do
    stale: float = 0.5
    #: chance that a call meets another scaling activity
    contention: float = 0.02
    #: whether a group whose zones are out of balance moves instances to the small one
    rebalances: bool = True

    @classmethod
    def calm(cls) -> FleetKnobs:
        """Return knobs for a group that does what one would like it to do."""
        return cls(
            boot=(0, 0), shutdown=0, reaction=0, describe_lag=0, stale=0, contention=0,
            rebalances=False,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogsKnobs:
    """CloudWatch Logs.

    From "CloudWatch Logs quotas", and the API reference of PutLogEvents and FilterLogEvents.
    """

    #: seconds until events that were taken can be read
    reads_lag: float = 5.0
    #: chance that a page of events ends early, or is empty, although there are more
    short_pages: float = 0.3
    #: calls a second, of the whole account
    puts: float = 800.0
    creations: float = 50.0
    filters: float = 10.0

    @classmethod
    def calm(cls) -> LogsKnobs:
        """Return knobs for logs that are as one would like them to be."""
        return cls(
            reads_lag=0, short_pages=0, puts=float("inf"), creations=float("inf"),
            filters=float("inf"),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class EcrKnobs:
    """Repositories of images.

    From "Amazon ECR service quotas", "Private registry authentication", and the API reference.
    """

    #: seconds that a token opens the registry
    token_lives: float = 43_200.0
    #: the longest page of images
    page: int = 1_000
    #: calls a second
    tokens: float = 500.0
    reads: float = 1_000.0

    @classmethod
    def calm(cls) -> EcrKnobs:
        """Return knobs for a registry that does what one would like it to do."""
        return cls(tokens=float("inf"), reads=float("inf"))


@dataclass(frozen=True, slots=True)
class SchedulerKnobs:
    """Schedules.

    From "What is Amazon EventBridge Scheduler?" (at least once), "Schedule types in EventBridge
    Scheduler" and "Quotas for Amazon EventBridge Scheduler".
    """

    #: seconds within which a due time is delivered
    precision: float = 60.0
    #: chance that it is delivered twice
    doubled: float = 0.1
    #: chance that an update meets another one
    conflicts: float = 0.03
    #: calls a second
    calls: float = 50.0

    @classmethod
    def calm(cls) -> SchedulerKnobs:
        """Return knobs for schedules that do what one would like them to do."""
        return cls(precision=0, doubled=0, conflicts=0, calls=float("inf"))


@dataclass(frozen=True, slots=True)
class LambdaKnobs:
    """Functions. From "Invoking a Lambda function asynchronously"."""

    #: seconds until an asynchronous invocation begins, at most
    event_takes: float = 2.0
    #: chance that it comes twice
    doubled: float = 0.05

    @classmethod
    def calm(cls) -> LambdaKnobs:
        """Return knobs for functions that do what one would like them to do."""
        return cls(event_takes=0, doubled=0)


@dataclass(frozen=True, slots=True)
class Knobs:
    """How nasty an account is."""

    sqs: SqsKnobs = field(default_factory=SqsKnobs)
    dynamodb: DynamoKnobs = field(default_factory=DynamoKnobs)
    s3: S3Knobs = field(default_factory=S3Knobs)
    ssm: SsmKnobs = field(default_factory=SsmKnobs)
    fleet: FleetKnobs = field(default_factory=FleetKnobs)
    logs: LogsKnobs = field(default_factory=LogsKnobs)
    ecr: EcrKnobs = field(default_factory=EcrKnobs)
    scheduler: SchedulerKnobs = field(default_factory=SchedulerKnobs)
    functions: LambdaKnobs = field(default_factory=LambdaKnobs)

    @classmethod
    def calm(cls) -> Knobs:
        """Return knobs for an account that does what one would like it to do."""
        return cls(
            SqsKnobs.calm(), DynamoKnobs.calm(), S3Knobs.calm(), SsmKnobs.calm(), FleetKnobs.calm(),
            LogsKnobs.calm(), EcrKnobs.calm(), SchedulerKnobs.calm(), LambdaKnobs.calm(),
        )  # fmt: skip
