"""What is kept, how long, and what goes: outcomes, payloads, directories."""

from pathlib import Path

import pytest

from cloudfn import errors
from cloudfn.providers.local.blobs import memory_root
from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

BLOCK = 300_000
REVERSE = """
@app.function(max_containers=2, scaledown_window=2)
def reverse(data):
    work_on(len(data))
    return data[::-1]
"""


def rows(world: World) -> dict[str, int]:
    """Return how many rows of each kind a daemon that is gone left."""
    with world.ledger() as ledger:
        return {
            table: ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("call", "block", "payload", "outcome", "scar")
        }


NOTHING = {"call": 0, "block": 0, "payload": 0, "outcome": 0, "scar": 0}


# Time


def test_results_of_spawned_calls_expire_and_say_so(world: World) -> None:
    """C067."""
    world.set(CLOUDFN_RETENTION=3)
    world.deploy()
    echo = world.function("echo")
    world.hold()
    one, many = world.function("work").spawn("one"), echo.spawn_map(range(3))
    # Another process, that is there before the result and stays until it is gone.
    other = world.start(f"""
        import cloudfn, time
        deadline = time.monotonic() + 30
        one = cloudfn.FunctionCall.from_id({one.object_id!r})
        many = cloudfn.FunctionCall.from_id({many.object_id!r})
        print("ready", flush=True)
        seen = one.get(timeout=30)[0]
        while time.monotonic() < deadline:
            try:
                one.get(timeout=0)
            except cloudfn.exception.OutputExpiredError as error:
                print("expired", seen, error)
                break
        try:
            many.get(timeout=0, index=1)
        except cloudfn.exception.OutputExpiredError as error:
            print("expired as well")
    """)
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    world.release()
    assert one.get(timeout=40)[0] == "one"
    output, _ = other.communicate(timeout=40)
    assert "expired one" in output, output
    assert "expired as well" in output
    # In the end nobody knows of them.
    wait_for("the calls are forgotten", lambda: not world.ask("call_list")["calls"])
    with pytest.raises(errors.NotFoundError):
        one.get(timeout=0)
    world.stop()
    assert rows(world) == NOTHING


def test_results_expire_while_no_daemon_runs(world: World) -> None:
    world.set(CLOUDFN_RETENTION=2)
    world.deploy()
    call = world.function("echo").spawn("one")
    assert call.get(timeout=40) == "one"
    world.kill()
    with world.ledger() as ledger:
        # As if it had ended three seconds earlier.
        ledger.execute("UPDATE call SET ended=ended-3")
        ledger.commit()
    with pytest.raises(errors.OutputExpiredError):
        wait_for("expiry", lambda: world.call(call.object_id).get(timeout=10) and None, 10)


def test_what_is_not_finished_does_not_expire(world: World) -> None:
    world.set(CLOUDFN_RETENTION=1)
    world.deploy()
    world.hold()
    waiting = world.function("narrow").spawn_map(range(3))
    world.await_trace("begin", 1)
    done = world.function("echo").spawn("done")
    assert done.get(timeout=40) == "done"
    wait_for("only the other is forgotten", lambda: len(world.ask("call_list")["calls"]) == 1)
    world.release()
    assert [item for item, _ in waiting.iter()] == [0, 1, 2]


