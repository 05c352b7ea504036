"""Operations on functions: lookup, settings, statistics, decisions."""

from __future__ import annotations

from collections.abc import Iterable

from cloudfn.agent.pool import Pool
from cloudfn.control.deploy.shown import variant_json
from cloudfn.control.operations import Fields, Group
from cloudfn.daemon.engine import Engine
from cloudfn.daemon.session import Session
from cloudfn.model.secret import check_handed_on
from cloudfn.model.variant import base_id


class FunctionOperations(Group):
    """Operations on functions."""

    for_containers = frozenset(
        {
            "function_bind",
            "function_lookup",
            "settings_get",
            "settings_update",
            "stats",
            "web_url",
        }
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def op_function_lookup(self, _session: Session, fields: Fields) -> Fields:
        return self._engine.directory.wanted(fields, self._engine.settings.environment)

    def op_web_url(self, _session: Session, fields: Fields) -> Fields:
        doors = self._engine.doors.of_function(base_id(fields["function_id"]))
        urls = {door.web.of: self._engine.gateway.url(door) for door in doors}
        return {"url": urls.get(fields.get("method") or "")}

    def op_function_bind(self, session: Session, fields: Fields) -> Fields:
        if session.container_id is not None:
            container = self._engine.agent.container(session.container_id)
            own = container.spec.function.secrets if container is not None else ()
            check_handed_on(fields["options"].get("secrets") or (), own)
        bound = self._engine.apps.bind(
            fields["function_id"],
            dict(fields["parameters"]),
            dict(fields["options"]),
            self._engine.place.machine.check_gpus,
        )
        return {"function_id": bound.function_id}

    def op_settings_get(self, _session: Session, fields: Fields) -> Fields:
        return self._engine.apps.settings(fields["function_id"])

    def op_settings_update(self, session: Session, fields: Fields) -> Fields:
        by = session.container_id or f"pid {session.client_pid}"
        changes = {str(name): value for name, value in fields["changes"].items()}
        return self._engine.apps.update_settings(fields["function_id"], changes, by)

    def op_stats(self, _session: Session, fields: Fields) -> Fields:
        function_id = self._engine.directory.function(fields["function_id"]).function_id
        return self._stats(
            pool
            for pool in self._engine.agent.pools()
            if pool.spec.function_id == function_id
            or (fields.get("variants") and base_id(pool.spec.function_id) == function_id)
        )

    def _stats(self, pools: Iterable[Pool]) -> Fields:
        stats = dict.fromkeys(
            ("backlog", "num_total_runners", "num_running_inputs", "input_headroom"), 0
        )
        gpus: set[str] = set()
        for pool in pools:
            counts = self._engine.ledger.counts(pool.spec.pool)
            serving = [c for c in pool.containers.values() if not c.draining]
            visits = sum(len(c.visits) for c in pool.containers.values())
            stats["backlog"] += counts.pending + counts.delayed + len(pool.visitors)
            stats["num_total_runners"] += len(serving)
            stats["num_running_inputs"] += counts.running + visits
            free = (max(0, c.slots - c.taken) for c in serving if c.ready)
            stats["input_headroom"] += sum(free)
            gpus.update(device for c in pool.containers.values() for device in c.gpus)
        return {**stats, "num_gpus": len(gpus)}

    def op_function_variants(self, _session: Session, fields: Fields) -> Fields:
        function = self._engine.directory.function(base_id(fields["function_id"]))
        self._engine.directory.live_app(function)
        pools: dict[str, list[Pool]] = {}
        for pool in self._engine.agent.pools():
            pools.setdefault(pool.spec.function_id, []).append(pool)
        known = self._engine.apps.variants(function.function_id)
        latest = known[::-1][: int(fields.get("limit") or 200)]
        settings_of = self._engine.apps.settings_of
        return {
            "variants": [
                variant_json(each, settings_of, self._stats(pools.get(each.function_id, ())))
                for each in latest
            ]
        }

    def op_decisions(self, _session: Session, fields: Fields) -> Fields:
        function_id = fields["function_id"]
        chapters = [
            chapter
            for chapter in self._engine.planner.story
            if chapter.did.pool.partition("@")[0] == function_id
        ]
        return {
            "decisions": [
                {
                    "at": chapter.at,
                    "pool": chapter.did.pool,
                    "from": chapter.did.current,
                    "to": chapter.did.desired,
                    "limiting": chapter.did.limiting,
                    "reason": chapter.did.reason,
                }
                for chapter in chapters[-int(fields.get("limit") or 100) :]
            ]
        }
