"""An environment on paper: what it asks of each service, of what that allows, and what it costs.

Pure. Requests of each process are those that `counting` counts; sizes and quotas are below, each
with where it is from. `tests/unit/aws/test_scale.py` holds both against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import NamedTuple

from cloudfn.providers.aws.costs import Load, Prices, cost
from cloudfn.providers.aws.ledger.pages import SLOTS
from cloudfn.providers.aws.ledger.rows import OPEN
from cloudfn.providers.aws.machines import PARTITIONS
from cloudfn.providers.machines import MOST_NAMED

# Quotas, from AWS's documentation as of November 2026, as far as it was at hand: those of a fresh
# account in us-east-1. Most can be raised; those of one partition cannot.
#: DynamoDB: units a second of one partition key, and of one table on demand
PARTITION_WRITES, PARTITION_READS = 1_000.0, 3_000.0
TABLE_UNITS = 40_000.0
#: SSM: GetParameter(s) and PutParameter of an account; GetParametersByPath shares it
SSM_REQUESTS = 40.0
#: Auto Scaling: what Describe calls may be sustained without throttling, as many report
DESCRIBES = 10.0
#: EC2: new machines a second, after the first thousand (the resource bucket of RunInstances)
LAUNCHES = 2.0
#: CloudWatch Logs: PutLogEvents, CreateLogStream, FilterLogEvents
PUT_LOGS, NEW_STREAMS, FILTERS = 5_000.0, 50.0, 5.0
#: S3: writes a second of one prefix
S3_WRITES = 3_500.0

# How often, in seconds; see `machine/config.py`, `planner/observing.py`, `planner/janitor.py`.
BEAT, ORDERS = 5.0, 1.0
_REPAIR, _OVERDUE, _SCHEDULED, _FLEET, _CLASSES = 5.0, 2.0, 30.0, 3.0, 15.0
#: pages that the planner reads in a second at most
_READ_PER_SECOND = 1_000
#: a client that submits calls the planner
_CALLS = 2.0
#: a machine counts a backlog again after a second for so many inputs
_COUNTED_IN_A_SECOND = 400

# Bytes.
#: of a machine's row, with its keys, its orders and its SSH keys, and of what it says of a pool and
#: of a container
ROW, ROW_POOL, ROW_CONTAINER = 900, 130, 54
#: of a page in the index of open pages
INDEX_ROW = 110
#: seconds that Lambda bills for where one look is all
_LONG_LOOK = 2.0
#: Write units of a `.remote`: five items come in a transaction (10), it is claimed and recorded
#: (2), three items end in a transaction (6), and three are deleted. Its ring and its note are sent,
#: received and answered.
_REMOTE, _REMOTE_MESSAGES = 21, 6
#: what requests of SQS wait at most, in seconds
_POLL = 20.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """A size of environment, and what it does."""

    machines: int = 10_000
    functions: int = 1_000
    #: that each machine serves
    pools: int = 2
    #: whether anything runs; else machines only wait
    active: bool = True
    #: inputs of maps that end in a second, in all, and `.remote` calls
    mapped: float = 10_000.0
    remotes: float = 100.0
    #: inputs that wait, in all
    backlog: int = 100_000
    #: clients that wait for something
    clients: int = 100
    #: containers that start, and machines that come, in a second
    starts: float = 10.0
    launches: float = 1.0
    #: of output in a second and machine, in KiB
    output: float = 0.1
    #: seconds between two looks of the planner
    look: float = 1.0
    #: that each machine has
    containers: int = 4


class Demand(NamedTuple):
    """What is asked of one thing that has a limit."""

    what: str
    per_second: float
    limit: float
    #: what to do where it is not enough
    way_out: str

    @property
    def share(self) -> float:
        """Which part of the limit it is."""
        return self.per_second / self.limit


def row_size(pools: int, containers: int) -> int:
    """Return the bytes of a machine's row."""
    return ROW + ROW_POOL * pools + ROW_CONTAINER * min(containers, MOST_NAMED)


def demands(fleet: Fleet) -> Iterator[Demand]:
    """Yield what an environment asks for, by what has a limit."""
    yield from _of_dynamodb(fleet)
    yield from _of_others(fleet)


def _pages(fleet: Fleet) -> float:
    """Return how many pages are open."""
    return ceil(fleet.backlog / SLOTS) + (fleet.machines if fleet.active else 0)


