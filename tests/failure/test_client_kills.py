"""Clients die by kill -9 or Ctrl-C: what they waited for ends, what they handed over goes on."""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.failure.daemon_fixtures import APP, World, ended, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

ENTRYPOINT = """
@app.local_entrypoint()
def main(n: int = 40):
    print("results", sum(item for item, _ in work.map(range(n))))
"""


def line(client: subprocess.Popen[str], beginning: str) -> str:
    """Return the rest of the first line that a client prints with this beginning."""
    assert client.stdout is not None
    seen = []
    for text in client.stdout:
        seen.append(text)
        if text.startswith(beginning):
            return text.removeprefix(beginning).strip()
    raise AssertionError(f"the client ended without {beginning!r}: {''.join(seen)}")


def counts(world: World, call: str) -> dict[str, int]:
    return dict(world.ask("call_info", call=call)["statuses"])


@pytest.mark.parametrize("method", ["remote", "map"])
def test_inputs_of_a_killed_client_are_cancelled_after_its_grace(world: World, method: str) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.5)
    world.deploy()
    world.hold()
    client = world.start(f"""
        import cloudfn
        work = cloudfn.Function.from_name({APP!r}, "work")
        {"work.remote(0)" if method == "remote" else "list(work.map(range(50)))"}
    """)
    world.await_trace("begin", 1 if method == "remote" else 2)
    client.kill()
    wait_for("the call is gone", lambda: not world.ask("call_list")["calls"])
    stats = world.function("work").get_current_stats()
    assert (stats.backlog, stats.num_running_inputs) == (0, 0)
    # Those that ran were stopped, and the containers take other work.
    world.release()
    assert world.function("work").remote("next")[0] == "next"
    assert "end" not in world.trace("end") or world.trace("end").total() <= 3


def test_a_call_goes_on_when_its_client_is_killed_after_spawn(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.2)
    world.deploy()
    world.hold()
    client = world.start(f"""
        import cloudfn
        work = cloudfn.Function.from_name({APP!r}, "work")
        print("call", work.spawn(7).object_id, work.spawn_map(range(20)).object_id)
        input()
    """, )  # fmt: skip
    one, many = line(client, "call").split()
    client.kill()
    world.await_trace("begin", 2)
    world.release()
    # From another process than the one that made the call.
    other = world.start(f"""
        import cloudfn
        print("one", cloudfn.FunctionCall.from_id({one!r}).get(timeout=40))
        print("many", [item for item, _ in cloudfn.FunctionCall.from_id({many!r}).iter()])
    """)
    output, _ = other.communicate(timeout=60)
    assert "one (7," in output, output
    assert f"many {list(range(20))}" in output, output


def test_a_client_killed_in_the_middle_of_a_spawn_leaves_all_of_it_or_nothing(
    world: World,
) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.2)
    world.deploy()
    for count in (1, 7, 30):
        client = world.start(f"""
            import cloudfn, itertools
            work = cloudfn.Function.from_name({APP!r}, "work")
            for item in itertools.count():
                print("spawned", work.spawn(item).object_id)
        """)
        for _ in range(count):
            line(client, "spawned")
        client.kill()
        client.wait(20)
    wait_for(
        "everything that was taken in is finished",
        lambda: all(c["finished"] == c["known"] == 1 for c in world.ask("call_list")["calls"]),
    )
    assert all(call["sealed"] for call in world.ask("call_list")["calls"])


def test_nested_calls_end_with_the_client_of_their_parents(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.5)
    world.deploy()
    world.hold()
    client = world.start(f"""
        import cloudfn
        list(cloudfn.Function.from_name({APP!r}, "parent").map(range(10)))
    """)
    world.await_trace("begin", 2)
    client.kill()
    wait_for("no call is left", lambda: not world.ask("call_list")["calls"])


def test_the_app_of_a_killed_run_is_stopped(world: World) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=0.5)
    path = world.write(ENTRYPOINT)
    world.hold()
    client = world.spawn_process([sys.executable, "-m", "cloudfn", "run", "-q", str(path)])
    world.await_trace("begin", 2)
    assert len(world.ask("app_list", all=False)["apps"]) == 1
    client.kill()
    wait_for("the app is gone", lambda: not world.ask("app_list", all=False)["apps"])
    wait_for("its containers are gone", lambda: not world.ask("container_list")["containers"])


@pytest.mark.parametrize("seed", range(6))
def test_ctrl_c_at_any_moment_of_a_run_ends_it_with_130(world: World, seed: int) -> None:
    world.set(CLOUDFN_CLIENT_GRACE=1)
    choose = random.Random(seed)
    path = world.write(ENTRYPOINT)
    # Once with a cold start, later with a daemon that is there already.
    if seed % 2:
        world.ask("status")
    client = world.spawn_process([sys.executable, "-m", "cloudfn", "run", str(path), "--n", "2000"])
    if seed < 3:
        # During the imports, the start of the daemon, the bundle, the hello.
        moment = choose.uniform(0.02, 0.5)
        ended(client.pid, moment)
    else:
        many = choose.randint(1, 60)
        wait_for("progress", lambda: world.trace("begin").total() >= many)
    os.kill(client.pid, signal.SIGINT)
    output, _ = client.communicate(timeout=40)
    assert ended_well(client.returncode, output, early=seed < 3), output
    if not world.is_up():
        return
    wait_for("nothing waits", lambda: not world.ask("call_list")["calls"])
    wait_for("no app is left", lambda: not world.ask("app_list", all=False)["apps"])


def ended_well(code: int, output: str, *, early: bool) -> bool:
    """Whether Ctrl-C ended a run as it should; `early`: perhaps before or after it was one."""
    if code == 130:
        return "Traceback" not in output
    # Python itself was starting up, and nothing of ours could catch the signal; or all was done.
    return early and ("cloudfn" not in output or (code == 0 and "results" in output))


def test_ctrl_c_in_a_program_of_ones_own_stops_its_map(world: World) -> None:
    world.deploy()
    world.hold()
    client = world.start(f"""
        import cloudfn
        try:
            list(cloudfn.Function.from_name({APP!r}, "work").map(range(100)))
        except KeyboardInterrupt:
            print("interrupted")
    """)
    world.await_trace("begin", 2)
    os.kill(client.pid, signal.SIGINT)
    output, _ = client.communicate(timeout=40)
    assert output == "interrupted\n"
    # It said goodbye itself: nobody has to wait for a grace.
    wait_for("the call is gone", lambda: not world.ask("call_list")["calls"])
