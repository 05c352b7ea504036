"""Rules about names and places that no linter knows. Reads the sources, runs nothing."""

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cloudfn"
MODULES = sorted(PACKAGE.rglob("*.py"))

SHAPELESS = {"common", "core", "helper", "helpers", "manager", "misc", "util", "utils"}
PROVIDERS = {"aws", "local", "ssh"}
CLOCK = {
    "clock_gettime",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "sleep",
    "time",
    "time_ns",
}


def test_the_package_has_modules_to_look_at():
    assert PACKAGE / "errors.py" in MODULES


def test_no_folder_of_tests_is_left_out():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    files = (ROOT / "tests").rglob("test_*.py")

    assert set(settings["testpaths"]) == {f"tests/{f.relative_to(ROOT).parts[1]}" for f in files}


def test_every_module_has_a_name_that_says_what_is_in_it():
    places = [path for path in MODULES if {path.stem, path.parent.name} & SHAPELESS]

    assert places == [], "a helper lives with its only user, or gets a noun of its own"


def test_only_providers_and_settings_know_the_names_of_providers():
    free = (PACKAGE / "providers", PACKAGE / "settings.py")
    modules = [path for path in MODULES if not any(path.is_relative_to(place) for place in free)]

    assert [place for path in modules for place in _provider_comparisons(path)] == [], (
        "ask for the port, not for the provider: an absent capability is a field that is None"
    )


def test_only_the_clock_asks_the_time_or_sleeps():
    modules = [path for path in MODULES if path != PACKAGE / "clock.py"]

    assert [place for path in modules for place in _time_calls(path)] == []


def test_a_provider_comparison_would_be_found(tmp_path):
    source = tmp_path / "routing.py"
    source.write_text(
        "if provider == 'aws': ...\nif name in ('local', 'x'): ...\n"
        "match name:\n    case 'ssh': ...\nprint('aws')\n"
    )

    assert [place.rpartition(":")[2] for place in _provider_comparisons(source)] == ["1", "2", "4"]


def test_a_glance_at_the_time_would_be_found(tmp_path):
    source = tmp_path / "waiting.py"
    source.write_text(
        "import time\nfrom time import sleep\ntime.monotonic()\ntime.strftime('%H')\n"
    )

    assert [place.rpartition(":")[2] for place in _time_calls(source)] == ["2", "3"]


def _declared_entry_points():
    groups = ("console_scripts", "cloudfn.providers", "pytest11")
    declared = [entry for group in groups for entry in entry_points(group=group)]
    return [entry for entry in declared if entry.dist is not None and entry.dist.name == "cloudfn"]


@pytest.mark.parametrize(
    "entry", _declared_entry_points(), ids=lambda entry: f"{entry.group}-{entry.name}"
)
def test_every_entry_point_leads_somewhere(entry):
    assert entry.load() is not None


def _provider_comparisons(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        else:
            continue
        strings = {
            leaf.value
            for operand in operands
            for leaf in ast.walk(operand)
            if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
        }
        if strings & PROVIDERS:
            yield f"{path}:{node.lineno}"


def _time_calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module="time", names=names):
                if {name.name for name in names} & CLOCK:
                    yield f"{path}:{node.lineno}"
            case ast.Attribute(value=ast.Name(id="time"), attr=attr) if attr in CLOCK:
                yield f"{path}:{node.lineno}"
