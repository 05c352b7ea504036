"""The catalog in memory, for tests: the same promises, but for the durability. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cloudfn.model.ids import mint
from cloudfn.model.variant import Variant
from cloudfn.providers.catalog import (
    AppRecord,
    FunctionRecord,
    Override,
    RevisionRecord,
    RevisionSpec,
    already_deployed,
    app_is_stopped,
    check_state,
    next_number,
    no_app,
    no_function,
    settings_changed,
    unforgettable,
)


@dataclass(slots=True)
class _App:
    record: AppRecord
    was_deployed: bool
    revisions: list[RevisionRecord] = field(default_factory=list)
    #: all that a revision ever named
    functions: dict[str, FunctionRecord] = field(default_factory=dict)
    #: those of the functions, by their own ids
    variants: dict[str, FunctionRecord] = field(default_factory=dict)

    def everything(self) -> list[FunctionRecord]:
        """Return functions and variants."""
        return [*self.functions.values(), *self.variants.values()]


class MemoryCatalog:
    """The `Catalog` port as dictionaries."""

    def __init__(self) -> None:
        self._apps: dict[str, _App] = {}
        self._functions: dict[str, FunctionRecord] = {}
        self._overrides: dict[str, Override] = {}
        #: versions stay when overrides go, so that none is used twice
        self._versions: dict[str, int] = {}

    def create_app(self, name: str, state: str, spec: RevisionSpec, now: float) -> AppRecord:
        check_state(state)
        if state == "deployed":
            self._check_name_is_free(name)
        app = _App(AppRecord(mint("ap"), name, state, 0, now), state == "deployed")
        self._apps[app.record.app_id] = app
        self._add(app, spec, now, None)
        return app.record

    def add_revision(
        self,
        app_id: str,
        spec: RevisionSpec,
        now: float,
        *,
        rollback_of: int | None = None,
        number: int | None = None,
    ) -> RevisionRecord:
        app = self._live(app_id)
        next_number(app.record, number)
        return self._add(app, spec, now, rollback_of)

    def stop_app(self, app_id: str, now: float) -> None:
        app = self._apps.get(app_id)
        if app is not None and app.record.state != "stopped":
            app.record = replace(app.record, state="stopped", stopped=now)

    def set_state(self, app_id: str, state: str) -> None:
        check_state(state)
        app = self._live(app_id)
        if state == "deployed" != app.record.state:
            self._check_name_is_free(app.record.name)
        app.was_deployed = app.was_deployed or state == "deployed"
        app.record = replace(app.record, state=state)

    def set_tags(self, app_id: str, tags: Mapping[str, str]) -> None:
        app = self._live(app_id)
        app.record = replace(app.record, tags=dict(tags))

    def forget_app(self, app_id: str) -> None:
        app = self._apps.get(app_id)
        if app is None:
            return
        if app.was_deployed or app.record.state != "stopped":
            raise unforgettable(app.record.name)
        del self._apps[app_id]
        for function in app.everything():
            del self._functions[function.function_id]
            self._overrides.pop(function.function_id, None)

    def app(self, app_id: str) -> AppRecord | None:
        app = self._apps.get(app_id)
        return None if app is None else app.record

    def deployed(self, name: str) -> AppRecord | None:
        records = (app.record for app in self._apps.values())
        return next((r for r in records if r.name == name and r.state == "deployed"), None)

    def apps(self, *, stopped: bool = False) -> list[AppRecord]:
        records = [app.record for app in reversed(self._apps.values())]
        wanted = [record for record in records if stopped or record.state != "stopped"]
        return sorted(wanted, key=lambda record: -record.created)

    def revisions(self, app_id: str) -> list[RevisionRecord]:
        app = self._apps.get(app_id)
        return [] if app is None else list(app.revisions)

    def revision(self, app_id: str, number: int) -> RevisionRecord | None:
        return next((r for r in self.revisions(app_id) if r.number == number), None)

    def functions(self, app_id: str) -> list[FunctionRecord]:
        app = self._apps.get(app_id)
        if app is None:
            return []
        return [app.functions[spec.name] for spec in app.revisions[-1].spec.functions]

    def function(self, function_id: str) -> FunctionRecord | None:
        return self._functions.get(function_id)

    def bind(self, function_id: str, variant: Variant) -> FunctionRecord:
        base = self._functions.get(function_id)
        if base is None or base.variant is not None:
            raise no_function(function_id)
        variant_id = variant.id_for(function_id)
        known = self._functions.get(variant_id)
        if known is None:
            known = FunctionRecord(variant_id, base.app_id, base.name, variant)
            self._functions[variant_id] = self._apps[base.app_id].variants[variant_id] = known
        return known

    def variants(self, app_id: str) -> list[FunctionRecord]:
        app = self._apps.get(app_id)
        if app is None:
            return []
        live = {function.name for function in app.revisions[-1].spec.functions}
        return [each for each in app.variants.values() if each.name in live]

    def everything(self, app_id: str) -> list[FunctionRecord]:
        app = self._apps.get(app_id)
        return [] if app is None else app.everything()

    def override(self, function_id: str) -> Override | None:
        return self._overrides.get(function_id)

    def overrides(self, functions: Mapping[str, str]) -> dict[str, Override]:
        found = {function_id: self.override(function_id) for function_id in functions}
        return {function_id: each for function_id, each in found.items() if each is not None}

    def set_override(
        self,
        function_id: str,
        changes: dict[str, int | None],
        *,
        expected: int,
        now: float,
        by: str,
    ) -> Override:
        if function_id not in self._functions:
            raise no_function(function_id)
        current = self._overrides.get(function_id)
        if expected != (0 if current is None else current.version):
            raise settings_changed(function_id)
        version = self._versions.get(function_id, 0) + 1
        override = Override(tuple(sorted(changes.items())), version, now, by)
        self._overrides[function_id] = override
        self._versions[function_id] = version
        return override

    def clear_overrides(self, app_id: str) -> None:
        app = self._apps.get(app_id)
        for function in () if app is None else app.everything():
            self._overrides.pop(function.function_id, None)

    # How

    def close(self) -> None:
        """See the port; memory needs none."""

    def _add(
        self, app: _App, spec: RevisionSpec, now: float, rollback_of: int | None
    ) -> RevisionRecord:
        app_id, number = app.record.app_id, app.record.revision + 1
        for declared in spec.functions:
            if declared.name not in app.functions:
                record = FunctionRecord(mint("fu"), app_id, declared.name)
                app.functions[declared.name] = self._functions[record.function_id] = record
        kept = {function.name for function in spec.functions}
        for function in app.everything():
            if function.name not in kept:
                self._overrides.pop(function.function_id, None)
        revision = RevisionRecord(app_id, number, spec, now, rollback_of)
        app.revisions.append(revision)
        app.record = replace(app.record, revision=number)
        return revision

    def _live(self, app_id: str) -> _App:
        app = self._apps.get(app_id)
        if app is None:
            raise no_app(app_id)
        if app.record.state == "stopped":
            raise app_is_stopped(app.record.name)
        return app

    def _check_name_is_free(self, name: str) -> None:
        if self.deployed(name) is not None:
            raise already_deployed(name)