def test_big_results_of_spawned_calls_stay_as_long_and_go_with_them(world: World) -> None:
    world.set(CLOUDFN_RETENTION=3)
    world.deploy(REVERSE)
    data = bytes(range(250)) * (BLOCK // 250)
    call = world.function("reverse").spawn(data)
    assert call.get(timeout=40) == data[::-1]
    wait_for("the argument is gone", lambda: len(world.blobs()) == 1)
    world.kill()
    assert world.call(call.object_id).get(timeout=40) == data[::-1]
    wait_for("the result is gone", lambda: not world.blobs())
    with pytest.raises((errors.OutputExpiredError, errors.NotFoundError)):
        world.call(call.object_id).get(timeout=40)


# Delivery


@pytest.mark.parametrize("method", ["remote", "map", "failing map"])
def test_delivered_outcomes_leave_no_row(world: World, method: str) -> None:
    world.deploy("""
        @app.function()
        def fail(item):
            raise ValueError(item)
    """)
    if method == "remote":
        assert world.function("echo").remote(1) == 1
    elif method == "map":
        assert list(world.function("echo").map(range(3000))) == list(range(3000))
    else:
        outcomes = list(world.function("fail").map(range(20), return_exceptions=True))
        assert [error.args for error in outcomes] == [(item,) for item in range(20)]
        with pytest.raises(ValueError, match=r"input .* of fail.map"):
            list(world.function("fail").map(range(20)))
    # The receipt of a result travels with the client's next message, at the latest with its last.
    world.close_clients()
    wait_for("no call", lambda: not world.ask("call_list")["calls"])
    world.stop()
    assert rows(world) == NOTHING


def test_delivered_outcomes_go_while_the_map_goes_on(world: World) -> None:
    world.set(CLOUDFN_MAP_WINDOW=100)
    world.deploy()
    results = world.function("echo").map(range(5000))
    assert [next(results) for _ in range(4000)] == list(range(4000))
    world.kill()
    # Those that were read are gone, all but what was told with no message yet.
    with world.ledger() as ledger:
        found = ledger.execute("SELECT low, high FROM outcome").fetchall()
    assert sum(high - low + 1 for low, high in found) <= 2000
    assert list(results) == list(range(4000, 5000))
    wait_for("no call", lambda: not world.ask("call_list")["calls"])


def test_a_nested_call_leaves_no_row(world: World) -> None:
    world.deploy()
    assert world.function("parent").remote(1)[0] == 1
    world.close_clients()
    wait_for("no call", lambda: not world.ask("call_list")["calls"])
    world.stop()
    assert rows(world) == NOTHING


@pytest.mark.parametrize("method", ["remote", "map", "broken off"])
def test_big_payloads_are_deleted_when_they_are_delivered(world: World, method: str) -> None:
    world.deploy(REVERSE)
    blocks = [bytes([n]) * BLOCK + b"end" for n in range(6)]
    reverse = world.function("reverse")
    if method == "remote":
        assert reverse.remote(blocks[0]) == blocks[0][::-1]
    elif method == "map":
        assert list(reverse.map(blocks)) == [block[::-1] for block in blocks]
    else:
        results = reverse.map(blocks)
        assert next(results) == blocks[0][::-1]
        results.close()
    wait_for("no blob left", lambda: not world.blobs())
    assert not [path for path in memory_root(world.state).glob("*") if any(path.iterdir())]


def test_big_payloads_of_a_killed_client_go_after_its_grace(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.5)
    world.deploy(REVERSE)
    world.hold()
    client = world.start(f"""
        import cloudfn
        reverse = cloudfn.Function.from_name({APP!r}, "reverse")
        list(reverse.map([b"x" * {BLOCK}] * 10))
    """)
    world.await_trace("begin", 1)
    wait_for("blobs", lambda: len(world.blobs()) >= 5)
    client.kill()
    wait_for("no blob left", lambda: not world.blobs())
    world.release()


# Directories


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nothing_is_left_in_memory_when_the_daemon_has_left(world: World, end: str) -> None:
    world.deploy(REVERSE)
    memory = memory_root(world.state)
    assert world.function("reverse").remote(b"ab" * BLOCK) == b"ba" * BLOCK
    call = world.function("reverse").spawn(b"ab" * BLOCK)
    assert call.get(timeout=40) == b"ba" * BLOCK
    assert memory.is_dir()
    if end == "kill":
        world.kill()
        assert world.function("reverse").remote(b"ab" * BLOCK) == b"ba" * BLOCK
    world.close_clients()
    world.stop()
    assert not memory.exists()
    # What has to survive the power lies on the disk.
    assert world.call(call.object_id).get(timeout=40) == b"ba" * BLOCK
    world.close_clients()
    world.stop()
    assert not memory.exists()


def test_no_file_of_a_finished_run_stays(world: World) -> None:
    program = world.write(
        """
        @app.local_entrypoint()
        def main():
            print("sum", sum(len(result) for result in echo.map([b"x" * 100_000] * 5)))
        """
    )
    done = Background(lambda: run(world, program))
    assert "sum 500000" in done.result()
    wait_for("no call", lambda: not world.ask("call_list")["calls"])
    assert not world.blobs()
    assert not world.ask("app_list", all=False)["apps"]
    world.stop()
    assert rows(world) == NOTHING
    assert not memory_root(world.state).exists()


def run(world: World, program: Path) -> str:
    import sys

    client = world.spawn_process([sys.executable, "-m", "cloudfn", "run", str(program)])
    output, _ = client.communicate(timeout=40)
    assert client.returncode == 0, output
    return output
