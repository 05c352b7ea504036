"""Conformance 3.2: generators, item by item, with their ends and what holds them back.

This module is the program: its functions run in containers that import it.
"""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

import cloudfn
from cloudfn.exception import (
    AsyncUsageWarning,
    FunctionTimeoutError,
    InvalidError,
    NotFoundError,
    SerializationError,
)
from cloudfn.providers.local.blobs import memory_root
from cloudfn.wire.messages import WINDOW_BYTES, WINDOW_ITEMS
from tests.integration.conformance_world import CLOCK, World, wait_for, world

__all__ = ["world"]
pytestmark = pytest.mark.integration

app = cloudfn.App("generators")


class CustomError(Exception):
    """One of the program's own."""


def note(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text + "\n")


def notes(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


@app.function(max_containers=1)
def count(n, path=os.devnull, size=0):
    """Yield numbers, or big items; tell of each, and of the end."""
    try:
        for i in range(n):
            note(path, str(i))
            yield (i, bytes(size)) if size else i
    finally:
        note(path, "finally")


@app.function(max_containers=1)
async def count_async(n, path=os.devnull, fails_at=None):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            note(path, str(i))
            if i == fails_at:
                raise CustomError("midway")
            yield i
    finally:
        await asyncio.sleep(0)
        note(path, "finally")


@app.function(max_containers=1)
def gated(n, folder):
    """Yield a number when the test allows it, item by item."""
    for i in range(n):
        wait_for("a gate", (Path(folder) / f"gate{i}").exists)
        yield i


@app.function()
def fail_after(n):
    yield from range(n)
    raise CustomError("enough")


@app.function(is_generator=True)
def iterator(n):
    return iter(range(n))


@app.function(is_generator=True)
async def iterator_later(n):
    await asyncio.sleep(0)
    return iter(range(n))


@app.function(is_generator=True)
def no_iterator():
    return 7


@app.function()
def returns_a_generator():
    return (i for i in range(3))


@app.function()
def yields_a_lock():
    yield 1
    yield threading.Lock()


@app.function()
def nested(n):
    for item in count.remote_gen(n):
        yield 10 * item


@app.function(timeout=1)
def slow(path):
    try:
        yield 0
        CLOCK.sleep(60)
        yield 1
    finally:
        note(path, "finally")


@app.function(serialized=True)
def by_value(n):
    yield from range(n)


@app.cls()
class Counter:
    start: int = cloudfn.parameter(default=0)

    @cloudfn.enter()
    def set_up(self):
        self.step = 2

    @cloudfn.method()
    def squares(self, n):
        for item in self.up.remote_gen(n):
            yield item * item

    @cloudfn.method()
    def up(self, n):
        for i in range(n):
            yield self.start + self.step * i

    @cloudfn.method()
    async def up_later(self, n):
        for item in self.up.local(n):
            await asyncio.sleep(0)
            yield item

    @cloudfn.method(is_generator=True)
    def up_at_once(self, n):
        return iter(list(self.up.local(n)))

    @cloudfn.method()
    def plain(self, n):
        return n + self.start


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=10)
def together(n, path=os.devnull):
    """Several of these run in the threads of one container."""
    try:
        for i in range(n):
            yield os.getpid(), i
    finally:
        note(path, "finally")


@app.function(max_containers=1)
@cloudfn.concurrent(max_inputs=10)
async def together_later(n, path=os.devnull):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield os.getpid(), i
    finally:
        note(path, "finally")


