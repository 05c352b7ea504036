"""Campaigns of kills, and the tables in docs/reliability.md that they write."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.failure.daemon_fixtures import CLOCK
from tests.failure.workload import Report

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass
class Campaign:
    """One line of the table."""

    name: str
    runs: int = 0
    kills: int = 0
    seconds: float = 0.0
    #: seconds from a kill to the first input that ran after it
    recoveries: list[float] = field(default_factory=list)
    report: Report = field(default_factory=Report)
    leaked: int = 0

    def row(self) -> str:
        ordered = sorted(self.recoveries)
        slow = f"{ordered[int(0.95 * (len(ordered) - 1))]:.2f} s" if ordered else "–"
        report = self.report
        again = max(0, report.executions - report.inputs)
        return (
            f"| {self.name} | {self.runs:,} | {self.kills:,} | {report.inputs:,} | {again:,} "
            f"| {report.lost} | {report.double} | {report.wrong} | {self.leaked} | {slow} "
            f"| {self.seconds:,.0f} s |"
        )


HEAD = (
    "| campaign | runs | kills | inputs | executions again | lost | double | wrong | left behind "
    "| p95 until work goes on | took |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


@contextmanager
def tabled(mark: str, size: float) -> Iterator[list[Campaign]]:
    """Give a list for campaigns, which goes into the document between `<!-- mark -->` and its end.

    Args:
        mark: Which table.
        size: How much of the full size is done.
    """
    campaigns: list[Campaign] = []
    yield campaigns
    rows = "\n".join(campaign.row() for campaign in campaigns)
    day = f"{datetime.fromtimestamp(CLOCK.wall(), UTC):%d %B %Y}".lstrip("0")
    machine = f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    command = "make soak" if size == 1 else f"CLOUDFN_SOAK={size:g} make soak"
    text = f"{HEAD}\n{rows}\n\nBy `{command}`, {size:.0%} of the full size, on {machine}, on {day}."
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    head, _, rest = DOCUMENT.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    DOCUMENT.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
    print("\n" + text)


@pytest.fixture(scope="session")
def size() -> float:
    return float(os.environ.get("CLOUDFN_SOAK") or "1")  # noqa: TID251 - read for `make soak`


@pytest.fixture
def campaign(request: pytest.FixtureRequest, table: list[Campaign]) -> Iterator[Campaign]:
    """The campaign that a test is; everything that it must not find is an error at its end."""
    made = Campaign(request.function.__doc__)
    table.append(made)
    start = CLOCK.monotonic()
    yield made
    made.seconds = CLOCK.monotonic() - start
    assert made.report.clean, made.report
    assert not made.leaked
