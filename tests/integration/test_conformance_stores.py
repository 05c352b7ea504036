"""Conformance: Dict and Queue as Modal has them (C161 to C164), also between containers."""

import asyncio
import pickle
import threading

import pytest

import cloudfn
from cloudfn import errors
from tests.integration.conformance_world import opened_world, world

__all__ = ["world"]
pytestmark = pytest.mark.integration


@pytest.fixture
def d(world):
    with cloudfn.Dict.ephemeral() as mine:
        yield mine


@pytest.fixture
def q(world):
    with cloudfn.Queue.ephemeral() as mine:
        yield mine


def test_c161_a_put_that_skips_existing_keys_tells_whether_it_wrote(d):
    assert d.put("k", 1, skip_if_exists=True) is True
    assert d.put("k", 2, skip_if_exists=True) is False
    assert d["k"] == 1
    assert d.put("k", 3) is True
    assert d.get("k") == 3


def test_c162_a_dict_has_operators_and_standard_errors(d):
    d["a"] = [1]
    d.update({"b": 2}, c=3)

    assert ("a" in d, "x" in d) == (True, False)
    assert (d.len(), d.get("x"), d.get("x", 9)) == (3, None, 9)
    assert list(d.keys()) == ["a", "b", "c"]
    assert list(d.values()) == [[1], 2, 3]
    assert list(d.items()) == [("a", [1]), ("b", 2), ("c", 3)]
    assert d.pop("b") == 2
    del d["c"]
    for missing in (lambda: d["c"], lambda: d.pop("c"), lambda: d.__delitem__("c")):
        with pytest.raises(KeyError):
            missing()
    assert d.pop("c", None) is None
    d.clear()
    assert (d.len(), list(d.items())) == (0, [])


def test_keys_may_be_anything_that_pickles_and_none_is_a_value(d):
    d[("a", 1)] = None

    assert ("a", 1) in d
    assert d.get(("a", 1), "default") is None
    assert d.contains(("a", 2)) is False


def test_c163_a_queue_that_is_empty_or_full_says_so_as_the_standard_one_does(world):
    with opened_world() as small:
        small.variables |= {"CLOUDFN_QUEUE_ITEMS": "2"}
        small.python("-c", """if True:
            import cloudfn, queue
            with cloudfn.Queue.ephemeral() as q:
                assert q.get(block=False) is None
                assert q.get_many(3, block=False) == []
                for wait in (lambda: q.get(timeout=0.1), lambda: q.get_many(2, timeout=0.1)):
                    try: wait()
                    except queue.Empty: pass
                    else: raise SystemExit("not empty")
                q.put_many([1, 2])
                for put in (lambda: q.put(3, block=False), lambda: q.put(3, timeout=0.1)):
                    try: put()
                    except queue.Full: pass
                    else: raise SystemExit("not full")
                assert q.get_many(9) == [1, 2]
        """)  # fmt: skip


def test_c164_partitions_do_not_know_each_other(q):
    q.put("x")
    q.put_many([1, 2, 3], partition="a")

    assert (q.len(), q.len(partition="a"), q.len(total=True)) == (1, 3, 4)
    assert q.get(partition="b", block=False) is None
    assert q.get_many(2, partition="a") == [1, 2]
    assert list(q.iterate(partition="a")) == [3]
    q.clear(partition="a")
    assert q.len(total=True) == 1
    q.clear(all=True)
    assert q.len(total=True) == 0
    for wrong in (lambda: q.len(partition="a", total=True), lambda: q.put(1, partition="")):
        with pytest.raises(errors.InvalidError):
            wrong()


def test_whoever_waits_gets_what_comes_and_iterating_goes_on_while_there_is_more(q):
    got = []
    thread = threading.Thread(target=lambda: got.append(q.get(timeout=20)))
    thread.start()
    q.put("first")
    thread.join(20)
    assert got == ["first"]

    q.put("second")
    iterator = q.iterate(item_poll_timeout=20)
    assert next(iterator) == "second"
    q.put("third")
    assert next(iterator) == "third"


