"""Programs on AWS, from the client to the container and back, on strict fakes."""

import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cloudfn.sdk.client import using
from tests.integration.aws_world import AwsWorld

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

_PROGRAM = """
import os, time
from pathlib import Path
import cloudfn

app = cloudfn.App("demo")

@app.function(scaledown_window=2)
def square(number):
    return number * number
"""
_NUMBERS = count(1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AwsWorld]:
    with AwsWorld(tmp_path).running() as made:
        yield made


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return write_program(tmp_path, monkeypatch, _PROGRAM)


def write_program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    """Return a module that was written just now."""
    name = f"aws_program_{next(_NUMBERS)}"
    (folder / "programs").mkdir(exist_ok=True)
    (folder / "programs" / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(folder / "programs"))
    module = import_module(name)
    del sys.modules[name]
    monkeypatch.setitem(sys.modules, name, module)  # until the end of the test
    return module


def test_a_program_runs_and_leaves_nothing_running(world: AwsWorld, program: Any) -> None:
    with using(world.client()), program.app.run(runtime="docker"):
        assert program.square.remote(7) == 49
        assert list(program.square.map(range(300))) == [n * n for n in range(300)]
        calls = [program.square.spawn(n) for n in range(3)]
        assert [call.get(timeout=30) for call in calls] == [0, 1, 4]
    world.wait_for_no_machines()
