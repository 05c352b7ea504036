"""What every catalog promises, and what the one on disk promises beyond."""

import json
import sqlite3
import stat
from dataclasses import replace

import pytest

from cloudfn.errors import (
    AlreadyExistsError,
    ConflictError,
    DataLossError,
    ExecutionError,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    VersionError,
)
from cloudfn.model.function import AutoscalerSettings, FunctionSpec, Resources
from cloudfn.model.retry import Retries
from cloudfn.model.variant import Variant
from cloudfn.providers.aws.catalog import DynamoCatalog
from cloudfn.providers.catalog import FunctionRecord, RevisionSpec
from cloudfn.providers.local.catalog import _STEPS, SCHEMA, SqliteCatalog
from cloudfn.testing import FakeAws
from cloudfn.testing.memory_catalog import MemoryCatalog


def function(name, **changes):
    return FunctionSpec(name=name, module="jobs", qualname=name, **changes)


def revision(*names, bundle="b1"):
    return RevisionSpec(bundle, "jobs", tuple(map(function, names)), "/usr/bin/python3")


@pytest.fixture(params=["sqlite", "memory", "aws"])
def catalog(request, tmp_path):
    if request.param == "memory":
        yield MemoryCatalog()
        return
    if request.param == "aws":
        aws = FakeAws()
        yield DynamoCatalog(aws.clients(), aws.make_table(), "/cloudfn/main/pools", aws.clock)
        return
    catalog = SqliteCatalog(tmp_path / "catalog.db")
    yield catalog
    catalog.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.db"


def test_a_new_app_is_live_with_its_first_revision(catalog):
    spec = revision("f")

    app = catalog.create_app("jobs", "deployed", spec, 10.0)

    assert (app.name, app.state, app.revision, app.created, app.stopped) == (
        "jobs", "deployed", 1, 10.0, None,
    )  # fmt: skip
    assert catalog.app(app.app_id) == app
    assert catalog.deployed("jobs") == app
    (first,) = catalog.revisions(app.app_id)
    assert (first.number, first.spec, first.created, first.rollback_of) == (1, spec, 10.0, None)


def test_what_is_unknown_is_none_or_empty(catalog):
    assert catalog.app("ap-x") is None
    assert catalog.deployed("jobs") is None
    assert catalog.function("fu-x") is None
    assert catalog.override("fu-x") is None
    assert catalog.revision("ap-x", 1) is None
    assert catalog.revisions("ap-x") == []
    assert catalog.functions("ap-x") == []
    assert catalog.apps(stopped=True) == []


def test_a_revision_comes_back_as_it_was_declared(catalog):
    rich = function(
        "f",
        is_async=True,
        serialized="gAWV",
        autoscaler=AutoscalerSettings(max_containers=3),
        resources=Resources(cpu=0.5, memory=256, memory_limit=512),
        retries=Retries(max_retries=2),
        timeout=7,
        env={"A": "ä"},
    )
    spec = RevisionSpec(
        "b1", "jobs", (rich, function("g")), "/usr/bin/python3", ("/lib/a",), "3.11.7",
        (("commit", "abc"), ("user", "me")),
    )  # fmt: skip
    app = catalog.create_app("jobs", "deployed", spec, 1.0)

    assert catalog.revision(app.app_id, 1).spec == spec


