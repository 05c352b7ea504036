"""Reads every Python file of the standard library and finds its longest and most tangled functions.

    cloudfn run examples/source_stats.py            (or: make demo)

Each file is one input of a map, some 1,500 in all. Watch the progress line: containers appear, the
count runs up, and when the map ends they vanish. Printed are the functions with the most lines and
those with the most ways through them: 1 + a point for every branch, loop, handler and condition.
`--package asyncio` looks at one package only, `--top 5` prints fewer.
"""

import ast
import sysconfig
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import cloudfn

app = cloudfn.App("source-stats")

#: what adds a way through a function; `and` and `or` add one for each further operand
_BRANCHES = frozenset(
    {
        ast.Assert,
        ast.AsyncFor,
        ast.ExceptHandler,
        ast.For,
        ast.If,
        ast.IfExp,
        ast.While,
        ast.comprehension,
        ast.match_case,
    }
)
#: what has nothing below it that counts
_LEAVES = frozenset({ast.Constant, ast.Load, ast.Name, ast.Store, ast.alias})


class Measured(NamedTuple):
    """One function of the library."""

    lines: int
    paths: int
    name: str
    place: str


class Report(NamedTuple):
    """What one file holds: its size, and the few of its functions that may come out on top."""

    lines: int
    functions: int
    candidates: list[Measured]


@app.function(max_containers=8, retries=1, timeout=60)
def measure(place: str, source: bytes, top: int) -> Report:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        # Some files of the library's own tests are broken on purpose.
        return Report(source.count(b"\n"), 0, [])
    found = list(functions_in(tree, place))
    longest = sorted(found, key=attrgetter("lines"))[-top:]
    tangled = sorted(found, key=attrgetter("paths"))[-top:]
    return Report(source.count(b"\n"), len(found), sorted({*longest, *tangled}))


def functions_in(tree: ast.AST, place: str) -> Iterator[Measured]:
    """Yield each function, those inside of classes and other functions too, measured by itself."""
    scopes = [(tree, "")]
    while scopes:
        scope, prefix = scopes.pop()
        paths = 1
        nodes = children(scope)
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                scopes.append((node, f"{prefix}{node.name}."))
                continue
            paths += ways(node)
            nodes += children(node)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (scope.end_lineno or scope.lineno) - scope.lineno + 1
            yield Measured(lines, paths, prefix[:-1], f"{place}:{scope.lineno}")


def children(node: ast.AST) -> list[ast.AST]:
    """Return what ast.iter_child_nodes yields, without the leaves, which are most nodes."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        values = value if isinstance(value, list) else [value]
        found += [
            each for each in values if isinstance(each, ast.AST) and type(each) not in _LEAVES
        ]
    return found


def ways(node: ast.AST) -> int:
    """Return how many ways through its function a node adds."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(type(node) in _BRANCHES)


def library(root: Path, package: str) -> Iterator[tuple[str, bytes]]:
    """Yield places and contents of the library's files, without installed packages."""
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    for path in sorted((root / package).rglob("*.py")):
        if skipped.isdisjoint(path.parts):
            yield str(path.relative_to(root)), path.read_bytes()


def print_top(title: str, unit: str, ranked: Iterable[tuple[int, Measured]]) -> None:
    rows = [(f"{number:,}", each.name, each.place) for number, each in ranked]
    width = max((len(name) for _, name, _ in rows), default=0)
    print(f"\n{title}")
    for number, name, place in rows:
        print(f"  {number:>6} {unit}  {name:<{width}}  {place}")


@app.local_entrypoint()
def main(top: int = 10, package: str = "") -> None:
    root = Path(sysconfig.get_path("stdlib"))
    # Files are read here, as containers may be on other machines.
    reports = list(measure.starmap(library(root, package), kwargs={"top": top}))

    candidates = [each for report in reports for each in report.candidates]
    lines = sum(report.lines for report in reports)
    functions = sum(report.functions for report in reports)
    print(f"{len(reports):,} files, {lines:,} lines, {functions:,} functions in {root}")

    longest = sorted(candidates, key=attrgetter("lines"), reverse=True)[:top]
    print_top("The longest functions", "lines", ((each.lines, each) for each in longest))
    tangled = sorted(candidates, key=attrgetter("paths"), reverse=True)[:top]
    print_top("The most tangled functions", "paths", ((each.paths, each) for each in tangled))