def test_big_values_travel_in_files_and_leave_none_behind(world, d, q):
    big = bytes(range(256)) * 2000
    d["k"] = big
    q.put_many([big, "small"])

    assert d["k"] == big
    assert next(d.values()) == big
    assert q.get_many(2) == [big, "small"]
    state = world.settings.state_dir
    assert any((state / "blobs" / d.object_id).iterdir())


def test_a_value_that_is_too_large_is_refused(q):
    with pytest.raises(errors.RequestSizeError, match="1048576 are allowed"):
        q.put(b"x" * (1 << 20))
    assert q.len() == 0


def test_everything_has_a_twin_for_event_loops(world):
    async def main():
        async with cloudfn.Dict.ephemeral() as d, cloudfn.Queue.ephemeral.aio() as q:
            await d.put.aio("k", 1)
            assert await d.get.aio("k") == 1
            assert [key async for key in d.keys.aio()] == ["k"]
            waiting = asyncio.create_task(q.get.aio())
            cancelled = asyncio.create_task(q.get.aio(partition="p"))
            await asyncio.sleep(0)
            await q.put.aio("x")
            assert await waiting == "x"
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            await q.put_many.aio([1, 2], partition="p")
            assert await q.get_many.aio(5, partition="p") == [1, 2]

    asyncio.run(main())


def test_objects_are_made_listed_and_deleted_by_name(world):
    with pytest.raises(errors.NotFoundError, match="no dict named 'phones'"):
        cloudfn.Dict.from_name("phones").get("k")
    cloudfn.Dict.objects.create("phones")
    with pytest.raises(errors.AlreadyExistsError):
        cloudfn.Dict.objects.create("phones")
    cloudfn.Dict.objects.create("phones", allow_existing=True)
    phones = cloudfn.Dict.from_name("phones")
    phones["k"] = 1

    assert [each.name for each in cloudfn.Dict.objects.list()] == ["phones"]
    assert phones.info().name == "phones"
    cloudfn.Dict.objects.delete("phones")
    cloudfn.Dict.objects.delete("phones", allow_missing=True)
    with pytest.raises(errors.NotFoundError):
        cloudfn.Dict.objects.delete("phones")
    with pytest.raises(errors.NotFoundError):
        phones.get("k")
    again = cloudfn.Dict.from_name("phones", create_if_missing=True)
    assert again.len() == 0
    with pytest.raises(errors.InvalidError):
        cloudfn.Queue.from_name("no slashes/please")


def test_a_handle_is_the_same_object_wherever_it_is_sent(d, q):
    named = cloudfn.Dict.from_name("shared", create_if_missing=True)
    for handle in (d, q, named):
        assert pickle.loads(pickle.dumps(handle)) == handle


PROGRAM = """
    import cloudfn as modal

    app = modal.App("shares")
    counts = modal.Dict.from_name("counts", create_if_missing=True)


    @app.function()
    def work(jobs, results):
        while (job := jobs.get(timeout=20)) is not None:
            results.put(job * 2)
            counts[job] = counts.get(job, 0) + 1


    @app.local_entrypoint()
    def main():
        with modal.Queue.ephemeral() as jobs, modal.Queue.ephemeral() as results:
            calls = [work.spawn(jobs, results) for _ in range(2)]
            jobs.put_many([*range(10), None, None])
            print(sorted(results.get(timeout=20) for _ in range(10)))
            modal.FunctionCall.gather(*calls)
            print(sorted(counts.items()))
"""


def test_functions_share_dicts_and_queues_given_as_arguments_or_by_name(world):
    program = world.write(PROGRAM)

    shown = world.cli("run", "-q", program).stdout.splitlines()

    assert shown == [str([2 * n for n in range(10)]), str([(n, 1) for n in range(10)])]
