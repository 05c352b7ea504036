"""What every adapter of `Logs` promises."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.aws.logs import CloudWatchLogs
from cloudfn.providers.local.logs import LocalLogs
from cloudfn.providers.logs import Logs
from cloudfn.testing.aws import FakeAws
from cloudfn.testing.clock import FakeClock
from cloudfn.testing.provider import MemoryLogs

#: when the first entry is written, in seconds since the epoch
START = 1_700_000_000.0
GROUP = "/cloudfn/main"


@dataclass
class World:
    """Logs, and how to wait until what was flushed can be read."""

    logs: Logs
    settle: Callable[[], None]

    def fill(self, *entries: LogEntry) -> None:
        for one in entries:
            self.logs.write(one)
        self.logs.flush()
        self.settle()

    def texts(self, **query: object) -> list[str]:
        return [one.text for one in self.logs.read(LogQuery(**query))]


@pytest.fixture(params=["local", "memory", "aws"])
def world(request, tmp_path):
    if request.param == "local":
        return World(LocalLogs(tmp_path), lambda: None)
    if request.param == "memory":
        return World(MemoryLogs(), lambda: None)
    aws = FakeAws(FakeClock(START, sleepless=True))
    aws.client("logs").create_log_group(logGroupName=GROUP)
    return World(CloudWatchLogs(aws.clients(), GROUP, aws.clock), lambda: aws.clock.advance(60.0))


def entry(seconds: float, text: str = "hello\n", **changes: object) -> LogEntry:
    base = LogEntry(
        START + seconds, "ap-1", "jobs", "f", "co-1", "fc-1", "in-1-0", "stdout", text
    )  # fmt: skip
    return replace(base, **changes)


def test_entries_come_back_as_they_were(world):
    entries = [
        entry(1.5),
        entry(2.25, 'a "quoted" \\ line\n\tänd \u2028 \x00 \U0001f600\n', source="stderr"),
        entry(3.0, "", call_id="", input_id="", source="system", function="Cls.f"),
        entry(4.0, "lone \udc80 surrogate"),
        entry(5.0, container_id="", source="system"),
    ]

    world.fill(*entries)

    assert world.logs.read(LogQuery()) == entries


def test_nothing_is_read_before_the_flush(world):
    world.logs.write(entry(1.0))
    world.settle()

    assert world.logs.read(LogQuery()) == []
    world.fill()
    assert world.logs.read(LogQuery()) == [entry(1.0)]


def test_a_flush_of_nothing_is_harmless(world):
    world.fill()
    world.fill(entry(1.0))
    world.fill()

    assert world.logs.read(LogQuery()) == [entry(1.0)]


def test_containers_are_merged_by_time(world):
    world.fill(
        entry(1.0, "a"),
        entry(4.0, "d"),
        entry(2.0, "b", container_id="co-2"),
        entry(3.0, "c", container_id="co-3", app_id="ap-2"),
        entry(5.0, "e", container_id="co-2"),
    )

    assert world.texts() == ["a", "b", "c", "d", "e"]


def test_lines_of_one_moment_keep_their_order(world):
    world.fill(*(entry(1.0, f"{n}") for n in range(30)))
    world.fill(*(entry(1.0, f"{n}") for n in range(30, 50)))

    assert world.texts(tail=20) == [f"{n}" for n in range(30, 50)]
    assert world.texts() == [f"{n}" for n in range(50)]


def test_the_tail_is_the_last_entries_over_all_containers(world):
    world.fill(*(entry(float(n), f"{n}", container_id=f"co-{n % 7}") for n in range(210)))

    assert world.texts(tail=10) == [f"{n}" for n in range(200, 210)]
    assert len(world.logs.read(LogQuery())) == 100
    assert len(world.logs.read(LogQuery(tail=None))) == 210
    assert world.logs.read(LogQuery(tail=0)) == []


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"app_id": "ap-2"}, [6]),
        ({"container_id": "co-2"}, [2]),
        ({"function": "g"}, [3]),
        ({"call_id": "fc-2"}, [4]),
        ({"source": "stderr"}, [5]),
        ({"search": 'say "ä"'}, [1]),
        ({"search": "hello"}, [2, 3, 4, 5, 6]),
        ({"search": "HELLO"}, []),
        ({"since": START + 3}, [3, 4, 5, 6]),
        ({"until": START + 3}, [1, 2, 3]),
        ({"since": START + 2, "until": START + 4, "tail": 2}, [3, 4]),
        ({"since": START + 4, "until": START + 2}, []),
        ({"search": "hello", "tail": 1, "until": START + 5}, [5]),
        ({"app_id": "ap-1", "function": "g", "call_id": "fc-2"}, []),
        ({"app_id": "ap"}, []),
        ({"app_id": "../ap-1"}, []),
        ({"call_id": "fc-3"}, []),
    ],
)
def test_only_what_is_asked_for_comes(world, query, wanted):
    world.fill(
        entry(1.0, 'they say "ä"\n'),
        entry(2.0, container_id="co-2"),
        entry(3.0, function="g"),
        entry(4.0, call_id="fc-2"),
        entry(5.0, source="stderr"),
        entry(6.0, app_id="ap-2"),
    )

    assert [one.at - START for one in world.logs.read(LogQuery(**query))] == wanted


def test_text_that_looks_like_a_field_does_not_deceive_a_query(world):
    world.fill(entry(1.0, '"call":"fc-2"'), entry(2.0, call_id="fc-2"))

    assert [one.at for one in world.logs.read(LogQuery(call_id="fc-2"))] == [START + 2.0]


def test_an_endless_line_comes_back_whole_in_one_or_more_entries(world):
    text = "".join(chr(0x1F600 + n % 40) for n in range(200_000))
    world.fill(entry(1.0, text))

    assert "".join(world.texts()) == text


def test_what_is_fresh_is_not_pruned(world):
    world.fill(entry(1.0))

    world.logs.prune(START + 60.0)

    assert world.logs.read(LogQuery()) == [entry(1.0)]
