"""Operations on calls: cancel, list, graph, names, dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudfn.control.calls.directory import CallDirectory, Whereabouts, find_call
from cloudfn.control.invocation.conversation import Conversation
from cloudfn.control.invocation.dead import drop_letter, retry_letters
from cloudfn.control.operations import Fields, Group
from cloudfn.errors import ConflictError
from cloudfn.model import ids
from cloudfn.providers.ledger import CallSpec

if TYPE_CHECKING:
    from cloudfn.control.invocation.front import Front


class CallOperations(Group):
    """Operations on calls."""

    for_containers = frozenset({"call_cancel", "call_graph", "call_info", "call_name"})

    def __init__(self, front: Front) -> None:
        self._front = front
        self._ledger = front.cloud.ledger
        self._calls = CallDirectory(self._ledger, front.cloud.catalog, front.directory)

    def op_call_name(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._front.calls.named.look_up(fields["function_id"], fields["name"])

    def op_call_cancel(self, _conversation: Conversation, fields: Fields) -> Fields:
        find_call(self._ledger, fields["call"])
        self._front.calls.cancel(fields["call"])
        return {}

    def op_call_info(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._calls.info(fields["call"])

    def op_call_list(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._calls.listing(fields, self._front.directory.variants)

    def op_call_drop(self, _conversation: Conversation, fields: Fields) -> Fields:
        wanted = fields["call"]
        if wanted.startswith("in-"):
            drop_letter(self._front.cloud, *ids.parse_input_id(wanted))
            return {"call": wanted}
        call_id = self._calls.id_of(wanted)
        find_call(self._ledger, call_id)
        if self._front.calls.is_taken(call_id):
            raise ConflictError(
                f"The client of call {call_id} is there.",
                hint="End it first, or `cloudfn call cancel` the call.",
            )
        self._front.calls.cancel(call_id)
        self._ledger.forget(call_id)
        return {"call": call_id}

    def op_call_dead(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._calls.dead(fields)

    def op_call_retry(self, _conversation: Conversation, fields: Fields) -> Fields:
        call_id = self._calls.id_of(fields["call"])
        function_id = find_call(self._ledger, call_id).spec.function_id
        pool, now = self._front.pools.pool_for(function_id), self._front.clock.wall()
        new, count = retry_letters(self._front.cloud, call_id, fields.get("inputs"), pool, now)
        self._front.calls.alarm.ring()
        return {"call": new, "inputs": count}

    def op_call_graph(self, _conversation: Conversation, fields: Fields) -> Fields:
        return self._calls.graph(fields["call"], self._whereabouts)

    def _whereabouts(self, spec: CallSpec) -> Whereabouts:
        held = self._ledger.held(spec.call_id)
        return Whereabouts("", {each.index: each.holder for each in held})
