"""The planner's loop: when it looks, when it rests, what it does with trouble, and its story."""

import json
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest

from cloudfn.control.planner.decide import decide
from cloudfn.control.planner.loop import PlannerLoop
from cloudfn.control.planner.snapshot import ContainerView, PoolDecision, PoolSnapshot, Snapshot
from cloudfn.model.function import AutoscalerSettings
from cloudfn.model.gpu import Gpu, GpuWish


class Timer:
    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    @property
    def due(self) -> list[float]:
        return sorted(timer.when - self.now for timer in self.timers if not timer.cancelled)

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while live := [t for t in self.timers if not t.cancelled and t.when <= end + 1e-9]:
            timer = min(live, key=lambda t: t.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = end


class Clock:
    def wall(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        raise AssertionError("the snapshot has its own time")

    def sleep(self, seconds: float) -> None:
        raise AssertionError("the planner never sleeps")


class Machine:
    """The hands: pools that do what is decided, at once."""

    def __init__(self, loop: Loop, *pools: dict[str, Any]) -> None:
        self.loop = loop
        self.pools = [{"waiting": 0, "containers": (), **pool} for pool in pools]
        self.looks: list[float] = []
        self.acts: list[PoolDecision] = []
        self.trouble: dict[str, Exception] = {}
        self.on_act: Callable[[], None] = lambda: None

    def observe(self) -> Snapshot:
        self.looks.append(self.loop.now)
        if "observe" in self.trouble:
            raise self.trouble["observe"]
        pools = tuple(a_pool(f"fu-{i}@1", **pool) for i, pool in enumerate(self.pools))
        return Snapshot(self.loop.now, pools, cores=2, memory=8_192, gpus=(Gpu(0),))

    def act(self, decision: PoolDecision) -> None:
        if decision.pool in self.trouble:
            raise self.trouble[decision.pool]
        self.acts.append(decision)
        pool = self.pools[int(decision.pool[3])]
        stay = tuple(c for c in pool["containers"] if c.container_id not in decision.stop)
        started = (idle(f"ta-{len(self.acts)}-{n}", self.loop.now) for n in range(decision.start))
        pool["containers"] = (*stay, *started)
        self.on_act()


def idle(name: str, since: float) -> ContainerView:
    return ContainerView(name, ready=True, held=0, waiting=False, last_used=since)


def a_pool(name: str, **more: Any) -> PoolSnapshot:
    values: dict[str, Any] = {
        "settings": AutoscalerSettings(),
        "live": True,
        "service": 1.0,
        "start_time": 0.05,
        "last_active": float("-inf"),
        "cpu": 0.125,
        "memory": 128,
    }
    return PoolSnapshot(name, **{**values, **more})


@pytest.fixture
def loop() -> Loop:
    return Loop()


def planner_of(loop: Loop, machine: Machine) -> PlannerLoop:
    return PlannerLoop(cast(AbstractEventLoop, loop), machine, Clock())


def test_nothing_happens_before_the_first_poke(loop):
    planner_of(loop, Machine(loop))

    assert loop.due == []


def test_a_poke_is_answered_at_once_when_the_last_look_is_long_ago(loop):
    machine = Machine(loop, {"waiting": 3})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(0)

    assert [(decision.pool, decision.start) for decision in machine.acts] == [("fu-0@1", 3)]


def test_many_pokes_are_one_look(loop):
    machine = Machine(loop)
    planner = planner_of(loop, machine)
    for _ in range(1_000):
        planner.poke()
    loop.pass_by(1)

    assert machine.looks == [100.0]


def test_pokes_in_a_row_are_answered_every_few_milliseconds_at_most(loop):
    machine = Machine(loop)
    planner = planner_of(loop, machine)
    for _ in range(100):
        planner.poke()
        loop.pass_by(0.001)

    gaps = [later - sooner for sooner, later in pairwise(machine.looks)]
    assert len(gaps) >= 19
    assert min(gaps) >= 0.005 - 1e-9


def test_a_poke_brings_the_next_look_forward_and_leaves_one_timer(loop):
    machine = Machine(loop, {"containers": (idle("a", 100.0),)})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(0.5)
    assert loop.due == [0.5]
    planner.poke()

    assert loop.due == [0.0]


def test_acting_pokes_and_that_ends(loop):
    machine = Machine(loop, {"waiting": 1})
    planner = planner_of(loop, machine)

    def take_the_input_and_poke() -> None:
        machine.pools[0]["waiting"] = 0
        planner.poke()

    machine.on_act = take_the_input_and_poke
    planner.poke()
    loop.pass_by(0.5)

    assert [round(look - 100, 6) for look in machine.looks] == [0.0, 0.005]


@pytest.mark.parametrize(
    ("pool", "looks"),
    [
        pytest.param(
            {"waiting": 9, "service": 1e-5}, 21, id="while inputs wait, 20 times a second"
        ),
        pytest.param(
            {"waiting": 9, "settings": AutoscalerSettings(max_containers=1)},
            2,
            id="while they wait for nothing that we could start, each second",
        ),
        pytest.param(
            {"containers": (idle("a", 100.0),)}, 2, id="while containers live, each second"
        ),
        pytest.param(
            {"settings": AutoscalerSettings(min_containers=1)},
            2,
            id="while some must live, as well",
        ),
        pytest.param(
            {"settings": AutoscalerSettings(min_containers=1), "live": False},
            1,
            id="for a retired pool without containers, no more",
        ),
        pytest.param({}, 1, id="for a pool without anything, no more"),
    ],
)
def test_how_often_it_looks(loop, pool, looks):
    machine = Machine(loop, pool)
    planner_of(loop, machine).poke()
    loop.pass_by(1.001)

    assert len(machine.looks) == looks


def test_it_sleeps_when_the_last_container_has_gone(loop):
    machine = Machine(loop, {"containers": (idle("a", 100.0),)})
    planner_of(loop, machine).poke()
    loop.pass_by(59.5)
    assert len(loop.due) == 1
    loop.pass_by(600)

    assert machine.pools[0]["containers"] == ()
    assert loop.due == []
    assert len(machine.looks) < 65


@pytest.mark.parametrize("before", [0, 1], ids=["before its first look", "with a look due"])
def test_a_planner_that_was_stopped_looks_no_more(loop, before):
    machine = Machine(loop, {"waiting": 1})
    planner = planner_of(loop, machine)
    for _ in range(before):
        planner.poke()
    planner.stop()
    planner.poke()
    loop.pass_by(5)

    assert machine.looks == []
    assert loop.due == []


def test_one_pools_trouble_is_no_other_pools(loop, caplog):
    machine = Machine(loop, {"waiting": 1}, {"waiting": 2})
    machine.trouble["fu-0@1"] = OSError("too many open files")
    planner = planner_of(loop, machine)
    planner.poke()
    with caplog.at_level(logging.ERROR):
        loop.pass_by(0)

    assert [decision.pool for decision in machine.acts] == ["fu-1@1"]
    assert [chapter.did.pool for chapter in planner.story] == ["fu-1@1"]
    assert "a decision for fu-0@1 could not be carried out" in caplog.text


@pytest.mark.parametrize("place", ["observe", "fu-0@1"], ids=["looking", "acting"])
def test_after_trouble_it_goes_on_a_second_later(loop, place):
    machine = Machine(loop, {"waiting": 1})
    machine.trouble[place] = OSError("too many open files")
    planner_of(loop, machine).poke()
    loop.pass_by(0.9)
    assert len(machine.looks) == 1
    machine.trouble.clear()
    loop.pass_by(0.2)

    assert [decision.start for decision in machine.acts] == [1]


def test_the_story_has_each_change_with_what_was_seen_and_why(loop):
    machine = Machine(loop, {"waiting": 3}, {"waiting": 1})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(0)

    assert [(chapter.at, chapter.did.reason) for chapter in planner.story] == [
        (1_700_000_000.0, "3 waiting and 0 busy need 3"),
        (1_700_000_000.0, "1 waiting and 0 busy need 1"),
    ]


def test_the_story_has_no_chapter_where_nothing_changed(loop):
    machine = Machine(loop, {"containers": (idle("a", 100.0),)})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(30)

    assert list(planner.story) == []


def test_a_pool_that_lacks_a_gpu_is_told_of_once_until_it_has_had_one(loop):
    machine = Machine(loop, {"waiting": 1, "gpu": GpuWish(("0",), 2)})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(5)

    assert [chapter.did.reason for chapter in planner.story] == [
        "1 waiting and 0 busy need 1, no GPU is free"
    ]
    assert len(machine.looks) < 10  # a GPU becomes free by an event, which pokes

    machine.pools[0]["waiting"] = 0
    loop.pass_by(1)
    machine.pools[0]["waiting"] = 2
    planner.poke()
    loop.pass_by(1)

    assert len(planner.story) == 2


def test_every_chapter_can_be_replayed_from_what_is_stored_of_it(loop):
    machine = Machine(loop, {"waiting": 30}, {"waiting": 40})
    planner = planner_of(loop, machine)
    planner.poke()
    loop.pass_by(0.2)
    for pool in machine.pools:
        pool["waiting"] = 0
    loop.pass_by(120)

    assert len(planner.story) > 2
    for chapter in planner.story:
        stored = json.dumps(chapter.saw.to_json())
        assert chapter.did in decide(Snapshot.from_json(json.loads(stored)))


def test_the_story_forgets_its_oldest_chapters(loop):
    machine = Machine(loop, {"waiting": 1})
    planner = planner_of(loop, machine)
    for _ in range(600):
        machine.pools[0]["containers"] = ()
        planner.poke()
        loop.pass_by(0.005)

    assert len(machine.acts) == 600
    assert len(planner.story) == 500
    assert planner.story[-1].did == machine.acts[-1]
