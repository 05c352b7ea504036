"""The connection to the daemon: results, errors, lost sockets, interrupts; over a real socket."""

import asyncio
import os
import pickle
import shutil
import signal
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.sdk.client import Mailbox
from cloudfn.sdk.connection import Connection
from cloudfn.sdk.starter import Starter, environment_key, prepare_state_dir
from cloudfn.wire.messages import Kind
from tests.unit.sdk_daemon import TIMEOUT, FakeDaemon, daemon_settings


@pytest.fixture
def root():
    folder = tempfile.mkdtemp(prefix="cf-")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def daemon(root):
    fake = FakeDaemon(daemon_settings(root), {"square": lambda x: x * x, "echo": lambda x: x})
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def client(daemon):
    connection = daemon.client()
    yield connection
    connection.close()


@pytest.fixture
def square(daemon, client):
    return daemon.function("square", client)


def test_a_call_returns_what_the_function_returned(square):
    assert [square.remote(3), square.remote(x=4)] == [9, 16]


def test_one_connection_serves_many_calls(daemon, square):
    for number in range(5):
        square.remote(number)

    assert daemon.hellos == 1


def test_the_error_of_a_reply_is_raised_with_its_hint(daemon, client):
    with pytest.raises(errors.NotFoundError, match="no cube") as info:
        daemon.function("cube", client).remote(1)

    assert info.value.hint == "deploy it"


def test_threads_share_the_connection(daemon, square):
    results = {}

    def call(number):
        results[number] = square.remote(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)

    assert results == {n: n * n for n in range(20)}
    assert daemon.hellos == 1


def test_a_thousand_calls_are_awaited_at_once(square):
    async def main():
        return await asyncio.gather(*[square.remote.aio(n) for n in range(1000)])

    assert asyncio.run(main()) == [n * n for n in range(1000)]


def test_calls_that_block_and_calls_that_await_go_together(square):
    async def main():
        blocking = asyncio.to_thread(lambda: [square.remote(n) for n in range(50)])
        awaited = asyncio.gather(*[square.remote.aio(n) for n in range(50)])
        return await blocking, await awaited

    assert asyncio.run(main()) == ([n * n for n in range(50)],) * 2


