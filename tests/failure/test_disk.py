"""Full disks, failing disks, locked files: submissions are refused, what runs is kept."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cloudfn import errors
from tests.failure.daemon_fixtures import (
    Background,
    World,
    give_up,
    strace_or_skip,
    wait_for,
    world,
)
from tests.failure.strace import let_go, start_traced

__all__ = ["world"]
pytestmark = pytest.mark.integration


@pytest.fixture
def small_disk(world: World) -> Iterator[World]:
    """A world whose state lies on a file system of 12 MiB of its own."""
    world.state.mkdir(mode=0o700)
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=12m,mode=700", "cloudfn-test", str(world.state)]
    if not mount or os.geteuid() or subprocess.run([mount, *options], check=False).returncode:
        give_up("a small file system cannot be mounted (needs root)")
    try:
        yield world
        world.finish()
    finally:
        for pid in world.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        wait_for("no process", lambda: not world.processes())
        subprocess.run(["umount", "-l", str(world.state)], check=False)


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return path


def spawn_until_full(function) -> tuple[list[str], errors.Error]:
    """Spawn until the disk is full; return what was acknowledged, and the refusal."""
    taken = []
    while True:
        try:
            taken.append(function.spawn(len(taken), "x" * 30_000).object_id)
        except errors.Error as error:
            return taken, error


HEAVY = """
@app.function(max_containers=1)
def heavy(item, ballast):
    return work_on(item)
"""


def test_a_full_disk_refuses_submissions_and_keeps_what_runs(small_disk: World) -> None:
    world = small_disk
    world.deploy(HEAVY)
    world.hold()
    running = Background(lambda: world.function("narrow").remote("running"))
    world.await_trace("begin", 1)
    filler = fill(world.state)
    heavy = world.function("heavy")
    taken, error = spawn_until_full(heavy)
    assert isinstance(error, errors.ResourceExhaustedError), error
    assert "disk is full" in str(error)
    assert "Free some space" in str(error)
    # It is refused at once, again and again; the daemon lives.
    pid = world.pid
    with pytest.raises(errors.ResourceExhaustedError):
        heavy.spawn(0, "x" * 30_000)
    # What runs ends, and its outcome is kept until there is room.
    world.release()
    world.await_trace("end", 1)
    filler.unlink()
    assert running.result()[0] == "running"
    assert [world.call(call).get(timeout=40)[0] for call in taken] == list(range(len(taken)))
    assert heavy.remote("more", "x" * 30_000)[0] == "more"
    assert world.pid == pid
    assert world.trace("begin")["running"] == 1


def test_acknowledged_inputs_survive_a_kill_on_a_full_disk(small_disk: World) -> None:
    world = small_disk
    filler = world.state / "filler"
    world.deploy(HEAVY)
    filler.write_bytes(b"x" * (6 << 20))
    world.hold()
    taken, error = spawn_until_full(world.function("heavy"))
    assert isinstance(error, errors.ResourceExhaustedError)
    assert len(taken) > 10
    world.close_clients()
    world.kill()
    world.release()
    # The next daemon has no room to begin in and says so, or goes on.
    with suppress(errors.ConnectionError):
        world.ask("status")
    filler.unlink()
    client = world.connect()
    results = [world.call(call, client).get(timeout=40)[0] for call in taken]
    assert results == list(range(len(taken)))


def test_a_program_is_not_deployed_on_a_full_disk(small_disk: World) -> None:
    world = small_disk
    world.deploy()
    filler = fill(world.state)
    path = world.write("WORDS = 1\n" * 20_000)
    output = world.run_script(path, "{}", code=1)
    assert "Traceback" in output
    assert "space" in output or "full" in output
    filler.unlink()
    assert world.function("echo").remote("as before") == "as before"
    world.run_script(path, "{}")
    assert world.function("echo").remote("the new one") == "the new one"


@pytest.mark.parametrize(
    # The disk holds until the daemon has opened its files, and not until it has done its work.
    ("syscall", "error", "first"),
    [("pwrite64", "ENOSPC", 80), ("pwrite64", "EIO", 80), ("fdatasync", "EIO", 12)],
)
def test_a_disk_that_fails_and_recovers_loses_nothing(
    world: World, syscall: str, error: str, first: int
) -> None:
    strace = strace_or_skip()
    world.deploy()
    world.stop()
    daemon = start_traced(strace, world, f"{syscall}:error={error}:when={first}+")
    work = world.function("work")
    taken: list[str] = []
    refused: errors.Error | None = None

    def spawn_on() -> None:
        nonlocal refused
        for item in range(60):
            try:
                taken.append(work.spawn(item).object_id)
            except errors.Error as failure:
                refused = failure
                return

    spawning = Background(spawn_on)
    wait_for("trouble", lambda: spawning.done or "cannot be" in world.log)
    # The disk is well again.
    let_go(daemon)
    spawning.result()
    assert refused is not None or "cannot be synced" in world.log
    assert wait_for("it is taken in again", lambda: _spawned(work)).get(timeout=40)[0] == "after"
    results = [world.call(call).get(timeout=40)[0] for call in taken]
    assert len(set(results)) == len(taken)
    assert daemon.poll() is None


def _spawned(work):
    with suppress(errors.Error):
        return work.spawn("after")
    return None


def test_a_ledger_that_another_process_has_is_an_error_that_names_it(world: World) -> None:
    world.deploy()
    world.stop()
    world.close_clients()
    path = world.state / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as thief:
        thief.execute("PRAGMA locking_mode=EXCLUSIVE")
        thief.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.ConnectionError) as caught:
            world.ask("status")
        assert "Another process has the ledger" in str(caught.value)
        assert f"fuser {path}" in str(caught.value)
        thief.execute("ROLLBACK")
    assert world.function("echo").remote(1) == 1


def test_nobody_else_gets_at_the_ledger_of_a_daemon(world: World) -> None:
    world.deploy()
    other = sqlite3.connect(world.state / "ledger.db", timeout=0.1)
    with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT count(*) FROM call").fetchone()
    assert world.function("echo").remote(1) == 1
