"""Deploys, rollbacks and stops while inputs wait and run: each runs the text it was sent to."""

import os

import pytest

from cloudfn import errors
from tests.failure.daemon_fixtures import APP, Background, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def text(version: str) -> str:
    """Return a function that says which version of the program it is."""
    return f"""
@app.function(max_containers=1, scaledown_window=2)
def which(item):
    work_on(item)
    return item, {version!r}
"""


def revisions(world: World) -> list[tuple[int, bool, int | None]]:
    told = world.ask("app_history", name=APP)["revisions"]
    return [(each["number"], each["live"], each["rollback_of"]) for each in told]


@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
def test_inputs_run_the_revision_they_were_submitted_to(world: World, strategy: str) -> None:
    world.deploy(text("one"))
    world.hold()
    which = world.function("which")
    mapped = Background(lambda: list(which.map(range(4))))
    world.await_trace("begin", 1)
    spawned = [which.spawn(item) for item in (10, 11)]
    assert world.deploy(text("two"), strategy=strategy)["revision"] == 2
    new = Background(lambda: world.function("which").remote(20))
    wait_for("the new one runs", lambda: "20" in world.trace("begin"))
    world.release()
    assert new.result() == (20, "two")
    assert mapped.result() == [(item, "one") for item in range(4)]
    assert [call.get(timeout=40) for call in spawned] == [(10, "one"), (11, "one")]
    begun = world.trace("begin")
    again = 1 if strategy == "rolling" else 2
    assert begun.pop("0") == again
    assert set(begun.values()) == {1}
    wait_for("the old containers are gone", lambda: {
        each["revision"] for each in world.ask("container_list")["containers"]} <= {2})  # fmt: skip


def test_inputs_of_an_old_revision_survive_the_daemon(world: World) -> None:
    world.deploy(text("one"))
    world.hold()
    calls = [world.function("which").spawn(item) for item in range(4)]
    world.await_trace("begin", 1)
    world.deploy(text("two"))
    world.close_clients()
    world.kill()
    world.release()
    client = world.connect()
    assert [world.call(call.object_id, client).get(timeout=40) for call in calls] == [
        (item, "one") for item in range(4)
    ]
    assert world.function("which", client).remote(9) == (9, "two")


def test_a_stop_cancels_what_waits_and_what_runs(world: World) -> None:
    world.deploy()
    world.hold()
    work = world.function("work")
    calls = [work.spawn(item) for item in range(5)]
    mapped = Background(lambda: list(world.function("work").map(range(10, 20))))
    world.await_trace("begin", 2)
    wait_for("the map's inputs", lambda: work.get_current_stats().backlog == 13)
    world.ask("app_stop", name=APP)
    for call in calls:
        with pytest.raises(errors.RemoteError, match="cancelled"):
            call.get(timeout=40)
    with pytest.raises(errors.RemoteError, match="cancelled"):
        mapped.result()
    wait_for("no container", lambda: not world.ask("container_list")["containers"])
    with pytest.raises(errors.NotFoundError):
        world.function("work").remote(1)
    assert len(world.trace("begin")) <= 2
    assert "end" not in world.trace("end")


def test_a_stop_that_the_daemon_did_not_survive_is_a_stop(world: World) -> None:
    world.deploy()
    world.hold()
    calls = [world.function("work").spawn(item) for item in range(5)]
    world.await_trace("begin", 2)
    world.ask("app_stop", name=APP)
    world.close_clients()
    world.kill()
    world.release()
    for call in calls:
        with pytest.raises(errors.RemoteError, match="cancelled"):
            world.call(call.object_id).get(timeout=40)
    assert world.ask("app_list", all=False)["apps"] == []
    assert not world.trace("end")


