"""Clients and daemons of different versions, and files from the future."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import cloudfn
from cloudfn import errors
from tests.failure.daemon_fixtures import (
    APP,
    Background,
    World,
    check_once,
    ended,
    wait_for,
    world,
)

__all__ = ["world"]
pytestmark = pytest.mark.integration

#: seconds since the epoch at which the sources of an old and of a new version were written
LONG_AGO, SOME_DAY = 1_000_000_000, 4_000_000_000


def copy_of_cloudfn(world: World, name: str, written: int, *, same: bool = False) -> Path:
    """Return a directory with this package, one line of which differs unless it is the `same`."""
    tree = world.home / name
    source = Path(cloudfn.__file__).parent
    shutil.copytree(source, tree / "cloudfn", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tree / "cloudfn" / "clock.py"
    if not same:
        changed.write_text(changed.read_text() + f"\n# {name}\n")
    for folder, _, files in os.walk(tree):
        for file in files:
            os.utime(Path(folder, file), (written, written))
    return tree


def run_with(world: World, tree: Path, text: str) -> subprocess.Popen[str]:
    """Start a client that uses another copy of the package."""
    path = world.home / f"{tree.name}_client.py"
    path.write_text(text)
    return world.spawn_process(
        [sys.executable, "-P", str(path)],
        env={**world.daemon_environ(), "PYTHONPATH": str(tree)},
    )


STATUS = """
import cloudfn
from cloudfn.sdk.client import default_client
from cloudfn.sdk.twins import run
print(run(default_client().ask("status"))["version"])
"""


def output_of(client: subprocess.Popen[str]) -> str:
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0, output
    return output.strip()


def test_a_newer_client_replaces_the_daemon_at_once(world: World) -> None:
    world.ask("status")
    old = world.pid
    new = copy_of_cloudfn(world, "newer", SOME_DAY)
    version = output_of(run_with(world, new, STATUS))
    assert ended(old)
    assert "a newer client" in world.log
    # The older client is served by the newer daemon, and does not replace it in turn.
    assert world.ask("status")["version"] == version
    assert output_of(run_with(world, new, STATUS)) == version
    assert world.log.count("a newer client") == 1


def test_a_newer_client_replaces_a_busy_daemon_and_inputs_survive(world: World) -> None:
    world.deploy()
    world.hold()
    items = list(range(8))
    waiting = Background(lambda: list(world.function("work").map(items)))
    spawned = world.function("work").spawn(100)
    world.await_trace("begin", 2)
    old = world.pid
    new = copy_of_cloudfn(world, "newer", SOME_DAY)
    client = run_with(
        world,
        new,
        f"""
import cloudfn
work = cloudfn.Function.from_name({APP!r}, "work")
print(list(work.map([200, 201])))
""",
    )
    # Two inputs run and do not end: the daemon does not wait for them for ever.
    assert ended(old)
    world.release()
    results = waiting.result()
    assert [result[0] for result in results] == items
    assert world.call(spawned.object_id).get(timeout=40)[0] == 100
    assert "(200," in output_of(client)
    assert max(world.trace("begin").values()) <= 3
    # The older client may have been the first to start a daemon again; then that one left as well.
    assert world.log.count("a newer client") == world.log.count("serving") - 1


def test_inputs_that_end_in_time_are_not_interrupted_by_an_upgrade(world: World) -> None:
    world.deploy()
    world.hold()
    items = list(range(8))
    waiting = Background(lambda: list(world.function("work").map(items)))
    world.await_trace("begin", 2)
    client = run_with(world, copy_of_cloudfn(world, "newer", SOME_DAY), STATUS)
    wait_for("it leaves", lambda: "leaving" in world.log)
    world.release()
    check_once(world, items, waiting.result(), deaths=0)
    output_of(client)


def test_an_older_client_is_served_by_a_newer_daemon(world: World) -> None:
    world.deploy()
    old = copy_of_cloudfn(world, "older", LONG_AGO)
    pid = world.pid
    client = run_with(
        world,
        old,
        f"""
import cloudfn
work = cloudfn.Function.from_name({APP!r}, "work")
print(work.remote(5)[0], [item for item, _ in work.map(range(3))], work.spawn(6).get()[0])
""",
    )
    assert output_of(client) == "5 [0, 1, 2] 6"
    assert world.pid == pid


def test_the_same_code_in_another_place_is_no_newer_version(world: World) -> None:
    world.ask("status")
    pid = world.pid
    output_of(run_with(world, copy_of_cloudfn(world, "twin", SOME_DAY, same=True), STATUS))
    assert world.ask("status")["pid"] == pid


def test_a_ledger_from_the_future_is_refused_and_left_alone(world: World) -> None:
    world.ask("status")
    world.stop()
    path = world.state / "ledger.db"
    with closing(sqlite3.connect(path)) as ledger:
        version = ledger.execute("PRAGMA user_version").fetchone()[0]
        ledger.execute("PRAGMA user_version=99")
    before = path.read_bytes()
    with pytest.raises(errors.ConnectionError) as caught:
        world.ask("status")
    assert "written by a newer cloudfn" in str(caught.value)
    assert "Upgrade cloudfn" in str(caught.value)
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute(f"PRAGMA user_version={version}")
    assert world.ask("status")["pid"]


def test_a_catalog_from_the_future_is_refused(world: World) -> None:
    world.ask("status")
    world.stop()
    path = world.state / "catalog.db"
    with closing(sqlite3.connect(path)) as catalog:
        version = catalog.execute("PRAGMA user_version").fetchone()[0]
        catalog.execute("PRAGMA user_version=99")
    with pytest.raises(errors.ConnectionError, match="newer cloudfn"):
        world.ask("status")
    with closing(sqlite3.connect(path)) as catalog:
        catalog.execute(f"PRAGMA user_version={version}")
    assert world.ask("status")["pid"]


def test_a_damaged_ledger_is_set_aside_and_said_so(world: World) -> None:
    world.deploy()
    world.function("work").spawn(1).get()
    world.stop()
    world.close_clients()
    path = world.state / "ledger.db"
    content = path.read_bytes()
    path.write_bytes(b"\x07" * 100 + content[100:])
    with pytest.raises(errors.ConnectionError, match="damaged") as caught:
        world.ask("status")
    (aside,) = world.state.glob("ledger.db.damaged-*")
    assert str(aside) in str(caught.value)
    assert aside.read_bytes()[100:] == content[100:]
    # The next start goes on with an empty one; what is deployed is still deployed.
    assert world.function("work").remote(2)[0] == 2


def test_a_protocol_from_the_future_is_refused_with_a_hint(world: World) -> None:
    world.ask("status")
    tree = copy_of_cloudfn(world, "older", LONG_AGO)
    messages = tree / "cloudfn" / "wire" / "messages.py"
    messages.write_text(messages.read_text().replace("PROTOCOL = 1\n", "PROTOCOL = 7\n"))
    os.utime(messages, (LONG_AGO, LONG_AGO))
    client = run_with(world, tree, STATUS)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 1
    assert "VersionError" in output
    assert "cloudfn daemon stop" in output
