"""Deploys over running and waiting inputs: each input runs on the revision it was submitted to."""

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest

from cloudfn import errors
from tests.failure.daemon_fixtures import APP, Background, World, ended, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

NARROW = """
@app.function(max_containers=1, scaledown_window=2, timeout=60)
def tell(item):
    work_on(item)
    return {text!r}, item
"""
EXTRA = """
@app.function(max_containers=1, scaledown_window=2)
def extra(item):
    work_on(item)
    return "extra", item
"""


def start_deploy(world: World, text: str, *options: str, more: str = "") -> subprocess.Popen[str]:
    """Begin to deploy the revision that answers with `text`, by the command line."""
    path = world.write(NARROW.format(text=text) + more, name=f"program_{text}/program.py")
    command = [sys.executable, "-m", "cloudfn", "deploy", str(path), "--json", *options]
    return world.spawn_process(command)


def end_deploy(deploy: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a deploy told that must succeed."""
    output, _ = deploy.communicate(timeout=40)
    assert deploy.returncode == 0, output
    told: dict[str, Any] = json.loads(output[output.index("{") :])
    return told


def deploy(world: World, text: str, *options: str, more: str = "") -> dict[str, Any]:
    (world.home / f"program_{text}").mkdir(exist_ok=True)
    return end_deploy(start_deploy(world, text, *options, more=more))


def revisions(world: World) -> list[int]:
    """Return the revisions that have containers."""
    return sorted({c["revision"] for c in world.ask("container_list")["containers"]})


def history(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.ask("app_history", name=APP)["revisions"]
    return found


def live(world: World) -> int:
    return next(revision["number"] for revision in history(world) if revision["live"])


# What runs and what waits


def test_rolling_lets_old_containers_finish_beside_the_new_ones(world: World) -> None:
    deploy(world, "one")
    world.hold()
    old = [world.function("tell").spawn(item) for item in range(4)]
    mapped = Background(lambda: list(world.function("tell").map([10, 11])))
    wait_for("all are in", lambda: world.function("tell").get_current_stats().backlog == 5)
    world.await_trace("begin", 1)
    assert deploy(world, "two")["revision"] == 2
    new = Background(lambda: world.function("tell").remote("new"))
    # The old container is busy for as long as we like, and nobody waits for it.
    wait_for("the new one begins", lambda: "new" in world.trace("begin"))
    assert revisions(world) == [1, 2]
    world.release()
    assert new.result() == ("two", "new")
    assert [call.get(timeout=40) for call in old] == [("one", item) for item in range(4)]
    assert mapped.result() == [("one", 10), ("one", 11)]
    assert set(world.trace("begin").values()) == {1}
    wait_for("no old container", lambda: 1 not in revisions(world))


def test_recreate_ends_old_containers_and_runs_their_inputs_again(world: World) -> None:
    deploy(world, "one")
    world.hold()
    old = [world.function("tell").spawn(item) for item in range(4)]
    world.await_trace("begin", 1)
    (first,) = world.pids("begin")
    deploy(world, "two", "--strategy", "recreate")
    assert ended(first), "the old container is still there"
    wait_for("it began again", lambda: max(world.trace("begin").values()) == 2)
    new = Background(lambda: world.function("tell").remote("new"))
    wait_for("the new one begins", lambda: "new" in world.trace("begin"))
    world.release()
    assert new.result() == ("two", "new")
    assert [call.get(timeout=40) for call in old] == [("one", item) for item in range(4)]
    begun = world.trace("begin")
    assert sorted(begun.values()) == [1, 1, 1, 1, 2]


def test_recreate_blames_no_input_however_often_it_happens(world: World) -> None:
    deploy(world, "one")
    deploy(world, "two")
    world.hold()
    call = world.function("tell").spawn("patient")
    world.await_trace("begin", 1)
    # More often than an input may be lost.
    for number in range(12):
        begun = world.trace("begin").total()
        world.ask("app_rollback", name=APP, number=1 + number % 2, strategy="recreate")
        wait_for("again", lambda begun=begun: world.trace("begin").total() > begun)
        assert revisions(world) == [2]
    world.release()
    assert call.get(timeout=40) == ("two", "patient")


def test_spawned_inputs_survive_a_redeploy_and_a_restart(world: World) -> None:
    deploy(world, "one", more=EXTRA)
    world.hold()
    calls = [world.function("tell").spawn(item) for item in range(3)]
    gone = world.function("extra").spawn("x")
    world.await_trace("begin", 2)
    deploy(world, "two")
    world.kill()
    world.close_clients()
    world.release()
    results = [world.call(call.object_id).get(timeout=40) for call in calls]
    assert results == [("one", item) for item in range(3)]
    assert world.call(gone.object_id).get(timeout=40) == ("extra", "x")
    assert world.function("tell").remote("new") == ("two", "new")


# Revisions


def test_the_same_again_is_a_no_op(world: World) -> None:
    deploy(world, "one")
    world.hold()
    call = world.function("tell").spawn(0)
    world.await_trace("begin", 1)
    (container,) = world.ask("container_list")["containers"]
    for strategy in ("rolling", "recreate"):
        told = deploy(world, "one", "--strategy", strategy)
        assert (told["revision"], told["changed"]) == (1, False)
    assert [revision["number"] for revision in history(world)] == [1]
    assert [c["pid"] for c in world.ask("container_list")["containers"]] == [container["pid"]]
    world.release()
    assert call.get(timeout=40) == ("one", 0)


def test_functions_that_the_new_revision_lacks_vanish(world: World) -> None:
    deploy(world, "one", more=EXTRA)
    extra = world.function("extra")
    assert extra.remote(1) == ("extra", 1)
    world.hold()
    queued = [extra.spawn(item) for item in range(2)]
    world.await_trace("begin", 2)
    deploy(world, "two")
    with pytest.raises(errors.NotFoundError, match="no such function"):
        world.function("extra").hydrate()
    # A handle of before is of no use either, and says so.
    with pytest.raises(errors.NotFoundError):
        extra.remote(2)
    with pytest.raises(errors.NotFoundError):
        extra.spawn(2)
    world.release()
    assert [call.get(timeout=40) for call in queued] == [("extra", 0), ("extra", 1)]
    assert deploy(world, "three", more=EXTRA)["functions"] == sorted(
        ["echo", "extra", "narrow", "parent", "tell", "work"]
    )
    assert world.function("extra").remote(3) == ("extra", 3)


def test_rollback_runs_the_old_text(world: World) -> None:
    for text in ("one", "two", "three"):
        deploy(world, text)
    assert world.ask("app_rollback", name=APP)["revision"] == 4
    assert world.function("tell").remote(0) == ("two", 0)
    assert world.ask("app_rollback", name=APP, number=1)["revision"] == 5
    assert world.function("tell").remote(1) == ("one", 1)
    assert [r["rollback_of"] for r in history(world)] == [None, None, None, 2, 1]
    with pytest.raises(errors.NotFoundError, match="no version before"):
        world.ask("app_rollback", name=APP)
    with pytest.raises(errors.NotFoundError, match="no version 9"):
        world.ask("app_rollback", name=APP, number=9)
    assert live(world) == 5


def test_a_revision_is_immutable(world: World) -> None:
    deploy(world, "one")
    assert world.function("tell").remote(0) == ("one", 0)
    source = world.home / "program_one" / "program.py"
    source.write_text(source.read_text().replace("'one'", "'edited'"))
    for container in world.ask("container_list")["containers"]:
        world.ask("container_stop", container_id=container["container_id"])
    assert world.function("tell").remote(1) == ("one", 1)
    source.unlink()
    world.kill()
    world.close_clients()
    assert world.function("tell").remote(2) == ("one", 2)


# Overrides


def test_overrides_last_until_a_deploy_changes_anything(world: World) -> None:
    def settings() -> tuple[int | None, int | None]:
        found = world.function("tell").autoscaler.settings()
        return found.max_containers, found.buffer_containers

    deploy(world, "one")
    before = settings()
    world.function("tell").update_autoscaler(max_containers=3, buffer_containers=1)
    deploy(world, "one")
    assert settings() == (3, 1)
    deploy(world, "two", "--keep-overrides")
    assert settings() == (3, 1)
    world.kill()
    assert settings() == (3, 1)
    deploy(world, "three")
    assert settings() == before
    world.function("tell").update_autoscaler(max_containers=3)
    world.ask("app_rollback", name=APP)
    assert settings() == before


# Stops and races


def test_stopping_an_app_cancels_what_waits_and_ends_what_runs(world: World) -> None:
    deploy(world, "one")
    world.hold()
    calls = [world.function("tell").spawn(item) for item in range(3)]
    mapped = Background(lambda: list(world.function("tell").map(range(20, 23))))
    wait_for("all are in", lambda: world.function("tell").get_current_stats().backlog == 5)
    world.await_trace("begin", 1)
    # Inputs of a revision that is not live any more belong to the app as well.
    deploy(world, "two")
    newer = world.function("tell").spawn("newer")
    world.await_trace("begin", 2)
    pids = world.pids("begin")
    world.ask("app_stop", name=APP)
    for call in (*calls, newer):
        with pytest.raises(errors.RemoteError, match="cancelled"):
            world.call(call.object_id).get(timeout=40)
    with pytest.raises(errors.RemoteError, match="cancelled"):
        mapped.result()
    assert all(ended(pid) for pid in pids), "a container of a stopped app lives"
    wait_for("no container", lambda: not world.ask("container_list")["containers"])
    with pytest.raises(errors.NotFoundError, match="no deployed app"):
        world.function("tell").hydrate()
    with pytest.raises(errors.NotFoundError):
        world.ask("app_stop", name=APP)
    # And it stays so.
    world.kill()
    world.release()
    assert world.call(calls[0].object_id).get_call_graph()[0].status.name != "PENDING"
    assert world.trace("begin").total() == 2
    assert deploy(world, "three")["revision"] == 1


def test_a_stop_amid_a_kill_is_finished_by_the_next_daemon(world: World) -> None:
    deploy(world, "one")
    world.hold()
    calls = [world.function("tell").spawn(item) for item in range(3)]
    world.await_trace("begin", 1)
    # Whether or not the daemon comes to it before it dies: the client that asks goes on.
    stop = Background(lambda: world.ask("app_stop", name=APP))
    world.kill()
    with suppress(errors.NotFoundError):  # it was stopped, and died before it said so
        stop.result()
    for call in calls:
        with pytest.raises(errors.RemoteError, match="cancelled"):
            world.call(call.object_id).get(timeout=40)
    world.release()


@pytest.mark.parametrize("texts", [("one", "one"), ("one", "two")], ids=["same", "different"])
def test_two_first_deploys_at_once_both_end_well(world: World, texts: tuple[str, str]) -> None:
    for text in texts:
        (world.home / f"program_{text}").mkdir(exist_ok=True)
    both = [start_deploy(world, text) for text in texts]
    told = [end_deploy(each) for each in both]
    assert {each["app_id"] for each in told} == {told[0]["app_id"]}
    assert len(history(world)) == len(set(texts))
    last = max(told, key=lambda each: each["revision"])
    assert last["revision"] == live(world) == len(set(texts))
    assert world.function("tell").remote(0)[0] == texts[told.index(last)]


def test_deploys_and_calls_at_once_lose_nothing(world: World) -> None:
    deploy(world, "one")
    calls = [
        Background(lambda first=first: list(world.function("tell").map(range(first, first + 30))))
        for first in (0, 100, 200)
    ]
    for text in ("two", "three", "four"):
        deploy(world, text, "--strategy", "recreate" if text == "three" else "rolling")
    results = [call.result() for call in calls]
    for first, result in zip((0, 100, 200), results, strict=True):
        assert [item for _, item in result] == list(range(first, first + 30))
        # A call keeps to the revision that it began with.
        assert len({text for text, _ in result}) == 1
    assert live(world) == 4
    wait_for("old containers left", lambda: set(revisions(world)) <= {4})