def test_a_cancelled_await_releases_its_call(daemon, square):
    daemon.open_gate.clear()

    async def main():
        task = asyncio.ensure_future(square.remote.aio(1))
        await asyncio.to_thread(daemon.submitted.wait, TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        daemon.open_gate.set()
        return await square.remote.aio(5)

    assert asyncio.run(main()) == 25
    assert len(daemon.released) == 1


def test_a_blocking_call_inside_an_event_loop_warns(square):
    async def main():
        with pytest.warns(errors.AsyncUsageWarning, match=r"remote\.aio"):
            return square.remote(2)

    assert asyncio.run(main()) == 4


def test_an_input_that_never_arrived_is_sent_again(daemon, square):
    square.remote(0)
    daemon.lose_submit = lambda number: number == 2

    assert square.remote(3) == 9
    assert daemon.hellos == 2


def test_an_outcome_that_got_lost_comes_again_and_the_input_runs_once(daemon, square):
    daemon.lose_outcomes = lambda number: number == 0

    assert square.remote(3) == 9
    assert (len(daemon.runs), daemon.hellos) == (1, 2)


def test_awaited_calls_survive_a_lost_connection(daemon, square):
    daemon.lose_outcomes = lambda number: number == 3

    async def main():
        return await asyncio.gather(*[square.remote.aio(n) for n in range(30)])

    assert asyncio.run(main()) == [n * n for n in range(30)]
    assert len(daemon.runs) == 30


def test_a_refused_call_says_so(daemon, square):
    daemon.refusals = 1

    with pytest.raises(errors.ResourceExhaustedError, match="square"):
        square.remote(1)
    assert square.remote(2) == 4


def test_a_call_that_is_rejected_raises_the_reason(daemon, square):
    daemon.rejection = {"type": "InvalidError", "message": "no such function"}

    with pytest.raises(errors.InvalidError, match="no such function"):
        square.remote(1)


def test_an_interrupt_leaves_the_connection_usable(daemon, square):
    square.remote(0)
    daemon.open_gate.clear()
    daemon.submitted.clear()

    def interrupt():
        daemon.submitted.wait(TIMEOUT)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        square.remote(1)
    thread.join(TIMEOUT)
    daemon.open_gate.set()

    assert square.remote(7) == 49


def test_an_interrupt_between_receiving_and_handing_out_loses_nothing(daemon, client, square):
    square.remote(0)
    session = client._session
    receive, interrupts = session.receive, iter([KeyboardInterrupt])

    def interrupted():
        receive()
        raise next(interrupts)

    session.receive = interrupted
    with pytest.raises(KeyboardInterrupt):
        square.remote(1)

    assert square.remote(8) == 64
    assert daemon.hellos == 2


def test_a_message_torn_while_sending_ends_the_session_and_not_the_calls(daemon, client, square):
    square.remote(0)
    client._session._torn_out = True

    assert square.remote(8) == 64
    assert daemon.hellos == 2


def test_a_daemon_that_restarts_is_waited_for(daemon, square):
    daemon.restarting = 2

    assert square.remote(3) == 9
    assert daemon.hellos == 3


def test_a_daemon_with_another_key_is_given_up_on(root):
    fake = FakeDaemon(daemon_settings(root), {"square": lambda x: x})
    fake.key = b"?" * 32
    fake.start()
    client = fake.client()
    try:
        with pytest.raises(errors.ConnectionError, match="again and again"):
            fake.function("square", client).remote(1)
    finally:
        client.close()
        fake.stop()


def test_no_daemon_that_may_not_be_started_is_an_error_with_a_hint(root):
    client = Connection(daemon_settings(root), start=False)

    with pytest.raises(errors.ConnectionError) as info:
        client.request("status")

    assert "cloudfn daemon start" in info.value.hint


def test_a_closed_client_says_so(daemon, client, square):
    square.remote(1)
    client.close()

    with pytest.raises(errors.ClientClosed):
        square.remote(1)


def test_a_path_too_long_for_a_socket_is_no_obstacle(root):
    settings = daemon_settings(root / ("long" * 30))
    fake = FakeDaemon(settings, {"square": lambda x: x * x})
    fake.start()
    client = fake.client()

    assert fake.function("square", client).remote(3) == 9
    client.close()
    fake.stop()


def test_big_arguments_and_results_go_through_files(daemon, client):
    echo = daemon.function("echo", client)
    data = os.urandom(200_000)

    assert echo.remote(data) == data
    assert len(daemon.runs[0]) < 1000


def test_a_full_disk_for_fast_blobs_falls_back_to_the_durable_ones(daemon, client, monkeypatch):
    import errno

    from cloudfn.sdk import payloads

    write = payloads.Packer._blob_in

    def full(self, top, how, *, durable):
        if not durable:
            raise OSError(errno.ENOSPC, "no room")
        return write(self, top, how, durable=durable)

    monkeypatch.setattr(payloads.Packer, "_blob_in", full)

    assert len(daemon.function("echo", client).remote(b"x" * 100_000)) == 100_000


def test_a_subscription_yields_what_comes_up_to_the_end(daemon, client):
    def follow(fields):
        daemon.say(Kind.LOGS, {"ref": fields["ref"], "entries": [1], "end": False})
        daemon.say(Kind.LOGS, {"ref": fields["ref"], "entries": [2], "end": True})
        return {}

    daemon.answers["logs"] = follow

    assert [m["entries"] for m in client.subscribe("logs", tail=5)] == [[1], [2]]


def test_a_subscription_that_is_refused_raises(daemon, client):
    daemon.answers["logs"] = lambda _: {"error": {"type": "LogsFetchError", "message": "no"}}

    with pytest.raises(errors.LogsFetchError):
        next(client.subscribe("logs"))


def test_output_reaches_a_listener_before_the_result(daemon, client, square):
    heard = []
    run = daemon.functions["square"]

    def loud(x):
        daemon.say(Kind.LOGS, {"ref": ref, "entries": [x], "end": False})
        return run(x)

    daemon.functions["square"] = loud
    client.connect()
    ref = client.listen("events", {"app_id": "ap-1"}, lambda told: heard.append(told["entries"]))

    assert square.remote(3) == 9
    assert heard == [[3]]
    client.release(ref, tell=False)


def test_a_listener_that_fails_does_not_disturb_calls(daemon, client, square):
    client.connect()

    def broken(_):
        raise BrokenPipeError

    ref = client.listen("events", {"app_id": "ap-1"}, broken)
    daemon.say(Kind.LOGS, {"ref": ref, "entries": [], "end": False})

    assert square.remote(3) == 9
    assert daemon.hellos == 1


def test_apps_are_reattached_after_a_reconnect(daemon, client, square):
    client.keep("ap-7")
    square.remote(1)
    daemon.drop()
    square.remote(2)

    attached = [f for f in daemon.requests if f["op"] == "app_reattach"]
    assert [f["app_id"] for f in attached] == ["ap-7"] * len(attached)
    assert attached


def test_mail_that_is_there_already_is_not_waited_for(client):
    box = Mailbox()
    box.put(4, "x")

    assert client.wait_for(box, 0)


# The state directory and the key


def test_the_state_directory_is_made_for_its_owner_alone(root):
    settings = daemon_settings(root / "new")
    prepare_state_dir(settings)

    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700


def test_a_state_directory_that_others_can_enter_is_refused_with_the_fix(root):
    settings = daemon_settings(root)
    settings.state_dir.mkdir()
    settings.state_dir.chmod(0o755)

    with pytest.raises(errors.PermissionDeniedError) as info:
        prepare_state_dir(settings)

    assert info.value.hint == f"Close it: chmod 700 {settings.state_dir}"


def test_a_state_directory_that_is_a_link_is_refused(root):
    settings = daemon_settings(root)
    (root / "elsewhere").mkdir(mode=0o700)
    settings.state_dir.symlink_to(root / "elsewhere")

    with pytest.raises(errors.PermissionDeniedError, match="symbolic link"):
        prepare_state_dir(settings)


def test_a_socket_that_is_a_link_is_refused(root):
    settings = daemon_settings(root)
    prepare_state_dir(settings)
    (settings.state_dir / "daemon.sock").symlink_to("/tmp/other.sock")

    with pytest.raises(errors.PermissionDeniedError, match="symbolic link"):
        Starter(settings, start=False).open()


def test_all_who_make_the_key_get_the_same_one(root):
    keys = []
    barrier = threading.Barrier(8)

    def make():
        barrier.wait()
        keys.append(environment_key(root))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32
    assert [p.name for p in root.iterdir()] == ["key"]
    assert stat.S_IMODE((root / "key").stat().st_mode) == 0o600


def test_a_damaged_key_is_told(root):
    (root / "key").write_bytes(b"short")
    (root / "key").chmod(0o600)

    with pytest.raises(errors.DataLossError, match="5 bytes"):
        environment_key(root)


def test_a_daemon_that_does_not_start_is_told_with_the_end_of_its_log(root, monkeypatch):
    from cloudfn.sdk import starter

    class Ended:
        def poll(self):
            return 3

    settings = daemon_settings(root)
    prepare_state_dir(settings)
    (settings.state_dir / "daemon.log").write_text("the disk is full\n")
    monkeypatch.setattr(starter, "start_daemon", lambda _: Ended())

    with pytest.raises(errors.ConnectionError, match=r"status 3(.|\n)*the disk is full"):
        Starter(settings).open()


def test_a_function_that_was_looked_up_travels_with_its_id(square):
    square.hydrate()
    back = pickle.loads(pickle.dumps(square))

    assert (back.object_id, back.name) == ("square", "square")
