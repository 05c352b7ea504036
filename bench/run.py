"""Compare cloudfn with its peers, side by side: one fresh process per run, systems in turn."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import accounting
import measures
import peers
import results
from measures import Measure
from peers import System

_BENCH = Path(__file__).parent
_START_VARIABLE = "BENCH_START"
_VERSIONS = """
import importlib.metadata as m, json
print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))
"""
#: the distribution whose version says which release of a system ran
_DISTRIBUTIONS = {
    "cloudfn": "cloudfn",
    "loky": "loky",
    "joblib": "joblib",
    "ray": "ray",
    "dask": "distributed",
    "celery": "celery",
    "huey": "huey",
}


def main() -> int:
    """Run the benchmark, return the exit status: 1 after a regression of a judged system."""
    # A run that is asked to end still kills what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _options()
    old = _read(options.compare)
    other = _read(options.merge)
    record = _measure_all(options)
    if other:
        record = results.merged(record, other)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    _show(record, options.markdown)
    return _judge(old, record, options.judge) if old else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="small sizes and one repetition")
    add("--only", nargs="+", default=[], metavar="MEASURE", help="do these measures only")
    add("--systems", default="", metavar="A,B", help="run these systems only")
    add("--reps", type=int, metavar="N", help="repetitions (5, or 1 with --quick)")
    add("--json", type=Path, metavar="FILE", help="write all samples here")
    add("--markdown", nargs="?", const="-", metavar="FILE", help=_MARKDOWN_HELP)
    add("--compare", type=Path, metavar="FILE", help="exit 1 if a median is > 15 %% worse")
    add("--judge", default="cloudfn", metavar="A,B", help="systems that --compare judges")
    add("--merge", type=Path, metavar="FILE", help="take the rows that were not run from here")
    options = parser.parse_args()
    try:
        options.measures = measures.named(options.only)
        options.chosen = peers.named(_names(options.systems))
        peers.named(_names(options.judge))
    except ValueError as problem:
        parser.error(str(problem))
    options.reps = options.reps or (1 if options.quick else 5)
    return options


_MARKDOWN_HELP = "print the tables as Markdown, or put them between the markers of FILE"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _measure_all(options: argparse.Namespace) -> dict[str, Any]:
    systems: tuple[System, ...] = options.chosen
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    _say("installing the peers, unless they are there")
    missing = peers.install(systems)
    samples = [
        {"measure": measure.name, "system": system.name, "problem": f"not available: {reason}"}
        for measure in options.measures
        for system in _takes_part(measure, systems)
        if (reason := missing.get(system.name))
    ]
    ready = tuple(system for system in systems if system.name not in missing)
    samples += _rounds(options.measures, ready, options.reps, options.quick)
    return {
        "began": began,
        "quick": options.quick,
        "machine": _machine(),
        "accounting": "cgroup" if _has_cgroup() else "/proc",
        "order": [system.name for system in peers.SYSTEMS],
        "systems": [system.name for system in systems],
        "versions": _versions(ready),
        "samples": samples,
    }


def _rounds(
    wanted: Sequence[Measure], systems: tuple[System, ...], reps: int, quick: bool
) -> Iterator[dict[str, Any]]:
    """Every system in turn, measure by measure, so that the repetitions of one lie apart."""
    given_up: set[tuple[str, str]] = set()
    for rep in range(reps):
        for measure in wanted:
            for system in _takes_part(measure, systems):
                key = (measure.name, system.name)
                if key in given_up:
                    continue
                sample = _run(system, measure, measure.sizes(quick))
                if "problem" in sample:
                    given_up.add(key)
                _say(f"{rep + 1}/{reps} {measure.name} {system.name}: {_brief(sample)}")
                yield {**sample, "rep": rep}


def _takes_part(measure: Measure, systems: tuple[System, ...]) -> list[System]:
    return [system for system in systems if not measure.only or system.name in measure.only]


def _run(system: System, measure: Measure, sizes: dict[str, int]) -> dict[str, Any]:
    """One measure in a fresh process, in a folder and a process tree of its own."""
    folder = tempfile.mkdtemp(prefix="cfb-")
    tree = accounting.new_tree(folder)
    try:
        return {
            "measure": measure.name,
            "system": system.name,
            **_watch(system, measure, sizes, tree),
        }
    finally:
        tree.kill()
        _wait_for_end(tree)
        tree.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _watch(
    system: System, measure: Measure, sizes: dict[str, int], tree: accounting.Tree
) -> dict[str, Any]:
    argv = [system.interpreter, str(system.script), measure.name, json.dumps(sizes)]
    machine_before = accounting.machine_cpu_seconds()
    began = time.monotonic()
    errors = Path(tree.folder, "stderr")
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            tree.enter(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(tree, began),
            cwd=tree.folder,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=measure.limit)
        except subprocess.TimeoutExpired:
            tree.kill()
            process.kill()
            process.communicate()
            said = _last_line(errors, 0)
            return {"problem": f"failed: not done after {measure.limit} s ({said})"}
    wall = time.monotonic() - began
    answer = _answer(output)
    if process.returncode or answer is None:
        return {"problem": f"failed: {_last_line(errors, process.returncode)}"}
    if "unsupported" in answer:
        return {"problem": f"not possible: {answer['unsupported']}"}
    used = tree.cpu_seconds()
    if measure.name == "cold_start":
        answer["metrics"].update(_whole_run(answer["metrics"], wall, used))
    others = (accounting.machine_cpu_seconds() - machine_before - used) / wall
    return {"metrics": answer["metrics"], "others": max(0.0, others), "wall": wall}


def _whole_run(metrics: dict[str, float], wall: float, cpu: float) -> dict[str, float]:
    """What a cold start costs to its end; not for a process that did two of them."""
    return {} if "again_s" in metrics else {"exit_s": wall, "cpu_s": cpu}


def _environment(tree: accounting.Tree, began: float) -> dict[str, str]:
    """The caller's variables, where modules are, and a private state directory for cloudfn."""
    home = Path(tree.folder, "home")
    home.mkdir(mode=0o700)
    folders = (_BENCH / "systems", _BENCH, _BENCH / "apps", _BENCH.parent)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CLOUDFN_")}
    return {
        **kept,
        **tree.environment(),
        _START_VARIABLE: repr(began),
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "CLOUDFN_HOME": str(home),
    }


