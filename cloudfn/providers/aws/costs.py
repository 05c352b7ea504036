"""What calls cost on AWS beyond machines: the ledger's units and the doorbells' messages. Pure.

A model of the main path, to choose between designs and to tell users; the bill is AWS's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from cloudfn.providers.aws.ledger.pages import SLOTS

#: bytes of a page of 96 inputs when all of its slots run, and before any does
_PAGE_RUNNING = 1_000
_PAGE_FRESH = 500
#: bytes that a payload takes beside itself, and a segment or chunk of them
_BESIDE = 10
_SEALED = 40
#: of an item in the index, a counter, a head, a row in the list of calls: one unit each
_UNIT = 1_024
_READ_UNIT = 4_096


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars. The defaults are list prices of us-east-1, on demand, as of November 2026.

    DynamoDB's standard table class and SQS's standard queues, as published lists of third parties
    give them; AWS's own pages were not read.
    """

    #: one KiB written; in a transaction, two of them
    write_unit: float = 0.625e-6
    #: 4 KiB read consistently
    read_unit: float = 0.125e-6
    #: one request of SQS with up to 64 KiB
    message: float = 0.40e-6
    #: an object of S3 written or listed, and read
    object_write: float = 5.0e-6
    object_read: float = 0.40e-6
    #: a GiB-second of Lambda, and a request
    lambda_gib_second: float = 16.67e-6
    lambda_request: float = 0.20e-6
    #: a GiB of output taken in by CloudWatch Logs
    log_gib: float = 0.50


@dataclass(frozen=True, slots=True)
class Load:
    """How inputs come and go; defaults are a long map of tiny inputs."""

    #: bytes of an input, and of its result
    input: int = 100
    result: int = 100
    #: inputs that a client submits at once
    lot: int = 500
    #: inputs of one page that a machine claims at once, and whose outcomes it records at once
    claimed: int = SLOTS
    recorded: int = SLOTS


@dataclass(frozen=True, slots=True)
class Cost:
    """What one input takes, in units and requests, and in US dollars."""

    write_units: float
    read_units: float
    messages: float
    dollars: float


def cost(load: Load, prices: Prices | None = None) -> Cost:
    """Return what one input of a map costs, all told.

    Args:
        load: How inputs come and go.
        prices: What AWS asks for.
    """
    prices = prices or Prices()
    inputs = SLOTS * (load.input + _BESIDE) + _SEALED
    chunk = load.recorded * (load.result + _BESIDE) + _SEALED
    claims, records = SLOTS / load.claimed, SLOTS / load.recorded
    pages_of_lot = load.lot / SLOTS
    # Of one page: its inputs, then in a transaction the page, its row in the index, its share of
    # the call's head and of the function's counters.
    submitted = _writes(inputs) + 2 * (_writes(_PAGE_FRESH) + 1 + 2 / pages_of_lot)
    claimed = claims * _writes(_PAGE_RUNNING)
    recorded = records * (_writes(chunk) + _writes(_PAGE_RUNNING))
    # Closing changes page, counters and index; delivery marks the page; the end deletes it.
    ended = 2 * 3 + 1 + 2
    writes = submitted + claimed + recorded + ended
    # Head, page and chunks, and the same once more for a look that came too early.
    reads = 2 * (1 + 1 + records * chunk / _READ_UNIT)
    # A ring is sent, received and answered: in tens, unless it is as large as a chunk of SQS.
    messages = 3 / 10 if inputs * 4 / 3 < 6_000 else 2 + 1 / 10
    dollars = writes * prices.write_unit + reads * prices.read_unit + messages * prices.message
    return Cost(writes / SLOTS, reads / SLOTS, messages / SLOTS, dollars / SLOTS)


def _writes(size: int) -> int:
    return ceil(size / _UNIT)