def _overviews(fleet: Fleet) -> float:
    """Return how often in a second the planner reads all open pages, janitor included."""
    looks = min(1 / fleet.look, _READ_PER_SECOND / max(1.0, _pages(fleet)))
    return looks + 1 / max(_REPAIR, fleet.look)


def beats(fleet: Fleet) -> float:
    """Return the write units of all heartbeats in a second."""
    return fleet.machines / BEAT * ceil(row_size(fleet.pools, fleet.containers) / 1_024)


def reads_of_orders(fleet: Fleet) -> float:
    """Return the read units of all looks at orders between heartbeats."""
    if not fleet.active:
        return 0.0
    return (
        fleet.machines
        * (1 / ORDERS - 1 / BEAT)
        * ceil(row_size(fleet.pools, fleet.containers) / 4_096)
    )


def lists(fleet: Fleet) -> float:
    """Return the read units of the planner's lists of machines."""
    whole = fleet.machines * row_size(fleet.pools, fleet.containers) / 4_096
    return max(whole, float(PARTITIONS)) / fleet.look


def _index_reads(fleet: Fleet) -> float:
    """Return the read units of all looks into the index of open pages, in all its partitions."""
    whole = max(float(len(OPEN)), _pages(fleet) * INDEX_ROW / 4_096)
    of_pool = max(1.0, _pages(fleet) / max(1, fleet.functions) * INDEX_ROW / 4_096)
    looks = _overviews(fleet) + 1 / max(_OVERDUE, fleet.look)
    return whole * looks + _counting(fleet) * of_pool


def _counting(fleet: Fleet) -> float:
    """Return how often in a second machines count what waits in a pool of theirs."""
    if not fleet.active or not fleet.backlog:
        return 0.0
    each = fleet.backlog / max(1, fleet.functions)
    return fleet.machines * fleet.pools / max(2.0, each / _COUNTED_IN_A_SECOND)


def _page_rate(fleet: Fleet) -> float:
    """Return how many pages of maps are done in a second."""
    return fleet.mapped / SLOTS


def _of_dynamodb(fleet: Fleet) -> Iterator[Demand]:
    pages, calls = _page_rate(fleet), fleet.remotes
    per_pool = fleet.backlog / max(1, fleet.functions) / SLOTS
    counted = _counting(fleet) * max(1.0, per_pool)
    yield Demand(
        "a partition of machines, writes",
        beats(fleet) / PARTITIONS,
        PARTITION_WRITES,
        "more partitions (`PARTITIONS` of providers/aws/machines.py)",
    )
    yield Demand(
        "a partition of machines, reads",
        (reads_of_orders(fleet) + lists(fleet)) / PARTITIONS,
        PARTITION_READS,
        "the same",
    )
    # A page comes and goes in a transaction each, at twice the price.
    yield Demand(
        "a partition of the index of open pages, writes",
        4 * (pages + calls) / len(OPEN),
        PARTITION_WRITES,
        "maps instead of single calls; more partitions (`OPEN` of providers/aws/ledger/rows.py)",
    )
    yield Demand(
        "a partition of the index of open pages, reads",
        _index_reads(fleet) / len(OPEN),
        PARTITION_READS,
        "the same; longer pauses between two counts (`_COUNT_PAUSE` of machine/claims.py)",
    )
    yield Demand(
        "the list of calls, writes",
        3 * calls,
        PARTITION_WRITES,
        "maps instead of single calls; else another environment",
    )
    yield Demand(
        "the counters of one function, writes",
        4 * (pages + calls) / max(1, fleet.functions),
        PARTITION_WRITES,
        "maps instead of single calls; else more functions",
    )
    yield Demand(
        "leadership, reads and writes",
        1 / fleet.look + fleet.clients / 2 + fleet.machines / 60,
        PARTITION_WRITES,
        "nothing near",
    )
    yield Demand(
        "the table, writes",
        beats(fleet) + writes_of_inputs(fleet) + fleet.clients / _CALLS,
        TABLE_UNITS,
        "a higher quota of the table",
    )
    yield Demand(
        "the table, reads",
        reads_of_orders(fleet)
        + lists(fleet)
        + _pages(fleet) * _overviews(fleet)
        + counted
        + _index_reads(fleet)
        + fleet.machines / 60,
        TABLE_UNITS,
        "a higher quota of the table",
    )


