"""One rehearsal for all tests of it: it takes a while to start."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def cloud() -> Iterator[World]:
    """Give a rehearsal that runs."""
    try:
        engine.install()
        life.check()
        if platform.machine() != "x86_64":
            raise RuntimeError("the programs of these tests are for x86-64")
    except (RuntimeError, Error, OSError) as error:
        if os.environ.get("CI") or os.environ.get("CLOUDFN_REQUIRE_REHEARSAL"):
            pytest.fail(f"No rehearsal: {error}", pytrace=False)
        pytest.skip(f"no rehearsal: {error}")
    cache = Path.home() / ".cache" / "cloudfn-tests" / "bundles"
    # Not under pytest's folder: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cfr-") as root:
        world = World(Path(root), cache, free_port())
        try:
            world.up()
            yield world
        finally:
            world.cloudfn("down", check=False)
            assert world.leftovers() == []
