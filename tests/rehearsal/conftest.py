"""One rehearsal for all tests of it: it takes a while to start."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloudfn.errors import Error
from cloudfn.rehearsal import life
from tests.docker import engine
from tests.rehearsal.world import World, free_port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and give them time: the first one may have to install packages."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="module")
def cloud() -> Iterator[World]:
    """Give a rehearsal whose machines run the tests' own agent."""
    with _rehearsal() as world:
        world.up_with_our_agent()
        yield world


@pytest.fixture(scope="module")
def aws(docker_engine: engine.Engine) -> Iterator[World]:
    """Give a rehearsal whose machines run what machines on AWS run, and may do no more."""
    with _rehearsal() as world:
        world.engine = docker_engine
        world.up("--boot-delay", "1", "--auth")
        # Machines without work go sooner than by themselves; those that work do not.
        variables = {"CLOUDFN_ENVIRONMENT": "main", "CLOUDFN_KEEP_ALIVE": "15"}
        world.of("lambda").update_function_configuration(
            FunctionName="cloudfn-main-planner", Environment={"Variables": variables}
        )
        yield world


@contextmanager
def _rehearsal() -> Iterator[World]:
    try:
        engine.install()
        life.check(os.geteuid())
        if platform.machine() != "x86_64":
            raise RuntimeError("the programs of these tests are for x86-64")
    except (RuntimeError, Error, OSError) as error:
        if os.environ.get("CI") or os.environ.get("CLOUDFN_REQUIRE_REHEARSAL"):
            pytest.fail(f"No rehearsal: {error}", pytrace=False)
        pytest.skip(f"no rehearsal: {error}")
    # Not under pytest's folder: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cfr-") as root:
        world = World(Path(root), Path.home() / ".cache" / "cloudfn-tests", free_port())
        try:
            yield world
        finally:
            world.cloudfn("rehearse", "down", check=False)
            assert world.leftovers() == []
