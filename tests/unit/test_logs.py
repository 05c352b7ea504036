"""The logs of the local provider: what is written is read, bounded, merged, filtered, pruned."""

import os
import stat
from dataclasses import replace

import pytest

from cloudfn.errors import InvalidError
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.local.logs import ROTATE, LocalLogs


def entry(at, text="hello\n", **changes):
    base = LogEntry(
        at, "ap-1", "jobs", "f", "co-1", "fc-1", "in-1-0", "stdout", text
    )  # fmt: skip
    return replace(base, **changes)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def logs(directory):
    return LocalLogs(directory)


def fill(logs, *entries):
    for one in entries:
        logs.write(one)
    logs.flush()


def texts(found):
    return [one.text for one in found]


def test_entries_come_back_as_they_were(logs):
    entries = [
        entry(1.5),
        entry(2.25, 'a "quoted" \\ line\n\tänd \u2028 \x00 \U0001f600\n', source="stderr"),
        entry(3.0, "", call_id="", input_id="", source="system", function="Cls.f"),
        entry(4.0, "lone \udc80 surrogate"),
    ]

    fill(logs, *entries)

    assert logs.read(LogQuery()) == entries


def test_clients_get_the_fields_of_the_protocol():
    assert entry(1.5).to_json() == {
        "at": 1.5,
        "container": "co-1",
        "app": "jobs",
        "function": "f",
        "call": "fc-1",
        "input": "in-1-0",
        "source": "stdout",
        "text": "hello\n",
    }


def test_nothing_is_written_before_the_flush(logs, directory):
    logs.write(entry(1.0))

    assert not directory.exists()
    assert logs.read(LogQuery()) == []
    logs.flush()
    assert len(logs.read(LogQuery())) == 1


def test_a_container_that_prints_much_does_not_wait_for_the_flush(logs):
    for second in range(10):
        logs.write(entry(float(second), "x" * 60_000))

    assert logs.read(LogQuery())


def test_files_are_by_app_and_container_and_private(logs, directory):
    fill(logs, entry(1.0), entry(2.0, container_id="co-2"), entry(3.0, container_id=""))

    files = {str(path.relative_to(directory)) for path in directory.rglob("*.jsonl")}
    assert files == {"ap-1/co-1.jsonl", "ap-1/co-2.jsonl", "ap-1/_app.jsonl"}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*")}
    assert {mode for name, mode in modes.items() if name.endswith("jsonl")} == {0o600}
    assert modes["ap-1"] == stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_what_belongs_to_no_container_is_read_as_such(logs):
    alone = entry(1.0, container_id="", source="system")

    fill(logs, alone)

    assert logs.read(LogQuery()) == [alone]


@pytest.mark.parametrize("name", ["../etc", "a/b", ".", "", "_app", "a.jsonl", "x" * 200])
def test_ids_that_are_no_names_are_refused(logs, name):
    with pytest.raises(InvalidError):
        logs.write(entry(1.0, app_id=name))
    if name:
        with pytest.raises(InvalidError):
            logs.write(entry(1.0, container_id=name))


def test_containers_are_merged_by_time(logs):
    fill(
        logs,
        entry(1.0, "a"),
        entry(4.0, "d"),
        entry(2.0, "b", container_id="co-2"),
        entry(3.0, "c", container_id="co-3", app_id="ap-2"),
        entry(5.0, "e", container_id="co-2"),
    )

    assert texts(logs.read(LogQuery())) == ["a", "b", "c", "d", "e"]


def test_lines_of_one_moment_keep_their_order(logs):
    fill(logs, *(entry(1.0, f"{n}") for n in range(50)))

    assert texts(logs.read(LogQuery(tail=20))) == [f"{n}" for n in range(30, 50)]


def test_lines_of_one_moment_keep_their_order_when_a_file_is_set_aside(logs, directory):
    for n in range(200):
        logs.write(entry(1.0, f"{n:03}" + "x" * 50_000))
    logs.flush()
    (old,) = directory.rglob("*.jsonl.1")
    now = old.with_name("co-1.jsonl").stat().st_mtime
    os.utime(old, (now, now))

    found = [int(text[:3]) for text in texts(logs.read(LogQuery(tail=None)))]

    assert len(found) > 160
    assert found == list(range(200 - len(found), 200))


def test_the_tail_is_the_last_entries_over_all_containers(logs):
    for n in range(210):
        logs.write(entry(float(n), f"{n}", container_id=f"co-{n % 7}"))
    logs.flush()

    assert texts(logs.read(LogQuery(tail=10))) == [f"{n}" for n in range(200, 210)]
    assert len(logs.read(LogQuery())) == 100
    assert len(logs.read(LogQuery(tail=None))) == 210
    assert logs.read(LogQuery(tail=0)) == []


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (LogQuery(app_id="ap-2"), [6]),
        (LogQuery(container_id="co-2"), [2]),
        (LogQuery(function="g"), [3]),
        (LogQuery(call_id="fc-2"), [4]),
        (LogQuery(source="stderr"), [5]),
        (LogQuery(search='say "ä"'), [1]),
        (LogQuery(search="hello"), [2, 3, 4, 5, 6]),
        (LogQuery(search="HELLO"), []),
        (LogQuery(since=3.0), [3, 4, 5, 6]),
        (LogQuery(until=3.0), [1, 2, 3]),
        (LogQuery(since=2.0, until=4.0, tail=2), [3, 4]),
        (LogQuery(search="hello", tail=1, until=5.0), [5]),
        (LogQuery(app_id="ap-1", function="g", call_id="fc-2"), []),
        (LogQuery(app_id="../ap-1"), []),
    ],
)
def test_only_what_is_asked_for_comes(logs, query, wanted):
    fill(
        logs,
        entry(1.0, 'they say "ä"\n'),
        entry(2.0, container_id="co-2"),
        entry(3.0, function="g"),
        entry(4.0, call_id="fc-2"),
        entry(5.0, source="stderr"),
        entry(6.0, app_id="ap-2"),
    )

    assert [int(found.at) for found in logs.read(query)] == wanted


