"""A rehearsal whose machine is a virtual one. What it needs and lacks is a failure: nobody runs
these tests without asking for them.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudfn.errors import Error
from cloudfn.rehearsal import life
from tests.qemu import disk, virtual
from tests.qemu.guest import OTHER, Guest
from tests.rehearsal.world import World, free_port

#: commands, and the Debian package of each
_NEEDED = {
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
}
#: seconds for a machine to do what it shall, at most; EC2's have ten minutes to join
_PATIENCE = 900.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and give them time."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.qemu)
            item.add_marker(pytest.mark.timeout(3 * _PATIENCE))


@pytest.fixture(scope="session")
def _tools() -> None:
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
    missing = sorted({p for tool, p in _NEEDED.items() if shutil.which(tool, path=path) is None})
    if missing:
        pytest.fail(
            f"A virtual machine needs more on this one: apt-get install {' '.join(missing)}",
            pytrace=False,
        )
    try:
        life.check(os.geteuid())
        if platform.machine() != "x86_64":
            raise RuntimeError("the disk of the virtual machine is for x86-64")
    except (RuntimeError, Error) as error:
        pytest.fail(f"No virtual machine: {error}", pytrace=False)


@pytest.fixture(scope="module")
def world(_tools: None) -> Iterator[World]:
    """Give a rehearsal whose machines are virtual ones; it has none yet."""
    # Not under pytest's folder: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="cfr-") as name:
        root, cache = Path(name), Path.home() / ".cache" / "cloudfn-tests"
        world = World(root, cache, free_port(), patience=_PATIENCE)
        words = [sys.executable, virtual.__file__, str(disk.made()), str(root / "shell.sock")]
        program = root / "machine"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o755)
        try:
            world.up("--boot-delay", "1", "--auth", "--virtual", str(program))
            yield world
        finally:
            world.cloudfn("rehearse", "down", check=False)
            assert world.leftovers() == []


@pytest.fixture(scope="module")
def guest(world: World) -> Guest:
    """Give a virtual machine that boots, and finds another bundle than its user-data names."""
    guest = Guest(world)
    guest.put_bundle(OTHER)
    guest.launch()
    return guest