def _answer(output: bytes) -> dict[str, Any] | None:
    """The JSON line that ends the output."""
    for line in reversed(output.decode(errors="replace").splitlines()):
        if line.startswith("{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    return None


def _last_line(errors: Path, status: int) -> str:
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    # Ends that come after the cause, such as warnings at exit, are not what failed.
    causes = [line for line in lines if "Error" in line and not line.startswith(" ")]
    return (causes or lines or [f"it said nothing, exit status {status}"])[-1].strip()[:200]


def _wait_for_end(tree: accounting.Tree) -> None:
    """Wait until the killed processes are gone, a few seconds at most."""
    deadline = time.monotonic() + 5
    while tree.pids() and time.monotonic() < deadline:
        time.sleep(0.01)


def _has_cgroup() -> bool:
    with tempfile.TemporaryDirectory(prefix="cfb-") as folder:
        tree = accounting.new_tree(folder)
        tree.remove()
    return tree.group is not None


def _machine() -> str:
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    python = platform.python_version()
    return f"{cores} cores, {memory:.0f} GiB, {platform.system()}, Python {python}"


def _versions(systems: tuple[System, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    known = {
        interpreter: json.loads(subprocess.check_output([interpreter, "-c", _VERSIONS]))
        for interpreter in {system.interpreter for system in systems}
    }
    for system in systems:
        distribution = _DISTRIBUTIONS.get(system.name, "")
        if distribution in known[system.interpreter]:
            found[distribution] = known[system.interpreter][distribution]
    if any(system.name == "celery" for system in systems):
        found["celery's broker"] = _broker()
    return found


def _broker() -> str:
    server = shutil.which("redis-server")
    if server is None:
        return "files (no redis-server on the path)"
    output = subprocess.check_output([server, "--version"], text=True)
    return "Redis " + output.partition("v=")[2].partition(" ")[0]


def _show(record: dict[str, Any], markdown: str | None) -> None:
    if markdown is None:
        print(results.text_tables(record))
    elif markdown == "-":
        print(results.markdown_tables(record))
    else:
        page = Path(markdown)
        tables = results.markdown_tables(record)
        page.write_text(results.between_markers(page.read_text(), tables))


def _judge(old: dict[str, Any], record: dict[str, Any], judged: str) -> int:
    found = [change for change in results.changes(old, record) if change.system in _names(judged)]
    lost = [row for row in results.lost(old, record) if row.system in _names(judged)]
    print("\n" + "\n".join(results.change_lines(found)))
    for row in lost:
        print(f"{row.measure}  {row.system}  REGRESSION: {row.problem}")
    return 1 if lost or any(change.regressed for change in found) else 0


def _brief(sample: dict[str, Any]) -> str:
    if "problem" in sample:
        return str(sample["problem"])
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in sample["metrics"].items())
    return f"{numbers} (others {sample['others']:.2f})"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
