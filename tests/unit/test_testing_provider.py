"""The provider in memory: it keeps its ports' promises, and fails exactly where it is told to."""

import pytest

from cloudfn.errors import InvalidError, ResourceExhaustedError
from cloudfn.model.call import CallKind
from cloudfn.model.log import LogEntry, LogQuery
from cloudfn.providers.base import Provider
from cloudfn.providers.catalog import RevisionSpec
from cloudfn.providers.ledger import CallSpec
from cloudfn.testing import MemoryProvider
from cloudfn.wire.messages import BlobRef

SPEC = RevisionSpec("b" * 64, "program", (), "/usr/bin/python3")


@pytest.fixture
def provider():
    made = MemoryProvider.make()
    yield made
    made.close()


def test_it_is_a_provider(provider):
    assert isinstance(provider, Provider)
    assert provider.catalog.create_app("x", "deployed", SPEC, 1.0).name == "x"


@pytest.mark.parametrize("point", ["ledger.counts", "catalog.apps", "logs.flush", "blobs.close"])
def test_the_next_call_of_a_method_fails_and_the_one_after_it_does_not(provider, point):
    port, method = point.split(".")
    arguments = ("pool",) if method == "counts" else ()
    provider.fail_next(point, OSError("no"))

    with pytest.raises(OSError, match="no"):
        getattr(getattr(provider, port), method)(*arguments)
    getattr(getattr(provider, port), method)(*arguments)


def test_failures_of_one_method_come_in_turn(provider):
    provider.fail_next("catalog.apps", OSError("first"))
    provider.fail_next("catalog.apps", OSError("second"))

    for text in ("first", "second"):
        with pytest.raises(OSError, match=text):
            provider.catalog.apps()


def test_a_commit_that_fails_undoes_what_was_written(provider):
    call = CallSpec("fc-1", "fu-1", "fu-1@1", CallKind.SPAWN, 0.0, durable=True)
    provider.ledger.submit(call, 0, [b"x"], sealed=True, now=0.0)
    provider.fail_next("ledger.commit", ResourceExhaustedError("The disk is full."))

    with pytest.raises(ResourceExhaustedError):
        provider.ledger.commit()
    assert provider.ledger.call("fc-1") is None


@pytest.mark.parametrize(
    "point", ["ledger", "ledger.nothing", "clock.wall", "ledger._begin", "name.upper", "blobs.fast"]
)
def test_a_point_that_does_not_exist_is_refused(provider, point):
    with pytest.raises(InvalidError, match="could fail"):
        provider.fail_next(point, OSError())


def test_blobs_lie_in_files_that_go_with_the_provider(provider):
    results = provider.blobs.fast / "results-ta-1"
    results.mkdir()
    (results / "abc").write_bytes(b"12345")

    ref = provider.blobs.adopt(BlobRef("results-ta-1/abc", 5, False), "fc-1", durable=False)

    assert (provider.blobs.fast / ref.name).read_bytes() == b"12345"
    provider.close()
    assert not provider.folder.exists()


def test_logs_are_readable_after_a_flush_and_in_the_order_of_their_times(provider):
    for at in (3.0, 1.0, 2.0):
        entry = LogEntry(at, "ap-1", "app", "f", "ta-1", "fc-1", "in-1-0", "stdout", f"{at}\n")
        provider.logs.write(entry)

    assert provider.logs.read(LogQuery()) == []
    provider.logs.flush()
    assert [entry.at for entry in provider.logs.read(LogQuery())] == [1.0, 2.0, 3.0]
    assert [entry.at for entry in provider.logs.read(LogQuery(tail=1))] == [3.0]
    assert [entry.at for entry in provider.logs.read(LogQuery(tail=0))] == []
    assert provider.logs.prune(7 * 86_400.0 + 2.0) == 1
    assert [entry.at for entry in provider.logs.read(LogQuery())] == [2.0, 3.0]
