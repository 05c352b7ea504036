"""`cloudfn dict` and `cloudfn queue`, typed as users type them."""

import json

import pytest

import cloudfn
from tests.integration.conformance_world import world

__all__ = ["world"]
pytestmark = pytest.mark.integration


def test_a_dict_is_made_looked_into_and_deleted(world):
    world.cli("dict", "create", "phones")
    phones = cloudfn.Dict.from_name("phones")
    phones.update({"a": "one", "b": 2})

    assert "already" in world.cli("dict", "create", "phones", code=1).stderr
    (listed,) = json.loads(world.cli("dict", "list", "--json").stdout)
    assert listed["name"] == "phones"
    assert world.cli("dict", "get", "phones", "a").stdout == "one\n"
    items = json.loads(world.cli("dict", "items", "phones", "1", "-r", "--json").stdout)
    assert items == [{"key": "'a'", "value": "'one'"}]
    assert world.cli("dict", "get", "phones", "x", code=1).stderr.startswith("error: The dict")
    assert "--yes" in world.cli("dict", "clear", "phones", code=2).stderr
    world.cli("dict", "clear", "phones", "-y")
    assert phones.len() == 0
    world.cli("dict", "delete", "phones", "-y")
    world.cli("dict", "delete", "phones", "-y", code=1)
    world.cli("dict", "delete", "phones", "-y", "--allow-missing")


def test_a_queue_is_made_looked_into_and_deleted(world):
    world.cli("queue", "create", "jobs")
    jobs = cloudfn.Queue.from_name("jobs")
    jobs.put_many(["x", "y"])
    jobs.put("z", partition="p")

    assert world.cli("queue", "peek", "jobs", "5").stdout == "x\ny\n"
    assert json.loads(world.cli("queue", "peek", "jobs", "-p", "p", "--json").stdout) == ["z"]
    assert world.cli("queue", "len", "jobs").stdout == "2\n"
    assert json.loads(world.cli("queue", "len", "jobs", "-t", "--json").stdout) == {"len": 3}
    world.cli("queue", "clear", "jobs", "--all", "-y")
    assert jobs.len(total=True) == 0
    world.cli("queue", "delete", "jobs", "-y")
    assert json.loads(world.cli("queue", "list", "--json").stdout) == []
