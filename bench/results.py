"""From samples to medians, tables and comparisons; pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from measures import MEASURES, Measure, Metric

TABLES_START = "<!-- bench:tables:start -->"
TABLES_END = "<!-- bench:tables:end -->"
#: cores' worth of other work from which a run counts as contended
CONTENDED = 0.45
#: a median that is worse by more than this share is a regression
TOLERANCE = 0.15


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and range of a metric over the runs."""

    median: float
    least: float
    most: float

    def text(self) -> str:
        """`median (least–most)`, or the median alone where all runs agree."""
        middle, least, most = _number(self.median), _number(self.least), _number(self.most)
        return middle if least == most else f"{middle} ({least}–{most})"


@dataclass(frozen=True, slots=True)
class Row:
    """One system in one measure.

    Attributes:
        runs: How many runs gave numbers.
        contended: How many of them had to share the machine with other work.
        problem: Why there are no numbers, or what failed beside those that there are.
        other_run: Whether it was taken from the record of another run.
    """

    measure: str
    system: str
    metrics: Mapping[str, Spread]
    runs: int
    contended: int
    problem: str
    other_run: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A metric of one system, before and now."""

    measure: str
    system: str
    metric: Metric
    before: float
    now: float

    @property
    def worse_by(self) -> float:
        """The share by which it is worse; negative where it is better."""
        if self.before <= 0 or self.now <= 0:
            return 0.0
        ratio = self.now / self.before
        return ratio - 1 if self.metric.better == "lower" else 1 / ratio - 1

    @property
    def regressed(self) -> bool:
        """Whether it is worse by more than the tolerance."""
        return self.worse_by > TOLERANCE


def rows(record: Mapping[str, Any]) -> list[Row]:
    """One row per measure and system, in the order of the measures and of the record's systems."""
    found = []
    for measure in MEASURES:
        for system in record["systems"]:
            samples = [
                sample
                for sample in record["samples"]
                if sample["measure"] == measure.name and sample["system"] == system
            ]
            if samples:
                found.append(_row(measure, system, samples))
    return found


def text_tables(record: Mapping[str, Any]) -> str:
    """All measures as aligned plain text."""
    return "\n\n".join(
        f"{name}: {title}\n" + "\n".join((*_aligned(cells), *notes))
        for name, title, cells, notes in _tables(record)
    )


def markdown_tables(record: Mapping[str, Any]) -> str:
    """All measures as Markdown, with a line about the run before them."""
    parts = [_about(record)]
    for name, title, cells, notes in _tables(record):
        head, *body = cells
        lines = [_bar(head), _bar(["---"] + ["---:"] * (len(head) - 1)), *map(_bar, body)]
        parts += [f"### `{name}`: {title}", "\n".join(lines)]
        if notes:
            parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def between_markers(page: str, tables: str) -> str:
    """The page with the tables between its two markers.

    Raises:
        ValueError: A marker is missing.
    """
    head, start, rest = page.partition(TABLES_START)
    _, end, tail = rest.partition(TABLES_END)
    if not (start and end):
        raise ValueError(f"the page needs the lines {TABLES_START} and {TABLES_END}")
    return f"{head}{start}\n\n{tables}\n\n{end}{tail}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Every judged metric that both records have, done with the same sizes."""
    if before["quick"] != now["quick"]:
        raise ValueError("a quick run and a full one cannot be compared: their sizes differ")
    old = {(row.measure, row.system): row.metrics for row in rows(before)}
    return [
        Change(row.measure, row.system, metric, earlier[metric.key].median, spread.median)
        for row in rows(now)
        if (earlier := old.get((row.measure, row.system)))
        for metric in _measure(row.measure).metrics
        if metric.better and metric.key in earlier
        if (spread := row.metrics.get(metric.key))
    ]


