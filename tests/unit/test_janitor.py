"""What is cleared up now and then: what stores of a cloud hold no more."""

from cloudfn.control.planner.janitor import Janitor
from cloudfn.errors import ServiceError
from cloudfn.settings import StoreLimits
from cloudfn.testing.cloud import MemoryCloud
from cloudfn.wire.messages import BlobRef

NOW = 1_000_000.0


def blob(memory, name):
    ref = BlobRef(name, 70_000, durable=True)
    memory.depot.payloads[ref.name] = b"x"
    return ref.encode()


def test_payloads_of_what_stores_hold_no_more_go_a_while_later(tmp_path):
    memory = MemoryCloud(tmp_path, stores=StoreLimits(dict_ttl=100.0))
    cloud = memory.open("planner")
    entry, element = blob(memory, "di-1/a"), blob(memory, "qu-1/a")
    kept = blob(memory, "di-1/b")
    for key, value, at in ((b"old", entry, NOW), (b"new", kept, NOW + 3_600)):
        cloud.dicts.put("di-1", [(key, value)], skip_existing=False, request=str(key), now=at)
    cloud.queues.put("qu-1", "", [element], request="p", ttl=100.0, now=NOW)
    janitor = Janitor(cloud, lambda now: None, 7 * 86_400.0)
    done = {}

    for at in (NOW, NOW + 1_800):
        done = janitor.work([], done, at)
        assert len(memory.depot.payloads) == 3
    janitor.work([], done, NOW + 3_600)

    assert set(memory.depot.payloads) == {"di-1/b"}


def test_trouble_with_one_store_does_not_keep_the_others_from_being_cleared(tmp_path):
    memory = MemoryCloud(tmp_path, stores=StoreLimits(dict_ttl=100.0))
    cloud = memory.open("planner")
    element = blob(memory, "qu-1/a")
    cloud.queues.put("qu-1", "", [element], request="p", ttl=100.0, now=NOW)
    janitor = Janitor(cloud, lambda now: None, 7 * 86_400.0)

    done = janitor.work([], {}, NOW + 1_800)
    memory.ports["dicts"].fail_next("expire", ServiceError("AWS failed"))
    janitor.work([], done, NOW + 3_600)

    assert memory.depot.payloads == {}
