"""What holds a generator back: the window of items that are out, and who may wait for it."""

import asyncio
import threading

import pytest

from cloudfn.errors import InputCancellation, InvalidError
from cloudfn.wire.messages import WINDOW_BYTES, WINDOW_ITEMS
from cloudfn.worker.streaming import Window, iterator_of


def filled() -> Window:
    window = Window()
    for _ in range(WINDOW_ITEMS):
        assert not window.full
        window.add(1)
    return window


def test_a_window_is_full_after_so_many_items_and_has_room_when_one_is_taken():
    window = filled()
    assert window.full

    window.take(1)

    assert not window.full
    assert window.sent == WINDOW_ITEMS


def test_bytes_fill_a_window_as_well_and_one_item_always_fits():
    window = Window()
    window.add(2 * WINDOW_BYTES)
    assert window.full

    window.take(1)
    window.add(WINDOW_BYTES - 1)

    assert not window.full


def test_items_that_an_attempt_before_brought_to_the_reader_need_no_room():
    window = Window()
    window.add(1)
    window.take(1000)

    for _ in range(999):
        window.add(WINDOW_BYTES)
        assert not window.full

    window.add(WINDOW_BYTES)
    assert window.full


def test_old_news_change_nothing():
    window = filled()
    window.take(10)
    window.take(3)

    for _ in range(10):
        assert not window.full
        window.add(1)
    assert window.full


def test_who_waits_goes_on_when_there_is_room():
    window = filled()
    thread = threading.Thread(target=window.wait, daemon=True)
    thread.start()

    window.take(1)

    thread.join(30)
    assert not thread.is_alive()


def test_who_waits_in_a_loop_goes_on_when_there_is_room():
    async def main():
        window = filled()
        waiting = asyncio.create_task(window.wait_in_loop())
        await asyncio.sleep(0)
        await asyncio.to_thread(window.take, 1)
        await asyncio.wait_for(waiting, 30)

    asyncio.run(main())


def test_a_cancelled_generator_ends_where_it_waits_or_with_its_next_item():
    window = filled()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            window.wait()
        except InputCancellation as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()

    window.cancel()

    thread.join(30)
    assert len(raised) == 1
    with pytest.raises(InputCancellation):
        window.add(1)


def test_what_cannot_be_iterated_over_is_refused():
    assert list(iterator_of([1, 2])) == [1, 2]
    with pytest.raises(InvalidError, match="'int'"):
        iterator_of(7)
