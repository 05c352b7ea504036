"""Volumes when containers or the daemon die by kill -9 around a commit."""

import os
import signal

import pytest

import cloudfn
from tests.failure.daemon_fixtures import Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

WRITES = """
    vol = cloudfn.Volume.from_name("files", create_if_missing=True)

    @app.function(volumes={HERE + "/mounted": vol}, max_containers=1, timeout=60)
    def write(number, commit=True):
        for name in ("a", "b"):
            with open(f"{HERE}/mounted/{name}", "w") as file:
                file.write(str(number))
        if commit:
            vol.commit()
        note("committed", number)
        while os.path.exists(HERE + "/hold"):
            time.sleep(0.002)
        return os.getpid()
"""


def texts(world: World) -> list[str]:
    """Return what both files have, read between two commits and not across one."""
    volume = cloudfn.Volume.from_name("files", client=world.connect())
    while True:
        first, second, again = (b"".join(volume.read_file(name)).decode() for name in "aba")
        if first == again:
            return [first, second]


def test_a_commit_that_was_acknowledged_survives_the_daemon(world):
    world.deploy(WRITES)
    world.hold()
    call = Background(lambda: world.function("write").remote(7))
    world.await_trace("committed", 1)
    world.kill()

    assert texts(world) == ["7", "7"]
    world.release()
    call.result()


def test_kills_of_the_daemon_between_commits_leave_whole_commits(world):
    world.deploy(WRITES)
    call = Background(lambda: list(world.function("write").map(range(40))))
    for done in (3, 12, 20):
        wait_for("progress", lambda done=done: len(world.trace("committed")) >= done)
        world.kill()
        first, second = texts(world)
        assert first == second
    call.result()
    assert texts(world)[0] == texts(world)[1]


def test_what_a_killed_container_wrote_is_committed(world):
    world.deploy(WRITES)
    pid = world.function("write").remote(5, commit=False)
    os.kill(pid, signal.SIGKILL)

    def is_there():
        try:
            return texts(world) == ["5", "5"]
        except FileNotFoundError:
            return False

    wait_for("the commit", is_there)
    wait_for("no working copy", lambda: not list((world.state / "workspaces").glob("*")))


def test_an_upload_through_the_death_of_the_daemon_is_whole(world):
    volume = cloudfn.Volume.from_name("up", create_if_missing=True, client=world.connect())
    volume.hydrate()
    batch = volume.batch_upload()
    for number in range(50):
        batch.put_file(world.write(), f"file{number}")
    world.kill()
    with batch:
        pass
    assert len(volume.listdir("/")) == 50
