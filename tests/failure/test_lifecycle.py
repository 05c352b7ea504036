"""A daemon's birth and end: races, leftovers, loose directories, strangers, idleness."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from cloudfn import errors
from cloudfn.sdk.session import connect
from cloudfn.sdk.starter import Starter, environment_key
from cloudfn.settings import ContainerIdentity
from cloudfn.wire.frames import Encoder, derive_key
from cloudfn.wire.messages import Kind
from tests.failure.daemon_fixtures import (
    Background,
    RawClient,
    World,
    ended,
    give_up,
    wait_for,
    world,
)

__all__ = ["world"]
pytestmark = pytest.mark.integration


def start_daemon(world: World) -> subprocess.Popen[str]:
    return world.spawn_process(
        [sys.executable, "-P", "-m", "cloudfn.daemon", "--env", "main"],
        env=world.daemon_environ(), start_new_session=True,
    )  # fmt: skip


# What dies with it


def test_containers_die_within_two_seconds_of_their_daemon(world: World) -> None:
    world.deploy()
    world.hold()
    work = world.function("work")
    calls = [work.spawn(item) for item in range(4)]
    world.await_trace("begin", 2)
    world.close_clients()
    pids = [*world.workers(), *world.pids("begin")]
    world.kill()
    # No new daemon helps: nobody asks for one.
    assert all(ended(pid, 2.0) for pid in pids), world.workers()
    assert not world.workers()
    world.release()
    assert [world.call(c.object_id).get(timeout=40)[0] for c in calls] == [0, 1, 2, 3]


LEFTOVER = """
@app.function()
def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note("leftover", "x")
            os.execv("/bin/sleep", ["sleep", "600"])
        os._exit(0)
    while not os.path.exists(HERE + "/trace") or "leftover" not in open(HERE + "/trace").read():
        time.sleep(0.01)
    work_on("parent")
