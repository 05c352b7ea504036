"""The parts of a machine that need no loop: how much to claim, what waits, who it is."""

import json

import pytest

from cloudfn.agent.dispatch import ServiceTime
from cloudfn.errors import ConnectionError, InvalidError  # noqa: A004 - ours
from cloudfn.machine.config import read_config
from cloudfn.machine.lines import Line
from cloudfn.machine.lots import PAGE, Taking, Wanted, lot, patience, wanted, within
from cloudfn.machine.metadata import Metadata, Notice
from cloudfn.machine.notes import notes_of
from cloudfn.model.call import Counters, Status
from cloudfn.model.function import AutoscalerSettings
from cloudfn.providers.doorbells import Ring
from cloudfn.providers.ledger import Claim, Entry
from cloudfn.testing.metadata import StubMetadata

TINY = ServiceTime(0.0001)
SLOW = ServiceTime(2.0)


def claim(seq, *, alone=False):
    return Claim(seq, 1, "fu-f@1", "fc-1", seq, b"", Counters(), alone, False)


# ------------------------------------------------------------------------- how much to claim


@pytest.mark.parametrize(
    ("taking", "count"),
    [
        (Taking(0, (), 1), 0),
        (Taking(4, (), 1), 1),
        (Taking(4, (1, 1), 1), 2),
        (Taking(1, (1, 1), 1), 1),
        (Taking(4, (1, 1), 1, SLOW), 2),
        (Taking(4, (8, 8), 8, ServiceTime(60.0)), 16),
        (Taking(2, (1, 1), 1, TINY, single_use=True), 2),
    ],
)
def test_as_many_inputs_are_wanted_as_run_at_once(taking, count):
    assert wanted(taking) == (count, count)


def test_of_tiny_inputs_more_are_wanted_than_containers_hold():
    assert wanted(Taking(1, (1,), 1, TINY)).most > PAGE


def test_of_short_inputs_one_more_is_wanted_for_each_container_and_of_long_ones_none():
    taking = [Taking(4, (1, 1), 1, ServiceTime(seconds)) for seconds in (0.2, 0.4)]

    assert list(map(wanted, taking)) == [(4, 4), (2, 2)]


def test_one_slow_input_among_tiny_ones_makes_what_waits_here_small():
    assert wanted(Taking(1, (1,), 1, TINY.at_least(5.0))) == (1, 1)


def test_few_inputs_are_claimed_one_by_one_and_many_in_pages():
    assert [lot(Wanted(4, 4), have) for have in (0, 3, 4, 9)] == [4, 1, 0, 0]
    assert [lot(Wanted(1000, 1000), have) for have in (0, 900, 950, 1000)] == [1024, 128, 0, 0]


@pytest.mark.parametrize(
    ("slots", "seconds", "along"),
    [(4, 1.0, 1), (2, 1.0, 0), (4, 2.0, 0), (16, 1.0, 4), (8, 2.0, 1)],
)
def test_of_long_inputs_as_many_are_claimed_along_with_one_as_run_soon(slots, seconds, along):
    both = wanted(Taking(slots, (1,) * slots, 1, ServiceTime(seconds)))

    assert both == (slots + along, slots)
    assert [lot(both, have) for have in (slots - 1, slots)] == [1 + along, 0]


def test_where_one_input_was_much_longer_than_others_none_waits_for_them():
    service = ServiceTime(1.0).at_least(3.5)

    assert wanted(Taking(16, (1,) * 16, 1, service)) == (16, 16)


@pytest.mark.parametrize(
    ("seconds", "waits"), [(None, 0.0), (0.01, 0.0), (0.3, 0.0), (0.5, 0.05), (60.0, 0.1)]
)
def test_outcomes_of_long_inputs_wait_a_moment_for_others_and_those_of_short_ones_do_not(
    seconds, waits
):
    assert patience(ServiceTime(seconds)) == waits


def test_what_a_machine_may_have_and_keeps_is_what_its_orders_say_whatever_it_read_itself():
    declared = AutoscalerSettings(5, 20, 3, 60)

    assert within(declared, 4, 2) == AutoscalerSettings(2, 4, 0, 60)
    assert within(declared, 30, 30) == AutoscalerSettings(30, 30, 0, 60)
    assert within(declared, 4, 9) == AutoscalerSettings(4, 4, 0, 60)


# ------------------------------------------------------------------------------ what waits


def test_what_must_run_alone_comes_alone_and_in_turns_with_the_others():
    line = Line("fu-f@1", "fu-f")
    line.add([claim(1), claim(2, alone=True), claim(3)])

    assert [[c.seq for c in line.take(5)] for _ in range(3)] == [[2], [1, 3], []]


def test_what_comes_back_waits_in_front_in_its_order():
    line = Line("fu-f@1", "fu-f")
    line.add([claim(each) for each in range(5)])

    line.put_back(line.take(3))

    assert [c.seq for c in line.take(9)] == [0, 1, 2, 3, 4]


