"""Operations on output: logs, past and to come, and progress."""

from __future__ import annotations

from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.output import Subscription
from cloudfn.daemon.session import Session
from cloudfn.model.log import LogQuery


class OutputOperations(Group):
    """Operations on output."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def op_logs(self, session: Session, fields: Fields) -> Fields:
        app_id = None
        if fields.get("app"):
            app_id = self._engine.directory.app(fields["app"]).app_id
        follow = None
        if fields.get("follow"):
            follow = Subscription(
                session,
                fields["ref"],
                app_id,
                fields.get("function"),
                fields.get("container"),
                fields.get("call"),
                fields.get("source"),
            )
        query = LogQuery.asked(fields, app_id)
        self._engine.output.send_past(session, fields["ref"], query, follow)
        return {}

    def op_events(self, session: Session, fields: Fields) -> Fields:
        subscription = Subscription(session, fields["ref"], fields["app_id"], progress=True)
        self._engine.output.subscribe(subscription)
        return {}
