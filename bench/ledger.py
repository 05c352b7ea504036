"""What the ledger costs: microseconds of CPU per input, for batches of several sizes.

    python bench/ledger.py [--inputs 20000] [--directory DIR]

One input is submitted, claimed, recorded and delivered; each of these steps ends in a commit, as in
a daemon whose clients and containers are not in step. The last lines are single calls.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudfn.model.call import CallKind, Status
from cloudfn.providers.ledger import CallSpec, Entry
from cloudfn.providers.local.ledger import SqliteLedger
from cloudfn.settings import Limits

STEPS = ("submit", "claim", "record", "delivered")
ARGUMENTS, RESULT = b"a" * 60, b"r" * 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--directory", type=Path, help="where the file lies, for its disk")
    options = parser.parse_args()
    print(f"{'':>18}" + "".join(f"{step:>11}" for step in STEPS) + f"{'all, CPU':>11}{'wall':>9}")
    for batch in (1, 100, 500):
        with tempfile.TemporaryDirectory(dir=options.directory) as folder:
            inputs = options.inputs if batch > 1 else options.inputs // 10
            report(f"map in {batch}s", *run_map(Path(folder) / "ledger.db", inputs, batch))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        singles(Path(folder) / "ledger.db", options.inputs // 10)


def run_map(path: Path, inputs: int, batch: int) -> tuple[int, dict[str, float], float]:
    """Run one map; return its inputs, CPU seconds by step, and wall seconds."""
    ledger = SqliteLedger.open(path, Limits(), now=0.0)
    spec = CallSpec("fc-bench", "fu-bench", "fu-bench@1", CallKind.MAP, 0.0)
    spent = dict.fromkeys(STEPS, 0.0)
    begin = time.perf_counter()
    for first in range(0, inputs, batch):
        with cpu(spent, "submit"):
            ledger.submit(spec, first, [ARGUMENTS] * batch, sealed=False, now=1.0)
            ledger.commit()
        with cpu(spent, "claim"):
            claims = ledger.claim(spec.pool, batch, 1.0)
            ledger.commit()
        entries = [Entry(c.seq, c.fence, Status.RETURNED, RESULT) for c in claims]
        with cpu(spent, "record"):
            ledger.record(entries)
            ledger.commit()
        with cpu(spent, "delivered"):
            ledger.delivered(spec.call_id, [c.index for c in claims])
            ledger.commit()
    wall = time.perf_counter() - begin
    ledger.close()
    return inputs, spent, wall


def singles(path: Path, calls: int) -> None:
    """Print what `.remote` costs: submitted and claimed in one commit, then recorded, then gone."""
    ledger = SqliteLedger.open(path, Limits(), now=0.0)
    times: dict[str, list[float]] = {"submit+claim": [], "record": [], "forget": []}
    for number in range(calls):
        spec = CallSpec(f"fc-{number:020}", "fu-bench", "fu-bench@1", CallKind.REMOTE, 0.0)
        with timed(times["submit+claim"]):
            ledger.submit(spec, 0, [ARGUMENTS], sealed=True, now=1.0)
            (claim,) = ledger.claim(spec.pool, 1, 1.0)
            ledger.commit()
        entry = Entry(claim.seq, claim.fence, Status.RETURNED, RESULT)
        with timed(times["record"]):
            ledger.record([entry])
            ledger.commit()
        with timed(times["forget"]):
            ledger.delivered(spec.call_id, [0])
            ledger.forget(spec.call_id)
            ledger.commit()
    ledger.close()
    for name, values in times.items():
        values.sort()
        median, tail = statistics.median(values) * 1e6, values[len(values) * 95 // 100] * 1e6
        print(
            f".remote {name:<13} p50 {median:7.1f} µs   p95 {tail:7.1f} µs (wall, with its commit)"
        )


@contextmanager
def timed(values: list[float]) -> Iterator[None]:
    """Append the wall seconds of a block to a list."""
    begin = time.perf_counter()
    yield
    values.append(time.perf_counter() - begin)


@contextmanager
def cpu(spent: dict[str, float], step: str) -> Iterator[None]:
    """Add the CPU seconds of a block, those in the kernel included."""
    begin = time.process_time()
    yield
    spent[step] += time.process_time() - begin


def report(name: str, inputs: int, spent: dict[str, float], wall: float) -> None:
    each = "".join(f"{spent[step] / inputs * 1e6:8.2f} µs" for step in STEPS)
    total = sum(spent.values())
    print(f"{name:>18}{each}{total / inputs * 1e6:8.2f} µs{wall / inputs * 1e6:6.1f} µs")


if __name__ == "__main__":
    main()
