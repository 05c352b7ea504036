"""Operations on calls: attach, resume, cancel, list, graph."""

from __future__ import annotations

from cloudfn.control.calls.directory import CallDirectory, Whereabouts, find_call
from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.errors import NotFoundError
from cloudfn.model import ids
from cloudfn.providers.ledger import CallSpec


class CallOperations(Group):
    """Operations on calls."""

    for_containers = frozenset(
        {
            "call_attach",
            "call_cancel",
            "call_graph",
            "call_info",
            "call_name",
            "call_release",
            "call_resume",
            "input_current",
        }
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls = CallDirectory(engine.ledger, engine.catalog, engine.directory)

    def op_call_attach(self, session: Session, fields: Fields) -> Fields:
        return self._engine.calls.attach(
            session,
            fields["ref"],
            fields["call"],
            fields.get("start") or 0,
            fields.get("end"),
            bare=bool(fields.get("bare")),
        )

    def op_call_resume(self, session: Session, fields: Fields) -> Fields:
        told = self._engine.calls.resume(
            session,
            fields["ref"],
            fields["call"],
            fields.get("have") or [],
            fields.get("done") or [],
            int(fields.get("confirmed") or 0),
        )
        if fields.get("items"):
            have, taken = fields["items"]
            self._engine.streams.resume(session, fields["ref"], have, taken)
        return told

    def op_call_name(self, _session: Session, fields: Fields) -> Fields:
        return self._engine.calls.named.look_up(fields["function_id"], fields["name"])

    def op_call_drop(self, _session: Session, fields: Fields) -> Fields:
        wanted = fields["call"]
        if wanted.startswith("in-"):
            self._engine.dead.drop(*ids.parse_input_id(wanted))
            return {"call": wanted}
        return {"call": self._engine.calls.drop(self._calls.id_of(wanted))}

    def op_call_dead(self, _session: Session, fields: Fields) -> Fields:
        return self._calls.dead(fields)

    def op_call_retry(self, _session: Session, fields: Fields) -> Fields:
        call_id = self._calls.id_of(fields["call"])
        new, count = self._engine.dead.retry(call_id, fields.get("inputs"))
        return {"call": new, "inputs": count}

    def op_call_release(self, session: Session, fields: Fields) -> Fields:
        self._engine.calls.release(session, fields["ref"])
        self._engine.output.unsubscribe(session, fields["ref"])
        self._engine.images.unwatch(session, fields["ref"])
        return {}

    def op_call_cancel(self, _session: Session, fields: Fields) -> Fields:
        find_call(self._engine.ledger, fields["call"])
        self._engine.calls.cancel(fields["call"], terminate=bool(fields.get("terminate")))
        return {}

    def op_call_info(self, _session: Session, fields: Fields) -> Fields:
        return self._calls.info(fields["call"])

    def op_call_list(self, _session: Session, fields: Fields) -> Fields:
        return self._calls.listing(fields, self._engine.apps.variants)

    def op_input_current(self, session: Session, fields: Fields) -> Fields:
        seq = int(fields["seq"])
        claim = self._engine.agent.running(seq)
        if claim is None or not self._engine.holds(session.container_id, seq):
            raise NotFoundError("No container holds that input any more.")
        return {
            "call": claim.call_id,
            "index": claim.index,
            "input_id": ids.input_id(claim.call_id, claim.index),
            "attempt": claim.counters.attempt,
        }

    def op_call_graph(self, _session: Session, fields: Fields) -> Fields:
        past = self._engine.calls.past.children
        return self._calls.graph(fields["call"], self._whereabouts, past)

    def _whereabouts(self, spec: CallSpec) -> Whereabouts:
        pool = self._engine.agent.pool(spec.pool)
        if pool is None:
            return Whereabouts("", {})
        running = {
            claim.index: container.container_id
            for container in pool.containers.values()
            for claim in container.held
            if claim.call_id == spec.call_id
        }
        return Whereabouts(pool.spec.function.module, running)
