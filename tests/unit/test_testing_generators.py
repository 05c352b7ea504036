"""Generators in offline runs: item by item, closed when their reader goes, run again when lost."""

import asyncio

import pytest

import cloudfn
from cloudfn.exception import FunctionTimeoutError, InvalidError
from cloudfn.testing import offline

app = cloudfn.App("offline-generators")
effects: list[object] = []


@app.function()
def count(n, size=0):
    try:
        for i in range(n):
            effects.append(i)
            print(f"yield {i}")
            yield (i, bytes(size)) if size else i
    finally:
        effects.append("finally")


@app.function()
async def count_async(n):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield i
    finally:
        effects.append("finally")


@app.function()
def fail_after(n):
    yield from range(n)
    raise ValueError("enough")


@app.function(is_generator=True)
def iterator(n):
    return iter(range(n))


@app.function()
def nested(n):
    for item in count.remote_gen(n):
        yield item * 10


@pytest.fixture(autouse=True)
def world():
    effects.clear()
    with app_world() as world:
        yield world


def app_world(**how):
    return offline(**how)


@pytest.mark.parametrize("function", [count, count_async, iterator])
def test_all_kinds_of_generators_yield_their_items(function):
    with app.run():
        assert list(function.remote_gen(3)) == [0, 1, 2]


def test_nothing_runs_before_the_first_item_is_asked_for_and_no_further_than_that(world):
    with app.run():
        items = count.remote_gen(1_000_000)
        assert world.attempts == []

        assert (next(items), next(items)) == (0, 1)

        assert effects == [0, 1]
        items.close()


def test_a_loop_that_is_left_closes_the_generator(world):
    with app.run():
        for item in count.remote_gen(1_000_000):
            if item == 2:
                break

    assert effects == [0, 1, 2, "finally"]
    assert [attempt.ended for attempt in world.attempts] == ["closed"]


def test_items_come_before_the_exception():
    with app.run():
        items = fail_after.remote_gen(3)

        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="enough"):
            next(items)
        assert list(items) == []


def test_asynchronous_readers_get_items_as_well():
    async def read():
        return [item async for item in count_async.remote_gen.aio(3)]

    with app.run():
        assert asyncio.run(read()) == [0, 1, 2]


def test_generators_call_generators():
    with app.run():
        assert list(nested.remote_gen(3)) == [0, 10, 20]


def test_two_generators_take_turns():
    with app.run():
        assert list(zip(count.remote_gen(3), count.remote_gen(3), strict=True)) == [
            (0, 0), (1, 1), (2, 2),
        ]  # fmt: skip


def test_big_items_go_through_blobs_and_leave_none_behind(world):
    with app.run():
        items = list(count.remote_gen(3, size=100_000))

    assert [(number, len(data)) for number, data in items] == [
        (0, 100_000),
        (1, 100_000),
        (2, 100_000),
    ]
    assert [path for path in world.provider.blobs.fast.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("end", ["lose", "lose late", "die"])
def test_a_lost_generator_runs_again_and_no_item_comes_twice(end):
    with app_world(script={"count": [end]}) as world, app.run():
        assert list(count.remote_gen(3)) == [0, 1, 2]

    assert world.count("count") == 2


def test_a_generator_runs_into_its_timeout():
    script = {"count": ["timeout"]}
    with app_world(script=script), app.run(), pytest.raises(FunctionTimeoutError):
        list(count.remote_gen(3))


def test_a_function_that_yields_nothing_has_no_items():
    with app.run():
        assert list(count.remote_gen(0)) == []


def test_what_cannot_be_iterated_over_is_refused():
    local = cloudfn.App("offline-wrong")

    @local.function(is_generator=True, serialized=True)
    def wrong():
        return 7

    with local.run(), pytest.raises(InvalidError, match="cannot be iterated over"):
        list(wrong.remote_gen())


def test_what_it_prints_is_kept(world):
    with app.run():
        list(count.remote_gen(2))

    assert world.output("count") == "yield 0\nyield 1\n"


def test_local_gives_the_generator_itself():
    items = count.local(2)

    assert next(items) == 0
    items.close()
    assert effects == [0, "finally"]
