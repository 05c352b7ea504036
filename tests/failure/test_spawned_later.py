"""What is spawned for later is there later, whatever dies meanwhile."""

import pytest

from cloudfn.errors import DeadlineExceededError
from tests.failure.daemon_fixtures import CLOCK, PATIENCE, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def test_a_delayed_spawn_survives_the_daemon(world: World) -> None:
    world.deploy()
    due = CLOCK.wall() + 3.0
    call = world.function("work").spawn("later", delay=due - CLOCK.wall())
    world.kill()
    waiting = world.call(call.object_id, world.connect())

    assert waiting.get(PATIENCE)[0] == "later"
    assert CLOCK.wall() >= due
    assert world.trace("begin") == {"later": 1}


def test_an_input_whose_deadline_passes_while_no_daemon_runs_never_begins(world: World) -> None:
    world.deploy()
    world.hold()
    first = world.function("narrow").spawn("first")
    world.await_trace("begin", 1)
    late = world.function("narrow").spawn("late", deadline=1.0)
    over = CLOCK.wall() + 1.0
    world.stop()
    wait_for("the deadline", lambda: CLOCK.wall() > over)
    world.release()

    client = world.connect()
    with pytest.raises(DeadlineExceededError):
        world.call(late.object_id, client).get(PATIENCE)
    assert world.call(first.object_id, client).get(PATIENCE)[0] == "first"
    assert "late" not in world.trace("begin")


def test_priorities_are_kept_over_a_death(world: World) -> None:
    world.deploy()
    world.hold()
    narrow = world.function("narrow")
    calls = [narrow.spawn("first")]
    world.await_trace("begin", 1)
    calls += [
        narrow.spawn(name, priority=p) for name, p in (("low", -5), ("usual", 0), ("high", 5))
    ]
    world.kill()
    world.release()

    client = world.connect()
    for call in calls:
        world.call(call.object_id, client).get(PATIENCE)
    ends = (world.home / "trace").read_text().splitlines()
    order = [line.split()[1] for line in ends if line.startswith("end")]
    assert [name for name in order if name != "first"] == ["high", "usual", "low"]