"""


def test_what_user_code_left_behind_dies_with_the_daemon(world: World) -> None:
    world.deploy(LEFTOVER)
    world.hold()
    world.function("daemonise").spawn()
    world.await_trace("begin", 1)
    (leftover,) = world.pids("leftover")
    world.close_clients()
    world.kill()
    assert ended(leftover, 5.0)


def test_leftovers_that_nobody_swept_die_at_the_next_start(world: World) -> None:
    world.deploy(LEFTOVER)
    world.hold()
    world.function("daemonise").spawn()
    world.await_trace("begin", 1)
    (leftover,) = world.pids("leftover")
    world.close_clients()
    # The daemon and everybody who would sweep, all at once.
    pids = [pid for pid in (world.pid, *world.workers()) if pid != leftover]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert all(ended(pid) for pid in pids)
    assert not ended(leftover, 0.0)
    world.ask("status")
    assert ended(leftover, 5.0)


# Starts


@pytest.mark.parametrize("number", [2, 10])
def test_daemons_that_start_at_once_end_as_one(world: World, number: int) -> None:
    world.settings.state_dir.mkdir(mode=0o700)
    daemons = [start_daemon(world) for _ in range(number)]
    wait_for("one serves", world.is_up)
    survivor = world.pid
    for daemon in daemons:
        if daemon.pid != survivor:
            assert daemon.wait(40) == 0
    assert sum(daemon.poll() is None for daemon in daemons) == 1


def test_clients_that_start_at_once_get_the_same_daemon(world: World) -> None:
    clients = [Background(lambda: world.ask("status")["pid"]) for _ in range(10)]
    assert {client.result() for client in clients} == {world.pid}
    assert world.log.count("serving") == 1


def test_stale_files_are_no_obstacle(world: World) -> None:
    state = world.settings.state_dir
    state.mkdir(mode=0o700)
    # A pid that somebody else has by now, a socket that nobody listens on, locks that nobody holds.
    (state / "daemon.lock").write_text(f"{os.getpid()}\n")
    (state / "start.lock").touch()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(state / "daemon.sock"))
    stale.close()
    for name in ("daemon.lock", "start.lock", "daemon.sock"):
        (state / name).chmod(0o600)
    assert world.ask("status")["pid"] == world.pid != os.getpid()


def test_a_client_waits_for_a_start_that_another_began(world: World) -> None:
    world.ask("status")
    os.kill(world.pid, signal.SIGSTOP)
    late = Background(lambda: world.ask("status")["pid"])
    ended(world.pid, 0.3)
    assert not late.done
    os.kill(world.pid, signal.SIGCONT)
    assert late.result() == world.pid


def test_a_daemon_whose_directory_was_removed_leaves_and_disturbs_no_other(world: World) -> None:
    world.ask("status")
    lost = world.pid
    os.kill(lost, signal.SIGSTOP)  # until there is another one
    world.close_clients()
    shutil.rmtree(world.state)
    world.settings.state_dir.mkdir(mode=0o700)
    next_one = start_daemon(world)
    wait_for("the next one serves", world.is_up)
    os.kill(lost, signal.SIGCONT)
    assert ended(lost, 10.0)
    assert world.ask("status")["pid"] == next_one.pid == world.pid


# Directories and strangers


def test_a_state_directory_that_others_can_enter_is_refused(world: World) -> None:
    world.ask("status")
    world.stop()
    world.state.chmod(0o777)
    with pytest.raises(errors.PermissionDeniedError) as caught:
        world.ask("status")
    assert f"chmod 700 {world.state}" in str(caught.value)
    assert start_daemon(world).wait(40) == 1
    world.state.chmod(0o700)
    assert world.ask("status")["pid"]


def test_a_state_directory_behind_a_link_is_refused(world: World) -> None:
    (world.home / "elsewhere").mkdir(mode=0o700)
    world.state.symlink_to(world.home / "elsewhere")
    with pytest.raises(errors.PermissionDeniedError, match=f"rm {world.state}"):
        world.ask("status")
    assert start_daemon(world).wait(40) == 1
    world.state.unlink()


def test_what_belongs_to_another_user_is_refused(world: World) -> None:
    if os.geteuid() != 0:
        give_up("only root can give a directory away")
    world.ask("status")
    world.stop()
    stranger = socket.socket(socket.AF_UNIX)
    stranger.bind(str(world.state / "daemon.sock"))
    stranger.listen()
    (world.state / "daemon.sock").chmod(0o600)
    os.chown(world.state / "daemon.sock", 65534, 65534)
    with stranger, pytest.raises(errors.PermissionDeniedError, match="another user"):
        world.ask("status")
    (world.state / "daemon.sock").unlink()
    os.chown(world.state, 65534, 65534)
    with pytest.raises(errors.PermissionDeniedError, match="CLOUDFN_HOME"):
        world.ask("status")
    assert start_daemon(world).wait(40) == 1
    os.chown(world.state, 0, 0)
    assert world.ask("status")["pid"]


def test_a_process_of_another_user_is_not_served(world: World) -> None:
    if os.geteuid() != 0:
        give_up("only root can become another user")
    world.ask("status")
    # Whoever gets past the directory all the same is asked who he is.
    for path in (world.home, world.state):
        path.chmod(0o755)
    (world.state / "daemon.sock").chmod(0o777)
    stranger = world.start(f"""
        import os, socket
        os.setuid(65534)
        client = socket.socket(socket.AF_UNIX)
        client.connect({str(world.state / "daemon.sock")!r})
        try:
            client.sendall(b"hello")
            print("heard", client.recv(100))
        except ConnectionError:
            print("heard", b"")
    """)
    output, _ = stranger.communicate(timeout=40)
    assert output == "heard b''\n"
    world.state.chmod(0o700)
    (world.state / "daemon.sock").chmod(0o600)


def test_the_key_of_a_container_opens_nothing_else(world: World) -> None:
    world.ask("status")
    key = environment_key(world.state)
    of_container = derive_key(key, b"container", b"ta-one")
    for claimed in (None, "ta-two"):
        with RawClient(world, of_container, claimed) as client:
            client.send(client.request("status"))
            assert client.replies() == []
    with RawClient(world, key) as client:
        client.send(client.request("status"))
        assert client.replies(1)[0]["pid"] == world.pid


def test_a_tampered_frame_closes_its_connection_and_no_other(world: World) -> None:
    world.deploy()
    other = world.connect()
    with RawClient(world, environment_key(world.state)) as client:
        frame = bytearray(client.request("status"))
        frame[-1] ^= 1
        client.send(frame)
        assert client.replies() == []
    assert world.function("echo", other).remote(1) == 1
    for garbage in (b"\0" * 64, b"\xff" * 64, Encoder().frame(Kind.HELLO, b"[]"), os.urandom(4096)):
        with connect(world.state / "daemon.sock") as stranger:
            stranger.sendall(garbage)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(20)
            assert stranger.recv(100) == b""
    assert world.function("echo", other).remote(2) == 2


def test_a_replayed_message_ends_the_session(world: World) -> None:
    world.ask("status")
    with RawClient(world, environment_key(world.state)) as client:
        client.send(client.request("status") * 2)
        assert len(client.replies()) == 1


# Its end


def test_a_daemon_without_anything_to_do_leaves(world: World) -> None:
    world.set(CLOUDFN_DAEMON_IDLE_EXIT=0.5)
    world.ask("status")
    pid = world.pid
    assert ended(pid)
    assert "leaving" in world.log
    assert not (world.state / "daemon.sock").exists()
    assert not world.workers()


def test_a_daemon_with_a_deployed_app_stays_until_it_is_stopped(world: World) -> None:
    world.set(CLOUDFN_DAEMON_IDLE_EXIT=0.3)
    world.deploy()
    pid = world.pid
    assert not ended(pid, 2.5)
    world.ask("app_stop", name="victim")
    assert ended(pid)


def test_a_daemon_that_drains_lets_running_inputs_end(world: World) -> None:
    world.deploy()
    world.hold()
    calls = [world.function("work").spawn(item) for item in range(6)]
    world.await_trace("begin", 2)
    pid = world.pid
    world.ask("shutdown", mode="drain")
    world.close_clients()
    world.release()
    assert ended(pid)
    assert world.statuses() == {"RETURNED": 2, "PENDING": 4}
    with world.ledger() as ledger:
        assert ledger.execute("SELECT count(*) FROM scar").fetchone() == (0,)
    assert [world.call(c.object_id).get(timeout=40)[0] for c in calls] == list(range(6))
    assert max(world.trace("begin").values()) == 1


@pytest.mark.parametrize("how", ["now", "term", "drain"])
def test_what_runs_when_the_daemon_leaves_is_handed_back_without_blame(
    world: World, how: str
) -> None:
    world.deploy()
    world.hold()
    calls = [world.function("work").spawn(item) for item in range(6)]
    world.await_trace("begin", 2)
    pid = world.pid
    if how == "term":
        os.kill(pid, signal.SIGTERM)
    else:
        world.ask("shutdown", mode=how)
    world.close_clients()
    # With `drain` they get some seconds, and do not end.
    assert ended(pid)
    assert world.statuses() == {"PENDING": 6}
    with world.ledger() as ledger:
        assert ledger.execute("SELECT count(*) FROM scar").fetchone() == (0,)
    assert not world.workers()
    world.release()
    assert [world.call(c.object_id).get(timeout=40)[0] for c in calls] == list(range(6))


def test_a_daemon_that_fails_to_start_says_why(world: World) -> None:
    world.ask("status")
    world.stop()
    (world.state / "key").write_bytes(b"short")
    with pytest.raises(errors.ConnectionError, match="key is damaged: 5 bytes"):
        world.ask("status")


def test_a_container_cannot_start_a_daemon(world: World) -> None:
    world.ask("status")
    world.stop()
    identity = ContainerIdentity("ta-one", "00" * 32, str(world.state / "daemon.sock"), "ap-one")
    with pytest.raises(errors.ConnectionError, match="engine of this container is gone"):
        Starter(replace(world.settings, container=identity)).open()
