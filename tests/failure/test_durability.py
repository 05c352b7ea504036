"""What is kept, for how long, and what goes: outcomes, rows, blobs, logs, memory."""

import os
import threading
from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.model.call import CallKind
from cloudfn.providers.local.blobs import memory_root
from cloudfn.sdk.calls import Submission
from cloudfn.wire import codec
from tests.failure.daemon_fixtures import APP, PATIENCE, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

MIB = 1 << 20


def rows(world: World, table: str) -> int:
    with world.ledger() as ledger:
        count: int = ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return count


def stopped(world: World) -> World:
    """End the daemon, so that its file can be read."""
    world.close_clients()
    world.stop()
    return world


def test_spawned_outcomes_are_the_same_for_everybody_who_asks(world: World) -> None:
    world.deploy()
    call = world.function("work").spawn(1)
    first = call.get(timeout=40)
    assert [world.call(call.object_id).get(timeout=40) for _ in range(3)] == [first] * 3
    world.kill()
    assert world.call(call.object_id).get(timeout=40) == first
    assert rows(stopped(world), "outcome") == 1


def test_nothing_of_delivered_calls_stays_in_the_ledger(world: World) -> None:
    world.deploy()
    work = world.function("work")
    assert len(list(work.map(range(100)))) == 100
    assert work.remote(1)
    work.for_each(range(10))
    with pytest.raises(errors.SerializationError):
        work.remote(threading.Lock())
    stopped(world)
    for table in ("call", "payload", "outcome", "block", "scar"):
        assert rows(world, table) == 0, table


def test_nothing_of_delivered_calls_stays_after_a_kill_either(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.3)
    world.deploy()
    calls = [Background(lambda: list(world.function("work").map(range(40)))) for _ in range(2)]
    wait_for("progress", lambda: world.trace("end").total() > 20)
    world.kill()
    for call in calls:
        assert len(call.result()) == 40
    # A client may have got its last results just before the kill, and never ask again.
    wait_for("all calls are gone", lambda: not world.ask("call_list")["calls"])
    stopped(world)
    for table in ("call", "payload", "outcome", "block", "scar"):
        assert rows(world, table) == 0, table


def test_kept_outcomes_expire_and_say_so(world: World) -> None:
    world.set(CLOUDFN_RETENTION=0.2)
    world.deploy("""
        @app.function()
        def big(size):
            return bytes(size)
    """)
    call = world.function("work").spawn(1)
    blob = world.function("big").spawn(300_000)
    assert call.get(timeout=40)[0] == 1
    assert len(blob.get(timeout=40)) == 300_000
    assert world.blobs()
    # Daemons look after what expired when they start, and then from time to time.
    stopped(world)
    wait_for("it expires", lambda: _is_expired(world, call.object_id))
    with pytest.raises(errors.OutputExpiredError, match="CLOUDFN_RETENTION"):
        world.call(blob.object_id).get(timeout=40)
    assert not world.blobs()
    assert rows(stopped(world), "outcome") == 0


def _is_expired(world: World, call: str) -> bool:
    try:
        world.call(call).get(timeout=0)
    except errors.OutputExpiredError:
        return True
    return False


def test_blobs_go_with_their_delivery(world: World) -> None:
    world.deploy()
    echo = world.function("echo")
    for data in echo.map([bytes([n]) * 200_000 for n in range(20)]):
        assert len(data) == 200_000
    assert len(echo.remote(bytes(300_000))) == 300_000
    world.close_clients()
    wait_for("no blob left", lambda: not world.blobs())
    world.stop()
    assert not memory_root(world.state).exists()


def test_blobs_that_nobody_knows_are_swept(world: World) -> None:
    world.deploy()
    assert world.function("echo").remote(1) == 1
    # Clients that died between blob and submission; a container that died with its result.
    roots = [memory_root(world.state), world.state / "blobs", world.state / "blobs-fast"]
    (root,) = [root for root in roots[::2] if root.exists()]
    old = _orphan(root / "fc-0000000000000000000a")
    result = _orphan(root / "results-ta-0000000000000000000b")
    durable = _orphan(world.state / "blobs" / "fc-0000000000000000000c")
    fresh = _orphan(root / "fc-0000000000000000000d")
    for path in (old, durable):
        for each in (path, path.parent):
            os.utime(each, (1_000_000_000, 1_000_000_000))
    world.close_clients()
    world.kill()
    world.ask("status")
    wait_for("it is swept", lambda: not any(p.exists() for p in (old, result, durable)))
    # Somebody may be about to submit this one.
    assert fresh.exists()


def _orphan(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    path = folder / "0123456789abcdef"
    path.write_bytes(bytes(100_000))
    return path


def test_big_payloads_do_not_pass_through_the_daemon(world: World) -> None:
    world.deploy()
    echo = world.function("echo")
    assert len(echo.remote(bytes(MIB))) == MIB
    before = _resident(world.pid)
    block = os.urandom(MIB)
    assert all(data == block for data in echo.map(block for _ in range(200)))
    assert _resident(world.pid) - before < 48 * MIB


def test_small_payloads_do_not_pile_up_in_the_daemon(world: World) -> None:
    world.deploy()
    echo = world.function("echo")
    block = "x" * 50_000
    list(echo.map(block for _ in range(500)))
    before = _resident(world.pid)
    assert all(data == block for data in echo.map(block for _ in range(1500)))
    assert _resident(world.pid) - before < 48 * MIB


def test_outcomes_stay_on_disk_while_their_client_does_not_read(world: World) -> None:
    world.deploy()
    world.function("echo").remote(1)
    client, payload = world.connect(), codec.dumps((("x" * 60_000,), {}), codec.PickleContext(None))
    function = world.ask("function_lookup", app=APP, name="echo")["function_id"]
    before = _resident(world.pid)
    call = Submission(client, function, CallKind.MAP)
    for batch in range(13):
        call.send([payload] * 100, sealed=batch == 12)
    wait_for("all have run", lambda: world.ask("call_info", call=call.call_id)["finished"] == 1300)
    assert _resident(world.pid) - before < 64 * MIB
    indices: list[int] = []
    while len(indices) < 1300:
        assert client.arrival(call.box, PATIENCE).block()
        for outcomes in call.mail():
            indices += outcomes.indices
    assert sorted(indices) == list(range(1300))
    call.close(finished=True)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def test_an_input_that_finished_is_never_executed_again(world: World) -> None:
    world.deploy()
    call = world.function("work").spawn_map(range(20))
    assert len(list(call.iter())) == 20
    for _ in range(2):
        world.kill()
        assert [item for item, _ in world.call(call.object_id).iter()] == list(range(20))
    assert set(world.trace("begin").values()) == {1}