@app.cls(max_containers=1)
@cloudfn.concurrent(max_inputs=10)
class Together:
    @cloudfn.method()
    def numbers(self, n):
        yield from range(n)

    @cloudfn.method()
    async def numbers_later(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    @cloudfn.method()
    def plain(self, n):
        return n


@pytest.fixture(scope="module", autouse=True)
def running(world: World):
    with app.run(client=world.client):
        yield


@pytest.mark.parametrize("function", [count, count_async, iterator, iterator_later, by_value])
def test_every_kind_of_generator_yields_its_items_in_order(function):
    assert list(function.remote_gen(200)) == list(range(200))


def test_a_generator_without_items_ends_at_once():
    assert list(count.remote_gen(0)) == []


def test_items_arrive_while_the_function_runs(tmp_path):
    items = gated.remote_gen(3, str(tmp_path))
    for i in range(3):
        (tmp_path / f"gate{i}").touch()
        # The next gate is closed: the function cannot have ended.
        assert next(items) == i
    assert list(items) == []


def test_an_asynchronous_loop_reads_both_kinds():
    """C022."""
    generator = count_async.remote_gen.aio(3)
    assert hasattr(generator, "__aiter__")
    assert hasattr(generator, "__anext__")

    async def read():
        several = asyncio.gather(collect(count_async), collect(count))
        return [item async for item in generator], await several

    async def collect(function):
        return [item async for item in function.remote_gen.aio(150)]

    first, others = asyncio.run(read())
    assert first == [0, 1, 2]
    assert others == [list(range(150))] * 2


def test_a_plain_loop_inside_an_event_loop_works_and_is_warned_of():
    async def main():
        with pytest.warns(AsyncUsageWarning, match=r"async for … in ….remote_gen.aio"):
            return list(count.remote_gen(3))

    assert asyncio.run(main()) == [0, 1, 2]


def test_nothing_runs_until_somebody_iterates(tmp_path):
    path = tmp_path / "notes"
    generator = count.remote_gen(3, str(path))

    assert list(count.remote_gen(2)) == [0, 1]

    assert notes(path) == []
    assert list(generator) == [0, 1, 2]


def test_an_exception_comes_after_the_items_before_it():
    items = fail_after.remote_gen(100)

    assert [next(items) for _ in range(100)] == list(range(100))
    with pytest.raises(CustomError, match="enough"):
        next(items)
    assert list(items) == []


def test_what_a_failed_generator_cleans_up_is_done_before_the_next_input(tmp_path):
    """C028."""
    path = tmp_path / "notes"
    with pytest.raises(CustomError):
        list(count_async.remote_gen(10, str(path), fails_at=2))
    list(count_async.remote_gen(1, str(path)))

    assert notes(path) == ["0", "1", "2", "finally", "0", "finally"]


def test_big_items_travel_through_blobs_and_leave_none_behind(world):
    items = list(count.remote_gen(30, size=200_000))

    assert [number for number, _ in items] == list(range(30))
    assert {len(data) for _, data in items} == {200_000}
    roots = [memory_root(world.settings.state_dir), world.settings.state_dir / "blobs"]
    wait_for("no blob", lambda: not [p for root in roots for p in root.rglob("*") if p.is_file()])


@pytest.mark.parametrize("function", [count, count_async])
def test_a_slow_reader_holds_the_generator_back(function, tmp_path):
    path = tmp_path / "notes"
    items = function.remote_gen(100_000, str(path))

    assert next(items) == 0
    # What is yielded is written first; the rest of the window and one more may be under way.
    wait_for("a full window", lambda: len(notes(path)) >= WINDOW_ITEMS)
    read = 1
    while read < 1000:
        assert len(notes(path)) <= read + WINDOW_ITEMS + 1
        assert next(items) == read
        read += 1
    items.close()
    wait_for("its end", lambda: notes(path)[-1] == "finally")


def test_big_items_fill_the_window_by_their_bytes(tmp_path):
    path = tmp_path / "notes"
    size = 1 << 20
    items = count.remote_gen(1000, str(path), size=size)

    for _ in range(3):
        next(items)

    most = 3 + WINDOW_BYTES // size + 2
    wait_for("a full window", lambda: len(notes(path)) >= WINDOW_BYTES // size)
    list(iterator.remote_gen(200))
    assert len(notes(path)) <= most
    items.close()


@pytest.mark.parametrize("how", ["break", "close", "drop"])
@pytest.mark.parametrize("function", [count, count_async])
def test_a_reader_that_leaves_closes_the_generator(function, how, tmp_path):
    path = tmp_path / "notes"
    items = function.remote_gen(1_000_000, str(path))
    assert next(items) == 0
    if how == "break":
        for item in items:
            if item == 100:
                break
    elif how == "close":
        items.close()
        assert list(items) == []
    del items

    wait_for("its end", lambda: notes(path)[-1:] == ["finally"])
    # The container goes on with the next input.
    assert list(function.remote_gen(2)) == [0, 1]


def test_a_task_that_is_cancelled_closes_the_generator(tmp_path):
    path = tmp_path / "notes"

    async def read():
        async for _ in gated_after_two.remote_gen.aio(str(path)):
            pass

    async def main():
        task = asyncio.create_task(read())
        await asyncio.to_thread(wait_for, "two items", lambda: len(notes(path)) >= 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    wait_for("its end", lambda: notes(path)[-1] == "finally")


@app.function()
def gated_after_two(path):
    try:
        for i in range(2):
            note(path, str(i))
            yield i
        CLOCK.sleep(60)
    finally:
        note(path, "finally")


def test_the_timeout_counts_the_whole_run_and_comes_after_the_items():
    items = slow.remote_gen(os.devnull)

    assert next(items) == 0
    with pytest.raises(FunctionTimeoutError):
        next(items)


def test_a_finished_generator_whose_reader_is_slow_does_not_run_into_its_timeout(world):
    items = quick.remote_gen(10)

    assert next(items) == 0
    # Its container is free for others while nine items wait for their reader.
    for _ in range(3):
        assert list(quick.remote_gen(2)) == [0, 1]
    CLOCK.sleep(1.2)
    assert list(items) == list(range(1, 10))


@app.function(timeout=1, max_containers=1)
def quick(n):
    yield from range(n)


def test_a_generator_calls_a_generator():
    assert list(nested.remote_gen(100)) == [10 * i for i in range(100)]


def test_two_generators_can_be_read_in_turns():
    pairs = zip(iterator.remote_gen(100), iterator.remote_gen(100), strict=True)

    assert list(pairs) == [(i, i) for i in range(100)]


def test_local_gives_the_generator_itself():
    assert next(fail_after.local(1)) == 0
    assert list(iterator.local(2)) == [0, 1]


def test_what_is_no_generator_is_told_clearly():
    with pytest.raises(InvalidError, match="cannot be iterated over"):
        list(no_iterator.remote_gen())
    with pytest.raises(SerializationError, match="generator"):
        returns_a_generator.remote()
    with pytest.raises(InvalidError, match="remote_gen"):
        returns_a_generator.remote_gen()
    with pytest.raises(InvalidError, match="remote_gen"):
        count.remote(1)


def test_an_item_that_cannot_be_sent_ends_the_generator_after_those_before_it():
    items = yields_a_lock.remote_gen()

    assert next(items) == 1
    with pytest.raises(SerializationError, match="lock"):
        next(items)


def test_methods_of_classes_yield_and_share_their_instance_with_plain_ones():
    counter = Counter(start=5)

    for method in (counter.up, counter.up_later, counter.up_at_once):
        assert list(method.remote_gen(100)) == [5 + 2 * i for i in range(100)]
    assert list(counter.squares.remote_gen(3)) == [25, 49, 81]
    assert counter.plain.remote(1) == 6
    assert next(counter.up.local(1)) == 5
    with pytest.raises(InvalidError, match="remote_gen"):
        counter.up.remote(1)
    with pytest.raises(InvalidError, match="remote_gen"):
        counter.plain.remote_gen(1)


@pytest.mark.parametrize("function", [together, together_later])
def test_generators_run_beside_each_other_in_one_container(function):
    readers = [function.remote_gen(200) for _ in range(5)]

    rows = list(zip(*readers, strict=True))

    assert [{number for _, number in row} for row in rows] == [{i} for i in range(200)]
    assert len({pid for row in rows for pid, _ in row}) == 1


@pytest.mark.parametrize("function", [together, together_later])
def test_a_reader_that_leaves_does_not_disturb_the_neighbours(function, tmp_path):
    path = tmp_path / "notes"
    neighbour = function.remote_gen(1000)
    pid, _ = next(neighbour)
    for _ in range(3):
        items = function.remote_gen(1_000_000, str(path))
        assert next(items) == (pid, 0)
        items.close()

    wait_for("their ends", lambda: len(notes(path)) == 3)
    assert list(neighbour) == [(pid, i) for i in range(1, 1000)]


def test_a_class_yields_from_threads_and_tasks_at_once():
    shared = Together()
    readers = [method.remote_gen(200) for method in (shared.numbers, shared.numbers_later)]

    assert list(zip(*readers, strict=True)) == [(i, i) for i in range(200)]
    assert shared.plain.remote(7) == 7


def test_a_deployed_generator_is_called_by_its_name(world):
    world.python(
        world.write(
            """
            import cloudfn

            app = cloudfn.App("named-generators")

            @app.function()
            def triple(n):
                for i in range(n):
                    yield 3 * i

            @app.function()
            def plain(n):
                return n

            if __name__ == "__main__":
                app.deploy()
            """
        )
    )
    triple = cloudfn.Function.from_name("named-generators", "triple")
    assert list(triple.remote_gen(3)) == [0, 3, 6]
    for call in (
        lambda unknown: unknown.remote(1),
        lambda unknown: list(unknown.map([1])),
        lambda unknown: unknown.for_each([1]),
        lambda unknown: unknown.spawn_map([1]),
        lambda unknown: unknown.spawn(1),
    ):
        with pytest.raises(InvalidError, match="generator function"):
            call(cloudfn.Function.from_name("named-generators", "triple"))

    plain = cloudfn.Function.from_name("named-generators", "plain")
    with pytest.raises(InvalidError, match="remote_gen"):
        list(plain.remote_gen(3))
    with pytest.raises(NotFoundError):
        list(cloudfn.Function.from_name("named-generators", "none").remote_gen())
    world.cli("app", "stop", "named-generators", "--yes")


def test_a_function_that_became_a_generator_says_so_to_old_handles(world):
    program = """
        import cloudfn

        app = cloudfn.App("changing")

        @app.function()
        def f(n):
            {body}

        if __name__ == "__main__":
            app.deploy()
        """
    world.python(world.write(program.format(body="return n"), "changing.py"))
    plain = cloudfn.Function.from_name("changing", "f")
    assert plain.remote(1) == 1

    world.python(world.write(program.format(body="yield n"), "changing.py"))
    with pytest.raises(InvalidError, match="remote_gen"):
        plain.remote(1)
    generator = cloudfn.Function.from_name("changing", "f")
    assert list(generator.remote_gen(1)) == [1]

    world.python(world.write(program.format(body="return n"), "changing.py"))
    with pytest.raises(InvalidError, match="no generator function any more"):
        list(generator.remote_gen(1))
    world.cli("app", "stop", "changing", "--yes")


def test_what_is_printed_while_the_run_ends_is_shown(world):
    program = world.write(
        """
        import cloudfn

        app = cloudfn.App("last-words")

        @app.function()
        def endless():
            try:
                while True:
                    yield 1
            finally:
                print("closed")

        @app.cls()
        class Service:
            @cloudfn.method()
            def go(self):
                return 1

            @cloudfn.exit()
            def leave(self):
                print("exited")

        @app.local_entrypoint()
        def main():
            Service().go.remote()
            for _ in endless.remote_gen():
                break
        """
    )

    shown = world.cli("run", program).stdout.splitlines()

    assert sorted(shown) == ["closed", "exited"]


def test_an_interrupted_reader_leaves_no_traceback_in_the_container(world):
    program = world.write(
        """
        import cloudfn

        app = cloudfn.App("interrupted")

        @app.function()
        def endless():
            i = 0
            while True:
                yield (i := i + 1)

        @app.local_entrypoint()
        def main():
            for item in endless.remote_gen():
                print("item", item, flush=True)
        """
    )
    child = world.start("cloudfn", "run", program)
    while child.stdout.readline() != "item 3\n":
        pass
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)

    assert child.returncode == 130
    assert "Traceback" not in out + err