def test_rings_are_kept_without_what_was_enclosed_until_the_ledger_has_no_more():
    line = Line("fu-f@1", "fu-f")
    line.heard(Ring("fu-f", "fu-f@1", "p1", b"old"))
    line.heard(Ring("fu-f", "fu-f@1", "p1", b"older"))
    line.heard(Ring("fu-f", "fu-f@1", "p2"))

    assert line.take_rings() == [Ring("fu-f", "fu-f@1", "p1"), Ring("fu-f", "fu-f@1", "p2")]
    line.heard(Ring("fu-f", "fu-f@1", "p3"))
    line.ask(5)
    line.exhausted()
    assert line.take_rings() == []
    assert not line.more


def test_who_begins_to_serve_a_pool_asks_for_inputs_and_takes_none_to_wait():
    line = Line("pool", "fu-1")
    assert (line.more, line.waiting) == (True, 0)

    line.heard(Ring("fu-1", "pool", "page"))

    assert line.waiting == 1


def test_what_rings_while_the_ledger_is_asked_has_it_asked_again():
    line = Line("fu-f@1", "fu-f")
    line.ask(5)
    line.heard(Ring("fu-f", "fu-f@1", "p1"))

    line.exhausted()

    assert line.more
    line.ask(5)
    line.exhausted()
    assert not line.more


# ---------------------------------------------------------------------------- what is told


def test_small_outcomes_travel_with_the_note_and_large_ones_do_not():
    small, large = Entry(1, 1, Status.RETURNED, b"x"), Entry(2, 1, Status.RAISED, b"x" * 60_000)

    notes = notes_of([("fc-1", 1, large), ("fc-1", 0, small), ("fc-2", 7, small)])

    assert [(n.indices, n.statuses, len(n.payloads)) for n in notes["fc-1"]] == [
        ((0,), (Status.RETURNED,), 1),
        ((1,), (Status.RAISED,), 0),
    ]
    assert notes["fc-2"][0].indices == (7,)


def test_many_outcomes_are_told_in_notes_of_bounded_size():
    entries = [
        ("fc-1", index, Entry(index, 1, Status.RETURNED, b"x" * 1000)) for index in range(99)
    ]

    notes = notes_of(entries)["fc-1"]

    assert [index for note in notes for index in note.indices] == list(range(99))
    assert max(sum(map(len, note.payloads)) for note in notes) <= 48 << 10
    assert all(note.payloads for note in notes)


# ------------------------------------------------------------------------------ who it is


@pytest.fixture
def stub():
    stub = StubMetadata()
    yield stub
    stub.close()


def test_a_machine_asks_the_metadata_service_who_it_is(stub):
    identity = Metadata(stub.endpoint).identity()

    assert identity.instance_id == "i-0123456789abcdef0"
    assert (identity.zone, identity.region) == ("eu-central-1a", "eu-central-1")
    assert (identity.address, identity.spot) == ("10.0.0.7", False)


def test_a_spot_notice_says_when_the_machine_ends(stub):
    metadata = Metadata(stub.endpoint)
    assert metadata.notice() == Notice()

    stub.values["spot/instance-action"] = json.dumps(
        {"action": "terminate", "time": "2026-11-29T00:00:00Z"}
    )

    assert metadata.notice().ends == 1_795_910_400.0


def test_a_rebalance_recommendation_and_the_groups_wish_are_reasons_to_leave(stub):
    metadata = Metadata(stub.endpoint)
    stub.values["autoscaling/target-lifecycle-state"] = "InService"
    assert metadata.notice().reason == ""

    stub.values["events/recommendations/rebalance"] = '{"noticeTime": "2026-11-29T00:00:00Z"}'
    assert metadata.notice().at_risk
    stub.values["autoscaling/target-lifecycle-state"] = "Terminated"
    assert metadata.notice().leaving


@pytest.mark.parametrize("state", ["Warmed:Stopped", "Warmed:Running", "Warmed:Hibernated"])
def test_a_machine_hears_that_it_is_put_aside(stub, state):
    stub.values["autoscaling/target-lifecycle-state"] = state

    notice = Metadata(stub.endpoint).notice()

    assert (notice.aside, notice.leaving) == (True, False)
    assert notice.reason == "its group puts the machine aside"


def test_a_token_that_has_expired_is_replaced_and_a_service_that_stumbles_asked_again(stub):
    metadata = Metadata(stub.endpoint)
    metadata.identity()

    stub.forget_tokens()
    stub.failures = 1

    assert metadata.notice() == Notice()


def test_without_a_metadata_service_the_machine_says_so(stub):
    endpoint = stub.endpoint
    stub.failures = 100

    with pytest.raises(ConnectionError, match="it says 503"):
        Metadata(endpoint).identity()


def test_variables_overrule_the_file(tmp_path):
    file = tmp_path / "machine.json"
    file.write_text(json.dumps({"environment": "main", "machine_class": "small", "region": "x"}))

    config = read_config({"CLOUDFN_MACHINE_CLASS": "big", "CLOUDFN_OTHER": "1"}, file)

    assert (config.environment, config.machine_class, config.region) == ("main", "big", "x")
    assert config.runtimes == ("docker",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "does not know its environment"),
        ('{"environment": "main"}', "does not know its machine class"),
        ('{"environment": "main", "colour": 1}', "names what there is not: colour"),
        ("{", "is no JSON"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_what_is_wrong(tmp_path, text, says):
    file = tmp_path / "machine.json"
    file.write_text(text)

    with pytest.raises(InvalidError, match=says):
        read_config({}, file)
