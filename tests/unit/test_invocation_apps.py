"""Deploys on a cloud that are cut short, and made again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cloudfn.control.deploy.plan import DeployRequest, StopRequest
from cloudfn.control.invocation.front import Front
from cloudfn.errors import ConflictError, ConnectionError  # noqa: A004 - ours
from cloudfn.model import ids
from cloudfn.model.call import CallKind, Status
from cloudfn.model.function import FunctionSpec
from cloudfn.model.schedule import Cron
from cloudfn.providers.base import Place
from cloudfn.providers.catalog import Catalog, RevisionSpec
from cloudfn.providers.ledger import CallSpec
from cloudfn.settings import load
from cloudfn.testing.cloud import MemoryCloud


def request(*functions: FunctionSpec) -> DeployRequest:
    return DeployRequest("jobs", RevisionSpec("0" * 64, "jobs", functions, "/usr/bin/python3"))


def function(name: str, cron: str | None = None) -> FunctionSpec:
    return FunctionSpec(name, "jobs", name, schedule=Cron(cron) if cron else None)


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(MemoryCloud(tmp_path).open("cl-1"), Place(load({}), "cl-1", tmp_path / "cache"))


def test_a_deploy_that_is_made_again_opens_doorbells_that_the_first_one_did_not(
    front: Front,
) -> None:
    # Cut short when the revision was live.
    record = front.cloud.catalog.create_app("jobs", "deployed", request(function("f")).spec, 1.0)
    assert front.cloud.doorbells.functions() == []

    result = front.apps.carry_out(request(function("f")))

    assert not result.changed
    [known] = front.cloud.catalog.functions(record.app_id)
    assert front.cloud.doorbells.functions() == [known.function_id]


@pytest.mark.parametrize("first", [None, "0 7 * * *"])
def test_a_deploy_that_is_made_again_has_schedules_that_the_first_one_had_not(
    front: Front, first: str | None
) -> None:
    schedules = front.cloud.schedules
    if first is not None:
        front.apps.carry_out(request(function("f", first)))
    schedules.fail_next("put", ConnectionError("the client ends here"))  # type: ignore[attr-defined]
    with pytest.raises(ConnectionError):
        front.apps.carry_out(request(function("f", "0 8 * * *")))

    front.apps.carry_out(request(function("f", "0 8 * * *")))
    [record] = schedules.schedules()
    front.apps.carry_out(request(function("f", "0 8 * * *")))

    assert record.rule == Cron("0 8 * * *")
    assert schedules.schedules() == [record]


class Overtaken:
    """A catalog in which somebody else is faster, just before a revision is added.

    Args:
        catalog: The catalog.
        other: What somebody else does.
    """

    def __init__(self, catalog: Any, other: Callable[[], object]) -> None:
        self._catalog = catalog
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)

    def add_revision(self, *args: Any, **kwargs: Any) -> Any:
        self._other()
        return self._catalog.add_revision(*args, **kwargs)


def test_of_two_that_deploy_at_the_same_time_one_is_refused(front: Front, tmp_path: Path) -> None:
    front.apps.carry_out(request(function("f")))

    def other() -> None:
        front.apps.carry_out(request(function("f"), function("g", "0 8 * * *")))

    catalog = cast("Catalog", Overtaken(front.cloud.catalog, other))
    place = Place(load({}), "cl-2", tmp_path / "cache")
    late = Front(replace(front.cloud, catalog=catalog), place)
    with pytest.raises(ConflictError, match="at the same time"):
        late.apps.carry_out(request(function("f"), function("h", "0 9 * * *")))

    app = front.cloud.catalog.deployed("jobs")
    assert app is not None
    assert app.revision == 2
    known = {each.name: each.function_id for each in front.cloud.catalog.functions(app.app_id)}
    assert set(front.cloud.doorbells.functions()) == {known["f"], known["g"]}


def test_what_an_app_had_in_earlier_versions_ends_with_it(front: Front) -> None:
    record = front.apps.carry_out(request(function("f"), function("g"))).app
    former = next(f for f in front.cloud.catalog.functions(record.app_id) if f.name == "g")
    pool = ids.pool_name(former.function_id, 1)
    spec = CallSpec("fc-1", former.function_id, pool, CallKind.SPAWN, 1.0, durable=True)
    front.cloud.ledger.submit(spec, 0, [b"\x80"], sealed=True, now=1.0)
    front.apps.carry_out(request(function("f")))

    front.apps.carry_out(StopRequest("jobs"))

    assert front.cloud.ledger.statuses("fc-1") == [Status.CANCELLED]
    assert front.cloud.doorbells.functions() == []