def test_settings_of_several_functions_are_told_at_once(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g", "h"), 1.0)
    f, g, h = (each.function_id for each in catalog.functions(app.app_id))
    catalog.set_override(f, {"min_containers": 3}, expected=0, now=2.0, by="ada")
    catalog.set_override(h, {"max_containers": 7}, expected=0, now=2.0, by="ada")
    every = dict.fromkeys((f, g, h), app.app_id)

    assert catalog.overrides(every) == {f: catalog.override(f), h: catalog.override(h)}
    catalog.clear_overrides(app.app_id)
    assert catalog.overrides(every) == {}
    assert catalog.overrides({}) == {}


def test_a_deployed_name_is_taken_while_its_app_lives(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)

    with pytest.raises(AlreadyExistsError, match="jobs"):
        catalog.create_app("jobs", "deployed", revision("f"), 2.0)
    catalog.stop_app(app.app_id, 3.0)
    again = catalog.create_app("jobs", "deployed", revision("f"), 4.0)

    assert again.app_id != app.app_id
    assert catalog.deployed("jobs") == again


def test_ephemeral_apps_share_names_and_are_not_known_by_them(catalog):
    first = catalog.create_app("jobs", "ephemeral", revision("f"), 1.0)
    second = catalog.create_app("jobs", "ephemeral", revision("f"), 2.0)

    assert first.app_id != second.app_id
    assert catalog.deployed("jobs") is None


def test_an_app_cannot_be_made_in_a_state_that_is_none(catalog):
    with pytest.raises(InvalidError, match="stopped"):
        catalog.create_app("jobs", "stopped", revision("f"), 1.0)

    assert catalog.apps(stopped=True) == []


def test_a_new_revision_is_live_and_the_old_ones_stay(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)

    record = catalog.add_revision(app.app_id, revision("f", bundle="b2"), 2.0)
    back = catalog.add_revision(app.app_id, revision("f"), 3.0, rollback_of=1)

    assert (record.number, back.number) == (2, 3)
    assert catalog.app(app.app_id).revision == 3
    found = [(r.number, r.spec.bundle, r.rollback_of) for r in catalog.revisions(app.app_id)]
    assert found == [(1, "b1", None), (2, "b2", None), (3, "b1", 1)]
    assert catalog.revision(app.app_id, 2) == record


def test_a_revision_that_is_to_be_another_one_than_the_next_is_refused(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    assert catalog.add_revision(app.app_id, revision("f", bundle="b2"), 2.0, number=2).number == 2

    with pytest.raises(ConflictError, match="at the same time"):
        catalog.add_revision(app.app_id, revision("f", bundle="b3"), 3.0, number=2)

    assert catalog.app(app.app_id).revision == 2


def test_revisions_are_added_to_living_apps_only(catalog):
    with pytest.raises(NotFoundError):
        catalog.add_revision("ap-x", revision("f"), 1.0)
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    catalog.stop_app(app.app_id, 2.0)
    with pytest.raises(ExecutionError, match="stopped"):
        catalog.add_revision(app.app_id, revision("f", bundle="b2"), 3.0)

    assert len(catalog.revisions(app.app_id)) == 1


def test_a_function_keeps_its_id_over_revisions_even_when_it_was_gone(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g"), 1.0)
    before = {f.name: f.function_id for f in catalog.functions(app.app_id)}

    catalog.add_revision(app.app_id, revision("h", "f"), 2.0)
    between = {f.name: f.function_id for f in catalog.functions(app.app_id)}
    catalog.add_revision(app.app_id, revision("g"), 3.0)
    after = {f.name: f.function_id for f in catalog.functions(app.app_id)}

    assert list(between) == ["h", "f"]
    assert between["f"] == before["f"]
    assert after == {"g": before["g"]}
    assert catalog.function(before["f"]) == FunctionRecord(before["f"], app.app_id, "f")


def test_functions_of_different_apps_have_different_ids(catalog):
    one = catalog.create_app("one", "deployed", revision("f"), 1.0)
    two = catalog.create_app("two", "deployed", revision("f"), 1.0)

    (f,), (g,) = catalog.functions(one.app_id), catalog.functions(two.app_id)

    assert f.function_id != g.function_id


def test_functions_of_earlier_revisions_are_found_with_their_variants(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g"), 1.0)
    functions = {each.function_id for each in catalog.functions(app.app_id)}
    variants = {catalog.bind(each, Variant({"x": 1})).function_id for each in functions}
    catalog.add_revision(app.app_id, revision("g"), 2.0)
    catalog.stop_app(app.app_id, 3.0)

    found = catalog.everything(app.app_id)

    assert {each.function_id for each in found} == functions | variants
    assert len(found) == 4
    assert catalog.everything("ap-x") == []


def test_stopping_is_recorded_once(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)

    catalog.stop_app(app.app_id, 5.0)
    catalog.stop_app(app.app_id, 6.0)
    catalog.stop_app("ap-x", 6.0)

    assert catalog.app(app.app_id) == replace(app, state="stopped", stopped=5.0)
    assert catalog.deployed("jobs") is None


def test_the_newest_apps_come_first_and_stopped_ones_on_demand(catalog):
    a = catalog.create_app("a", "deployed", revision("f"), 1.0)
    b = catalog.create_app("b", "ephemeral", revision("f"), 2.0)
    c = catalog.create_app("c", "ephemeral", revision("f"), 2.0)
    catalog.stop_app(b.app_id, 3.0)

    assert [app.app_id for app in catalog.apps()] == [c.app_id, a.app_id]
    assert [app.name for app in catalog.apps(stopped=True)] == ["c", "b", "a"]


def test_a_live_app_changes_its_state(catalog):
    app = catalog.create_app("jobs", "ephemeral", revision("f"), 1.0)

    catalog.set_state(app.app_id, "detached")
    assert catalog.app(app.app_id).state == "detached"

    catalog.stop_app(app.app_id, 2.0)
    with pytest.raises(ExecutionError):
        catalog.set_state(app.app_id, "ephemeral")
    with pytest.raises(NotFoundError):
        catalog.set_state("ap-x", "ephemeral")
    with pytest.raises(InvalidError):
        catalog.set_state(app.app_id, "stopped")


def test_tags_are_replaced_while_an_app_lives(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    assert app.tags == catalog.app(app.app_id).tags == {}

    catalog.set_tags(app.app_id, {"team": "b", "cost": "1"})
    catalog.set_tags(app.app_id, {"team": "a"})

    assert catalog.deployed("jobs").tags == {"team": "a"}
    assert [each.tags for each in catalog.apps()] == [{"team": "a"}]
    catalog.stop_app(app.app_id, 2.0)
    with pytest.raises(ExecutionError):
        catalog.set_tags(app.app_id, {})
    with pytest.raises(NotFoundError):
        catalog.set_tags("ap-x", {})


def test_no_app_becomes_the_second_deployed_one_of_its_name(catalog):
    catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    other = catalog.create_app("jobs", "ephemeral", revision("f"), 2.0)

    with pytest.raises(AlreadyExistsError):
        catalog.set_state(other.app_id, "deployed")

    assert catalog.app(other.app_id).state == "ephemeral"


def test_a_forgotten_app_leaves_nothing(catalog):
    app = catalog.create_app("jobs", "ephemeral", revision("f"), 1.0)
    (f,) = catalog.functions(app.app_id)
    catalog.set_override(f.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")
    catalog.stop_app(app.app_id, 3.0)

    catalog.forget_app(app.app_id)
    catalog.forget_app(app.app_id)

    assert catalog.apps(stopped=True) == []
    assert catalog.revisions(app.app_id) == []
    assert catalog.function(f.function_id) is None
    assert catalog.override(f.function_id) is None


def test_live_apps_and_those_that_were_deployed_are_not_forgotten(catalog):
    live = catalog.create_app("live", "ephemeral", revision("f"), 1.0)
    gone = catalog.create_app("gone", "deployed", revision("f"), 1.0)
    catalog.stop_app(gone.app_id, 2.0)

    for app in (live, gone):
        with pytest.raises(ExecutionError, match=app.name):
            catalog.forget_app(app.app_id)

    assert len(catalog.apps(stopped=True)) == 2


def test_an_override_replaces_the_one_that_was_read(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    (f,) = catalog.functions(app.app_id)

    first = catalog.set_override(
        f.function_id, {"min_containers": 2, "max_containers": None}, expected=0, now=5.0, by="me"
    )
    assert first.changes == (("max_containers", None), ("min_containers", 2))
    assert (first.version, first.updated, first.updated_by) == (1, 5.0, "me")
    assert catalog.override(f.function_id) == first

    second = catalog.set_override(
        f.function_id, {"buffer_containers": 1}, expected=1, now=6.0, by="you"
    )
    assert second.version == 2
    assert catalog.override(f.function_id) == second


def test_an_override_based_on_another_version_is_refused(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    (f,) = catalog.functions(app.app_id)
    with pytest.raises(ConflictError):
        catalog.set_override(f.function_id, {"min_containers": 2}, expected=1, now=5.0, by="me")
    kept = catalog.set_override(f.function_id, {"min_containers": 3}, expected=0, now=5.0, by="me")

    with pytest.raises(ConflictError):
        catalog.set_override(f.function_id, {"min_containers": 2}, expected=0, now=6.0, by="you")

    assert catalog.override(f.function_id) == kept


def test_an_unknown_function_has_no_override_to_set(catalog):
    with pytest.raises(NotFoundError):
        catalog.set_override("fu-x", {"min_containers": 2}, expected=0, now=5.0, by="me")


def test_clearing_drops_the_overrides_of_one_app(catalog):
    one = catalog.create_app("one", "deployed", revision("f", "g"), 1.0)
    two = catalog.create_app("two", "deployed", revision("f"), 1.0)
    ids = [f.function_id for app in (one, two) for f in catalog.functions(app.app_id)]
    for function_id in ids:
        catalog.set_override(function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")

    catalog.clear_overrides(one.app_id)
    catalog.clear_overrides("ap-x")

    assert [catalog.override(function_id) is None for function_id in ids] == [True, True, False]


def test_the_version_of_a_cleared_override_never_comes_back(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    (f,) = catalog.functions(app.app_id)
    read = catalog.set_override(f.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")
    catalog.clear_overrides(app.app_id)
    other = catalog.set_override(
        f.function_id, {"min_containers": 2}, expected=0, now=3.0, by="you"
    )

    with pytest.raises(ConflictError):
        catalog.set_override(
            f.function_id, {"min_containers": 3}, expected=read.version, now=4.0, by="me"
        )

    assert other.version > read.version


def test_a_function_that_vanishes_takes_its_override_along(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g"), 1.0)
    f, g = catalog.functions(app.app_id)
    for function_id in (f.function_id, g.function_id):
        catalog.set_override(function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")

    catalog.add_revision(app.app_id, revision("g"), 3.0)
    catalog.add_revision(app.app_id, revision("f", "g"), 4.0)

    assert catalog.override(f.function_id) is None
    assert catalog.override(g.function_id) is not None


# On disk


def test_the_catalog_outlives_its_process(path):
    catalog = SqliteCatalog(path)
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    catalog.add_revision(app.app_id, revision("f", "g"), 2.0)
    (f, _) = catalog.functions(app.app_id)
    override = catalog.set_override(
        f.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me"
    )

    # Not closed: a killed process does not close either.
    again = SqliteCatalog(path)

    assert again.app(app.app_id) == replace(app, revision=2)
    assert again.functions(app.app_id) == catalog.functions(app.app_id)
    assert again.override(f.function_id) == override
    catalog.close()
    again.close()


def test_a_newer_schema_is_refused_and_left_alone(path):
    SqliteCatalog(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()

    with pytest.raises(VersionError, match=str(path)):
        SqliteCatalog(path)

    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)
    db.close()


def test_a_file_that_is_no_catalog_is_refused_by_name(path):
    path.write_bytes(b"not a database, but long enough to be looked at " * 40)

    with pytest.raises(DataLossError, match=str(path)):
        SqliteCatalog(path)


def test_a_revision_that_cannot_be_read_is_named(path):
    catalog = SqliteCatalog(path)
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE revisions SET spec = '{}'")
    db.close()

    with pytest.raises(DataLossError, match=f"Version 1 of app {app.app_id}"):
        catalog.revisions(app.app_id)
    catalog.close()


def test_only_the_owner_may_read_the_files(path):
    catalog = SqliteCatalog(path)
    catalog.create_app("jobs", "deployed", revision("f"), 1.0)

    files = list(path.parent.iterdir())

    assert {file.name for file in files} == {"catalog.db", "catalog.db-wal", "catalog.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    catalog.close()


def test_a_link_in_the_place_of_the_file_is_refused(path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere.db")

    with pytest.raises(PermissionDeniedError):
        SqliteCatalog(path)

    assert not (tmp_path / "elsewhere.db").exists()


def test_writes_are_synced_before_they_return(path):
    catalog = SqliteCatalog(path)

    assert catalog._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert catalog._db.execute("PRAGMA synchronous").fetchone() == (2,)
    catalog.close()


def test_a_write_that_fails_in_the_middle_leaves_nothing(path):
    catalog = SqliteCatalog(path)
    twice = revision("f", "g")
    catalog._db.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON functions WHEN new.name = 'g' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )

    with pytest.raises(Exception, match="no"):
        catalog.create_app("jobs", "deployed", twice, 1.0)

    assert catalog.apps(stopped=True) == []
    assert catalog.create_app("jobs", "deployed", revision("f"), 2.0).revision == 1
    catalog.close()


def test_a_catalog_of_the_first_schema_is_brought_to_this_one(path):
    old = sqlite3.connect(path)
    old.executescript(f"{_STEPS[0]} PRAGMA user_version = 1;")
    old.execute("INSERT INTO apps VALUES ('ap-1', 'jobs', 'deployed', 1, 1, 10.0, NULL)")
    spec = json.dumps(revision("f").to_json())
    old.execute("INSERT INTO revisions VALUES ('ap-1', 1, ?, 10.0, NULL)", (spec,))
    old.execute("INSERT INTO functions VALUES ('fu-1', 'ap-1', 'f', 1, 0)")
    old.commit()
    old.close()

    for _ in range(2):
        catalog = SqliteCatalog(path)
        assert catalog.deployed("jobs").app_id == "ap-1"
        assert catalog.revision("ap-1", 1).spec == revision("f")
        tables = catalog.file.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert {"schedules", "fires"} <= {name for (name,) in tables}
        assert catalog.file.rows("PRAGMA user_version") == [(SCHEMA,)]
        catalog.close()


def test_a_variant_has_an_identity_and_the_name_of_its_function(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g"), 1.0)
    f = catalog.functions(app.app_id)[0]
    variant = Variant({"size": "small"}, {"cpu": [2, None]})

    bound = catalog.bind(f.function_id, variant)

    assert bound.function_id == variant.id_for(f.function_id)
    assert (bound.app_id, bound.name, bound.variant) == (app.app_id, "f", variant)
    assert catalog.bind(f.function_id, variant) == bound
    assert catalog.function(bound.function_id) == bound
    assert catalog.variants(app.app_id) == [bound]
    assert [each.name for each in catalog.functions(app.app_id)] == ["f", "g"]


def test_nothing_but_a_function_has_variants(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    f = catalog.functions(app.app_id)[0]
    bound = catalog.bind(f.function_id, Variant({"x": 1}))

    for function_id in ("fu-x", bound.function_id):
        with pytest.raises(NotFoundError):
            catalog.bind(function_id, Variant({"x": 2}))


def test_variants_come_and_go_with_their_function_and_keep_their_ids(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f", "g"), 1.0)
    f = catalog.functions(app.app_id)[0]
    bound = catalog.bind(f.function_id, Variant({"x": 1}))
    catalog.set_override(bound.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")

    catalog.add_revision(app.app_id, revision("f"), 3.0)
    assert catalog.variants(app.app_id) == [bound]
    assert catalog.override(bound.function_id) is not None
    catalog.add_revision(app.app_id, revision("g"), 4.0)
    assert catalog.variants(app.app_id) == []
    assert catalog.override(bound.function_id) is None
    catalog.add_revision(app.app_id, revision("f"), 5.0)

    assert catalog.variants(app.app_id) == [bound]


def test_clearing_drops_the_overrides_of_variants(catalog):
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    f = catalog.functions(app.app_id)[0]
    bound = catalog.bind(f.function_id, Variant({"x": 1}))
    catalog.set_override(bound.function_id, {"min_containers": 1}, expected=0, now=2.0, by="me")

    catalog.clear_overrides(app.app_id)

    assert catalog.override(bound.function_id) is None


def test_variants_are_forgotten_with_their_app(catalog):
    app = catalog.create_app("jobs", "ephemeral", revision("f"), 1.0)
    f = catalog.functions(app.app_id)[0]
    bound = catalog.bind(f.function_id, Variant({"x": 1}))
    catalog.stop_app(app.app_id, 2.0)

    catalog.forget_app(app.app_id)

    assert catalog.function(bound.function_id) is None


def test_variants_survive_the_end_of_the_process(path):
    catalog = SqliteCatalog(path)
    app = catalog.create_app("jobs", "deployed", revision("f"), 1.0)
    variant = Variant({"raw": {"base64": "AAE="}}, {"concurrency": {"max_inputs": 4}})
    bound = catalog.bind(catalog.functions(app.app_id)[0].function_id, variant)
    catalog.close()

    catalog = SqliteCatalog(path)

    assert catalog.function(bound.function_id) == bound
    catalog.close()
