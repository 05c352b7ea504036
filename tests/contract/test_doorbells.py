"""What doorbells promise, in memory and on an SQS that is as nasty as it may be."""

import json
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from cloudfn.errors import InvalidError
from cloudfn.providers.aws.doorbells import SqsDoorbells
from cloudfn.providers.doorbells import Ring
from cloudfn.testing import FakeClock
from cloudfn.testing.aws import FakeAws, Knobs
from cloudfn.testing.memory_doorbells import MemoryDoorbells

VISIBILITY = 30
RECEIVES = 3
DEAD = "arn:aws:sqs:eu-central-1:123456789012:cloudfn-main-dead"
ATTRIBUTES = {
    "RedrivePolicy": json.dumps({"deadLetterTargetArn": DEAD, "maxReceiveCount": RECEIVES}),
    "VisibilityTimeout": str(VISIBILITY),
    "SqsManagedSseEnabled": "true",
}
RING = Ring("fu-f", "fu-f@1", "page 7", b"\x00\xffenclosed")


@pytest.fixture
def clock():
    return FakeClock(sleepless=True)


@pytest.fixture(params=["memory", "calm aws", "aws"])
def bells(request, clock):
    if request.param == "memory":
        port = MemoryDoorbells(clock, VISIBILITY, RECEIVES)
    else:
        knobs = Knobs.calm() if request.param == "calm aws" else Knobs()
        aws = FakeAws(clock, knobs=knobs, seed=11)
        aws.client("sqs").create_queue(QueueName="cloudfn-main-dead")
        port = SqsDoorbells(
            aws.clients(), "cloudfn-main-", ATTRIBUTES, "", tags={}, clock=clock, random=Random(1)
        )
    port.open("fu-f")
    yield port
    port.close()


def hear(bells, count, function_id="fu-f", answer=True):
    """Return different rings once `count` of them were heard, in any order."""
    heard = set()
    for _ in range(100):
        found = bells.listen(function_id, 5, 10)
        heard |= {each.ring for each in found}
        if answer:
            bells.answer(found)
        if len(heard) >= count:
            return heard
    raise AssertionError(f"only {len(heard)} of {count} rings were heard")


def numbered(count, function_id="fu-f", pool="fu-f@1"):
    return [Ring(function_id, pool, f"page {number}") for number in range(count)]


def test_what_is_rung_is_heard_with_all_that_it_says(bells):
    assert bells.ring([RING]) == 1

    assert hear(bells, 1) == {RING}


def test_nothing_but_ascii_need_be_in_names_and_anything_in_what_is_enclosed(bells):
    rings = [
        Ring("fu-f", "", ""),
        Ring("fu-f", "fu-f@2", "Seite ß\n\x00", bytes(range(256)) * 800),
    ]
    bells.ring(rings)

    assert hear(bells, 2) == set(rings)


def test_rings_by_the_hundred_all_arrive(bells):
    large = [each._replace(enclosed=b"x" * 200_000) for each in numbered(12)]
    assert bells.ring([*numbered(100), *large]) == 112

    assert hear(bells, 112) == {*numbered(100), *large}


def test_a_function_hears_its_own_rings_alone(bells):
    bells.open("fu-g")
    bells.ring([RING, Ring("fu-g", "fu-g@1", "p")])

    assert hear(bells, 1) == {RING}
    assert {each.ring for each in bells.listen("fu-f", 1, 10)} <= {RING}
    assert hear(bells, 1, "fu-g") == {Ring("fu-g", "fu-g@1", "p")}


def test_a_variant_rings_at_its_function_s_door(bells):
    ring = Ring("fu-f+abc", "fu-f+abc@1", "p")
    bells.open("fu-f+abc")
    assert bells.ring([ring]) == 1

    assert hear(bells, 1) == {ring}
    assert bells.functions() == ["fu-f"]


def test_one_hears_as_many_as_one_asked_for(bells):
    bells.ring(numbered(20))

    for limit in (1, 3, 10):
        assert 1 <= len(bells.listen("fu-f", 20, limit)) <= limit