def writes_of_inputs(fleet: Fleet) -> float:
    """Return the write units of a second's inputs; see `providers/aws/costs.py`."""
    return fleet.mapped * cost(Load()).write_units + fleet.remotes * _REMOTE


def _of_others(fleet: Fleet) -> Iterator[Demand]:
    yield Demand(
        "SSM",
        # A machine asks where everything is, for the key, and for secrets, once; copies of
        # settings come ten a page.
        3 * fleet.launches + fleet.functions / 10 / _SCHEDULED,
        SSM_REQUESTS,
        "higher throughput of Parameter Store (1,000 a second, at a price)",
    )
    yield Demand(
        "Auto Scaling, descriptions",
        2 / _FLEET + 2 / _CLASSES,
        DESCRIBES,
        "nothing near: machines ask when they join and leave alone",
    )
    yield Demand(
        "EC2, new machines",
        fleet.launches,
        LAUNCHES,
        "a higher rate of RunInstances; the first thousand come at once",
    )
    yield Demand(
        "Logs, lines",
        fleet.machines * 0.2 if fleet.output else 0.0,
        PUT_LOGS,
        "print less; lines wait on machines meanwhile",
    )
    yield Demand(
        "Logs, streams",
        fleet.starts,
        NEW_STREAMS,
        "containers that live longer; lines wait meanwhile",
    )
    yield Demand(
        "Logs, followers",
        0.05 * fleet.clients,
        FILTERS,
        "fewer who `--follow`: each asks once a second",
    )


def breaks_at(fleet: Fleet) -> list[tuple[float, Demand]]:
    """Return by how much an environment may grow in all its numbers until each limit, ascending."""
    found = [(inf if not each.per_second else 1 / each.share, each) for each in demands(fleet)]
    return sorted(found, key=lambda each: each[0])


class Bill(NamedTuple):
    """Dollars an hour, by what for."""

    what: str
    dollars: float


def bill(fleet: Fleet, prices: Prices | None = None) -> list[Bill]:
    """Return what an environment costs in an hour beside its machines.

    Args:
        fleet: What there is.
        prices: What AWS asks for.
    """
    prices = prices or Prices()
    hour, awake = 3_600.0, min(1.0, _LONG_LOOK / fleet.look)
    remote = _REMOTE * prices.write_unit + _REMOTE_MESSAGES * prices.message
    write, read = prices.write_unit * hour, prices.read_unit * hour
    return [
        Bill("heartbeats", beats(fleet) * write),
        Bill("looks at orders", reads_of_orders(fleet) * read),
        Bill(
            "doorbells: long polls",
            fleet.machines * fleet.pools / _POLL * prices.message * hour,
        ),
        Bill("planner: lists of machines", lists(fleet) * read),
        Bill(
            "planner: the ledger", (_pages(fleet) * _overviews(fleet) + _index_reads(fleet)) * read
        ),
        Bill("planner: Lambda", prices.lambda_gib_second * 0.5 * hour * awake),
        Bill(
            "inputs", (fleet.mapped * cost(Load(), prices).dollars + fleet.remotes * remote) * hour
        ),
        Bill("output", fleet.machines * fleet.output / 1_048_576 * prices.log_gib * hour),
    ]


def asleep() -> Fleet:
    """Return an environment in which nothing is left: a planner that looks once a minute."""
    return Fleet(0, 0, 0, False, 0, 0, 0, 0, 0, 0, 0, 60.0)  # noqa: FBT003 - nothing of anything


def waiting(machines: int) -> Fleet:
    """Return an environment whose machines have nothing to do, and are kept."""
    return replace(asleep(), machines=machines, functions=10, pools=2, look=1.0)


def of_machines(number: int) -> Fleet:
    """Return a busy environment of so many machines, all else in proportion."""
    part, usual = number / 10_000, Fleet()
    return replace(
        usual,
        machines=number,
        functions=max(1, round(usual.functions * part)),
        mapped=usual.mapped * part,
        remotes=usual.remotes * part,
        backlog=round(usual.backlog * part),
        clients=max(1, round(usual.clients * part)),
        starts=usual.starts * part,
        launches=usual.launches * part,
    )
