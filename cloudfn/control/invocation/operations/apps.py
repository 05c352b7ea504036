"""Operations on apps: open, close, list, history, rollback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cloudfn.control.deploy.plan import RollbackRequest, RolloverRequest, StopRequest
from cloudfn.control.deploy.platforms import platforms
from cloudfn.control.deploy.request import parse_request, parse_tags
from cloudfn.control.deploy.shown import app_json, history_json
from cloudfn.control.invocation.apps import check_possible
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.insisting import insist
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import ConflictError, NotFoundError
from cloudfn.model.cls import shown_name
from cloudfn.providers.catalog import AppRecord, RevisionSpec

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front

_log = logging.getLogger(__name__)

#: seconds that the end of a run waits until its app has ended
_CLOSING = 10.0


class AppOperations(Group):
    """Operations on apps."""

    for_containers = frozenset({"app_list"})

    def __init__(self, front: Front) -> None:
        self._front = front
        self._cloud = front.cloud
        self._catalog = front.cloud.catalog

    def op_app_open(self, _conversation: Conversation, fields: Fields) -> Fields:
        request = parse_request(fields)
        spec = request.spec
        check_possible(spec, interactive=bool(fields.get("terminal")))
        self._front.stores.secrets.check(spec.functions)
        self._front.stores.volumes.check(spec.functions)
        self._check_images(spec)
        self._store_sources(spec)
        result = self._front.apps.carry_out(request)
        app = result.app
        if app.state == "ephemeral" and request.app_id is None:
            self._front.calls.listening.own(app.app_id)
        if fields.get("tags") is not None and dict(app.tags) != fields["tags"]:
            self._catalog.set_tags(app.app_id, parse_tags(fields))
        self._front.calls.alarm.changed()
        functions = self._catalog.functions(app.app_id)
        return {
            "app_id": app.app_id,
            "revision": app.revision,
            "changed": result.changed,
            "functions": {function.name: function.function_id for function in functions},
            "urls": {},
            "warnings": [],
        }

    def op_app_place(self, _conversation: Conversation, fields: Fields) -> Fields:
        functions = RevisionSpec.from_json(fields["revision"]).functions
        return {"platforms": platforms(functions, self._cloud.fleet.classes())}

    def op_app_plan(self, _conversation: Conversation, fields: Fields) -> Fields:
        request = parse_request(fields)
        check_possible(request.spec, interactive=False)
        self._front.stores.secrets.check(request.spec.functions, unnamed=False)
        return self._front.apps.forecast(request)

    def _check_images(self, spec: RevisionSpec) -> None:
        for function, image in spec.environments():
            if self._cloud.images.find(image) is None:
                raise ConflictError(
                    f"The image im-{image.digest} of {shown_name(function)} is not built.",
                    hint="Run or deploy the app again: that builds it.",
                )

    def _store_sources(self, spec: RevisionSpec) -> None:
        """Bring what containers import and what is attached to where machines fetch it."""
        digests = {spec.bundle}
        for function in spec.functions:
            if function.image is not None:
                digests |= {e.context for e in function.image.attachments(copied=True)}
        for digest in digests:
            folder = self._front.bundles / digest
            if folder.exists():
                self._cloud.depot.store_bundle(digest, folder)
            elif not self._cloud.depot.has_bundle(digest):
                raise NotFoundError(
                    f"The sources {digest[:12]} are gone.", hint="Deploy the app again."
                )

    def op_app_detach(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._catalog.set_state(fields["app_id"], "detached")
        self._front.attendance.disown(fields["app_id"])
        return {}

    def op_app_reattach(self, _conversation: Conversation, fields: Fields) -> Fields:
        record = self._catalog.app(fields["app_id"])
        if record is None or record.state == "stopped":
            raise NotFoundError("The app of this run was stopped.", hint="Run it again.")
        if record.state == "ephemeral":
            self._front.calls.listening.own(record.app_id)
        return {}

    def op_app_close(self, _conversation: Conversation, fields: Fields) -> Fields:
        front, app_id = self._front, fields["app_id"]
        told: dict[str, Any] = {"containers_peak": 0, "done": 0, "failed": 0}

        def close() -> None:
            insist(front.clock, lambda: told.update(self._summary(app_id)))
            insist(front.clock, lambda: front.apps.close(app_id))
            insist(front.clock, lambda: front.attendance.disown(app_id))

        if not front.crew.finish(close, _CLOSING):
            _log.warning("The cloud does not answer in time: the app ends later.")
        front.output.await_rest(app_id, float(fields.get("patience") or 0.0))
        return told

    def _summary(self, app_id: str) -> Fields:
        done, failed = self._front.calls.counted(self._function_ids(app_id))
        peak = self._front.output.peak(app_id) or int(done + failed > 0)
        self._front.peaks.pop(app_id, None)
        return {"containers_peak": peak, "done": done, "failed": failed}

    def op_app_tag(self, _conversation: Conversation, fields: Fields) -> Fields:
        self._catalog.set_tags(fields["app_id"], parse_tags(fields))
        return {}

    def op_app_stop(self, _conversation: Conversation, fields: Fields) -> Fields:
        record = self._front.directory.app(fields["name"])
        if record.state == "deployed":
            self._front.apps.carry_out(StopRequest(record.name))
            self._front.calls.alarm.changed()
        else:  # an App that runs knows its id
            self._front.apps.close(record.app_id)
        return {"app_id": record.app_id}

    def op_app_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        apps = self._catalog.apps(stopped=bool(fields.get("all")))
        containers = self._front.fleet.containers()
        return {"apps": [self._app(app, containers) for app in apps]}

    def _app(self, app: AppRecord, containers: dict[str, int]) -> Fields:
        functions = self._catalog.functions(app.app_id)
        count = sum(containers.get(each.function_id, 0) for each in functions)
        return app_json(app, functions, count, {})

    def op_app_history(self, _conversation: Conversation, fields: Fields) -> Fields:
        record = self._front.directory.app(fields["name"])
        return history_json(record, self._catalog.revisions(record.app_id))

    def op_app_rollback(self, _conversation: Conversation, fields: Fields) -> Fields:
        strategy = fields.get("strategy") or "rolling"
        request = RollbackRequest(fields["name"], fields.get("number"), strategy)
        return self._revive(request, fields)

    def op_app_rollover(self, _conversation: Conversation, fields: Fields) -> Fields:
        request = RolloverRequest(fields["name"], fields.get("strategy") or "rolling")
        return self._revive(request, fields)

    def _revive(self, request: RollbackRequest | RolloverRequest, fields: Fields) -> Fields:
        """Make a known revision live again; images of it that were removed are built before."""
        revision = self._front.apps.foreseen(request)
        if revision is not None:
            environ = dict(fields.get("environ") or {})
            for _, image in revision.environments():
                self._front.images.ensure(image, environ)
            self._store_sources(revision)
        result = self._front.apps.carry_out(request)
        self._front.calls.alarm.changed()
        return {"revision": result.app.revision}

    def _function_ids(self, app_id: str) -> set[str]:
        found = [*self._catalog.functions(app_id), *self._catalog.variants(app_id)]
        return {each.function_id for each in found}
