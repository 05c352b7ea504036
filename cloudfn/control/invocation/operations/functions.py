"""Operations on functions: look up, bind, settings, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudfn.control.deploy.shown import variant_json
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.fleet import function_of, present
from cloudfn.control.invocation.insisting import insist
from cloudfn.control.operations import Fields, Group
from cloudfn.control.stores.ring import Ring
from cloudfn.model.secret import check_handed_on
from cloudfn.model.variant import base_id

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


#: of what the planner did lately, so much is looked through
_CHAPTERS = 200


class FunctionOperations(Group):
    """Operations on functions."""

    for_containers = frozenset(
        {"function_bind", "function_lookup", "settings_get", "settings_update", "stats"}
    )

    def __init__(self, front: Front) -> None:
        self._front = front

    def op_function_lookup(self, conversation: Conversation, fields: Fields) -> Fields:
        def look() -> Fields:
            return self._front.directory.wanted(fields, self._front.environment)

        # An input that calls another function is not to fail because the table does for a while.
        is_input = conversation.caller.container_id is not None
        return insist(self._front.clock, look) if is_input else look()

    def op_function_bind(self, conversation: Conversation, fields: Fields) -> Fields:
        if conversation.caller.container_id is not None:
            own = conversation.caller.secrets()
            check_handed_on(fields["options"].get("secrets") or (), own)
        bound = self._front.apps.bind(
            fields["function_id"], dict(fields["parameters"]), dict(fields["options"])
        )
        return {"function_id": bound.function_id}

    def op_function_variants(self, _conversation: Conversation, fields: Fields) -> Fields:
        function = self._front.directory.function(base_id(fields["function_id"]))
        self._front.directory.live_app(function)
        known = self._front.directory.variants(function.function_id)
        latest = known[::-1][: int(fields.get("limit") or 200)]
        settings_of = self._front.apps.settings_of
        return {
            "variants": [
                variant_json(each, settings_of, self._stats(each.function_id)) for each in latest
            ]
        }

    def op_settings_get(self, _conversation: Conversation, fields: Fields) -> Fields:
        function = self._front.directory.function(fields["function_id"])
        return self._front.apps.settings_of(function)

    def op_settings_update(self, conversation: Conversation, fields: Fields) -> Fields:
        changes = {str(name): value for name, value in fields["changes"].items()}
        caller = conversation.caller
        told = self._front.apps.update_settings(fields["function_id"], changes, caller.name)
        self._front.calls.alarm.changed()
        return told

    def op_stats(self, _conversation: Conversation, fields: Fields) -> Fields:
        wanted = self._front.directory.function(fields["function_id"]).function_id
        return self._stats(wanted, variants=bool(fields.get("variants")))

    def _stats(self, wanted: str, *, variants: bool = False) -> Fields:
        counted = base_id if variants else str
        stats = dict.fromkeys(
            ("backlog", "num_total_runners", "num_running_inputs", "input_headroom"), 0
        )
        for pool in self._front.cloud.ledger.pools():
            if counted(function_of(pool)) == wanted:
                counts = self._front.cloud.ledger.counts(pool)
                stats["backlog"] += counts.pending + counts.delayed
                stats["num_running_inputs"] += counts.running
        for _, pool, report in self._front.fleet.reports():
            if counted(function_of(pool)) == wanted:
                stats["num_total_runners"] += present(report)
                stats["input_headroom"] += report.idle
        return {**stats, "num_gpus": 0}

    def op_decisions(self, _conversation: Conversation, fields: Fields) -> Fields:
        wanted, limit = fields["function_id"], int(fields.get("limit") or 100)
        ring = Ring(self._front.cloud.dicts)
        chapters = ring.latest(_CHAPTERS, self._front.clock.wall())
        found = [
            {
                "at": chapter["at"],
                "pool": fate["pool"],
                "from": fate["current"],
                "to": fate["desired"],
                "limiting": fate["limiting"],
                "reason": fate["reason"],
            }
            for chapter in chapters
            for fate in chapter["pools"]
            if function_of(fate["pool"]) == wanted
        ]
        return {"decisions": found[-limit:]}
