"""What a full disk does to starts, maps and big payloads; ledgers that nobody can use."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cloudfn import errors
from cloudfn.sdk.connection import Connection
from tests.failure.daemon_fixtures import Background, World, wait_for, world
from tests.failure.test_disk import fill, small_disk

__all__ = ["small_disk", "world"]
pytestmark = pytest.mark.integration

BLOCK = 200_000
REVERSE = """
@app.function(max_containers=2, scaledown_window=2)
def reverse(data):
    note("begin", "reverse")
    return data[::-1]


@app.function(max_containers=2, scaledown_window=2)
def inflate(size):
    note("begin", "inflate")
    return b"x" * size
"""


def patiently(call: Any) -> Any:
    """Make a call that a disk that was full a moment ago may still refuse."""

    def attempt() -> list[Any]:
        try:
            return [call()]
        except errors.ResourceExhaustedError:
            return []

    return wait_for("there is room", attempt)[0]


def test_a_big_argument_that_finds_no_room_is_refused(small_disk: World) -> None:
    world = small_disk
    world.deploy(REVERSE)
    reverse = world.function("reverse")
    assert reverse.remote(b"ab" * BLOCK) == b"ba" * BLOCK
    filler = fill(world.state)
    for _ in range(2):
        with pytest.raises(errors.ResourceExhaustedError, match=r"room|full") as caught:
            reverse.spawn(b"ab" * BLOCK)
        assert caught.value.hint
        with pytest.raises(errors.ResourceExhaustedError, match=r"room|full"):
            reverse.spawn_map([b"ab" * BLOCK])
    assert world.is_up()
    filler.unlink()
    call = patiently(lambda: reverse.spawn(b"ab" * BLOCK))
    assert call.get(timeout=40) == b"ba" * BLOCK
    wait_for("arguments are gone", lambda: len(world.blobs()) <= 1)


def test_a_big_result_that_finds_no_room_is_that_inputs_failure(small_disk: World) -> None:
    world = small_disk
    world.deploy(REVERSE)
    inflate = world.function("inflate")
    assert len(inflate.remote(BLOCK)) == BLOCK
    # As much room as the call itself takes, and not enough for its result.
    filler = fill(world.state)
    os.truncate(filler, filler.stat().st_size - 2 * BLOCK)
    call = inflate.spawn(20 * BLOCK)
    with pytest.raises(errors.Error, match=r"room|full|[Nn]o space"):
        call.get(timeout=40)
    filler.unlink()
    assert len(patiently(lambda: inflate.spawn(20 * BLOCK)).get(timeout=40)) == 20 * BLOCK


def test_a_map_ends_with_a_clear_error_and_leaves_no_inputs(small_disk: World) -> None:
    world = small_disk
    world.deploy("""
        @app.function(max_containers=1)
        def heavy(item, ballast):
            return work_on(item)
    """)
    world.hold()
    heavy = world.function("heavy")
    filler = fill(world.state)
    with pytest.raises(errors.ResourceExhaustedError, match="disk is full") as caught:
        list(heavy.starmap((item, "x" * 30_000) for item in range(200)))
    assert "Free some space" in str(caught.value)
    filler.unlink()
    world.release()
    found = wait_for("nothing is left", lambda: _idle(world, "heavy"))
    assert found == (0, 0)
    items = [(item, "x" * 30_000) for item in range(8)]
    results = patiently(lambda: list(heavy.starmap(items)))
    assert [item for item, _ in results] == list(range(8))


def refusal(world: World) -> str | None:
    """Return why there is no daemon, or None when there is one."""
    try:
        world.ask("status")
    except errors.Error as error:
        return str(error)
    return None


def _idle(world: World, name: str) -> tuple[int, int] | None:
    client = Connection(world.settings)
    try:
        found = world.function(name, client).get_current_stats()
    finally:
        client.close()
    load = (found.backlog, found.num_running_inputs)
    return load if load == (0, 0) else None


def test_a_daemon_that_cannot_start_on_a_full_disk_starts_when_there_is_room(
    small_disk: World,
) -> None:
    world = small_disk
    world.deploy()
    world.hold()
    calls = [world.function("work").spawn(item) for item in range(4)]
    world.await_trace("begin", 2)
    world.kill()
    world.close_clients()
    filler = fill(world.state)
    # It may get by without writing; if not, it says why.
    said = refusal(world)
    assert said is None or "full" in said, said
    filler.unlink()
    world.release()
    assert [world.call(c.object_id).get(timeout=40)[0] for c in calls] == list(range(4))


def test_an_environment_that_cannot_be_made_on_a_full_disk_says_so(small_disk: World) -> None:
    world = small_disk
    filler = fill(world.state)
    with pytest.raises(errors.Error) as caught:
        world.ask("status")
    assert "full" in str(caught.value) or "No space" in str(caught.value), caught.value
    # The same from the command line: one sentence, no traceback.
    done = subprocess.run(
        [sys.executable, "-m", "cloudfn", "app", "list"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "full" in done.stderr or "No space" in done.stderr, done.stderr
    filler.unlink()
    assert world.ask("status")["pid"] == world.pid


# Ledgers that nobody can use


def stopped(world: World) -> str:
    """Leave a finished spawned call in the ledger of a daemon that is gone; return its id."""
    world.deploy()
    call = world.function("echo").spawn("kept")
    assert call.get(timeout=40) == "kept"
    world.stop()
    world.close_clients()
    return str(call.object_id)


def test_a_ledger_with_a_damaged_header_is_moved_aside_and_said_so(world: World) -> None:
    call = stopped(world)
    path = world.state / "ledger.db"
    with path.open("r+b") as file:
        file.write(os.urandom(100))
    damaged = path.read_bytes()
    with pytest.raises(errors.ConnectionError) as caught:
        world.ask("status")
    (aside,) = world.state.glob("ledger.db.damaged-*")
    if aside.name.endswith("-wal"):
        pytest.fail("the log without its file")
    assert "is damaged" in str(caught.value)
    assert str(aside) in str(caught.value)
    assert aside.read_bytes() == damaged
    # The next start has an empty ledger, and the apps are still there.
    with pytest.raises(errors.NotFoundError, match="no call"):
        world.call(call).get(timeout=40)
    assert world.function("echo").remote("new") == "new"
    assert aside.read_bytes() == damaged


@pytest.mark.parametrize("name", ["ledger.db", "catalog.db"])
def test_a_file_of_a_newer_cloudfn_is_refused_and_not_touched(world: World, name: str) -> None:
    call = stopped(world)
    path = world.state / name
    before = version_of(path)
    set_version(path, 99)
    content = path.read_bytes()
    for _ in range(2):
        with pytest.raises(errors.ConnectionError, match="newer") as caught:
            world.ask("status")
        assert str(path) in str(caught.value)
        assert path.read_bytes() == content
    assert not list(world.state.glob("*.damaged-*"))
    set_version(path, before)
    assert world.call(call).get(timeout=40) == "kept"
    assert world.function("echo").remote("new") == "new"


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # What is compared is the file alone.
        connection.execute("PRAGMA journal_mode=DELETE")


def test_a_catalog_that_another_process_has_is_an_error_that_names_it(world: World) -> None:
    call = stopped(world)
    path = world.state / "catalog.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as thief:
        thief.execute("PRAGMA locking_mode=EXCLUSIVE")
        thief.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.ConnectionError, match=r"locked|Another process") as caught:
            world.ask("status")
        assert str(path) in str(caught.value)
        thief.execute("ROLLBACK")
    assert world.call(call).get(timeout=40) == "kept"


def test_a_damaged_catalog_is_an_error_that_says_so(world: World) -> None:
    stopped(world)
    path = world.state / "catalog.db"
    good = shutil.copy(path, world.home / "good")
    with path.open("r+b") as file:
        file.write(os.urandom(100))
    with pytest.raises(errors.ConnectionError, match="damaged") as caught:
        world.ask("status")
    assert str(path) in str(caught.value)
    path.unlink(missing_ok=True)
    shutil.copy(good, path)
    assert world.function("echo").remote("again") == "again"


def test_a_disk_that_results_fill_up_holds_calls_back_until_there_is_room(
    small_disk: World,
) -> None:
    world = small_disk
    world.deploy(REVERSE)
    inflate = world.function("inflate")
    calls = [inflate.spawn_map([BLOCK] * 12) for _ in range(8)]

    def outcome(call: Any) -> str:
        try:
            return "whole" if all(len(r) == BLOCK for r in call.iter()) else "wrong"
        except errors.Error as error:
            return str(error)

    # 19 MB into 12 MiB: no result, and not even that there is none, can be written down.
    found = [Background(lambda call=call: outcome(call)) for call in calls]
    wait_for("trouble", lambda: world.ask("status")["trouble"] or all(e.done for e in found))
    enlarge = ["mount", "-o", "remount,size=64m", str(world.state)]
    subprocess.run(enlarge, check=True)
    told = [each.result() for each in found]
    assert "wrong" not in told
    failed = [text for text in told if text != "whole"]
    assert all("room" in text or "full" in text or "pace" in text for text in failed), failed
    assert patiently(lambda: inflate.remote(5)) == b"xxxxx"