def test_a_rollback_runs_the_old_text_again(world: World) -> None:
    world.deploy(text("one"))
    world.deploy(text("two"))
    assert world.function("which").remote(1) == (1, "two")
    world.hold()
    running = Background(lambda: world.function("which").remote(2))
    world.await_trace("begin", 2)
    assert world.ask("app_rollback", name=APP, number=None)["revision"] == 3
    world.release()
    assert world.function("which").remote(3) == (3, "one")
    assert running.result() == (2, "two")
    assert revisions(world) == [(1, False, None), (2, False, None), (3, True, 1)]
    world.kill()
    assert world.function("which").remote(4) == (4, "one")
    with pytest.raises(errors.NotFoundError, match="no version 7"):
        world.ask("app_rollback", name=APP, number=7)


def test_an_unchanged_deploy_does_nothing(world: World) -> None:
    first = world.deploy(text("one"))
    world.hold()
    running = Background(lambda: world.function("which").remote(1))
    world.await_trace("begin", 1)
    containers = [each["container_id"] for each in world.ask("container_list")["containers"]]
    again = world.deploy(text("one"), strategy="recreate")
    assert again == {**first, "changed": False}
    assert revisions(world) == [(1, True, None)]
    assert [
        each["container_id"] for each in world.ask("container_list")["containers"]
    ] == containers
    world.release()
    assert running.result() == (1, "one")
    assert world.trace("begin")["1"] == 1


def test_overrides_last_until_the_next_deploy_that_changes_anything(world: World) -> None:
    world.deploy(text("one"))
    which = world.function("which")
    declared = which.autoscaler.settings()
    which.update_autoscaler(max_containers=3, scaledown_window=7)
    changed = which.autoscaler.settings()
    assert (changed.max_containers, changed.scaledown_window) == (3, 7)
    world.kill()
    assert which.autoscaler.settings() == changed, "an override did not survive the daemon"
    world.deploy(text("one"))
    assert which.autoscaler.settings() == changed, "an unchanged deploy changed something"
    world.deploy(text("two"), keep_overrides=True)
    assert which.autoscaler.settings() == changed
    world.deploy(text("three"))
    assert which.autoscaler.settings() == declared


def test_deploys_that_race_end_with_one_live_revision(world: World) -> None:
    world.deploy(text("one"))
    paths = [world.write(text(f"v{n}"), name=f"program{n}.py") for n in range(3)]
    deploys = [Background(lambda path=path: world.run_script(path, "{}")) for path in paths]
    calls = Background(lambda: [world.function("which").remote(n) for n in range(10)])
    for deploy in deploys:
        deploy.result()
    assert [item for item, _ in calls.result()] == list(range(10))
    told = revisions(world)
    assert [number for number, _, _ in told] == list(range(1, len(told) + 1))
    assert [live for _, live, _ in told].count(True) == 1
    assert told[-1][1]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_deploy_that_the_daemon_did_not_survive_can_be_repeated(
    world: World, number: int
) -> None:
    world.deploy(text("one"))
    paths = world.write(text("two"))
    deploying = Background(lambda: world.run_script(paths, "{}"))
    before = world.pid
    # As soon as the bundle is there, then again as soon as the next daemon is.
    bundles = world.state / "bundles"
    wait_for("the bundle", lambda: len(list(bundles.iterdir())) >= 2)
    for _ in range(number):
        # Once the deploy is over, nobody but us starts the next daemon.
        wait_for("a daemon to kill", lambda: world.strike() or (deploying.done and world.connect()))
    assert world.pid != before or not world.is_up()
    deploying.result()
    assert world.function("which").remote(1) == (1, "two")
    told = revisions(world)
    assert told[-1][0] <= 2
    assert told[-1][1]


def test_the_program_may_change_or_vanish_after_the_deploy(world: World) -> None:
    world.deploy(text("one"))
    (world.home / "program.py").write_text("raise RuntimeError('not me')\n")
    assert world.function("which").remote(1) == (1, "one")
    os.unlink(world.home / "program.py")
    world.kill()
    assert world.function("which").remote(2) == (2, "one")
