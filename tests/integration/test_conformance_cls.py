"""Conformance 3.7 and 3.8: classes, their hooks and how their containers end."""
# ruff: noqa: TID251 - this is user code as well

import asyncio
import os
import threading

import pytest

import cloudfn
from tests.integration.conformance_world import World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("classes")


class Base:
    @cloudfn.enter()
    def base_enter(self):
        self.seen = ["base"]

    @cloudfn.method()
    def twice(self, x):
        return 2 * x

    @cloudfn.method()
    def name(self):
        return "base"


@app.cls()
class Hooked(Base):
    @cloudfn.enter()
    async def last(self):
        self.loop = asyncio.get_running_loop()
        self.seen.append("async")

    @cloudfn.enter()
    def later(self):
        self.seen.append("sync")
        self.on_main_thread = threading.current_thread() is threading.main_thread()

    @cloudfn.method()
    def name(self):
        return f"derived of {super().name()}"

    @cloudfn.method()
    def story(self):
        return self.seen, self.on_main_thread, os.getpid()

    @cloudfn.method()
    async def same_loop(self):
        return asyncio.get_running_loop() is self.loop

    @cloudfn.method()
    def by_others(self, x):
        return self.twice.local(x), self.twice.remote(x)

    @cloudfn.method()
    def fail(self):
        raise LookupError("nothing here")

    def undecorated(self):
        return "plain"


class Ordered:
    @cloudfn.enter(snap=True)
    def first(self):
        self.path = os.environ["ORDER"]
        self.note("snap")

    @cloudfn.enter()
    def second(self):
        self.note("enter")

    @cloudfn.enter()
    async def third(self):
        self.note("async enter")

    @cloudfn.enter()
    def fourth(self):
        self.note("later enter")

    @cloudfn.exit()
    async def last(self):
        self.note("async exit")

    @cloudfn.exit()
    def before(self):
        self.note("exit")

    @cloudfn.method()
    def fail(self):
        self.note("call")
        raise LookupError

    def note(self, what):
        with open(self.path, "a") as file:
            file.write(f"{what}\n")


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run():
        yield


def test_bases_enter_first_and_synchronous_hooks_before_asynchronous_ones():
    """C109."""
    seen, on_main_thread, _ = Hooked().story.remote()

    assert seen == ["base", "sync", "async"]
    assert on_main_thread


def test_hooks_and_methods_share_the_loop_of_their_container():
    assert Hooked().same_loop.remote()


def test_methods_are_inherited_and_overridden():
    """C109."""
    assert Hooked().twice.remote(4) == 8
    assert Hooked().name.remote() == "derived of base"


def test_a_method_calls_others_here_and_in_other_containers():
    assert Hooked().by_others.remote(3) == (6, 6)


def test_methods_of_a_class_share_containers():
    hooked = Hooked()

    pids = {hooked.story.remote()[2] for _ in range(3)}

    assert len(pids) == 1
    assert list(hooked.twice.map(range(4))) == [0, 2, 4, 6]


def test_exceptions_of_methods_arrive():
    with pytest.raises(LookupError, match="nothing here"):
        Hooked().fail.remote()


async def check_twins():
    assert await Hooked().twice.remote.aio(2) == 4
    assert [x async for x in Hooked().twice.map.aio([1, 2])] == [2, 4]


def test_methods_have_asynchronous_twins():
    asyncio.run(check_twins())


def test_hooks_run_in_their_order_and_exit_hooks_after_failures(tmp_path):
    """C116."""
    order = tmp_path / "order"
    other = cloudfn.App("ordered")
    cls = other.cls(serialized=True, env={"ORDER": str(order)})(Ordered)

    with other.run(), pytest.raises(LookupError):
        cls().fail.remote()

    wait_for("the exit hooks", lambda: "async exit" in order.read_text())
    assert order.read_text().split("\n")[:-1] == [
        "snap", "enter", "later enter", "async enter", "call", "exit", "async exit",
    ]  # fmt: skip