def test_text_that_looks_like_a_field_does_not_deceive_the_filter(logs):
    fill(logs, entry(1.0, '"call":"fc-2"'), entry(2.0, call_id="fc-2"))

    assert [found.at for found in logs.read(LogQuery(call_id="fc-2"))] == [2.0]


def test_lines_longer_than_a_block_are_read_whole(logs):
    fill(logs, *(entry(float(n), f"{n}" * 50_000) for n in range(9)))

    found = logs.read(LogQuery(tail=7))

    assert texts(found) == [f"{n}" * 50_000 for n in range(2, 9)]


def test_an_endless_line_becomes_several_entries(logs):
    fill(logs, entry(1.0, "x" * 200_000))

    found = logs.read(LogQuery())

    assert len(found) > 1
    assert "".join(texts(found)) == "x" * 200_000


def test_the_tail_is_found_without_reading_the_whole_file(logs, directory):
    fill(logs, *(entry(float(n)) for n in range(20)))
    path = directory / "ap-1" / "co-1.jsonl"
    lines = path.read_bytes()
    with path.open("wb") as file:
        # A hole that nobody could read in the time or the memory of a test.
        file.seek(1 << 40)
        file.write(b"\n" + lines)

    assert [one.at for one in logs.read(LogQuery(tail=10))] == [float(n) for n in range(10, 20)]


def test_a_container_that_prints_100_megabytes_keeps_the_last_16(logs, directory):
    line = "x" * 50_000
    for n in range(2_000):
        logs.write(entry(float(n), line))
    logs.flush()

    files = sorted((directory / "ap-1").iterdir())
    assert [path.name for path in files] == ["co-1.jsonl", "co-1.jsonl.1"]
    assert all(path.stat().st_size <= ROTATE for path in files)
    found = logs.read(LogQuery(tail=None))
    assert ROTATE // 50_000 <= len(found) <= 2 * ROTATE // 50_000
    assert [one.at for one in found] == [float(n) for n in range(2_000 - len(found), 2_000)]
    assert logs.lost == 0


@pytest.mark.parametrize("torn", [b'{"at":3.0,"sour', b'{"at":3.0}', b"\x00\x00\x00", b"[1]", b"7"])
def test_a_line_that_a_crash_tore_is_skipped(logs, directory, torn):
    fill(logs, entry(1.0), entry(2.0))
    path = directory / "ap-1" / "co-1.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    assert [one.at for one in logs.read(LogQuery())] == [1.0, 2.0]

    fill(logs, entry(4.0))

    assert [one.at for one in logs.read(LogQuery())] == [1.0, 2.0, 4.0]


def test_a_disk_that_refuses_costs_lines_but_no_work(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    logs = LocalLogs(tmp_path / "logs")

    fill(logs, entry(1.0), entry(2.0))

    assert logs.lost == 2
    assert logs.read(LogQuery()) == []


def test_old_files_are_pruned_and_empty_folders_with_them(directory):
    logs = LocalLogs(directory, retention=100.0)
    fill(logs, entry(1.0), entry(1.0, app_id="ap-2", container_id="co-2"))
    os.utime(directory / "ap-1" / "co-1.jsonl", (1_000.0, 1_000.0))
    os.utime(directory / "ap-2" / "co-2.jsonl", (1_050.0, 1_050.0))

    assert logs.prune(1_120.0) == 1

    assert [path.name for path in directory.iterdir()] == ["ap-2"]
    assert logs.prune(1_120.0) == 0


def test_the_oldest_files_go_when_all_are_too_large(directory):
    logs = LocalLogs(directory, limit=2_500)
    for n in range(4):
        fill(logs, entry(float(n), "x" * 900, container_id=f"co-{n}"))
        os.utime(directory / "ap-1" / f"co-{n}.jsonl", (1_000.0 + n, 1_000.0 + n))

    assert logs.prune(1_010.0) == 2

    assert {path.name for path in (directory / "ap-1").iterdir()} == {"co-2.jsonl", "co-3.jsonl"}


def test_writing_goes_on_after_everything_was_pruned(directory):
    logs = LocalLogs(directory, retention=0.0)
    fill(logs, entry(1.0))
    logs.prune(1e12)
    assert not list(directory.iterdir())

    fill(logs, entry(2.0))

    assert [one.at for one in logs.read(LogQuery())] == [2.0]


def test_a_link_in_the_place_of_a_file_is_not_written_through(logs, directory, tmp_path):
    (directory / "ap-1").mkdir(parents=True)
    (directory / "ap-1" / "co-1.jsonl").symlink_to(tmp_path / "elsewhere")

    fill(logs, entry(1.0))

    assert not (tmp_path / "elsewhere").exists()
    assert logs.lost == 1