def test_what_is_not_answered_comes_again(bells, clock):
    bells.ring([RING])
    hear(bells, 1, answer=False)
    clock.advance(VISIBILITY)

    assert hear(bells, 1) == {RING}


def test_what_is_answered_stays_away_at_last(bells, clock):
    bells.ring(numbered(5))
    hear(bells, 5)
    # A deletion may not hold at once: who hears a ring again answers again.
    for _ in range(20):
        clock.advance(VISIBILITY)
        bells.answer(bells.listen("fu-f", 0, 10))
    clock.advance(VISIBILITY)

    assert bells.listen("fu-f", 20, 10) == []
    assert bells.dead(10) == []


def test_answering_twice_or_too_late_is_harmless(bells, clock):
    bells.ring([RING])
    heard = bells.listen("fu-f", 20, 10)
    bells.answer(heard)
    bells.answer(heard)
    bells.answer([])
    bells.remove("fu-f")
    bells.answer(heard)


def test_silence_takes_its_time_and_proves_nothing(bells, clock):
    before = clock.wall()

    assert bells.listen("fu-f", 10, 10) == []
    assert clock.wall() - before >= 10
    assert bells.listen("fu-f", 0, 10) == []


def test_rings_of_functions_without_a_queue_are_lost(bells):
    assert bells.ring([Ring("fu-x", "fu-x@1", "p"), RING]) == 1
    assert bells.listen("fu-x", 0, 10) == []

    bells.open("fu-x")
    assert bells.listen("fu-x", 2, 10) == []
    assert hear(bells, 1) == {RING}


def test_queues_are_there_until_they_are_removed(bells, clock):
    bells.open("fu-g")
    bells.open("fu-f")
    assert sorted(bells.functions()) == ["fu-f", "fu-g"]

    bells.remove("fu-g")
    bells.remove("fu-g")
    assert bells.functions() == ["fu-f"]

    # On SQS the name stays taken for a minute.
    bells.open("fu-g")
    assert sorted(bells.functions()) == ["fu-f", "fu-g"]


def test_what_nobody_ever_answers_is_dead_and_can_be_forgotten(bells, clock):
    bells.ring([RING])
    dead = []
    for _ in range(20 * RECEIVES):
        bells.listen("fu-f", 0, 10)
        clock.advance(VISIBILITY)
        if dead := bells.dead(25):
            break

    assert {each.ring for each in dead} == {RING}
    assert bells.listen("fu-f", 1, 10) == []
    for _ in range(20):
        bells.answer(dead)
        clock.advance(600)
        if not (dead := bells.dead(25)):
            break
    assert bells.dead(25) == []


def test_what_has_no_name_of_a_function_is_refused(bells):
    for function_id in ("", "f", "dead", "reply-1"):
        with pytest.raises(InvalidError, match="no id of a function"):
            bells.open(function_id)


def test_many_may_ring_and_listen_at_once(bells):
    def ring(start):
        return bells.ring([Ring("fu-f", "fu-f@1", f"{start}-{number}") for number in range(7)])

    def listen(_):
        found = bells.listen("fu-f", 1, 10)
        bells.answer(found)
        return {each.ring for each in found}

    with ThreadPoolExecutor(8) as threads:
        taken = sum(threads.map(ring, range(8)))
        heard = set().union(*threads.map(listen, range(40)))

    assert taken == 56
    assert heard | (hear(bells, 56 - len(heard)) if len(heard) < 56 else set()) == {
        Ring("fu-f", "fu-f@1", f"{start}-{number}") for start in range(8) for number in range(7)
    }


def test_who_waits_is_woken_by_a_ring():
    bells = MemoryDoorbells(FakeClock())
    bells.open("fu-f")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(bells.listen, "fu-f", 20, 10)
        bells.ring([RING])
        assert [each.ring for each in waiting.result(10)] == [RING]