def lost(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """Rows that gave numbers before and fail now."""
    old = {(row.measure, row.system) for row in rows(before) if row.runs}
    return [row for row in rows(now) if not row.runs and (row.measure, row.system) in old]


def change_lines(found: Sequence[Change]) -> list[str]:
    """A line per metric, the regressions marked."""
    table = [["measure", "system", "metric", "before", "now", "worse by", ""]]
    for change in found:
        mark = "REGRESSION" if change.regressed else ""
        numbers = [_number(change.before), _number(change.now), f"{change.worse_by:+.0%}"]
        table.append([change.measure, change.system, change.metric.label, *numbers, mark])
    return _aligned(table)


def merged(record: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the rows of another run for what it did not measure itself.

    Raises:
        ValueError: The sizes of the two runs differ.
    """
    if record["quick"] != other["quick"]:
        raise ValueError("a quick run and a full one cannot be merged: their sizes differ")
    own = {(sample["measure"], sample["system"]) for sample in record["samples"]}
    taken = [
        {"other_run": other["began"], **sample}
        for sample in other["samples"]
        if (sample["measure"], sample["system"]) not in own
    ]
    present = set(record["systems"]) | set(other["systems"])
    order = list(dict.fromkeys([*record["order"], *other["order"]]))
    systems = [name for name in order if name in present]
    versions = {**other["versions"], **record["versions"]}
    samples = [*record["samples"], *taken]
    return {**record, "systems": systems, "versions": versions, "samples": samples, "order": order}


def _tables(
    record: Mapping[str, Any],
) -> Iterable[tuple[str, str, list[list[str]], list[str]]]:
    """Name, title, cells with their head, and notes of each measure that was done."""
    everything = rows(record)
    for measure in MEASURES:
        mine = [row for row in everything if row.measure == measure.name]
        if not mine:
            continue
        sizes = measure.sizes(record["quick"])
        used = [m for m in measure.metrics if any(m.key in row.metrics for row in mine)]
        head = ["system", *(metric.label.format(**sizes) for metric in used), "runs"]
        cells = [head, *(_cells(row, used) for row in mine if row.runs)]
        notes = [f"{row.system}: {row.problem}" for row in mine if row.problem]
        title = measure.title.format(**{key: f"{value:,}" for key, value in sizes.items()})
        yield measure.name, title, cells, notes


def _cells(row: Row, metrics: Sequence[Metric]) -> list[str]:
    numbers = [row.metrics[m.key].text() if m.key in row.metrics else "–" for m in metrics]
    load = f", {row.contended} contended" if row.contended else ""
    other = ", other run" if row.other_run else ""
    return [row.system, *numbers, f"{row.runs}{load}{other}"]


def _row(measure: Measure, system: str, samples: Sequence[Mapping[str, Any]]) -> Row:
    good = [sample for sample in samples if "metrics" in sample]
    problems = dict.fromkeys(sample["problem"] for sample in samples if "problem" in sample)
    spreads = {}
    for metric in measure.metrics:
        values = [s["metrics"][metric.key] for s in good if metric.key in s["metrics"]]
        if values:
            spreads[metric.key] = Spread(statistics.median(values), min(values), max(values))
    return Row(
        measure=measure.name,
        system=system,
        metrics=spreads,
        runs=len(good),
        contended=sum(sample["others"] > CONTENDED for sample in good),
        problem="; ".join(problems),
        other_run=any("other_run" in sample for sample in samples),
    )


def _measure(name: str) -> Measure:
    return next(measure for measure in MEASURES if measure.name == name)


def _about(record: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    kind = "quick run" if record["quick"] else "run"
    missing = "" if "cloudfn" in record["systems"] else " cloudfn was not part of it."
    place = f"begun {record['began']}, on {record['machine']}"
    others = sorted({s["other_run"] for s in record["samples"] if "other_run" in s})
    merged = f" Rows that say so are of another run, begun {', '.join(others)}." if others else ""
    return f"One {kind}, {place}.{missing}{merged} Versions: {versions}."


def _number(value: float) -> str:
    """Three digits that matter, thousands separated."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.5f}"


def _bar(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return lines
